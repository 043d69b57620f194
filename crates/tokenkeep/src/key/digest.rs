//! What a key is looked up by.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::num::NonZeroU8;
use std::ops::BitAnd;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::key::TokenKey;

/// A secret of the host that goes into every digest, so that a stolen store alone does not even
/// tell a weak key. Its id is kept with each digest: several can be in use while one follows
/// another. It is wiped from memory when dropped, and its `Debug` shows the id only.
///
/// ```
/// use std::num::NonZeroU8;
/// use tokenkeep::{KeyDigest, Pepper, TokenKey};
///
/// let pepper = Pepper::new(NonZeroU8::MIN, [7; 32]);
/// let digest = KeyDigest::peppered(&TokenKey::from("key".to_owned()), &pepper);
/// assert_eq!(digest.pepper_id(), Some(NonZeroU8::MIN));
/// assert_eq!(format!("{pepper:?}"), "Pepper(1, …)");
/// ```
#[derive(Clone)]
pub struct Pepper {
    pub(super) id: NonZeroU8,
    secret: Zeroizing<[u8; 32]>,
}

impl Pepper {
    /// A pepper of 32 random bytes, and the id by which digests name it: the same pair must be
    /// configured as long as a digest is made by it.
    #[must_use]
    pub fn new(id: NonZeroU8, secret: [u8; 32]) -> Self {
        Self { id, secret: Zeroizing::new(secret) }
    }

    fn mac(&self) -> Hmac<Sha256> {
        mac_of(&self.secret)
    }

    pub(super) fn check_value(&self) -> [u8; 32] {
        check_value(&self.secret)
    }
}

fn mac_of(secret: &[u8; 32]) -> Hmac<Sha256> {
    // A key of 32 bytes is shorter than a block of 64: it is taken as it is.
    let mut block = Zeroizing::new([0; 64]);
    for (place, byte) in block.iter_mut().zip(secret) {
        *place = *byte;
    }
    Hmac::new(&(*block).into())
}

/// The text whose MAC is the check value of a secret. No key of a token equals it, since keys contain
/// no null character.
const CHECKED: &[u8] = b"tokenkeep\0check value 1";

/// Returns a value by which a store recognizes a secret.
pub(super) fn check_value(secret: &[u8; 32]) -> [u8; 32] {
    let mut mac = mac_of(secret);
    mac.update(CHECKED);
    mac.finalize().into_bytes().into()
}

impl fmt::Debug for Pepper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pepper({}, …)", self.id)
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
        Self::of_text(key.expose())
    }

    pub(crate) fn of_text(key: &str) -> Self {
        Self::tagged(Self::PLAIN_SHA256, &Sha256::digest(key.as_bytes()))
    }

    /// The HMAC-SHA-256 digest of `key` with a pepper.
    #[must_use]
    pub fn peppered(key: &TokenKey, pepper: &Pepper) -> Self {
        Self::peppered_text(key.expose(), pepper)
    }

    pub(crate) fn peppered_text(key: &str, pepper: &Pepper) -> Self {
        let mut mac = pepper.mac();
        mac.update(key.as_bytes());
        Self::tagged(pepper.id.get(), &mac.finalize().into_bytes())
    }

    fn tagged(kind: u8, digest: &[u8]) -> Self {
        let mut bytes = [kind; Self::BYTES];
        for (place, byte) in bytes.iter_mut().skip(1).zip(digest) {
            *place = *byte;
        }
        Self(bytes)
    }

    /// The id of the pepper that made it; `None` for plain SHA-256.
    #[must_use]
    pub const fn pepper_id(&self) -> Option<NonZeroU8> {
        let [id, ..] = self.0;
        NonZeroU8::new(id)
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
        // In words: byte by byte it takes as long as a look-up in a map.
        let ((words, rest), (others, other_rest)) = (self.0.as_chunks(), other.0.as_chunks());
        let equal = words
            .iter()
            .zip(others)
            .map(|(word, other)| u64::from_ne_bytes(*word).ct_eq(&u64::from_ne_bytes(*other)));
        equal.fold(rest.ct_eq(other_rest), BitAnd::bitand).into()
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

#[cfg(test)]
mod tests {
    use std::hash::BuildHasher;

    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"))
    }

    #[test]
    fn a_peppered_digest_is_hmac_sha_256_behind_the_peppers_id() {
        // Computed with Python: hmac.new(bytes([7] * 32), b"abc", "sha256").
        let pepper = Pepper::new(NonZeroU8::new(9).unwrap(), [7; 32]);
        let digest = KeyDigest::peppered(&TokenKey::from("abc".to_owned()), &pepper);
        assert_eq!(
            hex(digest.as_bytes()),
            "09127da4ced6a839b8f6118bc244684d2663e70cb5ff0adeefca89d7e74d5a0525"
        );
    }

    #[test]
    fn digests_are_equal_in_every_byte_or_not_at_all() {
        let digest = KeyDigest::of(&TokenKey::from("abc".to_owned()));
        assert_eq!(digest, digest.clone());
        for bit in 0..KeyDigest::BYTES * 8 {
            let mut other = digest.clone();
            other.0[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(digest, other, "bit {bit}");
        }
    }

    #[test]
    fn digests_that_differ_are_spread() {
        let hasher = std::hash::RandomState::new();
        let hash = |key: &str| hasher.hash_one(KeyDigest::of(&TokenKey::from(key.to_owned())));
        assert_eq!(hash("abc"), hash("abc"));
        assert_ne!(hash("abc"), hash("abd"));
    }

    #[test]
    fn the_digest_is_sha_256_behind_a_byte_that_says_so() {
        let digest = KeyDigest::of(&TokenKey::from("abc".to_owned()));
        assert_eq!(hex(&digest.as_bytes()[..5]), "00ba7816bf");
        assert_eq!(digest.pepper_id(), None);
    }
}
