//! `core_tokens_rotate_create`.

use crate::access::{Action, Caller};
use crate::error::TokenError;
use crate::event::EventKind;
use crate::expected::Expected;
use crate::key::TokenKey;
use crate::policy::{self, Conflicts};
use crate::service::{MAX_ATTEMPTS, TokenService};
use crate::token::Token;
use crate::view::TokenView;

/// A token that has just got a new key.
///
/// See [`rotate`](TokenService::rotate) for an example.
#[derive(Debug)]
#[non_exhaustive]
pub struct Rotated {
    /// The token with its owner.
    pub view: TokenView,
    /// The new key, for its holder.
    pub key: TokenKey,
}

impl TokenService {
    /// Replaces the key of an `api` or `app_password` token by a new one, and moves its expiry to
    /// now and the default duration, of an app password no later than its owner's maximum lifetime.
    /// The old key is valid no more as soon as this returns.
    ///
    /// ```
    /// # pollster::block_on(async {
    /// # use std::sync::Arc;
    /// # use tokenkeep::{Caller, Timestamp, TokenChange, TokenService, User, UserId, UserStore};
    /// # use tokenkeep_memory::MemoryStore;
    /// use tokenkeep::Expected;
    ///
    /// # let store = Arc::new(MemoryStore::new());
    /// # let alice = User::new(UserId::new(2), uuid::Uuid::from_u128(2), "alice", Timestamp::MIN);
    /// # store.put_user(alice).await?;
    /// # let service = TokenService::builder(store.clone(), store).open().await?;
    /// # let caller = Caller::User(UserId::new(2));
    /// let created = service.create(&caller, TokenChange::new().identifier("ci")).await?;
    /// let rotated = service.rotate(&caller, "ci", Expected::Anything).await?;
    /// assert_ne!(rotated.key, created.key);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// In this order: [`InactiveCaller`](TokenError::InactiveCaller),
    /// [`NotFound`](TokenError::NotFound), [`Forbidden`](TokenError::Forbidden),
    /// [`Stale`](TokenError::Stale), [`Invalid`](TokenError::Invalid) for other intents; then
    /// [`Contended`](TokenError::Contended). At any time [`Random`](TokenError::Random) and
    /// [`Store`](TokenError::Store).
    pub async fn rotate(
        &self,
        caller: &Caller,
        identifier: &str,
        expected: impl Into<Expected>,
    ) -> Result<Rotated, TokenError> {
        let expected = expected.into();
        for _ in 0..MAX_ATTEMPTS {
            if let Some(rotated) = self.try_rotate(caller, identifier, &expected).await? {
                return Ok(rotated);
            }
        }
        Err(TokenError::Contended)
    }

    /// One attempt; `None` when somebody else changed the token in between.
    async fn try_rotate(
        &self,
        caller: &Caller,
        identifier: &str,
        expected: &Expected,
    ) -> Result<Option<Rotated>, TokenError> {
        let session = self.session(caller).await?;
        let token = session.token(identifier, Action::Rotate).await?;
        expected.check(&token)?;
        let owner = session.profile(token.owner).await?;
        let around = session.circumstances(owner.as_deref(), Conflicts::default());
        let expires = policy::rotate(&token, &around)?;

        let key = TokenKey::generate(&*self.parts.random)?;
        let after = Token { expires: Some(expires), ..self.with_key(&token, &key)? };
        let (commit, after) = session.replacing(EventKind::Rotated, &token, after)?;
        let done = match self.commit_or_lose(commit, expected).await {
            // The new key is somebody's already: another is drawn.
            Err(TokenError::Invalid(_)) => false,
            done => done?,
        };
        Ok(done.then(|| Rotated { view: session.view(after, owner), key }))
    }
}
