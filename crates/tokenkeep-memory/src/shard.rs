//! A part of the rows.

use std::sync::Arc;

use hashbrown::HashTable;
use tokenkeep::{Event, EventId, Lookup, Revision, Timestamp, Token, TokenId, UniqueField};

use crate::names::{Hash, Hasher, kind, name};

/// Where an event stands in the order of its token.
pub(crate) type Place = (Revision, Timestamp, EventId);

/// The tokens of which a name falls here, the events of which the id does, and the places of the
/// events of tokens of which the id does.
#[derive(Default)]
pub(crate) struct Shard {
    by_id: HashTable<Arc<Token>>,
    by_identifier: HashTable<Arc<Token>>,
    by_marker: HashTable<Arc<Token>>,
    by_digest: HashTable<Arc<Token>>,
    /// In the order of time and id. Most come last: a tree costs a write twice as much.
    events: Vec<Event>,
    /// The places of each token's events, in their order.
    of_token: HashTable<(TokenId, Vec<Place>)>,
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

    /// The events from a time on, in their order.
    pub(crate) fn events_from(&self, time: Timestamp) -> &[Event] {
        let first = self.events.partition_point(|event| event.at < time);
        self.events.get(first..).unwrap_or_default()
    }

    /// The event of that time and id, or where it would be.
    fn place_of_event(&self, at: Timestamp, id: EventId) -> Result<usize, usize> {
        match self.events.last() {
            Some(last) if (last.at, last.id) >= (at, id) => {
                self.events.binary_search_by_key(&(at, id), |event| (event.at, event.id))
            }
            _ => Err(self.events.len()),
        }
    }

    pub(crate) fn event(&self, at: Timestamp, id: EventId) -> Option<&Event> {
        self.events.get(self.place_of_event(at, id).ok()?)
    }

    /// Adds an event that is not there.
    pub(crate) fn add_event(&mut self, event: Event) {
        if let Err(place) = self.place_of_event(event.at, event.id) {
            self.events.insert(place, event);
        }
    }

    /// Where the events of a token are, in their order.
    pub(crate) fn events_of(&self, hash: Hash, token: TokenId) -> &[Place] {
        let of_token = self.of_token.find(hash.0, |(id, _)| *id == token);
        of_token.map_or(&[], |(_, places)| places)
    }

    /// Notes where an event of a token is, which comes last in most cases.
    pub(crate) fn note_event(&mut self, hasher: &Hasher, hash: Hash, token: TokenId, event: Place) {
        let rehash = |(id, _): &(TokenId, Vec<Place>)| hasher.name(Lookup::Id(*id)).0;
        let of_token = self.of_token.entry(hash.0, |(id, _)| *id == token, rehash);
        let (_, places) = of_token.or_insert_with(|| (token, Vec::new())).into_mut();
        places.insert(places.partition_point(|place| *place < event), event);
    }

    /// Drops the events before a time and the places of such, and tells how many events.
    pub(crate) fn prune(&mut self, before: Timestamp) -> u64 {
        self.of_token.retain(|(_, places)| {
            places.retain(|(_, at, _)| *at >= before);
            !places.is_empty()
        });
        let pruned = self.events.partition_point(|event| event.at < before);
        self.events.drain(..pruned);
        pruned as u64
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
