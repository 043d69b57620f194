//! How a service keeps keys.

use crate::key::{KeyDigest, Pepper, SealedKey, SealingKey, TokenKey, UnsealError};
use crate::random::{Random, RandomError};
use crate::store::{KeyCheck, SecretId};
use crate::token::TokenId;

/// How a service keeps keys (SPEC "Keys"): always as digests, with a pepper where one is
/// configured, and, where a sealing key is configured, sealed too, so that they can be viewed.
///
/// Peppers and sealing keys can be changed: new keys are kept with the current ones, and what was
/// kept with older ones stays valid as long as those are configured. No two peppers may have the
/// same id, and no two sealing keys: the first that has it is taken.
///
/// [`rekey`](crate::TokenService::rekey) brings everything that is sealed to the current ones.
///
/// ```
/// use std::num::NonZeroU8;
/// use tokenkeep::{KeyScheme, Pepper, SealingKey, TokenKey};
///
/// # let (new_secret, old_secret, pepper) = ([1; 32], [2; 32], [3; 32]);
/// let scheme = KeyScheme::sealing(SealingKey::new(2, new_secret))
///     .also_opening(SealingKey::new(1, old_secret))
///     .peppered(Pepper::new(NonZeroU8::MIN, pepper));
/// let digest = scheme.digest(&TokenKey::from("key".to_owned()));
/// assert_eq!(digest.pepper_id(), Some(NonZeroU8::MIN));
/// ```
#[derive(Debug, Clone, Default)]
pub struct KeyScheme {
    /// The sealing key of new keys.
    sealing: Option<SealingKey>,
    older_sealing: Vec<SealingKey>,
    /// The pepper of new digests.
    pepper: Option<Pepper>,
    older_peppers: Vec<Pepper>,
    /// The ids of sealing keys that the host does not have any more.
    lost_sealing: Vec<u8>,
}

impl KeyScheme {
    /// Keeps digests and no keys: what a stolen store holds opens nothing, and a key is shown once,
    /// by the operation that makes it.
    #[must_use]
    pub fn digest_only() -> Self {
        Self::default()
    }

    /// Keeps keys sealed by `current` beside their digests.
    #[must_use]
    pub fn sealing(current: SealingKey) -> Self {
        Self { sealing: Some(current), ..Self::default() }
    }

    /// Opens what an earlier sealing key has sealed, too. In a scheme that seals nothing it makes
    /// old keys viewable, and keeps new ones as digests only.
    #[must_use]
    pub fn also_opening(mut self, older: SealingKey) -> Self {
        self.older_sealing.push(older);
        self
    }

    /// Accepts that the host does not have the sealing key `id` any more: the service opens, keys
    /// that it sealed cannot be viewed, and [`rekey`](crate::TokenService::rekey) removes the seals
    /// where the scheme seals nothing. Their tokens stay valid.
    #[must_use]
    pub fn lost_sealing_key(mut self, id: u8) -> Self {
        self.lost_sealing.push(id);
        self
    }

    /// Makes new digests with `current`. Those made without a pepper stay valid.
    ///
    /// Where several processes share a store, let all of them [accept](Self::also_accepting) a new
    /// pepper before one uses it: a process that does not know it refuses its keys, and would give
    /// the same key to another token.
    #[must_use]
    pub fn peppered(mut self, current: Pepper) -> Self {
        self.pepper = Some(current);
        self
    }

    /// Accepts digests made with an earlier pepper, too.
    #[must_use]
    pub fn also_accepting(mut self, older: Pepper) -> Self {
        self.older_peppers.push(older);
        self
    }

    /// What a new `key` is looked up by.
    #[must_use]
    pub fn digest(&self, key: &TokenKey) -> KeyDigest {
        match &self.pepper {
            Some(pepper) => KeyDigest::peppered(key, pepper),
            None => KeyDigest::of(key),
        }
    }

    /// Everything that `key` may be looked up by, the likeliest first.
    pub(crate) fn digests(&self, key: &str) -> impl Iterator<Item = KeyDigest> + Send {
        let peppered = self.pepper.iter().chain(&self.older_peppers);
        let peppered = peppered.map(move |pepper| KeyDigest::peppered_text(key, pepper));
        peppered.chain(std::iter::once_with(move || KeyDigest::of_text(key)))
    }

    /// Whether a key can have more than one digest.
    pub(crate) fn has_peppers(&self) -> bool {
        self.pepper.is_some() || !self.older_peppers.is_empty()
    }

    /// Whether `digest` is one of `key`.
    pub(crate) fn matches(&self, key: &TokenKey, digest: &KeyDigest) -> bool {
        self.digests(key.expose()).any(|of_key| of_key == *digest)
    }

    /// Returns whether the host has given up that sealing key.
    pub(crate) fn is_lost(&self, sealing_key: u8) -> bool {
        self.lost_sealing.contains(&sealing_key)
    }

    /// Returns the check value of every configured secret.
    pub(crate) fn checks(&self) -> Vec<KeyCheck> {
        let peppers = self.pepper.iter().chain(&self.older_peppers).map(|pepper| KeyCheck {
            secret: SecretId::Pepper(pepper.id),
            value: pepper.check_value(),
        });
        let sealing = self
            .sealing
            .iter()
            .chain(&self.older_sealing)
            .map(|key| KeyCheck { secret: SecretId::SealingKey(key.id), value: key.check_value() });
        peppers.chain(sealing).collect()
    }

    /// The key of a token encrypted for viewing; `None` where keys are not retained.
    ///
    /// # Errors
    ///
    /// [`RandomError`] when `random` cannot give a nonce.
    pub fn seal(
        &self,
        key: &TokenKey,
        token: TokenId,
        random: &dyn Random,
    ) -> Result<Option<SealedKey>, RandomError> {
        self.sealing.as_ref().map(|current| current.seal(key, token, random)).transpose()
    }

    /// Whether keys are kept sealed.
    pub(crate) fn retains_keys(&self) -> bool {
        self.sealing.is_some()
    }

    /// Whether there is a key by which something may have been sealed.
    pub(crate) fn can_open(&self) -> bool {
        self.sealing.is_some() || !self.older_sealing.is_empty()
    }

    /// The key of a token as it was sealed.
    pub(crate) fn open(&self, sealed: &SealedKey, token: TokenId) -> Result<TokenKey, UnsealError> {
        let id = sealed.sealed_by().ok_or(UnsealError::Damaged)?;
        let mut keys = self.sealing.iter().chain(&self.older_sealing);
        let key = keys.find(|key| key.id == id).ok_or(UnsealError::UnknownKey(id))?;
        key.open(sealed, token)
    }

    /// Whether what is kept of a key was made by the current pepper and sealing key. A scheme that
    /// seals nothing leaves what is sealed as it is.
    pub(crate) fn is_current(&self, digest: &KeyDigest, sealed: &SealedKey) -> bool {
        let is_current = |current: &SealingKey| {
            self.digests_like(digest) && sealed.sealed_by() == Some(current.id)
        };
        self.sealing.as_ref().is_none_or(is_current)
    }

    /// Whether a digest was made as new ones are.
    pub(crate) fn digests_like(&self, digest: &KeyDigest) -> bool {
        digest.pepper_id() == self.pepper.as_ref().map(|pepper| pepper.id)
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU8;

    use super::*;

    #[test]
    fn a_key_has_one_digest_unless_a_pepper_was_ever_configured() {
        let pepper = |id| Pepper::new(NonZeroU8::new(id).unwrap(), [id; 32]);
        let plain = KeyScheme::digest_only;
        for (scheme, digests) in [
            (plain(), 1),
            (KeyScheme::sealing(SealingKey::new(1, [1; 32])), 1),
            (plain().peppered(pepper(1)), 2),
            (plain().also_accepting(pepper(1)), 2),
            (plain().peppered(pepper(2)).also_accepting(pepper(1)), 3),
        ] {
            assert_eq!(scheme.digests("key").count(), digests, "{scheme:?}");
            assert_eq!(scheme.has_peppers(), digests > 1, "{scheme:?}");
        }
    }
}
