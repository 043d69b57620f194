//! The store: a lock around each of three kinds of rows.

use std::num::NonZeroU8;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use async_trait::async_trait;
use tokenkeep::{
    ChangeCounters, Changes, Commit, CommitError, Event, EventQuery, Lookup, StoreError, Subject,
    Timestamp, Token, TokenPage, TokenQuery, TokenStore, Touch,
};

use crate::tokens::Tokens;
use crate::trail::Trail;
use crate::users::Users;

/// Keeps tokens, events and users in memory. What was acknowledged lasts as long as the store.
///
/// See the [crate's page](crate) for an example.
#[derive(Debug, Default)]
pub struct MemoryStore {
    rows: RwLock<Rows>,
    pub(crate) users: RwLock<Users>,
    pub(crate) changes: Arc<ChangeCounters>,
}

/// What a commit changes at once.
#[derive(Debug, Default)]
struct Rows {
    tokens: Tokens,
    trail: Trail,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn read(&self) -> RwLockReadGuard<'_, Rows> {
        read(&self.rows)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Rows> {
        write(&self.rows)
    }
}

/// Locks for reading. Nothing that runs under a lock can panic half-way, so that a poisoned lock
/// guards rows that are whole.
pub(crate) fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

/// Locks for writing; see [`read`].
pub(crate) fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

#[async_trait]
impl TokenStore for MemoryStore {
    async fn find(&self, lookup: Lookup<'_>) -> Result<Option<Arc<Token>>, StoreError> {
        Ok(self.read().tokens.find(lookup).cloned())
    }

    async fn pepper_ids(&self) -> Result<Vec<NonZeroU8>, StoreError> {
        Ok(self.read().tokens.pepper_ids())
    }

    async fn list(&self, query: &TokenQuery) -> Result<TokenPage, StoreError> {
        Ok(self.read().tokens.list(query))
    }

    async fn commit(&self, commit: Commit) -> Result<(), CommitError> {
        let mut rows = self.write();
        let undo = rows.tokens.apply(&commit.changes)?;
        if let Err(error) = rows.trail.check_new(&commit.events) {
            rows.tokens.undo(undo);
            return Err(error.into());
        }
        for event in commit.events {
            rows.trail.append(event);
        }
        self.changes.note(commit.changes.iter().map(|change| Subject::Token(change.token_id())));
        Ok(())
    }

    async fn touch(&self, touches: &[Touch]) -> Result<(), StoreError> {
        let mut rows = self.write();
        for touch in touches {
            rows.tokens.touch(touch);
        }
        self.changes.note(touches.iter().map(|touch| Subject::Token(touch.token)));
        Ok(())
    }

    async fn events(&self, query: &EventQuery) -> Result<Vec<Event>, StoreError> {
        Ok(self.read().trail.select(query))
    }

    async fn prune_events(&self, before: Timestamp) -> Result<u64, StoreError> {
        Ok(self.write().trail.prune(before))
    }

    fn changes(&self) -> Option<Arc<dyn Changes>> {
        Some(self.changes.clone())
    }
}
