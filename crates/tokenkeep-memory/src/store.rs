//! The store: rows in shards, each behind a lock.
//!
//! Whoever changes rows locks all the shards that it reads and writes, in the order of their
//! numbers, before it looks; whoever reads one token locks the shard of the name that it asks for.
//! So changes of different tokens seldom wait for each other, and no reader sees a part of one. A prune of
//! events, which may be seen in part, locks one shard after the other.

use std::collections::BTreeSet;
use std::fmt;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};

use async_trait::async_trait;
use crossbeam_utils::CachePadded;
use tokenkeep::{
    Change, ChangeCounters, Changes, Commit, CommitError, EventCursor, EventPage, EventQuery,
    KeyCheck, KeyUsage, Lookup, StoreError, StoreErrorKind, StoreId, Subject, Timestamp, Token,
    TokenId, TokenPage, TokenQuery, TokenStore, Touch, UserId,
};

use crate::names::{Hasher, Places, SHARDS};
use crate::rows::Rows;
use crate::select::{self, Tokens};
use crate::shard::Shard;
use crate::sync::{
    RwLock, RwLockReadGuard, RwLockWriteGuard, ShardedLock, ShardedLockReadGuard,
    ShardedLockWriteGuard,
};
use crate::users::Users;

/// Keeps tokens, events and users in memory. What was acknowledged lasts as long as the store.
///
/// No call waits for anything but locks that are held for microseconds. Only `prune_events` holds locks
/// for longer: one of 256 at a time, while it deletes the events in that part of the store. A list, and a page of the
/// events of all tokens, reads a snapshot and yields to the executor after each 1,024 rows, so that it
/// neither holds the caller's thread nor delays another call, and ends when its future is dropped.
///
/// See the [crate's page](crate) for an example.
pub struct MemoryStore {
    hasher: Hasher,
    /// Apart from each other, so that a lock that is taken takes no neighbour out of other caches.
    shards: Box<[CachePadded<RwLock<Shard>>]>,
    /// Read by every authentication and seldom changed: readers on two threads touch two locks.
    users: ShardedLock<Users>,
    /// The check values of secrets.
    checks: RwLock<Vec<KeyCheck>>,
    /// The number of the newest event.
    numbers: AtomicU64,
    /// A run is noted before it deletes the first event.
    pruned: RwLock<Pruned>,
    id: StoreId,
    pub(crate) changes: Arc<ChangeCounters>,
}

impl fmt::Debug for MemoryStore {
    /// Leaves the rows out: a host may log a store.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore").finish_non_exhaustive()
    }
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self {
            hasher: Hasher::default(),
            shards: (0..SHARDS).map(|_| CachePadded::default()).collect(),
            users: ShardedLock::default(),
            checks: RwLock::default(),
            numbers: AtomicU64::new(0),
            pruned: RwLock::default(),
            id: random_id(),
            changes: Arc::default(),
        }
    }

    pub(crate) fn users(&self) -> ShardedLockReadGuard<'_, Users> {
        self.users.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn users_mut(&self) -> ShardedLockWriteGuard<'_, Users> {
        self.users.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn find_now(&self, lookup: Lookup<'_>) -> Option<Arc<Token>> {
        let hash = self.hasher.name(lookup);
        let shard = self.shards.get(hash.shard())?;
        read(shard).find(hash, lookup).cloned()
    }

    fn read_all(&self) -> Rows<'_, RwLockReadGuard<'_, Shard>> {
        let shards = self.shards.iter().enumerate();
        Rows {
            hasher: &self.hasher,
            shards: shards.map(|(number, shard)| (number, read(shard))).collect(),
        }
    }

    /// The tokens of all shards at one moment.
    fn tokens(&self) -> Tokens {
        self.read_all().shards.iter().map(|(_, shard)| shard.tokens()).collect()
    }

    /// Refuses a cursor at which the trail cannot continue. Returns a cursor of the query to number 0.
    fn check_cursor(&self, query: &EventQuery) -> Result<EventCursor, StoreError> {
        let pruned = read(&self.pruned);
        let is_continued = query.after.is_none_or(|after| {
            let is_gone = query.token.is_none() && pruned.after(&after);
            after.number <= self.numbers.load(Ordering::Acquire) && !is_gone
        });
        if !is_continued || !query.accepts_cursor(self.id, pruned.runs) {
            return Err(StoreError::new("memory", StoreErrorKind::InvalidCursor));
        }
        let (store, prunes, token) = (self.id, pruned.runs, query.token);
        Ok(EventCursor { store, number: 0, prunes, event: None, token })
    }

    fn write(&self, places: Places) -> Rows<'_, RwLockWriteGuard<'_, Shard>> {
        let locked = |number: usize| Some((number, write(self.shards.get(number)?)));
        Rows { hasher: &self.hasher, shards: places.numbers().filter_map(locked).collect() }
    }

    /// Locks the shards that are needed, as what is there tells. That may change until they are
    /// locked: then it is asked again.
    fn write_where(
        &self,
        needed: impl Fn(&dyn Fn(TokenId) -> Option<Arc<Token>>) -> Places,
    ) -> Rows<'_, RwLockWriteGuard<'_, Shard>> {
        let mut places = needed(&|id| self.find_now(Lookup::Id(id)));
        loop {
            let rows = self.write(places);
            let now = needed(&|id| rows.find(Lookup::Id(id)).cloned());
            if places.cover(now) {
                return rows;
            }
            drop(rows);
            places = now;
        }
    }
}

/// Which events were pruned, as far as a follower could miss them.
#[derive(Debug, Default)]
struct Pruned {
    /// How often events were pruned.
    runs: u64,
    /// Of each run, the highest number, without those that a later run exceeds.
    highest: Vec<(u64, u64)>,
    /// The highest number of each run under way. A cursor that is returned meanwhile counts none of
    /// these runs.
    under_way: Vec<u64>,
}

impl Pruned {
    fn begin(&mut self, highest: u64) {
        self.under_way.push(highest);
    }

    fn end(&mut self, highest: u64) {
        if let Some(place) = self.under_way.iter().position(|under_way| *under_way == highest) {
            self.under_way.swap_remove(place);
        }
        self.runs += 1;
        self.highest.retain(|(_, earlier)| *earlier > highest);
        self.highest.push((self.runs, highest));
    }

    /// Whether an event after the cursor was pruned since the cursor was returned, or may be.
    fn after(&self, cursor: &EventCursor) -> bool {
        let since = self.highest.iter().filter(|(run, _)| *run > cursor.prunes);
        since.map(|(_, highest)| highest).chain(&self.under_way).max() > Some(&cursor.number)
    }
}

/// An id that no other store has. The hasher's secret is the randomness that every platform has.
fn random_id() -> StoreId {
    let half = || std::hash::RandomState::new().hash_one(0_u8).to_be_bytes();
    let mut bytes = [0; 16];
    for (byte, random) in bytes.iter_mut().zip(half().into_iter().chain(half())) {
        *byte = random;
    }
    StoreId::from_bytes(bytes)
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

/// Locks for reading. Nothing that runs under a lock can panic half-way, so that a poisoned lock
/// guards rows that are whole.
fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

/// Locks for writing; see [`read`].
fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

#[async_trait]
impl TokenStore for MemoryStore {
    async fn find(&self, lookup: Lookup<'_>) -> Result<Option<Arc<Token>>, StoreError> {
        Ok(self.find_now(lookup))
    }

    async fn owners(&self, tokens: &[TokenId]) -> Result<Vec<UserId>, StoreError> {
        let owners = tokens.iter().filter_map(|id| Some(self.find_now(Lookup::Id(*id))?.owner));
        Ok(owners.collect::<BTreeSet<_>>().into_iter().collect())
    }

    async fn key_usage(&self) -> Result<KeyUsage, StoreError> {
        let tokens = self.tokens();
        let usage = select::key_usage(&tokens).await;
        Ok(KeyUsage { checks: read(&self.checks).clone(), ..usage })
    }

    async fn record_key_check(&self, check: KeyCheck) -> Result<KeyCheck, StoreError> {
        let mut checks = write(&self.checks);
        let recorded = checks.iter().find(|known| known.secret == check.secret).copied();
        Ok(recorded.unwrap_or_else(|| {
            checks.push(check);
            check
        }))
    }

    async fn list(&self, query: &TokenQuery) -> Result<TokenPage, StoreError> {
        let tokens = self.tokens();
        let named = |user, text: &str| self.users().is_named(user, text);
        Ok(select::list(&tokens, query, named).await)
    }

    async fn commit(&self, commit: Commit) -> Result<(), CommitError> {
        let about: Vec<_> =
            commit.changes.iter().map(|change| Subject::Token(change.token_id())).collect();
        let deletes = |change: &Change| match change {
            Change::Delete { id, .. } | Change::Remove { id } => Some(*id),
            _ => None,
        };
        let deleted: Vec<_> = commit.changes.iter().filter_map(deletes).collect();
        let _changing = self.changes.begin(about);
        {
            let mut rows = self.write_where(|find| self.hasher.places_of_commit(&commit, find));
            rows.commit(commit, &self.numbers)?;
        }
        if !deleted.is_empty() && self.users().has_grants_on(&deleted) {
            self.users_mut().forget_tokens(&deleted);
        }
        Ok(())
    }

    async fn touch(&self, touches: &[Touch]) -> Result<(), StoreError> {
        let about = touches.iter().map(|touch| Subject::Token(touch.token)).collect();
        let _changing = self.changes.begin(about);
        for touch in touches {
            let mut rows = self.write_where(|find| self.hasher.places_of_row(touch.token, find));
            rows.touch(touch);
        }
        Ok(())
    }

    async fn events(&self, query: &EventQuery) -> Result<EventPage, StoreError> {
        if let Some(token) = query.token {
            let place = Places::default().with(self.hasher.place_of(token));
            let shards = place.numbers().filter_map(|n| Some((n, read(self.shards.get(n)?))));
            let rows = Rows { hasher: &self.hasher, shards: shards.collect() };
            let next = Some(self.check_cursor(query)?);
            let mut page = EventPage { events: Vec::new(), next };
            rows.events_of(token, query, &mut page);
            return Ok(page);
        }
        let (shards, mut next) = {
            let rows = self.read_all();
            let shards: Vec<_> = rows.shards.iter().map(|(_, shard)| shard.events()).collect();
            (shards, self.check_cursor(query)?)
        };
        let after = query.after.map_or(0, |after| after.number);
        next.number = after;
        let events = select::events(&shards, query, after).await;
        if let Some((number, event)) = events.last() {
            (next.number, next.event) = (*number, Some(event.id));
        }
        let events = events.into_iter().map(|(_, event)| event).collect();
        Ok(EventPage { events, next: Some(next) })
    }

    async fn prune_events(&self, before: Timestamp) -> Result<u64, StoreError> {
        let highest = self.shards.iter().filter_map(|shard| read(shard).last_before(before)).max();
        let Some(highest) = highest else {
            return Ok(0);
        };
        write(&self.pruned).begin(highest);
        let count = self.shards.iter().map(|shard| write(shard).prune(before, highest)).sum();
        write(&self.pruned).end(highest);
        Ok(count)
    }

    fn changes(&self) -> Option<Arc<dyn Changes>> {
        Some(self.changes.clone())
    }

    fn store_id(&self) -> StoreId {
        self.id
    }
}

#[cfg(test)]
#[cfg(not(tokenkeep_shuttle))]
mod tests {
    use std::thread;
    use std::time::{Duration, Instant};

    use tokenkeep::{Caller, Event, EventId, EventKind, Revision, TokenFields};

    use super::*;

    fn event(token: u8) -> Event {
        Event {
            id: EventId::from_bytes([token; 16]),
            at: Timestamp::MIN,
            token: TokenId::from_bytes([token; 16]),
            identifier: "a".parse().unwrap(),
            owner: UserId::new(1),
            revision: Revision::FIRST,
            kind: EventKind::KeyViewed,
            changed: TokenFields::NONE,
            actor: Caller::System,
        }
    }

    #[test]
    fn prune_locks_one_shard_at_a_time() {
        let store = MemoryStore::new();
        let events: Vec<_> = (0..=u8::MAX).map(event).collect();
        let places: BTreeSet<_> =
            events.iter().map(|event| store.hasher.place_of(event.token)).collect();
        pollster::block_on(store.commit(Commit { changes: Vec::new(), events })).unwrap();
        let last = places.last().copied().unwrap();
        let is_pruned = |place: &usize| {
            store.shards[*place].try_read().is_ok_and(|rows| rows.events().is_empty())
        };
        thread::scope(|scope| {
            let reader = read(&store.shards[last]);
            let prune = scope.spawn(|| pollster::block_on(store.prune_events(Timestamp::MAX)));
            let start = Instant::now();
            while !places.range(..last).all(is_pruned) && start.elapsed() < Duration::from_secs(10)
            {
                thread::sleep(Duration::from_millis(1));
            }
            let are_pruned = places.range(..last).all(is_pruned);
            drop(reader);
            assert!(are_pruned, "the other shards wait for the last one");
            assert_eq!(prune.join().unwrap().unwrap(), 256);
        });
    }

    #[test]
    fn commit_after_a_snapshot_copies_no_event() {
        let store = MemoryStore::new();
        let commit = |event| Commit { changes: Vec::new(), events: vec![event] };
        pollster::block_on(store.commit(commit(event(1)))).unwrap();
        let shard = &store.shards[store.hasher.place_of(event(1).token)];
        let snapshot = read(shard).events();
        pollster::block_on(store.commit(commit(event(1)))).unwrap();
        let events = read(shard).events();
        assert_eq!((snapshot.len(), events.len()), (1, 2));
        assert!(Arc::ptr_eq(&snapshot[0].1, &events[0].1));
    }

    #[test]
    fn cursor_below_a_run_under_way_is_refused() {
        let cursor = |number, prunes| EventCursor {
            store: StoreId::from_bytes([1; 16]),
            number,
            prunes,
            event: None,
            token: None,
        };
        let mut pruned = Pruned::default();
        pruned.begin(5);
        pruned.begin(9);
        pruned.end(9);
        // Returned while the first run deletes events.
        assert!(pruned.after(&cursor(4, 1)));
        assert!(!pruned.after(&cursor(5, 1)));
        assert!(pruned.after(&cursor(8, 0)));
        pruned.end(5);
        assert!(pruned.after(&cursor(4, 1)));
        assert!(!pruned.after(&cursor(4, 2)));
    }
}
