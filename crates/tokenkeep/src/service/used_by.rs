//! `core_tokens_used_by_list`.

use serde::Serialize;

use crate::access::{Action, Caller};
use crate::error::TokenError;
use crate::service::TokenService;

/// Something that refers to a token. There is no such thing: nothing in this library points to
/// tokens, and there can be no value of this type.
///
/// See [`used_by`](TokenService::used_by) for an example.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum UsedBy {}

impl TokenService {
    /// Tells what refers to a token: nothing, to whoever may see it.
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
    /// # let caller = Caller::User(UserId::new(2));
    /// # service.create(&caller, TokenChange::new().identifier("ci")).await?;
    /// assert_eq!(service.used_by(&caller, "ci").await?, []);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// As [`retrieve`](Self::retrieve).
    pub async fn used_by(
        &self,
        caller: &Caller,
        identifier: &str,
    ) -> Result<Vec<UsedBy>, TokenError> {
        let session = self.session(caller).await?;
        session.token(identifier, Action::View).await?;
        Ok(Vec::new())
    }
}
