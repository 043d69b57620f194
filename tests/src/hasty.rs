//! A store that acknowledges before it has written, for campaigns that must find it out.

use std::num::NonZeroU8;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};

use async_trait::async_trait;
use tokenkeep::{
    Commit, CommitError, Event, EventQuery, Lookup, StoreError, Timestamp, Token, TokenPage,
    TokenQuery, TokenStore, Touch,
};

/// Wraps a store, and commits on a thread of its own, after the answer.
#[derive(Debug)]
pub struct HastyStore {
    inner: Arc<dyn TokenStore>,
    later: Sender<Commit>,
}

impl HastyStore {
    pub fn new(inner: Arc<dyn TokenStore>) -> Self {
        let (later, commits) = channel();
        let writes = inner.clone();
        std::thread::spawn(move || {
            for commit in commits {
                // Whoever asked has been told that it was done.
                let _ = pollster::block_on(writes.commit(commit));
            }
        });
        Self { inner, later }
    }
}

#[async_trait]
impl TokenStore for HastyStore {
    async fn find(&self, lookup: Lookup<'_>) -> Result<Option<Arc<Token>>, StoreError> {
        self.inner.find(lookup).await
    }

    async fn pepper_ids(&self) -> Result<Vec<NonZeroU8>, StoreError> {
        self.inner.pepper_ids().await
    }

    async fn list(&self, query: &TokenQuery) -> Result<TokenPage, StoreError> {
        self.inner.list(query).await
    }

    async fn commit(&self, commit: Commit) -> Result<(), CommitError> {
        self.later.send(commit).unwrap();
        Ok(())
    }

    async fn touch(&self, touches: &[Touch]) -> Result<(), StoreError> {
        self.inner.touch(touches).await
    }

    async fn events(&self, query: &EventQuery) -> Result<Vec<Event>, StoreError> {
        self.inner.events(query).await
    }

    async fn prune_events(&self, before: Timestamp) -> Result<u64, StoreError> {
        self.inner.prune_events(before).await
    }
}
