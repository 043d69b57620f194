//! What a store knows of the secrets that its keys were kept with.

use std::collections::BTreeSet;
use std::fmt;
use std::num::NonZeroU8;

/// The secrets that the rows of a store need, and the check values of those it was opened with.
///
/// See [`TokenStore`](crate::TokenStore) for an example.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KeyUsage {
    /// The ids of the peppers that the digests of tokens name.
    pub peppers: BTreeSet<NonZeroU8>,
    /// The ids of the sealing keys that sealed keys name.
    pub sealing_keys: BTreeSet<u8>,
    /// The recorded check values, at most one for each secret.
    pub checks: Vec<KeyCheck>,
}

impl KeyUsage {
    /// Returns the recorded check value of a secret.
    #[must_use]
    pub fn check_of(&self, secret: SecretId) -> Option<KeyCheck> {
        self.checks.iter().copied().find(|check| check.secret == secret)
    }
}

/// Names a secret of a [`KeyScheme`](crate::KeyScheme): its kind and its id.
///
/// ```
/// use tokenkeep::SecretId;
///
/// assert_eq!(SecretId::SealingKey(3).to_string(), "sealing key 3");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SecretId {
    /// A pepper.
    Pepper(NonZeroU8),
    /// A sealing key.
    SealingKey(u8),
}

impl fmt::Display for SecretId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pepper(id) => write!(f, "pepper {id}"),
            Self::SealingKey(id) => write!(f, "sealing key {id}"),
        }
    }
}

/// The check value of a secret: equal for equal secrets, and of no use to find the secret.
///
/// See [`TokenStore`](crate::TokenStore) for an example.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyCheck {
    /// The secret.
    pub secret: SecretId,
    /// HMAC-SHA-256 of a fixed text under the secret.
    pub value: [u8; 32],
}
