//! A part of the rows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hashbrown::HashTable;
use tokenkeep::{Event, EventId, Lookup, Revision, Timestamp, Token, TokenId, UniqueField};

use crate::names::{Hash, Hasher, kind, name};

/// The tokens of which a name falls here, the events of which the id does, and the places of the
/// events of tokens of which the id does.
#[derive(Debug, Default)]
pub(crate) struct Shard {
    by_id: HashTable<Arc<Token>>,
    by_identifier: HashTable<Arc<Token>>,
    by_marker: HashTable<Arc<Token>>,
    by_digest: HashTable<Arc<Token>>,
    /// In the order of time.
    pub(crate) events: BTreeMap<(Timestamp, EventId), Event>,
    /// In the order of each token.
    pub(crate) of_token: BTreeSet<(TokenId, Revision, Timestamp, EventId)>,
}

impl Shard {
    /// The tokens that are found here by names of that kind.
    pub(crate) const fn table(&self, kind: UniqueField) -> &HashTable<Arc<Token>> {
        match kind {
            UniqueField::Id => &self.by_id,
            UniqueField::Identifier => &self.by_identifier,
            UniqueField::Managed => &self.by_marker,
            UniqueField::Key => &self.by_digest,
        }
    }

    const fn table_mut(&mut self, kind: UniqueField) -> &mut HashTable<Arc<Token>> {
        match kind {
            UniqueField::Id => &mut self.by_id,
            UniqueField::Identifier => &mut self.by_identifier,
            UniqueField::Managed => &mut self.by_marker,
            UniqueField::Key => &mut self.by_digest,
        }
    }

    pub(crate) fn find(&self, hash: Hash, wanted: Lookup<'_>) -> Option<&Arc<Token>> {
        self.table(kind(wanted)).find(hash.0, |token| is_named(token, wanted))
    }

    /// Finds `token` by that name of its, instead of whom it found before.
    pub(crate) fn put(&mut self, hasher: &Hasher, hash: Hash, own: Lookup<'_>, token: &Arc<Token>) {
        let kind = kind(own);
        // Every token in a table has a name of its kind.
        let rehash = |token: &Arc<Token>| name(token, kind).map_or(0, |name| hasher.name(name).0);
        let found = self.table_mut(kind).entry(hash.0, |token| is_named(token, own), rehash);
        found.insert(token.clone());
    }

    /// Finds nobody by that name any more.
    pub(crate) fn remove(&mut self, hash: Hash, old: Lookup<'_>) {
        let found = self.table_mut(kind(old)).find_entry(hash.0, |token| is_named(token, old));
        if let Ok(found) = found {
            found.remove();
        }
    }
}

fn is_named(token: &Token, wanted: Lookup<'_>) -> bool {
    name(token, kind(wanted)) == Some(wanted)
}
