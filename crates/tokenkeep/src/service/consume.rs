//! The use of single-use tokens.

use crate::access::{Caller, Standing};
use crate::error::TokenError;
use crate::event::EventKind;
use crate::expected::Expected;
use crate::key::TokenKey;
use crate::service::authenticate::Authenticated;
use crate::service::{MAX_ATTEMPTS, TokenService};
use crate::token::Intent;

impl TokenService {
    /// Uses a single-use token, `recovery` or `verification`: checks its key as
    /// [`authenticate`](Self::authenticate) does, and deletes the token in the commit that says so.
    /// Of two who show the same key, one gets in.
    ///
    /// A dropped future may leave the token used, and nobody in.
    ///
    /// ```
    /// # pollster::block_on(async {
    /// # use std::sync::Arc;
    /// # use tokenkeep::{Caller, Timestamp, TokenChange, TokenService, User, UserId, UserStore};
    /// # use tokenkeep_memory::MemoryStore;
    /// use tokenkeep::{Intent, Random, SystemRandom, TokenError};
    ///
    /// # let store = Arc::new(MemoryStore::new());
    /// # let alice = User::new(UserId::new(2), uuid::Uuid::from_u128(2), "alice", Timestamp::MIN);
    /// # store.put_user(alice).await?;
    /// # let service = TokenService::builder(store.clone(), store).open().await?;
    /// // Any user can take an identifier that can be guessed.
    /// let mut random = [0; 8];
    /// SystemRandom.fill(&mut random)?;
    /// let link = TokenChange::new()
    ///     .identifier(format!("recovery-{:016x}", u64::from_ne_bytes(random)))
    ///     .intent(Intent::Recovery)
    ///     .owner(UserId::new(2));
    /// let key = service.create(&Caller::System, link).await?.key;
    ///
    /// let consumed = service.consume(Intent::Recovery, &key).await?;
    /// assert_eq!(consumed.caller(), Caller::User(UserId::new(2)));
    /// let again = service.consume(Intent::Recovery, &key).await;
    /// assert!(matches!(again, Err(TokenError::InvalidKey)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// [`InvalidKey`](TokenError::InvalidKey) for every reason to refuse, an `intent` that is not
    /// single-use among them; [`Contended`](TokenError::Contended). At any time
    /// [`Random`](TokenError::Random) and [`Store`](TokenError::Store).
    pub async fn consume(
        &self,
        intent: Intent,
        key: &TokenKey,
    ) -> Result<Authenticated, TokenError> {
        if !intent.is_single_use() {
            return Err(TokenError::InvalidKey);
        }
        for _ in 0..MAX_ATTEMPTS {
            let now = self.parts.clock.now();
            // Not by a cache: what it still knows, it would know at each attempt.
            let token = self.valid_token_in_store(key.expose(), intent, now).await?;
            let token = token.ok_or(TokenError::InvalidKey)?;
            let standing = Standing { caller: Caller::User(token.owner), is_superuser: false };
            let session = self.session_of(standing, now);
            let commit = session.deleting(EventKind::Consumed, std::slice::from_ref(&token))?;
            if self.commit_or_lose(commit, &Expected::Anything).await? {
                return Ok(Authenticated { token });
            }
        }
        Err(TokenError::Contended)
    }
}
