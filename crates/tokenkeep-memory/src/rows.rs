//! Shards that are locked together: what a commit changes at once.

use std::collections::BTreeSet;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use tokenkeep::{
    Change, Commit, CommitError, Event, Lookup, Revision, StoreError, StoreErrorKind, Timestamp,
    Token, TokenId, Touch, UniqueField,
};

use crate::names::{Hash, Hasher, Places, name};
use crate::shard::Shard;

/// The shards that are locked, in their order.
pub(crate) struct Rows<'a, G> {
    pub(crate) hasher: &'a Hasher,
    pub(crate) shards: Vec<(usize, G)>,
}

/// What was there before each of some changes.
struct Undo(Vec<(TokenId, Option<Arc<Token>>)>);

impl<G: Deref<Target = Shard>> Rows<'_, G> {
    /// The shard of that number; `None` when it is not locked, which is for the caller to see to.
    fn shard(&self, number: usize) -> Option<&Shard> {
        let place = self.shards.binary_search_by_key(&number, |(number, _)| *number).ok()?;
        self.shards.get(place).map(|(_, shard)| &**shard)
    }

    pub(crate) fn find(&self, lookup: Lookup<'_>) -> Option<&Arc<Token>> {
        let hash = self.hasher.name(lookup);
        self.shard(hash.shard())?.find(hash, lookup)
    }

    /// Every token that is found here by names of that kind.
    pub(crate) fn tokens(&self, kind: UniqueField) -> impl Iterator<Item = &Arc<Token>> {
        self.shards.iter().flat_map(move |(_, shard)| shard.table(kind))
    }

    /// The events of one token in their order.
    pub(crate) fn events_of(&self, token: TokenId) -> impl Iterator<Item = &Event> {
        let hash = self.hasher.name(Lookup::Id(token));
        let places = self.shard(hash.shard()).map(|shard| shard.events_of(hash, token));
        places
            .into_iter()
            .flatten()
            .filter_map(|(_, at, id)| self.shard(self.hasher.event(*id).shard())?.event(*at, *id))
    }
}

impl<G: DerefMut<Target = Shard>> Rows<'_, G> {
    fn shard_mut(&mut self, hash: Hash) -> Option<&mut Shard> {
        let number = hash.shard();
        let place = self.shards.binary_search_by_key(&number, |(number, _)| *number).ok()?;
        self.shards.get_mut(place).map(|(_, shard)| &mut **shard)
    }

    /// Does all of a commit, or nothing.
    pub(crate) fn commit(&mut self, commit: Commit) -> Result<(), CommitError> {
        let undo = self.apply(&commit.changes)?;
        if let Err(error) = self.check_new(&commit.events) {
            self.undo(undo);
            return Err(error.into());
        }
        for event in commit.events {
            self.append(event);
        }
        Ok(())
    }

    fn apply(&mut self, changes: &[Change]) -> Result<Undo, CommitError> {
        let mut undo = Undo(Vec::with_capacity(changes.len()));
        for (place, change) in changes.iter().enumerate() {
            match self.apply_one(place, change) {
                Ok(before) => undo.0.push((change.token_id(), before)),
                Err(error) => {
                    self.undo(undo);
                    return Err(error);
                }
            }
        }
        Ok(undo)
    }

    /// Takes changes back.
    fn undo(&mut self, undo: Undo) {
        for (id, before) in undo.0.into_iter().rev() {
            self.set(id, before.as_ref());
        }
    }

    /// Does one change, and returns what was there before.
    fn apply_one(
        &mut self,
        place: usize,
        change: &Change,
    ) -> Result<Option<Arc<Token>>, CommitError> {
        let after = match change {
            Change::Insert(token) => {
                self.check_unique(place, token, |_| true)?;
                Some(token.clone())
            }
            Change::Replace { expected, fields, token } => {
                let before = self.at_revision(place, token.id, *expected)?;
                let after = before.with_fields_of(token, *fields);
                self.check_unique(place, &after, |field| field.is_among(*fields))?;
                Some(Arc::new(after))
            }
            Change::Delete { id, expected } => {
                self.at_revision(place, *id, *expected)?;
                None
            }
            Change::Expect { id, expected } => {
                return self.at_revision(place, *id, *expected).map(Some);
            }
        };
        Ok(self.set(change.token_id(), after.as_ref()))
    }

    fn at_revision(
        &self,
        place: usize,
        id: TokenId,
        expected: Revision,
    ) -> Result<Arc<Token>, CommitError> {
        match self.find(Lookup::Id(id)) {
            Some(token) if token.revision == expected => Ok(token.clone()),
            current => Err(CommitError::Stale { change: place, current: current.cloned() }),
        }
    }

    /// The first of the fields to look at that another token has.
    fn check_unique(
        &self,
        place: usize,
        token: &Token,
        look_at: impl Fn(UniqueField) -> bool,
    ) -> Result<(), CommitError> {
        // A token that is inserted is not there yet: whoever has its id is another.
        let is_taken = |field: &UniqueField| {
            let holder = name(token, *field).and_then(|name| self.find(name));
            let is_other = |holder: &Arc<Token>| *field == UniqueField::Id || holder.id != token.id;
            holder.is_some_and(is_other)
        };
        match UniqueField::ALL.into_iter().filter(|field| look_at(*field)).find(is_taken) {
            Some(field) => Err(CommitError::Taken { change: place, field }),
            None => Ok(()),
        }
    }

    /// Puts `after` where the token `id` was, and returns what was there.
    fn set(&mut self, id: TokenId, after: Option<&Arc<Token>>) -> Option<Arc<Token>> {
        let before = self.find(Lookup::Id(id)).cloned();
        let hasher = self.hasher;
        for field in UniqueField::ALL {
            let old = before.as_ref().and_then(|token| name(token, field));
            let new = after.and_then(|token| name(token, field));
            if let Some(old) = old.filter(|old| Some(*old) != new) {
                let hash = hasher.name(old);
                if let Some(shard) = self.shard_mut(hash) {
                    shard.remove(hash, old);
                }
            }
            if let (Some(new), Some(token)) = (new, after) {
                let hash = hasher.name(new);
                if let Some(shard) = self.shard_mut(hash) {
                    shard.put(hasher, hash, new, token);
                }
            }
        }
        before
    }

    pub(crate) fn touch(&mut self, touch: &Touch) {
        let Some(token) = self.find(Lookup::Id(touch.token)) else {
            return;
        };
        if token.last_used < Some(touch.at) {
            let touched = Token { last_used: Some(touch.at), ..Token::clone(token) };
            self.set(touch.token, Some(&Arc::new(touched)));
        }
    }

    /// Refuses events of which one is there already.
    fn check_new(&self, events: &[Event]) -> Result<(), StoreError> {
        let mut places = BTreeSet::new();
        let is_new = |event: &Event| {
            let shard = self.shard(self.hasher.event(event.id).shard());
            let is_there = shard.is_some_and(|shard| shard.event(event.at, event.id).is_some());
            !is_there && (events.len() == 1 || places.insert((event.at, event.id)))
        };
        if events.iter().all(is_new) {
            return Ok(());
        }
        let error = StoreError::new("memory", StoreErrorKind::Other);
        Err(error.with_source("an event with this time and id is there already"))
    }

    fn append(&mut self, event: Event) {
        let (hasher, place) = (self.hasher, (event.revision, event.at, event.id));
        let hash = hasher.name(Lookup::Id(event.token));
        if let Some(shard) = self.shard_mut(hash) {
            shard.note_event(hasher, hash, event.token, place);
        }
        if let Some(shard) = self.shard_mut(hasher.event(event.id)) {
            shard.add_event(event);
        }
    }

    /// Drops the events before a time, and tells how many.
    pub(crate) fn prune(&mut self, before: Timestamp) -> u64 {
        self.shards.iter_mut().map(|(_, shard)| shard.prune(before)).sum()
    }
}

impl Hasher {
    /// Where a commit reads and writes, `find` telling what is there of each token.
    pub(crate) fn places_of_commit(
        &self,
        commit: &Commit,
        find: &dyn Fn(TokenId) -> Option<Arc<Token>>,
    ) -> Places {
        let mut places = Places::default();
        for change in &commit.changes {
            places = places.and(self.places_of_row(change.token_id(), find));
            if let Change::Insert(token) | Change::Replace { token, .. } = change {
                places = places.and(self.places_of(token));
            }
        }
        for event in &commit.events {
            places = places.with(self.place_of(event.token)).with(self.event(event.id).shard());
        }
        places
    }

    /// Where the token is looked for, and where its names are.
    pub(crate) fn places_of_row(
        &self,
        id: TokenId,
        find: &dyn Fn(TokenId) -> Option<Arc<Token>>,
    ) -> Places {
        let own = Places::default().with(self.place_of(id));
        find(id).map_or(own, |token| own.and(self.places_of(&token)))
    }
}
