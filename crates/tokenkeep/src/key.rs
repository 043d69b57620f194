//! Keys: the secret that a holder shows, and the forms in which it is kept.
//!
//! The plain key is never stored (SPEC "Keys"). A store keeps its [`KeyDigest`], by which
//! authentication finds the token, and, where the host wants keys to be viewable, the
//! [`SealedKey`].

use std::fmt;
use std::hash::{Hash, Hasher};

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::random::{Random, RandomError};

/// A plain key: a secret. It has no `Display` and no `Serialize`, its `Debug` shows nothing, it is
/// compared in constant time and wiped from memory when dropped.
///
/// ```
/// use tokenkeep::TokenKey;
///
/// let key = TokenKey::from("correct horse battery staple".to_owned());
/// assert_eq!(format!("{key:?}"), "TokenKey(…)");
/// assert_eq!(key.expose(), "correct horse battery staple");
/// ```
#[derive(Clone)]
pub struct TokenKey(Zeroizing<String>);

impl TokenKey {
    /// How many characters a generated key has: 60 of 62 possible ones are 357 bits, far beyond
    /// guessing, which is why one fast hash is enough to keep it.
    pub const GENERATED_CHARS: usize = 60;

    /// The characters of generated keys: those that no header, URL or shell quotes.
    const ALPHABET: &[u8; 62] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";

    /// A new key of [`GENERATED_CHARS`](Self::GENERATED_CHARS) characters from `[a-zA-Z0-9]`, each
    /// equally likely.
    ///
    /// # Errors
    ///
    /// [`RandomError`] when `random` cannot give bytes.
    pub fn generate(random: &dyn Random) -> Result<Self, RandomError> {
        let mut key = Zeroizing::new(String::with_capacity(Self::GENERATED_CHARS));
        let mut bytes = Zeroizing::new([0_u8; 64]);
        while key.len() < Self::GENERATED_CHARS {
            random.fill(bytes.as_mut_slice())?;
            let wanted = Self::GENERATED_CHARS - key.len();
            key.extend(bytes.iter().filter_map(|byte| Self::character(*byte)).take(wanted));
        }
        Ok(Self(key))
    }

    /// The character for the low six bits of `byte`; `None` for the two values beyond the
    /// alphabet, so that no character is likelier than another.
    fn character(byte: u8) -> Option<char> {
        Self::ALPHABET.get(usize::from(byte & 0b11_1111)).map(|byte| char::from(*byte))
    }

    /// The secret itself. Every call is a place to look at in a review.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for TokenKey {
    fn from(key: String) -> Self {
        Self(Zeroizing::new(key))
    }
}

impl PartialEq for TokenKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
    }
}

impl Eq for TokenKey {}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenKey(…)")
    }
}

/// What a key is looked up by: how it was digested, and 32 bytes of digest. Unique in a store,
/// compared in constant time.
///
/// ```
/// use tokenkeep::{KeyDigest, TokenKey};
///
/// let digest = KeyDigest::of(&TokenKey::from("key".to_owned()));
/// assert_eq!(KeyDigest::from_bytes(digest.as_bytes()), Some(digest.clone()));
/// assert_eq!(format!("{digest:?}"), "KeyDigest(…)");
/// ```
#[derive(Clone)]
pub struct KeyDigest([u8; Self::BYTES]);

impl KeyDigest {
    /// The width of a digest in storage: one byte that says how it was made, then 32.
    pub const BYTES: usize = 33;

    /// The first byte of a digest made by SHA-256 without a pepper. Other values name the pepper
    /// of an HMAC.
    const PLAIN_SHA256: u8 = 0;

    /// The SHA-256 digest of `key`.
    #[must_use]
    pub fn of(key: &TokenKey) -> Self {
        let mut bytes = [Self::PLAIN_SHA256; Self::BYTES];
        if let Some((_, digest)) = bytes.split_first_mut() {
            digest.copy_from_slice(&Sha256::digest(key.0.as_bytes()));
        }
        Self(bytes)
    }

    /// The digest as a backend reads it from a row; `None` when the width is wrong.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().map(Self).ok()
    }

    /// The digest as a backend writes it into a row.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; Self::BYTES] {
        &self.0
    }
}

impl PartialEq for KeyDigest {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for KeyDigest {}

impl Hash for KeyDigest {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl fmt::Debug for KeyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyDigest(…)")
    }
}

/// A key that has been encrypted for viewing, as opaque bytes: only the key scheme that sealed it
/// can open it.
///
/// ```
/// use tokenkeep::SealedKey;
///
/// let sealed = SealedKey::from_bytes(&[1, 2, 3]);
/// assert_eq!(sealed.as_bytes(), [1, 2, 3]);
/// assert_eq!(format!("{sealed:?}"), "SealedKey(…)");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct SealedKey(Box<[u8]>);

impl SealedKey {
    /// The sealed key as a backend reads it from a row.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }

    /// The sealed key as a backend writes it into a row.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for SealedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealedKey(…)")
    }
}

/// How a service keeps keys: as digests only, so far. Then a key is shown once, by the operation
/// that makes it.
///
/// ```
/// use tokenkeep::{KeyDigest, KeyScheme, TokenKey};
///
/// let scheme = KeyScheme::digest_only();
/// let key = TokenKey::from("key".to_owned());
/// assert_eq!(scheme.digest(&key), KeyDigest::of(&key));
/// assert_eq!(scheme.seal(&key), None);
/// ```
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct KeyScheme {}

impl KeyScheme {
    /// Keeps digests and no keys: what a stolen store holds opens nothing.
    #[must_use]
    pub const fn digest_only() -> Self {
        Self {}
    }

    /// What `key` is looked up by.
    #[must_use]
    pub fn digest(&self, key: &TokenKey) -> KeyDigest {
        KeyDigest::of(key)
    }

    /// The key encrypted for viewing; `None` where keys are not retained.
    #[must_use]
    pub fn seal(&self, _key: &TokenKey) -> Option<SealedKey> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SeededRandom;

    #[test]
    fn generated_keys_have_sixty_alphanumeric_characters_and_differ() {
        let random = SeededRandom::new(1);
        let first = TokenKey::generate(&random).unwrap();
        let second = TokenKey::generate(&random).unwrap();
        assert_eq!(first.expose().len(), TokenKey::GENERATED_CHARS);
        assert!(first.expose().bytes().all(|b| b.is_ascii_alphanumeric()));
        assert_ne!(first, second);
    }

    #[test]
    fn every_character_is_equally_likely() {
        let random = SeededRandom::new(2);
        let mut counts = std::collections::HashMap::new();
        for _ in 0..2_000 {
            for c in TokenKey::generate(&random).unwrap().expose().chars() {
                *counts.entry(c).or_insert(0_u32) += 1;
            }
        }
        // 120,000 draws from 62 characters: 1,935 each, with a standard deviation of 44.
        assert_eq!(counts.len(), 62);
        assert!(counts.values().all(|count| (1_700..2_170).contains(count)), "{counts:?}");
    }

    #[test]
    fn the_digest_is_sha_256_behind_a_byte_that_says_so() {
        let digest = KeyDigest::of(&TokenKey::from("abc".to_owned()));
        assert_eq!(digest.as_bytes()[..5], [0, 0xba, 0x78, 0x16, 0xbf]);
    }

    #[test]
    fn digests_and_keys_that_differ_anywhere_are_different() {
        let digest = KeyDigest::of(&TokenKey::from("key".to_owned()));
        for place in 0..KeyDigest::BYTES {
            let mut bytes = *digest.as_bytes();
            bytes[place] ^= 1;
            assert_ne!(KeyDigest::from_bytes(&bytes).unwrap(), digest, "byte {place}");
        }
        assert_eq!(KeyDigest::from_bytes(&digest.as_bytes()[1..]), None);
        let key = |text: &str| TokenKey::from(text.to_owned());
        assert_eq!(key("same"), key("same"));
        assert_ne!(key("same"), key("samf"));
        assert_ne!(key("same"), key("same "));
    }

    #[test]
    fn nothing_secret_is_in_any_debug() {
        let key = TokenKey::from("canary".to_owned());
        assert_eq!(format!("{key:?} {:#?}", KeyDigest::of(&key)), "TokenKey(…) KeyDigest(…)");
        assert_eq!(format!("{:?}", SealedKey::from_bytes(b"canary")), "SealedKey(…)");
    }
}
