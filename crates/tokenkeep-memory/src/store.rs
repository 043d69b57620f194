//! The store: rows in shards, each behind a lock.
//!
//! Whoever changes rows locks all the shards that it reads and writes, in the order of their
//! numbers, before it looks; whoever reads one token locks the shard of the name that it asks for.
//! So changes of different tokens seldom wait for each other, and nobody sees a part of one.

use std::collections::BTreeSet;
use std::fmt;
use std::num::NonZeroU8;
use std::sync::{Arc, PoisonError};

use async_trait::async_trait;
use crossbeam_utils::CachePadded;
use tokenkeep::{
    ChangeCounters, Changes, Commit, CommitError, Event, EventQuery, KeyDigest, Lookup, StoreError,
    Subject, Timestamp, Token, TokenId, TokenPage, TokenQuery, TokenStore, Touch, UniqueField,
};

use crate::names::{Hasher, Places, SHARDS};
use crate::rows::Rows;
use crate::shard::Shard;
use crate::sync::{
    RwLock, RwLockReadGuard, RwLockWriteGuard, ShardedLock, ShardedLockReadGuard,
    ShardedLockWriteGuard,
};
use crate::users::Users;

/// Keeps tokens, events and users in memory. What was acknowledged lasts as long as the store.
///
/// See the [crate's page](crate) for an example.
pub struct MemoryStore {
    hasher: Hasher,
    /// Apart from each other, so that a lock that is taken takes no neighbour out of other caches.
    shards: Box<[CachePadded<RwLock<Shard>>]>,
    /// Read by every authentication and seldom changed: readers on two threads touch two locks.
    users: ShardedLock<Users>,
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

    async fn pepper_ids(&self) -> Result<Vec<NonZeroU8>, StoreError> {
        let rows = self.read_all();
        let digests = rows.tokens(UniqueField::Key).map(|token| &token.key_digest);
        let ids: BTreeSet<_> = digests.filter_map(KeyDigest::pepper_id).collect();
        Ok(ids.into_iter().collect())
    }

    async fn list(&self, query: &TokenQuery) -> Result<TokenPage, StoreError> {
        Ok(self.read_all().list(query))
    }

    async fn commit(&self, commit: Commit) -> Result<(), CommitError> {
        let about: Vec<_> =
            commit.changes.iter().map(|change| Subject::Token(change.token_id())).collect();
        let _changing = self.changes.begin(about);
        let mut rows = self.write_where(|find| self.hasher.places_of_commit(&commit, find));
        rows.commit(commit)
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

    async fn events(&self, query: &EventQuery) -> Result<Vec<Event>, StoreError> {
        Ok(self.read_all().events(query))
    }

    async fn prune_events(&self, before: Timestamp) -> Result<u64, StoreError> {
        Ok(self.write(Places::ALL).prune(before))
    }

    fn changes(&self) -> Option<Arc<dyn Changes>> {
        Some(self.changes.clone())
    }
}
