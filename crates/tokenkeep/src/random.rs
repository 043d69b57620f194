//! Where keys and ids get their randomness from.

use std::fmt::Debug;
use std::sync::atomic::{AtomicU64, Ordering};

use sha2::{Digest, Sha256};
use thiserror::Error;
use uuid::Uuid;

/// A source of random bytes. Services use [`SystemRandom`]; tests that need fixed keys use
/// [`SeededRandom`].
///
/// ```
/// use tokenkeep::{Random, RandomError, TokenKey};
///
/// /// A device that is not there.
/// #[derive(Debug)]
/// struct Unplugged;
///
/// impl Random for Unplugged {
///     fn fill(&self, _: &mut [u8]) -> Result<(), RandomError> {
///         Err(RandomError("unplugged".into()))
///     }
/// }
///
/// assert!(TokenKey::generate(&Unplugged).is_err());
/// ```
pub trait Random: Debug + Send + Sync + 'static {
    /// Fills `bytes` with random bytes.
    ///
    /// # Errors
    ///
    /// [`RandomError`] when there are none to be had; `bytes` must then not be used.
    fn fill(&self, bytes: &mut [u8]) -> Result<(), RandomError>;
}

/// The system gave no random bytes. Nothing has been changed; trying again may help.
///
/// See [`Random`] for an example.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the source of randomness failed: {0}")]
pub struct RandomError(pub String);

/// The operating system's secure source.
///
/// ```
/// use tokenkeep::{SystemRandom, TokenKey};
///
/// let key = TokenKey::generate(&SystemRandom)?;
/// assert_eq!(key.expose().len(), 60);
/// # Ok::<(), tokenkeep::RandomError>(())
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemRandom;

impl Random for SystemRandom {
    #[expect(clippy::disallowed_methods, reason = "the one place that asks the system")]
    fn fill(&self, bytes: &mut [u8]) -> Result<(), RandomError> {
        getrandom::fill(bytes).map_err(|error| RandomError(error.to_string()))
    }
}

/// The same bytes on every run, for tests only: whoever knows the seed knows every key.
///
/// ```
/// use tokenkeep::{SeededRandom, TokenKey};
///
/// let key = TokenKey::generate(&SeededRandom::new(7))?;
/// assert_eq!(key, TokenKey::generate(&SeededRandom::new(7))?);
/// assert_ne!(key, TokenKey::generate(&SeededRandom::new(8))?);
/// # Ok::<(), tokenkeep::RandomError>(())
/// ```
#[derive(Debug)]
pub struct SeededRandom {
    seed: u64,
    blocks: AtomicU64,
}

impl SeededRandom {
    /// A source whose bytes are decided by `seed`.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { seed, blocks: AtomicU64::new(0) }
    }
}

impl Random for SeededRandom {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), RandomError> {
        for chunk in bytes.chunks_mut(32) {
            let block = self.blocks.fetch_add(1, Ordering::Relaxed);
            let digest = Sha256::new()
                .chain_update(self.seed.to_le_bytes())
                .chain_update(block.to_le_bytes())
                .finalize();
            for (byte, random) in chunk.iter_mut().zip(digest) {
                *byte = random;
            }
        }
        Ok(())
    }
}

/// A version 4 UUID.
pub(crate) fn uuid_v4(random: &dyn Random) -> Result<Uuid, RandomError> {
    let mut bytes = [0; 16];
    random.fill(&mut bytes)?;
    Ok(uuid::Builder::from_random_bytes(bytes).into_uuid())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_gives_other_bytes_each_time() {
        let draw = || {
            let mut bytes = [0; 32];
            SystemRandom.fill(&mut bytes).unwrap();
            bytes
        };
        let (first, second) = (draw(), draw());
        assert_ne!(first, second);
        assert!(first.iter().any(|byte| *byte != first[0]));
    }

    #[test]
    fn ids_are_of_version_4() {
        let id = uuid_v4(&SeededRandom::new(1)).unwrap();
        assert_eq!((id.get_version_num(), id.get_variant()), (4, uuid::Variant::RFC4122));
    }

    #[test]
    fn a_seeded_source_goes_on_where_it_was() {
        let random = SeededRandom::new(1);
        assert_ne!(uuid_v4(&random).unwrap(), uuid_v4(&random).unwrap());
        let mut long = [0; 100];
        random.fill(&mut long).unwrap();
        assert_ne!(long[..32], long[32..64]);
    }
}
