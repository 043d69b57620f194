//! A store in which something happens just before a call.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use tokenkeep::{
    Change, Changes, Commit, CommitError, EventPage, EventQuery, KeyCheck, KeyUsage, Lookup,
    StoreError, StoreId, Timestamp, Token, TokenId, TokenPage, TokenQuery, TokenStore, Touch,
    UserId,
};

type Happening = Box<dyn FnOnce() -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

/// What is still to happen, each before one call.
#[derive(Default)]
struct Happenings(Mutex<VecDeque<Happening>>);

impl Happenings {
    fn add<F: Future<Output = ()> + Send + 'static>(
        &self,
        happening: impl FnOnce() -> F + Send + 'static,
    ) {
        self.0.lock().unwrap().push_back(Box::new(|| Box::pin(happening())));
    }

    async fn next(&self) {
        let next = self.0.lock().unwrap().pop_front();
        if let Some(happening) = next {
            happening().await;
        }
    }
}

/// Wraps a store, and lets others act between the service's reading and its commit, or between two
/// of its readings.
pub struct MeddledStore {
    inner: Arc<dyn TokenStore>,
    before_finds: Happenings,
    after_finds: Happenings,
    before_lists: Happenings,
    before_commits: Happenings,
    commits: AtomicUsize,
    marker_lookups: AtomicUsize,
    tells_caches: bool,
}

impl MeddledStore {
    pub fn new(inner: Arc<dyn TokenStore>) -> Self {
        Self {
            inner,
            before_finds: Happenings::default(),
            after_finds: Happenings::default(),
            before_lists: Happenings::default(),
            before_commits: Happenings::default(),
            commits: AtomicUsize::new(0),
            marker_lookups: AtomicUsize::new(0),
            tells_caches: false,
        }
    }

    /// Tells caches what has changed, which it does not do by itself.
    #[must_use]
    pub fn telling_caches(self) -> Self {
        Self { tells_caches: true, ..self }
    }

    /// Does something between the next look-up and its return.
    pub fn after_next_find<F: Future<Output = ()> + Send + 'static>(
        &self,
        happening: impl FnOnce() -> F + Send + 'static,
    ) {
        self.after_finds.add(happening);
    }

    /// Does something before the next commit that has nothing happening before it yet.
    pub fn before_next_commit<F: Future<Output = ()> + Send + 'static>(
        &self,
        happening: impl FnOnce() -> F + Send + 'static,
    ) {
        self.before_commits.add(happening);
    }

    /// Does something before the second of the next two look-ups.
    pub fn between_finds<F: Future<Output = ()> + Send + 'static>(
        &self,
        happening: impl FnOnce() -> F + Send + 'static,
    ) {
        self.before_finds.add(|| async {});
        self.before_finds.add(happening);
    }

    /// Does something before the second of the next two lists.
    pub fn between_lists<F: Future<Output = ()> + Send + 'static>(
        &self,
        happening: impl FnOnce() -> F + Send + 'static,
    ) {
        self.before_lists.add(|| async {});
        self.before_lists.add(happening);
    }
}

impl MeddledStore {
    /// Returns the number of commits so far, failed ones included.
    pub fn commits(&self) -> usize {
        self.commits.load(Ordering::SeqCst)
    }

    pub fn forget_lookups(&self) {
        self.marker_lookups.store(0, Ordering::SeqCst);
    }

    pub fn has_looked_for_markers(&self) -> bool {
        self.marker_lookups.load(Ordering::SeqCst) > 0
    }
}

impl fmt::Debug for MeddledStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MeddledStore").field("inner", &self.inner).finish_non_exhaustive()
    }
}

/// Changes a token behind everybody's back.
pub async fn change(store: &dyn TokenStore, identifier: &str, change: impl FnOnce(&mut Token)) {
    let identifier = identifier.parse().unwrap();
    let before = store.find(Lookup::Identifier(&identifier)).await.unwrap().unwrap();
    let mut after = Token { revision: before.revision.next().unwrap(), ..Token::clone(&before) };
    change(&mut after);
    let changes = vec![Change::replace(&before, after)];
    store.commit(Commit { changes, events: Vec::new() }).await.unwrap();
}

#[async_trait]
impl TokenStore for MeddledStore {
    async fn find(&self, lookup: Lookup<'_>) -> Result<Option<Arc<Token>>, StoreError> {
        if let Lookup::Marker(_) = lookup {
            self.marker_lookups.fetch_add(1, Ordering::SeqCst);
        }
        self.before_finds.next().await;
        let found = self.inner.find(lookup).await;
        self.after_finds.next().await;
        found
    }

    async fn owners(&self, tokens: &[TokenId]) -> Result<Vec<UserId>, StoreError> {
        self.inner.owners(tokens).await
    }

    async fn key_usage(&self) -> Result<KeyUsage, StoreError> {
        self.inner.key_usage().await
    }

    async fn record_key_check(&self, check: KeyCheck) -> Result<KeyCheck, StoreError> {
        self.inner.record_key_check(check).await
    }

    async fn list(&self, query: &TokenQuery) -> Result<TokenPage, StoreError> {
        self.before_lists.next().await;
        self.inner.list(query).await
    }

    async fn commit(&self, commit: Commit) -> Result<(), CommitError> {
        self.commits.fetch_add(1, Ordering::SeqCst);
        self.before_commits.next().await;
        self.inner.commit(commit).await
    }

    async fn touch(&self, touches: &[Touch]) -> Result<(), StoreError> {
        self.inner.touch(touches).await
    }

    async fn events(&self, query: &EventQuery) -> Result<EventPage, StoreError> {
        self.inner.events(query).await
    }

    async fn prune_events(&self, before: Timestamp) -> Result<u64, StoreError> {
        self.inner.prune_events(before).await
    }

    fn changes(&self) -> Option<Arc<dyn Changes>> {
        self.inner.changes().filter(|_| self.tells_caches)
    }

    fn store_id(&self) -> StoreId {
        self.inner.store_id()
    }
}
