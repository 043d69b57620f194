//! The audit trail.

use crate::service::TokenService;
use crate::store::{EventPage, EventQuery, StoreError};
use crate::timestamp::Timestamp;

impl TokenService {
    /// Reads the audit trail: the events of one token, newest first, or those of all tokens in the
    /// order of their commits. It asks for no right: the trail is for the host.
    ///
    /// A follower reads the events of all tokens and keeps the cursor of the last page, which can be
    /// stored as text. It sees every event exactly once, while others commit and whatever their clocks
    /// say.
    ///
    /// ```
    /// # pollster::block_on(async {
    /// # use std::sync::Arc;
    /// # use tokenkeep::{Caller, Timestamp, TokenChange, TokenService, User, UserId, UserStore};
    /// # use tokenkeep_memory::MemoryStore;
    /// use tokenkeep::{EventKind, EventQuery};
    ///
    /// # let store = Arc::new(MemoryStore::new());
    /// # let alice = User::new(UserId::new(2), uuid::Uuid::from_u128(2), "alice", Timestamp::MIN);
    /// # store.put_user(alice).await?;
    /// # let service = TokenService::builder(store.clone(), store).open().await?;
    /// # let alice = Caller::User(UserId::new(2));
    /// let created = service.create(&alice, TokenChange::new().identifier("ci")).await?;
    /// let of_token = EventQuery { token: Some(created.view.token.id), ..EventQuery::default() };
    /// let page = service.events(&of_token).await?;
    /// assert_eq!((page.events.len(), page.events[0].kind), (1, EventKind::Created));
    ///
    /// // A follower reads what is there, and asks again later.
    /// let mut follow = EventQuery::default();
    /// let page = service.events(&follow).await?;
    /// assert_eq!(page.events.len(), 1);
    /// follow.after = page.next;
    /// assert_eq!(service.events(&follow).await?.events, []);
    ///
    /// // Deletes the events up to now.
    /// service.prune_events(Timestamp::MAX).await?;
    /// assert_eq!(service.events(&of_token).await?.events, []);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the store cannot be read. Its kind is
    /// [`InvalidCursor`](crate::StoreErrorKind::InvalidCursor) for a cursor of another store, of a
    /// state before a restore, of a query for another token, or after which events were pruned.
    pub async fn events(&self, query: &EventQuery) -> Result<EventPage, StoreError> {
        self.parts.events(query).await
    }

    /// Deletes the events that happened before a time, and returns how many. When it fails, some may be
    /// gone, the oldest first, and it can be called again.
    ///
    /// See [`events`](Self::events) for an example.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the store cannot be written.
    pub async fn prune_events(&self, before: Timestamp) -> Result<u64, StoreError> {
        self.parts.store.prune_events(before).await
    }
}
