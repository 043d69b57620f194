//! What tokens are found by, and where.

use std::hash::BuildHasher;

use hashbrown::DefaultHashBuilder;
use tokenkeep::{EventId, Lookup, Token, TokenId, UniqueField};

/// How many parts the rows are divided into: as many as a [`Places`] has bits. Two threads that
/// change tokens at random meet in one of twenty cases.
pub(crate) const SHARDS: usize = 64;

/// A set of shards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Places(u64);

impl Places {
    pub(crate) const ALL: Self = Self(u64::MAX);

    pub(crate) const fn with(self, shard: usize) -> Self {
        Self(self.0 | 1 << (shard % SHARDS))
    }

    pub(crate) const fn and(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    pub(crate) const fn contains(self, shard: usize) -> bool {
        self.0 & 1 << (shard % SHARDS) != 0
    }

    /// Whether these are all of those.
    pub(crate) const fn cover(self, others: Self) -> bool {
        others.0 & !self.0 == 0
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

    pub(crate) fn event(&self, id: EventId) -> Hash {
        Hash(self.0.hash_one(id))
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
