//! Keys that are kept encrypted, so that they can be viewed.

use std::fmt;

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::key::TokenKey;
use crate::key::digest::check_value;
use crate::random::{Random, RandomError};
use crate::token::TokenId;

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

/// A secret of the host by which keys are sealed: XChaCha20-Poly1305, with a random nonce, bound to
/// the token. Its id is kept with each sealed key: several can be in use while one follows
/// another. It is wiped from memory when dropped, and its `Debug` shows the id only.
///
/// ```
/// use tokenkeep::SealingKey;
///
/// assert_eq!(format!("{:?}", SealingKey::new(1, [7; 32])), "SealingKey(1, …)");
/// ```
#[derive(Clone)]
pub struct SealingKey {
    pub(super) id: u8,
    secret: Zeroizing<[u8; 32]>,
}

/// Why a sealed key could not be opened.
///
/// ```
/// use tokenkeep::UnsealError;
///
/// assert_eq!(UnsealError::UnknownKey(3).to_string(), "the sealing key 3 is not configured");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum UnsealError {
    /// It was sealed by a key that the host has not configured.
    #[error("the sealing key {0} is not configured")]
    UnknownKey(u8),
    /// It was not sealed by this key for this token, or has been changed since.
    #[error("the sealed key is damaged, or belongs to another token")]
    Damaged,
}

/// How long a nonce is.
const NONCE_BYTES: usize = 24;

/// What a sealed key is bound to beside its token, so that nothing else that the host seals with
/// the same secret can take its place.
const PURPOSE: &[u8] = b"tokenkeep token key 1";

impl SealingKey {
    /// A sealing key of 32 random bytes, and the id by which sealed keys name it: the same pair
    /// must be configured as long as a key is sealed by it.
    #[must_use]
    pub fn new(id: u8, secret: [u8; 32]) -> Self {
        Self { id, secret: Zeroizing::new(secret) }
    }

    /// Seals the key of a token: the id of this key, the nonce, then ciphertext and tag.
    pub(super) fn seal(
        &self,
        key: &TokenKey,
        token: TokenId,
        random: &dyn Random,
    ) -> Result<SealedKey, RandomError> {
        let mut nonce = [0; NONCE_BYTES];
        random.fill(&mut nonce)?;
        let message = Payload { msg: key.expose().as_bytes(), aad: &associated_data(token) };
        let sealed = self.cipher().encrypt(&XNonce::from(nonce), message);
        // What fails is a message of more than 256 GiB.
        let sealed = sealed.map_err(|_| RandomError("a key that cannot be sealed".into()))?;
        Ok(SealedKey([&[self.id], nonce.as_slice(), &sealed].concat().into()))
    }

    /// Opens what [`seal`](Self::seal) made for the same token.
    pub(super) fn open(&self, sealed: &SealedKey, token: TokenId) -> Result<TokenKey, UnsealError> {
        let (_, rest) = sealed.0.split_first().ok_or(UnsealError::Damaged)?;
        let (nonce, ciphertext) =
            rest.split_first_chunk::<NONCE_BYTES>().ok_or(UnsealError::Damaged)?;
        let message = Payload { msg: ciphertext, aad: &associated_data(token) };
        let plain = self.cipher().decrypt(&XNonce::from(*nonce), message);
        let plain = plain.map_err(|_| UnsealError::Damaged)?;
        String::from_utf8(plain).map(TokenKey::from).map_err(|_| UnsealError::Damaged)
    }

    pub(super) fn check_value(&self) -> [u8; 32] {
        check_value(&self.secret)
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(&(*self.secret).into())
    }
}

impl SealedKey {
    /// Returns the id of the sealing key; `None` where there are no bytes.
    #[must_use]
    pub fn sealed_by(&self) -> Option<u8> {
        self.0.first().copied()
    }
}

impl fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealingKey({}, …)", self.id)
    }
}

fn associated_data(token: TokenId) -> Vec<u8> {
    [token.as_bytes().as_slice(), PURPOSE].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SeededRandom;

    const TOKEN: TokenId = TokenId::from_bytes([1; 16]);

    fn sealed(by: &SealingKey, random: &dyn Random) -> SealedKey {
        by.seal(&TokenKey::from("canary".to_owned()), TOKEN, random).unwrap()
    }

    #[test]
    fn what_is_sealed_opens_again_and_never_looks_the_same() {
        let (key, random) = (SealingKey::new(3, [7; 32]), SeededRandom::new(1));
        let (first, second) = (sealed(&key, &random), sealed(&key, &random));
        assert_ne!(first, second);
        assert_eq!(first.sealed_by(), Some(3));
        assert_eq!(first.as_bytes().len(), 1 + NONCE_BYTES + "canary".len() + 16);
        assert!(!first.as_bytes().windows(6).any(|window| window == b"canary"));
        for sealed in [first, second] {
            assert_eq!(key.open(&sealed, TOKEN).unwrap().expose(), "canary");
        }
    }

    #[test]
    fn a_change_of_any_byte_another_token_and_another_key_are_seen() {
        let (key, random) = (SealingKey::new(3, [7; 32]), SeededRandom::new(1));
        let sealed = sealed(&key, &random);
        assert_eq!(key.open(&sealed, TokenId::from_bytes([2; 16])), Err(UnsealError::Damaged));
        assert_eq!(SealingKey::new(3, [8; 32]).open(&sealed, TOKEN), Err(UnsealError::Damaged));
        for place in 1..sealed.as_bytes().len() {
            let mut bytes = sealed.as_bytes().to_vec();
            bytes[place] ^= 1;
            let changed = SealedKey::from_bytes(&bytes);
            assert_eq!(key.open(&changed, TOKEN), Err(UnsealError::Damaged), "byte {place}");
        }
        for length in 0..sealed.as_bytes().len() {
            let cut = SealedKey::from_bytes(&sealed.as_bytes()[..length]);
            assert_eq!(key.open(&cut, TOKEN), Err(UnsealError::Damaged), "{length} bytes");
        }
    }
}
