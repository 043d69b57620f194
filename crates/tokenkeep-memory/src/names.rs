//! What tokens are found by, and where.

use std::hash::BuildHasher;
use std::iter;

use hashbrown::DefaultHashBuilder;
use tokenkeep::{Lookup, Token, TokenId, UniqueField};

/// How many parts the rows are divided into. A change locks four or five of them, so that two
/// threads that change tokens at random meet in one of ten cases at most.
pub(crate) const SHARDS: usize = if cfg!(tokenkeep_shuttle) { 64 } else { 256 };

/// A set of shards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Places([u64; SHARDS / 64]);

impl Places {
    pub(crate) fn with(mut self, shard: usize) -> Self {
        if let Some(word) = self.0.get_mut(shard / 64) {
            *word |= 1 << (shard % 64);
        }
        self
    }

    pub(crate) fn and(mut self, others: Self) -> Self {
        self.0.iter_mut().zip(others.0).for_each(|(word, others)| *word |= others);
        self
    }

    /// Whether these are all of those.
    pub(crate) fn cover(self, others: Self) -> bool {
        self.0.into_iter().zip(others.0).all(|(these, those)| those & !these == 0)
    }

    /// Their numbers, the lowest first.
    pub(crate) fn numbers(self) -> impl Iterator<Item = usize> {
        self.0.into_iter().enumerate().flat_map(|(place, word)| {
            let words = iter::successors(Some(word), |word| Some(word & word.wrapping_sub(1)));
            words
                .take_while(|word| *word != 0)
                .map(move |word| place * 64 + word.trailing_zeros() as usize)
        })
    }
}

/// A hash that says where a name is: some bits choose the shard, others the place in it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hash(pub(crate) u64);

impl Hash {
    pub(crate) const fn shard(self) -> usize {
        (self.0 >> 32) as usize % SHARDS
    }
}

/// Hashes with a secret of the store's own.
#[derive(Debug, Clone, Default)]
pub(crate) struct Hasher(DefaultHashBuilder);

impl Hasher {
    pub(crate) fn name(&self, name: Lookup<'_>) -> Hash {
        Hash(match name {
            Lookup::Id(id) => self.0.hash_one(id),
            Lookup::Identifier(identifier) => self.0.hash_one(identifier),
            Lookup::Marker(marker) => self.0.hash_one(marker),
            Lookup::KeyDigest(digest) => self.0.hash_one(digest),
        })
    }

    /// Where the names of a token are.
    pub(crate) fn places_of(&self, token: &Token) -> Places {
        let names = UniqueField::ALL.into_iter().filter_map(|field| name(token, field));
        names.fold(Places::default(), |places, name| places.with(self.name(name).shard()))
    }

    pub(crate) fn place_of(&self, id: TokenId) -> usize {
        self.name(Lookup::Id(id)).shard()
    }
}

/// The name that a token has of that kind, if it has one.
pub(crate) fn name(token: &Token, field: UniqueField) -> Option<Lookup<'_>> {
    match field {
        UniqueField::Id => Some(Lookup::Id(token.id)),
        UniqueField::Identifier => Some(Lookup::Identifier(&token.identifier)),
        UniqueField::Managed => token.managed.as_ref().map(Lookup::Marker),
        UniqueField::Key => Some(Lookup::KeyDigest(&token.key_digest)),
    }
}

pub(crate) fn kind(name: Lookup<'_>) -> UniqueField {
    match name {
        Lookup::Id(_) => UniqueField::Id,
        Lookup::Identifier(_) => UniqueField::Identifier,
        Lookup::Marker(_) => UniqueField::Managed,
        Lookup::KeyDigest(_) => UniqueField::Key,
    }
}
