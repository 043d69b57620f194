//! `core_tokens_view_key_retrieve`.

use crate::access::{Action, Caller};
use crate::error::TokenError;
use crate::event::EventKind;
use crate::expected::Expected;
use crate::fields::TokenFields;
use crate::key::TokenKey;
use crate::service::session::Session;
use crate::service::{MAX_ATTEMPTS, TokenService};
use crate::store::{Change, Commit};
use crate::token::Token;

impl TokenService {
    /// Shows the key of a token to who may view it. That it was viewed is committed, at the
    /// revision that was read, before the key is returned.
    ///
    /// A key that was sealed with an earlier sealing key is sealed anew with the current one in the
    /// same commit, which then raises the revision.
    ///
    /// ```
    /// # pollster::block_on(async {
    /// # use std::sync::Arc;
    /// # use tokenkeep::{Caller, Timestamp, TokenChange, TokenService, User, UserId, UserStore};
    /// # use tokenkeep_memory::MemoryStore;
    /// use tokenkeep::{KeyScheme, SealingKey};
    ///
    /// # let store = Arc::new(MemoryStore::new());
    /// # let alice = User::new(UserId::new(2), uuid::Uuid::from_u128(2), "alice", Timestamp::MIN);
    /// # store.put_user(alice).await?;
    /// # let secret = [7; 32];
    /// let scheme = KeyScheme::sealing(SealingKey::new(1, secret));
    /// let service = TokenService::builder(store.clone(), store).keys(scheme).open().await?;
    /// # let caller = Caller::User(UserId::new(2));
    /// let created = service.create(&caller, TokenChange::new().identifier("ci")).await?;
    /// assert_eq!(service.view_key(&caller, "ci").await?, created.key);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// In this order: [`InactiveCaller`](TokenError::InactiveCaller),
    /// [`NotFound`](TokenError::NotFound), [`Forbidden`](TokenError::Forbidden),
    /// [`KeyNotRetained`](TokenError::KeyNotRetained), [`Unseal`](TokenError::Unseal); then
    /// [`Contended`](TokenError::Contended). At any time [`Random`](TokenError::Random) and
    /// [`Store`](TokenError::Store).
    pub async fn view_key(
        &self,
        caller: &Caller,
        identifier: &str,
    ) -> Result<TokenKey, TokenError> {
        let mut seals_anew = true;
        for _ in 0..MAX_ATTEMPTS {
            let session = self.session(caller).await?;
            let token = session.token(identifier, Action::ViewKey).await?;
            // A service that has no sealing key retains none, whatever an earlier one has left.
            let sealed = token.sealed_key.as_ref().filter(|_| self.parts.keys.can_open());
            let sealed = sealed.ok_or(TokenError::KeyNotRetained)?;
            let key = self.parts.keys.open(sealed, token.id)?;
            let is_current = self.parts.keys.is_current(&token.key_digest, sealed);
            let commit = if seals_anew && !is_current {
                let after = self.with_key(&token, &key)?;
                session.replacing(EventKind::KeyViewed, &token, after)?.0
            } else {
                viewing(&session, &token)?
            };
            match self.commit_or_lose(commit, &Expected::Anything).await {
                Ok(true) => return Ok(key),
                Ok(false) => {}
                // Another token has the same key under another pepper: it is viewed as it is.
                Err(TokenError::Invalid(_)) => seals_anew = false,
                Err(error) => return Err(error),
            }
        }
        Err(TokenError::Contended)
    }

    /// The token with this key, as the key scheme keeps it now.
    pub(super) fn with_key(&self, token: &Token, key: &TokenKey) -> Result<Token, TokenError> {
        let keys = &self.parts.keys;
        Ok(Token {
            key_digest: keys.digest(key),
            sealed_key: keys.seal(key, token.id, &*self.parts.random)?,
            ..token.clone()
        })
    }
}

/// What notes that the key was viewed, and fails if the token is not as it was read.
fn viewing(session: &Session<'_>, token: &Token) -> Result<Commit, TokenError> {
    let expect = Change::Expect { id: token.id, expected: token.revision };
    let event = session.event(EventKind::KeyViewed, token, TokenFields::NONE)?;
    Ok(Commit { changes: vec![expect], events: vec![event] })
}
