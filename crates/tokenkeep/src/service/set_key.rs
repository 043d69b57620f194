//! `core_tokens_set_key_create`.

use crate::access::{Action, Caller};
use crate::error::TokenError;
use crate::event::EventKind;
use crate::fields::TokenField;
use crate::input::{FieldError, FieldErrors, KeyChange};
use crate::service::{MAX_ATTEMPTS, TokenService};
use crate::view::TokenView;

impl TokenService {
    /// Gives a token a key that was chosen elsewhere. The one it had is valid no more as soon as
    /// this returns. Setting the key that the token has changes nothing.
    ///
    /// ```
    /// # pollster::block_on(async {
    /// # use std::sync::Arc;
    /// # use tokenkeep::{Caller, Timestamp, TokenChange, TokenService, User, UserId, UserStore};
    /// # use tokenkeep_memory::MemoryStore;
    /// use tokenkeep::KeyChange;
    ///
    /// # let store = Arc::new(MemoryStore::new());
    /// # let alice = User::new(UserId::new(2), uuid::Uuid::from_u128(2), "alice", Timestamp::MIN);
    /// # store.put_user(alice).await?;
    /// # let service = TokenService::builder(store.clone(), store).open().await?;
    /// # let caller = Caller::User(UserId::new(2));
    /// # service.create(&caller, TokenChange::new().identifier("ci")).await?;
    /// let key = "a key that another system has made";
    /// service.set_key(&Caller::System, "ci", KeyChange::new(key)).await?;
    /// let header = format!("Bearer {key}");
    /// assert_eq!(service.authenticate(Some(header.as_bytes())).await?.caller(), caller);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// In this order: [`InactiveCaller`](TokenError::InactiveCaller),
    /// [`NotFound`](TokenError::NotFound), [`Forbidden`](TokenError::Forbidden),
    /// [`Stale`](TokenError::Stale), [`Body`](TokenError::Body),
    /// [`Invalid`](TokenError::Invalid); then [`Contended`](TokenError::Contended). At any time
    /// [`Random`](TokenError::Random) and [`Store`](TokenError::Store).
    pub async fn set_key(
        &self,
        caller: &Caller,
        identifier: &str,
        change: KeyChange,
    ) -> Result<TokenView, TokenError> {
        for _ in 0..MAX_ATTEMPTS {
            if let Some(view) = self.try_set_key(caller, identifier, &change).await? {
                return Ok(view);
            }
        }
        Err(TokenError::Contended)
    }

    /// One attempt; `None` when somebody else changed the token in between.
    async fn try_set_key(
        &self,
        caller: &Caller,
        identifier: &str,
        change: &KeyChange,
    ) -> Result<Option<TokenView>, TokenError> {
        let session = self.session(caller).await?;
        let token = session.token(identifier, Action::SetKey).await?;
        change.expected.check(&token)?;
        if let Some(error) = &change.unreadable {
            return Err(TokenError::Body(error.clone()));
        }
        let refused = |errors| FieldErrors::of(TokenField::Key, errors);
        let key = change.checked(self.parts.policy.minimum_key_length).map_err(refused)?;
        let owner = session.profile(token.owner).await?;
        match self.token_with_key(key.expose()).await? {
            Some(other) if other.id != token.id => Err(refused(vec![FieldError::KeyTaken]).into()),
            Some(_) => Ok(Some(session.view(token, owner))),
            None => {
                let after = self.with_key(&token, key)?;
                let (commit, after) = session.replacing(EventKind::KeySet, &token, after)?;
                let done = self.commit_or_lose(commit, &change.expected).await?;
                Ok(done.then(|| session.view(after, owner)))
            }
        }
    }
}
