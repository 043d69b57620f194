//! Authentication by `Authorization: Bearer …`.

use std::sync::Arc;

use crate::access::Caller;
use crate::error::TokenError;
use crate::key::TokenKey;
use crate::service::TokenService;
use crate::store::{Lookup, StoreError};
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
    /// # let service = TokenService::builder(store.clone(), store).build();
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
        let token = self.token_of_key(&key).await?.ok_or(TokenError::InvalidKey)?;
        Ok(Authenticated { token })
    }

    /// The `api` token that `key` opens now.
    async fn token_of_key(&self, key: &TokenKey) -> Result<Option<Arc<Token>>, StoreError> {
        let digest = self.parts.keys.digest(key);
        let Some(token) = self.parts.store.find(Lookup::KeyDigest(&digest)).await? else {
            return Ok(None);
        };
        // Digests compare in constant time; a store may have compared them in another way.
        let opens = token.key_digest == digest
            && token.intent == Intent::Api
            && !token.is_expired(self.parts.clock.now());
        let owner_is_active =
            opens && self.parts.directory.is_active(token.owner).await? == Some(true);
        Ok(owner_is_active.then_some(token))
    }
}

/// The key that a header shows.
fn bearer_key(authorization: Option<&[u8]>) -> Result<TokenKey, TokenError> {
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
    let key = str::from_utf8(key).map_err(|_| TokenError::InvalidKey)?;
    Ok(TokenKey::from(key.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(header: &str) -> Result<String, String> {
        let key = bearer_key(Some(header.as_bytes()));
        key.map(|key| key.expose().to_owned()).map_err(|error| error.to_string())
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
