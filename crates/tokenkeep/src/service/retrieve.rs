//! `core_tokens_retrieve`.

use crate::access::{Action, Caller};
use crate::error::TokenError;
use crate::service::TokenService;
use crate::view::TokenView;

impl TokenService {
    /// Shows one token with its owner. Expired tokens are shown too, until they are swept.
    ///
    /// ```
    /// # pollster::block_on(async {
    /// # use std::sync::Arc;
    /// # use tokenkeep::{Caller, TokenService};
    /// # use tokenkeep_memory::MemoryStore;
    /// use tokenkeep::TokenError;
    ///
    /// # let store = Arc::new(MemoryStore::new());
    /// # let service = TokenService::builder(store.clone(), store).open().await.unwrap();
    /// let nothing = service.retrieve(&Caller::System, "nothing").await;
    /// assert!(matches!(nothing, Err(TokenError::NotFound)));
    /// # });
    /// ```
    ///
    /// # Errors
    ///
    /// [`TokenError::InactiveCaller`], [`TokenError::NotFound`], also for a token that the caller
    /// may not see, and [`TokenError::Store`].
    pub async fn retrieve(
        &self,
        caller: &Caller,
        identifier: &str,
    ) -> Result<TokenView, TokenError> {
        let session = self.session(caller).await?;
        let token = session.token(identifier, Action::View).await?;
        let owner = session.profile(token.owner).await?;
        Ok(session.view(token, owner))
    }
}
