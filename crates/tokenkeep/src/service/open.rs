//! The start of a service.

use std::collections::BTreeSet;
use std::num::NonZeroU8;
use std::sync::Arc;

use thiserror::Error;

use crate::key::KeyScheme;
use crate::service::{TokenService, TokenServiceBuilder};
use crate::store::{SecretId, StoreError, TokenStore};

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
    /// Digests in the store were made with a pepper that is not configured. The service would refuse
    /// their keys, and would not notice when another token gets one of them.
    #[error("the store has keys with pepper {0}, which is not configured")]
    UnknownPepper(NonZeroU8),
    /// Sealed keys in the store need a sealing key that is not configured. A host that does not have
    /// it any more says so with [`KeyScheme::lost_sealing_key`](crate::KeyScheme::lost_sealing_key).
    #[error("the store has keys that are sealed by sealing key {0}, which is not configured")]
    UnknownSealingKey(u8),
    /// The store was opened with another secret of this id before: every key that needs that one
    /// would be refused.
    #[error("pepper {0} is another secret than before: configure that one, or use another id")]
    WrongPepper(NonZeroU8),
    /// The store was opened with another secret of this id before: no key that it sealed could be
    /// opened.
    #[error("sealing key {0} is another secret than before: configure that one, or use another id")]
    WrongSealingKey(u8),
    /// Two secrets of one kind have the same id.
    #[error("{0} is configured twice: give each secret an id of its own")]
    DuplicateSecret(SecretId),
    /// The store cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl TokenServiceBuilder {
    /// Opens the service. Checks that the configured secrets are those that the keys in the store
    /// need, and records a check value of each secret that is new to the store.
    ///
    /// # Errors
    ///
    /// [`OpenError`].
    pub async fn open(self) -> Result<TokenService, OpenError> {
        let Self { mut parts, cache } = self;
        check_secrets(&*parts.store, &parts.keys).await?;
        parts.cache = cache.and_then(|cache| cache.open(&*parts.store, &*parts.directory));
        Ok(TokenService { parts: Arc::new(parts) })
    }
}

/// Compares the configured secrets with what the store needs and has recorded.
async fn check_secrets(store: &dyn TokenStore, keys: &KeyScheme) -> Result<(), OpenError> {
    let configured = keys.checks();
    let mut ids = BTreeSet::new();
    if let Some(check) = configured.iter().find(|check| !ids.insert(check.secret)) {
        return Err(OpenError::DuplicateSecret(check.secret));
    }
    let usage = store.key_usage().await?;
    let is_missing = |secret| !ids.contains(&secret);
    if let Some(id) = usage.peppers.iter().find(|id| is_missing(SecretId::Pepper(**id))) {
        return Err(OpenError::UnknownPepper(*id));
    }
    let mut sealing = usage.sealing_keys.iter().filter(|id| !keys.is_lost(**id));
    if let Some(id) = sealing.find(|id| is_missing(SecretId::SealingKey(**id))) {
        return Err(OpenError::UnknownSealingKey(*id));
    }
    for check in configured {
        let recorded = match usage.check_of(check.secret) {
            Some(recorded) => recorded,
            None => store.record_key_check(check).await?,
        };
        if recorded != check {
            return Err(match check.secret {
                SecretId::Pepper(id) => OpenError::WrongPepper(id),
                SecretId::SealingKey(id) => OpenError::WrongSealingKey(id),
            });
        }
    }
    Ok(())
}
