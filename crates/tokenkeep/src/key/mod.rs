//! Keys: the secret that a holder shows, and the forms in which it is kept.
//!
//! The plain key is never stored (SPEC "Keys"). A store keeps its [`KeyDigest`], by which
//! authentication finds the token, and, where the host wants keys to be viewable, the
//! [`SealedKey`].

mod digest;
mod scheme;
mod seal;

use std::fmt;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

pub use digest::{KeyDigest, Pepper};
pub use scheme::KeyScheme;
pub use seal::{SealedKey, SealingKey, UnsealError};

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

#[cfg(test)]
mod tests {
    use std::num::NonZeroU8;

    use super::*;
    use crate::random::SeededRandom;

    /// Bytes of which every second one is no character of a key.
    #[derive(Debug)]
    struct HalfUsable;

    impl Random for HalfUsable {
        fn fill(&self, bytes: &mut [u8]) -> Result<(), RandomError> {
            for (byte, value) in bytes.iter_mut().zip([7, 0xff].into_iter().cycle()) {
                *byte = value;
            }
            Ok(())
        }
    }

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
    fn a_key_is_as_long_as_any_however_many_bytes_are_passed_over() {
        let key = TokenKey::generate(&HalfUsable).unwrap();
        assert_eq!(key.expose(), "h".repeat(TokenKey::GENERATED_CHARS));
    }

    #[test]
    fn the_low_six_bits_of_a_byte_choose_its_character() {
        for byte in 0..=u8::MAX {
            let character = TokenKey::ALPHABET.get(usize::from(byte % 64)).copied();
            assert_eq!(TokenKey::character(byte), character.map(char::from), "{byte}");
        }
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
        let pepper = Pepper::new(NonZeroU8::MIN, *b"thirty-two bytes that are secret");
        let sealing = SealingKey::new(3, *b"thirty-two bytes that are secret");
        assert_eq!(format!("{pepper:?} {sealing:?}"), "Pepper(1, …) SealingKey(3, …)");
    }
}
