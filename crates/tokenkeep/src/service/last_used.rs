//! When tokens were last used: noted in memory, written now and then.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use foldhash::fast::RandomState;

use crate::service::TokenService;
use crate::store::{StoreError, Touch};
use crate::timestamp::Timestamp;
use crate::token::{Token, TokenId};

/// How exact last-used times are: a use is noted only when the last one that is known lies so far
/// back. A token in constant use costs a write a minute at most.
const RESOLUTION: Duration = Duration::from_secs(60);

/// How many tokens can be waiting to be written, so that a host that never flushes loses last-used
/// times and not its memory.
const MAX_PENDING: usize = 1 << 16;

/// Tokens are spread over so many locks, so that threads that authenticate seldom meet.
const SHARDS: usize = 32;

/// Uses that have been noted and not been written.
#[derive(Default)]
pub(super) struct PendingTouches {
    shards: [Shard; SHARDS],
}

impl fmt::Debug for PendingTouches {
    /// Leaves the tokens out: a host may log a service.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PendingTouches").finish_non_exhaustive()
    }
}

/// A hash that resists chosen keys is not needed: ids are random.
type Uses = HashMap<TokenId, Timestamp, RandomState>;

/// Aligned, so that a lock that is taken takes no neighbour out of the caches of other threads.
#[derive(Default)]
#[repr(align(128))]
struct Shard(Mutex<Uses>);

impl Shard {
    fn lock(&self) -> MutexGuard<'_, Uses> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PendingTouches {
    /// Notes that `token`, as it was read, was used at `now`.
    pub(super) fn note(&self, token: &Token, now: Timestamp) {
        let is_recent = |at: Timestamp| at.saturating_add(RESOLUTION) > now;
        if !token.last_used.is_some_and(is_recent) {
            self.put(Touch { token: token.id, at: now });
        }
    }

    fn put(&self, touch: Touch) {
        let [.., last] = *touch.token.as_bytes();
        // The index is below the number of shards.
        let Some(shard) = self.shards.get(usize::from(last) % SHARDS) else { return };
        let mut pending = shard.lock();
        let has_room = pending.len() < MAX_PENDING / SHARDS;
        match pending.get_mut(&touch.token) {
            Some(at) => *at = touch.at.max(*at),
            None if has_room => _ = pending.insert(touch.token, touch.at),
            None => {}
        }
    }

    /// Takes all that is waiting.
    fn take(&self) -> Vec<Touch> {
        let taken = self.shards.iter().flat_map(|shard| std::mem::take(&mut *shard.lock()));
        taken.map(|(token, at)| Touch { token, at }).collect()
    }
}

impl TokenService {
    /// Writes the last-used times that authentications have left in memory, merged: call it now and
    /// then, and before the process ends. Authenticating never writes.
    ///
    /// Last-used times are exact to a minute. What has not been flushed is lost when the process
    /// dies, and with it at most the uses since the last flush; of more than 65,536 tokens used
    /// between two flushes some are passed over. When this fails, everything waits for the next
    /// call; when its future is dropped, what it was writing may be lost.
    ///
    /// ```
    /// # pollster::block_on(async {
    /// # use std::sync::Arc;
    /// # use tokenkeep::{Caller, Timestamp, TokenChange, TokenService, User, UserId, UserStore};
    /// # use tokenkeep_memory::MemoryStore;
    /// # let store = Arc::new(MemoryStore::new());
    /// # let alice = User::new(UserId::new(2), uuid::Uuid::from_u128(2), "alice", Timestamp::MIN);
    /// # store.put_user(alice).await?;
    /// # let service = TokenService::builder(store.clone(), store).open().await?;
    /// # let alice = Caller::User(UserId::new(2));
    /// let key = service.create(&alice, TokenChange::new().identifier("ci")).await?.key;
    /// let header = format!("Bearer {}", key.expose());
    /// service.authenticate(Some(header.as_bytes())).await?;
    /// assert_eq!(service.retrieve(&alice, "ci").await?.token.last_used, None);
    /// service.flush().await?;
    /// assert!(service.retrieve(&alice, "ci").await?.token.last_used.is_some());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the store cannot be written.
    pub async fn flush(&self) -> Result<(), StoreError> {
        let touches = self.parts.last_used.take();
        if touches.is_empty() {
            return Ok(());
        }
        let written = self.parts.store.touch(&touches).await;
        if written.is_err() {
            for touch in touches {
                self.parts.last_used.put(touch);
            }
        }
        written
    }
}
