//! A part of the rows.

use std::sync::Arc;

use hashbrown::HashTable;
use tokenkeep::{Event, Lookup, Timestamp, Token, TokenId, UniqueField};

use crate::names::{Hash, Hasher, kind, name};

/// An event with its number in the order of commits. A copy shares the event.
pub(crate) type Numbered = (u64, Arc<Event>);

/// The tokens of which a name falls here, and the events of the tokens of which the id does. What a
/// scan reads is shared with it and copied by the first write after that, so that a scan holds no
/// lock.
#[derive(Default)]
pub(crate) struct Shard {
    by_id: Arc<HashTable<Arc<Token>>>,
    by_identifier: HashTable<Arc<Token>>,
    by_marker: HashTable<Arc<Token>>,
    by_digest: HashTable<Arc<Token>>,
    /// In the order of their numbers.
    events: Arc<Vec<Numbered>>,
    /// The numbers of each token's events, in their order.
    of_token: HashTable<(TokenId, Vec<u64>)>,
    /// The earliest time of the events.
    earliest: Option<Timestamp>,
}

impl Shard {
    /// The tokens that are found here by names of that kind.
    pub(crate) fn table(&self, kind: UniqueField) -> &HashTable<Arc<Token>> {
        match kind {
            UniqueField::Id => &self.by_id,
            UniqueField::Identifier => &self.by_identifier,
            UniqueField::Managed => &self.by_marker,
            UniqueField::Key => &self.by_digest,
        }
    }

    fn table_mut(&mut self, kind: UniqueField) -> &mut HashTable<Arc<Token>> {
        match kind {
            UniqueField::Id => Arc::make_mut(&mut self.by_id),
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

    /// The tokens whose id falls here, as they are now.
    pub(crate) fn tokens(&self) -> Arc<HashTable<Arc<Token>>> {
        self.by_id.clone()
    }

    /// The events of the tokens whose id falls here, as they are now.
    pub(crate) fn events(&self) -> Arc<Vec<Numbered>> {
        self.events.clone()
    }

    /// Adds an event, whose number is the highest here.
    pub(crate) fn add_event(&mut self, hasher: &Hasher, hash: Hash, number: u64, event: Event) {
        let token = event.token;
        self.earliest = Some(self.earliest.map_or(event.at, |earliest| earliest.min(event.at)));
        let rehash = |(id, _): &(TokenId, Vec<u64>)| hasher.name(Lookup::Id(*id)).0;
        let of_token = self.of_token.entry(hash.0, |(id, _)| *id == token, rehash);
        of_token.or_insert_with(|| (token, Vec::new())).into_mut().1.push(number);
        Arc::make_mut(&mut self.events).push((number, Arc::new(event)));
    }

    /// The events of a token below a number, newest first.
    pub(crate) fn events_of(
        &self,
        hash: Hash,
        token: TokenId,
        below: u64,
    ) -> impl Iterator<Item = &Numbered> {
        let of_token = self.of_token.find(hash.0, |(id, _)| *id == token);
        let numbers = of_token.map_or(&[][..], |(_, numbers)| numbers);
        let end = numbers.partition_point(|number| *number < below);
        let newest_first = numbers.get(..end).unwrap_or_default().iter().rev();
        newest_first.filter_map(|number| {
            let place = self.events.binary_search_by_key(number, |(number, _)| *number).ok()?;
            self.events.get(place)
        })
    }

    /// Returns the highest number of the events before a time.
    pub(crate) fn last_before(&self, before: Timestamp) -> Option<u64> {
        if self.earliest.is_none_or(|earliest| earliest >= before) {
            return None;
        }
        self.events.iter().rfind(|(_, event)| event.at < before).map(|(number, _)| *number)
    }

    /// Deletes the events before a time up to a number. Returns how many they were.
    pub(crate) fn prune(&mut self, before: Timestamp, highest: u64) -> u64 {
        if self.earliest.is_none_or(|earliest| earliest >= before) {
            return 0;
        }
        let length = self.events.len();
        Arc::make_mut(&mut self.events)
            .retain(|(number, event)| event.at >= before || *number > highest);
        let events = &self.events;
        self.earliest = events.iter().map(|(_, event)| event.at).min();
        self.of_token.retain(|(_, numbers)| {
            numbers.retain(|number| events.binary_search_by_key(number, |(n, _)| *n).is_ok());
            !numbers.is_empty()
        });
        (length - events.len()) as u64
    }

    /// Takes a name from the token with this id. Another token may have it by now.
    pub(crate) fn remove(&mut self, hash: Hash, id: TokenId, old: Lookup<'_>) {
        let is_it = |token: &Arc<Token>| token.id == id && is_named(token, old);
        let found = self.table_mut(kind(old)).find_entry(hash.0, is_it);
        if let Ok(found) = found {
            found.remove();
        }
    }
}

fn is_named(token: &Token, wanted: Lookup<'_>) -> bool {
    name(token, kind(wanted)) == Some(wanted)
}
