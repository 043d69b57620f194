//! The audit trail.

use crate::event::Event;
use crate::service::TokenService;
use crate::store::{EventQuery, StoreError};
use crate::timestamp::Timestamp;

impl TokenService {
    /// Reads the audit trail, of one token or of all, oldest first. It asks for no right: what it
    /// tells is for the host.
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
    /// let events = service.events(&of_token).await?;
    /// assert_eq!((events.len(), events[0].kind), (1, EventKind::Created));
    ///
    /// // Keeps what happened from now on.
    /// service.prune_events(Timestamp::MAX).await?;
    /// assert_eq!(service.events(&of_token).await?, []);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the store cannot be read.
    pub async fn events(&self, query: &EventQuery) -> Result<Vec<Event>, StoreError> {
        self.parts.events(query).await
    }

    /// Drops the events that happened before a time, and tells how many. When it fails, some may be
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
