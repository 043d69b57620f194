//! A store that acknowledges before it has written, for campaigns that must find it out.

use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

use async_trait::async_trait;
use tokenkeep::{
    Changes, Commit, CommitError, EventPage, EventQuery, KeyCheck, KeyUsage, Lookup, StoreError,
    StoreId, Timestamp, Token, TokenId, TokenPage, TokenQuery, TokenStore, Touch, UserId,
};
use tokenkeep_memory::MemoryStore;
use tokio::sync::Mutex;

/// How many commits it is ahead of what is written, at most: so what is written is under way as long
/// as anybody calls.
const AHEAD: usize = 16;

/// Answers from memory, and writes what was committed there into an empty store, one after the other,
/// on a thread of its own. As long as all goes well nobody can tell: only what ends it before it has
/// written can.
#[derive(Debug)]
pub struct HastyStore {
    front: MemoryStore,
    /// Locked from a commit until it is handed over, so that they are written in the same order.
    later: Mutex<SyncSender<Commit>>,
    writer: JoinHandle<()>,
}

impl HastyStore {
    pub fn new(back: Arc<dyn TokenStore>) -> Self {
        let (later, commits) = sync_channel(AHEAD);
        let writer = std::thread::spawn(move || {
            for commit in commits {
                // Whoever asked has been told that it was done.
                let _ = pollster::block_on(back.commit(commit));
            }
        });
        Self { front: MemoryStore::new(), later: Mutex::new(later), writer }
    }

    /// Waits until all is written.
    pub fn end(self) {
        drop(self.later);
        self.writer.join().unwrap();
    }
}

#[async_trait]
impl TokenStore for HastyStore {
    async fn find(&self, lookup: Lookup<'_>) -> Result<Option<Arc<Token>>, StoreError> {
        self.front.find(lookup).await
    }

    async fn owners(&self, tokens: &[TokenId]) -> Result<Vec<UserId>, StoreError> {
        self.front.owners(tokens).await
    }

    async fn key_usage(&self) -> Result<KeyUsage, StoreError> {
        self.front.key_usage().await
    }

    async fn record_key_check(&self, check: KeyCheck) -> Result<KeyCheck, StoreError> {
        self.front.record_key_check(check).await
    }

    async fn list(&self, query: &TokenQuery) -> Result<TokenPage, StoreError> {
        self.front.list(query).await
    }

    async fn commit(&self, commit: Commit) -> Result<(), CommitError> {
        let later = self.later.lock().await;
        self.front.commit(commit.clone()).await?;
        later.send(commit).unwrap();
        Ok(())
    }

    async fn touch(&self, touches: &[Touch]) -> Result<(), StoreError> {
        self.front.touch(touches).await
    }

    async fn events(&self, query: &EventQuery) -> Result<EventPage, StoreError> {
        self.front.events(query).await
    }

    async fn prune_events(&self, before: Timestamp) -> Result<u64, StoreError> {
        self.front.prune_events(before).await
    }

    fn changes(&self) -> Option<Arc<dyn Changes>> {
        TokenStore::changes(&self.front)
    }

    fn store_id(&self) -> StoreId {
        TokenStore::store_id(&self.front)
    }
}
