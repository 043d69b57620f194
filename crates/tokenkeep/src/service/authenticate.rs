//! Authentication by `Authorization: Bearer …`.

use std::sync::Arc;

use crate::access::Caller;
use crate::error::TokenError;
use crate::key::TokenKey;
use crate::service::TokenService;
use crate::service::cache::{Cache, Known};
use crate::store::{Lookup, StoreError};
use crate::timestamp::Timestamp;
use crate::token::{Intent, Token};

/// Somebody who has shown a valid key.
///
/// See [`TokenService`] for an example.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Authenticated {
    /// The token that was shown.
    pub token: Arc<Token>,
}

impl Authenticated {
    /// Its owner, as the caller of operations.
    #[must_use]
    pub fn caller(&self) -> Caller {
        Caller::User(self.token.owner)
    }
}

impl TokenService {
    /// Authenticates a request by the value of its `Authorization` header, `None` when it has
    /// none: the scheme `Bearer` in any case, exactly one space, and all that follows is the key
    /// (SPEC "Authenticate"). It changes nothing.
    ///
    /// ```
    /// # pollster::block_on(async {
    /// # use std::sync::Arc;
    /// # use tokenkeep::TokenService;
    /// # use tokenkeep_memory::MemoryStore;
    /// use tokenkeep::TokenError;
    ///
    /// # let store = Arc::new(MemoryStore::new());
    /// # let service = TokenService::builder(store.clone(), store).open().await.unwrap();
    /// let nobody = service.authenticate(None).await;
    /// assert!(matches!(nobody, Err(TokenError::NotAuthenticated)));
    /// let unknown = service.authenticate(Some(b"Bearer of news")).await;
    /// assert!(matches!(unknown, Err(TokenError::InvalidKey)));
    /// # });
    /// ```
    ///
    /// # Errors
    ///
    /// [`NotAuthenticated`](TokenError::NotAuthenticated) for a header that is missing or shows no
    /// key, [`UnsupportedScheme`](TokenError::UnsupportedScheme) for another scheme, and
    /// [`InvalidKey`](TokenError::InvalidKey) for every other reason;
    /// [`Store`](TokenError::Store) when it could not be found out.
    pub async fn authenticate(
        &self,
        authorization: Option<&[u8]>,
    ) -> Result<Authenticated, TokenError> {
        let key = bearer_key(authorization)?;
        let now = self.parts.clock.now();
        let token = self.valid_token(key, Intent::Api, now).await?;
        let token = token.ok_or(TokenError::InvalidKey)?;
        self.parts.last_used.note(&token, now);
        Ok(Authenticated { token })
    }

    /// Authenticates a user by username and app password, as a host's login does: the same check
    /// as [`authenticate`](Self::authenticate), for an `app_password` token of that user.
    ///
    /// ```
    /// # pollster::block_on(async {
    /// # use std::sync::Arc;
    /// # use tokenkeep::{Caller, Intent, Timestamp, TokenChange, TokenService, User, UserId, UserStore};
    /// # use tokenkeep_memory::MemoryStore;
    /// # let store = Arc::new(MemoryStore::new());
    /// # let alice = User::new(UserId::new(2), uuid::Uuid::from_u128(2), "alice", Timestamp::MIN);
    /// # store.put_user(alice).await?;
    /// # let service = TokenService::builder(store.clone(), store).open().await?;
    /// # let alice = Caller::User(UserId::new(2));
    /// let mail = TokenChange::new().identifier("mail").intent(Intent::AppPassword);
    /// let key = service.create(&alice, mail).await?.key;
    /// let authenticated = service.authenticate_app_password("alice", &key).await?;
    /// assert_eq!(authenticated.caller(), alice);
    /// assert!(service.authenticate_app_password("bob", &key).await.is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// [`InvalidKey`](TokenError::InvalidKey) for every reason to refuse;
    /// [`Store`](TokenError::Store) when it could not be found out.
    pub async fn authenticate_app_password(
        &self,
        username: &str,
        key: &TokenKey,
    ) -> Result<Authenticated, TokenError> {
        let now = self.parts.clock.now();
        let token = self.valid_token(key.expose(), Intent::AppPassword, now).await?;
        let token = token.ok_or(TokenError::InvalidKey)?;
        if self.parts.directory.user_named(username).await? != Some(token.owner) {
            return Err(TokenError::InvalidKey);
        }
        self.parts.last_used.note(&token, now);
        Ok(Authenticated { token })
    }

    /// The token of that intent that `key` opens at `now`.
    async fn valid_token(
        &self,
        key: &str,
        intent: Intent,
        now: Timestamp,
    ) -> Result<Option<Arc<Token>>, StoreError> {
        match &self.parts.cache {
            Some(cache) => self.if_valid(self.known_by_key(key, cache).await?, intent, now).await,
            None => self.valid_token_in_store(key, intent, now).await,
        }
    }

    /// The same, whatever a cache knows.
    pub(super) async fn valid_token_in_store(
        &self,
        key: &str,
        intent: Intent,
        now: Timestamp,
    ) -> Result<Option<Arc<Token>>, StoreError> {
        let token = self.token_with_key(key).await?;
        let known = token.map(|token| Known { token, owner_is_active: None });
        self.if_valid(known, intent, now).await
    }

    async fn if_valid(
        &self,
        known: Option<Known>,
        intent: Intent,
        now: Timestamp,
    ) -> Result<Option<Arc<Token>>, StoreError> {
        let is_valid = |token: &Token| token.intent == intent && !token.is_expired(now);
        let Some(known) = known.filter(|known| is_valid(&known.token)) else {
            return Ok(None);
        };
        let owner_is_active = match known.owner_is_active {
            Some(is_active) => is_active,
            None => self.owner_is_active(&known.token).await?,
        };
        Ok(owner_is_active.then_some(known.token))
    }

    /// What the cache knows of this key, or else the store.
    async fn known_by_key(&self, key: &str, cache: &Cache) -> Result<Option<Known>, StoreError> {
        let moment = cache.moment()?;
        let mut digests = self.parts.keys.digests(key);
        if let Some(known) = digests.find_map(|digest| cache.get(&digest, moment)) {
            return Ok(Some(known));
        }
        let Some(token) = self.token_with_key(key).await? else {
            return Ok(None);
        };
        let mut owner_is_active = None;
        if cache.keeps_owners() {
            owner_is_active = Some(self.owner_is_active(&token).await?);
        }
        let known = Known { token, owner_is_active };
        cache.put(known.clone(), moment);
        Ok(Some(known))
    }

    async fn owner_is_active(&self, token: &Token) -> Result<bool, StoreError> {
        Ok(self.parts.directory.is_active(token.owner).await? == Some(true))
    }

    /// The token that has this key, however it was digested.
    pub(super) async fn token_with_key(&self, key: &str) -> Result<Option<Arc<Token>>, StoreError> {
        // A digest moves from an older pepper to the current one, perhaps between two look-ups: after
        // the older ones the current one is tried again.
        let keys = &self.parts.keys;
        let again = keys.digests(key).take(usize::from(keys.has_peppers()));
        for digest in keys.digests(key).chain(again) {
            let found = self.parts.find(Lookup::KeyDigest(&digest)).await?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }
}

/// The key that a header shows.
fn bearer_key(authorization: Option<&[u8]>) -> Result<&str, TokenError> {
    let header = authorization.ok_or(TokenError::NotAuthenticated)?;
    let mut parts = header.splitn(2, |byte| *byte == b' ');
    let (scheme, key) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    if key.is_empty() {
        return Err(TokenError::NotAuthenticated);
    }
    if !scheme.eq_ignore_ascii_case(b"bearer") {
        return Err(TokenError::UnsupportedScheme);
    }
    // Keys are text: other bytes are no key.
    str::from_utf8(key).map_err(|_| TokenError::InvalidKey)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(header: &str) -> Result<String, String> {
        let key = bearer_key(Some(header.as_bytes()));
        key.map(str::to_owned).map_err(|error| error.to_string())
    }

    #[test]
    fn all_behind_one_space_is_the_key() {
        assert_eq!(key("Bearer abc").unwrap(), "abc");
        assert_eq!(key("bEARER abc def ").unwrap(), "abc def ");
        assert_eq!(key("Bearer  abc").unwrap(), " abc");
    }

    #[test]
    fn a_header_without_a_key_is_no_credential() {
        let none = TokenError::NotAuthenticated.to_string();
        for header in ["", "Bearer", "Bearer ", "abc", "Basic "] {
            assert_eq!(key(header).unwrap_err(), none, "{header:?}");
        }
        assert!(matches!(bearer_key(None), Err(TokenError::NotAuthenticated)));
    }

    #[test]
    fn other_schemes_are_not_supported() {
        for header in ["Basic abc", "Token abc", " Bearer abc", "Bearer\tabc def"] {
            assert_eq!(key(header).unwrap_err(), TokenError::UnsupportedScheme.to_string());
        }
        assert!(matches!(bearer_key(Some(b"Bearer \xff")), Err(TokenError::InvalidKey)));
    }
}
