//! Shards that are locked together: what a commit changes at once.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokenkeep::{
    Change, Commit, CommitError, Event, EventCursor, EventPage, EventQuery, Lookup, Revision,
    StoreError, StoreErrorKind, Token, TokenId, Touch, UniqueField,
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

    /// A page of the events of one token.
    pub(crate) fn events_of(&self, token: TokenId, query: &EventQuery, page: &mut EventPage) {
        let hash = self.hasher.name(Lookup::Id(token));
        let Some(shard) = self.shard(hash.shard()) else {
            return;
        };
        let below = query.after.map_or(u64::MAX, |after| after.number.saturating_add(1));
        let mut events =
            shard.events_of(hash, token, below).filter(|(_, event)| query.matches(event));
        let limit = query.limit as usize;
        page.events.extend(events.by_ref().take(limit).map(|(_, event)| Event::clone(event)));
        page.next = page
            .next
            .zip(events.next())
            .map(|(next, (number, _))| EventCursor { number: *number, ..next });
    }
}

impl<G: DerefMut<Target = Shard>> Rows<'_, G> {
    fn shard_mut(&mut self, hash: Hash) -> Option<&mut Shard> {
        let number = hash.shard();
        let place = self.shards.binary_search_by_key(&number, |(number, _)| *number).ok()?;
        self.shards.get_mut(place).map(|(_, shard)| &mut **shard)
    }

    /// Does all of a commit, or nothing.
    pub(crate) fn commit(
        &mut self,
        commit: Commit,
        numbers: &AtomicU64,
    ) -> Result<(), CommitError> {
        if !commit.releases_are_replaced() {
            let error = StoreError::new("memory", StoreErrorKind::Other);
            return Err(error.with_source("a released token is not replaced").into());
        }
        let found = self.apply(&commit.changes)?.0;
        for (place, mut event) in commit.events.into_iter().enumerate() {
            if let Some(Change::Remove { id }) = commit.changes.get(place)
                && let Some((_, Some(removed))) = found.get(place)
                && event.token == *id
            {
                event.identifier = removed.identifier.clone();
                event.revision = removed.revision;
            }
            self.append(event, numbers);
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
            Change::Remove { id } => {
                if self.find(Lookup::Id(*id)).is_none() {
                    return Err(CommitError::Stale { change: place, current: None });
                }
                None
            }
            Change::Release { id, expected } => {
                let token = self.at_revision(place, *id, *expected)?;
                self.release(&token);
                return Ok(Some(token));
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
                    shard.remove(hash, id, old);
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

    /// Takes every unique value but the id from a token.
    fn release(&mut self, token: &Token) {
        let hasher = self.hasher;
        for field in UniqueField::ALL.into_iter().filter(|field| *field != UniqueField::Id) {
            let Some(old) = name(token, field) else {
                continue;
            };
            let hash = hasher.name(old);
            if let Some(shard) = self.shard_mut(hash) {
                shard.remove(hash, token.id, old);
            }
        }
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

    /// The number is drawn while the shard is locked: a reader, who locks all of them, meets no
    /// event without those that have lower numbers.
    fn append(&mut self, event: Event, numbers: &AtomicU64) {
        let hasher = self.hasher;
        let hash = hasher.name(Lookup::Id(event.token));
        if let Some(shard) = self.shard_mut(hash) {
            let number = numbers.fetch_add(1, Ordering::Relaxed) + 1;
            shard.add_event(hasher, hash, number, event);
        }
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
            places = places.with(self.place_of(event.token));
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
