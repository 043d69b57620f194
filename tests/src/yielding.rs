//! A store whose calls let others run in between, so that what can happen at the same time does.

use std::sync::Arc;

use async_trait::async_trait;
use tokenkeep::{
    Changes, Commit, CommitError, EventPage, EventQuery, KeyCheck, KeyUsage, Lookup, StoreError,
    StoreId, Timestamp, Token, TokenId, TokenPage, TokenQuery, TokenStore, Touch, UserId,
};
use tokio::task::yield_now;

/// Wraps a store, and lets the other tasks of the runtime run before each call and after.
#[derive(Debug)]
pub struct YieldingStore(pub Arc<dyn TokenStore>);

/// The same, but the events follow the changes in a commit of their own, for campaigns that must find
/// it out.
#[derive(Debug)]
pub struct HalvingStore(pub YieldingStore);

async fn between<T>(call: impl Future<Output = T> + Send) -> T {
    yield_now().await;
    let answer = call.await;
    yield_now().await;
    answer
}

#[async_trait]
impl TokenStore for YieldingStore {
    async fn find(&self, lookup: Lookup<'_>) -> Result<Option<Arc<Token>>, StoreError> {
        between(self.0.find(lookup)).await
    }

    async fn owners(&self, tokens: &[TokenId]) -> Result<Vec<UserId>, StoreError> {
        between(self.0.owners(tokens)).await
    }

    async fn key_usage(&self) -> Result<KeyUsage, StoreError> {
        between(self.0.key_usage()).await
    }

    async fn record_key_check(&self, check: KeyCheck) -> Result<KeyCheck, StoreError> {
        between(self.0.record_key_check(check)).await
    }

    async fn list(&self, query: &TokenQuery) -> Result<TokenPage, StoreError> {
        between(self.0.list(query)).await
    }

    async fn commit(&self, commit: Commit) -> Result<(), CommitError> {
        between(self.0.commit(commit)).await
    }

    async fn touch(&self, touches: &[Touch]) -> Result<(), StoreError> {
        between(self.0.touch(touches)).await
    }

    async fn events(&self, query: &EventQuery) -> Result<EventPage, StoreError> {
        between(self.0.events(query)).await
    }

    async fn prune_events(&self, before: Timestamp) -> Result<u64, StoreError> {
        between(self.0.prune_events(before)).await
    }

    fn changes(&self) -> Option<Arc<dyn Changes>> {
        self.0.changes()
    }

    fn store_id(&self) -> StoreId {
        self.0.store_id()
    }
}

#[async_trait]
impl TokenStore for HalvingStore {
    async fn find(&self, lookup: Lookup<'_>) -> Result<Option<Arc<Token>>, StoreError> {
        self.0.find(lookup).await
    }

    async fn owners(&self, tokens: &[TokenId]) -> Result<Vec<UserId>, StoreError> {
        self.0.owners(tokens).await
    }

    async fn key_usage(&self) -> Result<KeyUsage, StoreError> {
        self.0.key_usage().await
    }

    async fn record_key_check(&self, check: KeyCheck) -> Result<KeyCheck, StoreError> {
        self.0.record_key_check(check).await
    }

    async fn list(&self, query: &TokenQuery) -> Result<TokenPage, StoreError> {
        self.0.list(query).await
    }

    async fn commit(&self, commit: Commit) -> Result<(), CommitError> {
        let Commit { changes, events } = commit;
        self.0.commit(Commit { changes, events: Vec::new() }).await?;
        self.0.commit(Commit { changes: Vec::new(), events }).await
    }

    async fn touch(&self, touches: &[Touch]) -> Result<(), StoreError> {
        self.0.touch(touches).await
    }

    async fn events(&self, query: &EventQuery) -> Result<EventPage, StoreError> {
        self.0.events(query).await
    }

    async fn prune_events(&self, before: Timestamp) -> Result<u64, StoreError> {
        self.0.prune_events(before).await
    }

    fn changes(&self) -> Option<Arc<dyn Changes>> {
        self.0.changes()
    }

    fn store_id(&self) -> StoreId {
        self.0.store_id()
    }
}
