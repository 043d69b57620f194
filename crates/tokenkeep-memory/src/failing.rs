//! A store and a directory that fail on demand.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use tokenkeep::{
    Changes, Commit, CommitError, EventPage, EventQuery, KeyCheck, KeyUsage, Lookup, Permission,
    Permissions, Profile, StoreError, StoreErrorKind, StoreId, Timestamp, Token, TokenId,
    TokenPage, TokenQuery, TokenStore, Touch, UserDirectory, UserId,
};

/// Wraps a store and fails when it is told to, to test what a service does then.
///
/// ```
/// # pollster::block_on(async {
/// use std::sync::Arc;
/// use tokenkeep::{Caller, StoreErrorKind, TokenService};
/// use tokenkeep_memory::{FailingStore, MemoryStore};
///
/// let memory = Arc::new(MemoryStore::new());
/// let store = Arc::new(FailingStore::new(memory.clone()));
/// let tokens = TokenService::builder(store.clone(), memory).open().await?;
///
/// store.fail_next(StoreErrorKind::Busy);
/// let error = tokens.retrieve(&Caller::System, "ci").await.unwrap_err();
/// assert!(error.is_retryable());
/// let error = tokens.retrieve(&Caller::System, "ci").await.unwrap_err();
/// assert_eq!(error.code(), "not_found", "only one call failed");
/// # Ok::<(), tokenkeep::OpenError>(())
/// # }).unwrap();
/// ```
#[derive(Debug)]
pub struct FailingStore {
    inner: Arc<dyn TokenStore>,
    calls: Failures,
    commits: Failures,
    answers: Failures,
}

impl FailingStore {
    /// A store that does what `inner` does, until it is told to fail.
    #[must_use]
    pub fn new(inner: Arc<dyn TokenStore>) -> Self {
        Self {
            inner,
            calls: Failures::default(),
            commits: Failures::default(),
            answers: Failures::default(),
        }
    }

    /// Makes the next call of any kind fail, or the one after those that are to fail already. It
    /// does not reach the wrapped store.
    pub fn fail_next(&self, kind: StoreErrorKind) {
        self.calls.add(kind);
    }

    /// Makes the next commit fail, or the one after those that are to fail already. It does not
    /// reach the wrapped store: one that fails as [`StoreErrorKind::OutcomeUnknown`] was lost on its
    /// way.
    pub fn fail_next_commit(&self, kind: StoreErrorKind) {
        self.commits.add(kind);
    }

    /// Makes the next commit that does not fail be done and its answer be lost: it fails as
    /// [`StoreErrorKind::OutcomeUnknown`].
    pub fn lose_next_answer(&self) {
        self.answers.add(StoreErrorKind::OutcomeUnknown);
    }
}

/// Wraps a directory and fails when it is told to.
///
/// ```
/// # pollster::block_on(async {
/// use std::sync::Arc;
/// use tokenkeep::{StoreErrorKind, UserDirectory, UserId};
/// use tokenkeep_memory::{FailingDirectory, MemoryStore};
///
/// let directory = FailingDirectory::new(Arc::new(MemoryStore::new()));
/// directory.fail_next(StoreErrorKind::Unavailable);
/// assert!(directory.is_active(UserId::new(1)).await.is_err());
/// assert_eq!(directory.is_active(UserId::new(1)).await?, None);
/// # Ok::<(), tokenkeep::StoreError>(())
/// # }).unwrap();
/// ```
#[derive(Debug)]
pub struct FailingDirectory {
    inner: Arc<dyn UserDirectory>,
    calls: Failures,
}

impl FailingDirectory {
    /// A directory that answers what `inner` answers, until it is told to fail.
    #[must_use]
    pub fn new(inner: Arc<dyn UserDirectory>) -> Self {
        Self { inner, calls: Failures::default() }
    }

    /// Makes the next call fail, or the one after those that are to fail already.
    pub fn fail_next(&self, kind: StoreErrorKind) {
        self.calls.add(kind);
    }
}

/// Failures that are still to come.
#[derive(Debug, Default)]
struct Failures(Mutex<VecDeque<StoreErrorKind>>);

impl Failures {
    fn add(&self, kind: StoreErrorKind) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push_back(kind);
    }

    /// The failure of this call, if it is to fail.
    fn check(&self) -> Result<(), StoreError> {
        let next = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        next.map_or(Ok(()), |kind| Err(StoreError::new("failing", kind)))
    }
}

#[async_trait]
impl TokenStore for FailingStore {
    async fn find(&self, lookup: Lookup<'_>) -> Result<Option<Arc<Token>>, StoreError> {
        self.calls.check()?;
        self.inner.find(lookup).await
    }

    async fn owners(&self, tokens: &[TokenId]) -> Result<Vec<UserId>, StoreError> {
        self.calls.check()?;
        self.inner.owners(tokens).await
    }

    async fn key_usage(&self) -> Result<KeyUsage, StoreError> {
        self.calls.check()?;
        self.inner.key_usage().await
    }

    async fn record_key_check(&self, check: KeyCheck) -> Result<KeyCheck, StoreError> {
        self.calls.check()?;
        self.inner.record_key_check(check).await
    }

    async fn list(&self, query: &TokenQuery) -> Result<TokenPage, StoreError> {
        self.calls.check()?;
        self.inner.list(query).await
    }

    async fn commit(&self, commit: Commit) -> Result<(), CommitError> {
        self.calls.check()?;
        self.commits.check()?;
        self.inner.commit(commit).await?;
        Ok(self.answers.check()?)
    }

    async fn touch(&self, touches: &[Touch]) -> Result<(), StoreError> {
        self.calls.check()?;
        self.inner.touch(touches).await
    }

    async fn events(&self, query: &EventQuery) -> Result<EventPage, StoreError> {
        self.calls.check()?;
        self.inner.events(query).await
    }

    async fn prune_events(&self, before: Timestamp) -> Result<u64, StoreError> {
        self.calls.check()?;
        self.inner.prune_events(before).await
    }

    fn changes(&self) -> Option<Arc<dyn Changes>> {
        self.inner.changes()
    }

    fn store_id(&self) -> StoreId {
        self.inner.store_id()
    }
}

#[async_trait]
impl UserDirectory for FailingDirectory {
    async fn is_active(&self, user: UserId) -> Result<Option<bool>, StoreError> {
        self.calls.check()?;
        self.inner.is_active(user).await
    }

    async fn profiles(&self, users: &[UserId]) -> Result<Vec<Profile>, StoreError> {
        self.calls.check()?;
        self.inner.profiles(users).await
    }

    async fn permissions(
        &self,
        user: UserId,
        on: Option<TokenId>,
    ) -> Result<Permissions, StoreError> {
        self.calls.check()?;
        self.inner.permissions(user, on).await
    }

    async fn granted_tokens(
        &self,
        user: UserId,
        permission: Permission,
    ) -> Result<Vec<TokenId>, StoreError> {
        self.calls.check()?;
        self.inner.granted_tokens(user, permission).await
    }

    async fn user_named(&self, username: &str) -> Result<Option<UserId>, StoreError> {
        self.calls.check()?;
        self.inner.user_named(username).await
    }

    async fn users_matching(&self, word: &str) -> Result<Vec<UserId>, StoreError> {
        self.calls.check()?;
        self.inner.users_matching(word).await
    }

    fn changes(&self) -> Option<Arc<dyn Changes>> {
        self.inner.changes()
    }

    fn store_id(&self) -> Option<StoreId> {
        self.inner.store_id()
    }
}
