//! The start of a service.

use std::num::NonZeroU8;
use std::sync::Arc;

use thiserror::Error;

use crate::service::{TokenService, TokenServiceBuilder};
use crate::store::StoreError;

/// Why a service was not opened.
///
/// ```
/// # pollster::block_on(async {
/// # use std::num::NonZeroU8;
/// # use std::sync::Arc;
/// # use tokenkeep::{Caller, Pepper, TokenChange, User, UserId, UserStore, Timestamp};
/// # use tokenkeep_memory::MemoryStore;
/// use tokenkeep::{KeyScheme, OpenError, TokenService};
///
/// # let store = Arc::new(MemoryStore::new());
/// # let alice = User::new(UserId::new(2), uuid::Uuid::from_u128(2), "alice", Timestamp::MIN);
/// # store.put_user(alice).await?;
/// let seven = NonZeroU8::new(7).unwrap();
/// let peppered = KeyScheme::digest_only().peppered(Pepper::new(seven, [1; 32]));
/// let service = TokenService::builder(store.clone(), store.clone()).keys(peppered).open().await?;
/// service.create(&Caller::User(UserId::new(2)), TokenChange::new().identifier("ci")).await?;
///
/// let without = TokenService::builder(store.clone(), store).open().await;
/// assert!(matches!(without, Err(OpenError::UnknownPepper(id)) if id == seven));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The store has digests that were made with a pepper that the host has not configured: their
    /// keys would be refused, and could be given out again.
    #[error("the store has keys with pepper {0}, which is not configured")]
    UnknownPepper(NonZeroU8),
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl TokenServiceBuilder {
    /// Opens the service: makes sure that the keys in the store can be looked up.
    ///
    /// # Errors
    ///
    /// [`OpenError`].
    pub async fn open(self) -> Result<TokenService, OpenError> {
        let Self { mut parts, cache } = self;
        for id in parts.store.pepper_ids().await? {
            if !parts.keys.knows_pepper(id) {
                return Err(OpenError::UnknownPepper(id));
            }
        }
        parts.cache = cache.and_then(|cache| cache.open(&*parts.store, &*parts.directory));
        Ok(TokenService { parts: Arc::new(parts) })
    }
}
