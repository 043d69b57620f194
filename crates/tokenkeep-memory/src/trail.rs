//! The audit trail, in its two orders.

use std::collections::{BTreeMap, BTreeSet};

use tokenkeep::{
    Event, EventId, EventQuery, Revision, StoreError, StoreErrorKind, Timestamp, TokenId,
};

/// Events in the order of time, and where to find those of a token.
#[derive(Debug, Default)]
pub(crate) struct Trail {
    events: BTreeMap<(Timestamp, EventId), Event>,
    of_token: BTreeSet<(TokenId, Revision, Timestamp, EventId)>,
}

impl Trail {
    /// Refuses events of which one is there already.
    pub(crate) fn check_new(&self, events: &[Event]) -> Result<(), StoreError> {
        let mut places = BTreeSet::new();
        let is_new = |event: &Event| {
            let place = (event.at, event.id);
            !self.events.contains_key(&place) && places.insert(place)
        };
        if events.iter().all(is_new) {
            return Ok(());
        }
        let error = StoreError::new("memory", StoreErrorKind::Other);
        Err(error.with_source("an event with this time and id is there already"))
    }

    pub(crate) fn append(&mut self, event: Event) {
        self.of_token.insert((event.token, event.revision, event.at, event.id));
        self.events.insert((event.at, event.id), event);
    }

    pub(crate) fn select(&self, query: &EventQuery) -> Vec<Event> {
        let matching = |events: &mut dyn Iterator<Item = &Event>| {
            let matching = events.filter(|event| query.matches(event));
            matching.take(query.limit as usize).cloned().collect()
        };
        if let Some(token) = query.token {
            return matching(&mut self.of(token));
        }
        let from = query.from.unwrap_or(Timestamp::MIN);
        let from = query.after.map_or(from, |after| from.max(after.at));
        let events = self.events.range((from, EventId::from_bytes([0; 16]))..);
        matching(&mut events.map(|(_, event)| event))
    }

    /// The events of one token in their order.
    fn of(&self, token: TokenId) -> impl Iterator<Item = &Event> {
        let first = (token, Revision::FIRST, Timestamp::MIN, EventId::from_bytes([0; 16]));
        let own = self.of_token.range(first..).take_while(move |(of, ..)| *of == token);
        own.filter_map(|(_, _, at, id)| self.events.get(&(*at, *id)))
    }

    pub(crate) fn prune(&mut self, before: Timestamp) -> u64 {
        let kept = self.events.split_off(&(before, EventId::from_bytes([0; 16])));
        let pruned = std::mem::replace(&mut self.events, kept);
        for event in pruned.values() {
            self.of_token.remove(&(event.token, event.revision, event.at, event.id));
        }
        pruned.len() as u64
    }
}
