//! A store that writes down all that it is told and answers, as a host that logs everything would.

use std::fmt::Debug;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use tokenkeep::{
    Changes, Commit, CommitError, EventPage, EventQuery, KeyCheck, KeyUsage, Lookup, StoreError,
    StoreId, Timestamp, Token, TokenId, TokenPage, TokenQuery, TokenStore, Touch, UserId,
};

/// Wraps a store, and keeps the `Debug` of every argument and every answer.
#[derive(Debug)]
pub struct OverhearingStore {
    inner: Arc<dyn TokenStore>,
    heard: Mutex<String>,
    panics: AtomicBool,
}

impl OverhearingStore {
    pub fn new(inner: Arc<dyn TokenStore>) -> Self {
        Self { inner, heard: Mutex::default(), panics: AtomicBool::new(false) }
    }

    /// All that was heard so far.
    pub fn heard(&self) -> String {
        self.heard.lock().unwrap().clone()
    }

    /// Makes the next commit panic, with all that it is about.
    pub fn panic_next_commit(&self) {
        self.panics.store(true, Ordering::SeqCst);
    }

    fn hear<T: Debug>(&self, what: T) -> T {
        self.heard.lock().unwrap().push_str(&format!("{what:?}\n"));
        what
    }
}

#[async_trait]
impl TokenStore for OverhearingStore {
    async fn find(&self, lookup: Lookup<'_>) -> Result<Option<Arc<Token>>, StoreError> {
        self.hear(self.inner.find(self.hear(lookup)).await)
    }

    async fn owners(&self, tokens: &[TokenId]) -> Result<Vec<UserId>, StoreError> {
        self.hear(self.inner.owners(tokens).await)
    }

    async fn key_usage(&self) -> Result<KeyUsage, StoreError> {
        self.hear(self.inner.key_usage().await)
    }

    async fn record_key_check(&self, check: KeyCheck) -> Result<KeyCheck, StoreError> {
        self.hear(self.inner.record_key_check(check).await)
    }

    async fn list(&self, query: &TokenQuery) -> Result<TokenPage, StoreError> {
        self.hear(self.inner.list(self.hear(query)).await)
    }

    async fn commit(&self, commit: Commit) -> Result<(), CommitError> {
        let commit = self.hear(commit);
        assert!(!self.panics.swap(false, Ordering::SeqCst), "a commit panics: {commit:#?}");
        self.hear(self.inner.commit(commit).await)
    }

    async fn touch(&self, touches: &[Touch]) -> Result<(), StoreError> {
        self.hear(self.inner.touch(self.hear(touches)).await)
    }

    async fn events(&self, query: &EventQuery) -> Result<EventPage, StoreError> {
        self.hear(self.inner.events(self.hear(query)).await)
    }

    async fn prune_events(&self, before: Timestamp) -> Result<u64, StoreError> {
        self.hear(self.inner.prune_events(self.hear(before)).await)
    }

    fn changes(&self) -> Option<Arc<dyn Changes>> {
        self.inner.changes()
    }

    fn store_id(&self) -> StoreId {
        self.inner.store_id()
    }
}
