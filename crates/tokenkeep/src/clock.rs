//! What time it is.

use std::fmt::Debug;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::timestamp::Timestamp;

/// Tells the time to a service, which asks once an attempt. Services use [`SystemClock`]; tests
/// use [`ManualClock`].
///
/// ```
/// use tokenkeep::{Clock, SystemClock, Timestamp};
///
/// /// A clock for replays, which runs behind.
/// #[derive(Debug)]
/// struct Late(i64);
///
/// impl Clock for Late {
///     fn now(&self) -> Timestamp {
///         let micros = SystemClock.now().as_micros() - self.0;
///         Timestamp::from_micros(micros).unwrap_or(Timestamp::MIN)
///     }
/// }
///
/// assert!(Late(1_000_000).now() < SystemClock.now());
/// ```
pub trait Clock: Debug + Send + Sync + 'static {
    /// The time now.
    fn now(&self) -> Timestamp;
}

/// The system's clock.
///
/// ```
/// use tokenkeep::{Clock, SystemClock, Timestamp};
///
/// assert!(SystemClock.now() > "2024-09-27T14:26:18Z".parse::<Timestamp>()?);
/// # Ok::<(), tokenkeep::FieldError>(())
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that asks the system")]
    fn now(&self) -> Timestamp {
        let micros = |span: Duration| i64::try_from(span.as_micros()).unwrap_or(i64::MAX);
        Timestamp::saturating(match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => micros(since),
            Err(before) => -micros(before.duration()),
        })
    }
}

/// A clock that stands still until it is told otherwise.
///
/// ```
/// use std::time::Duration;
/// use tokenkeep::{Clock, ManualClock};
///
/// let clock = ManualClock::at("2024-09-27T14:26:18Z".parse()?);
/// clock.advance(Duration::from_secs(60));
/// assert_eq!(clock.now().to_string(), "2024-09-27T14:27:18Z");
/// # Ok::<(), tokenkeep::FieldError>(())
/// ```
#[derive(Debug)]
pub struct ManualClock {
    micros: AtomicI64,
}

impl ManualClock {
    /// A clock that reads `now`.
    #[must_use]
    pub const fn at(now: Timestamp) -> Self {
        Self { micros: AtomicI64::new(now.as_micros()) }
    }

    /// Sets the clock, forward or back.
    pub fn set(&self, now: Timestamp) {
        self.micros.store(now.as_micros(), Ordering::SeqCst);
    }

    /// Moves the clock forward, to [`Timestamp::MAX`] at the latest.
    pub fn advance(&self, span: Duration) {
        self.set(self.now().saturating_add(span));
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        // Only timestamps are ever stored.
        Timestamp::from_micros(self.micros.load(Ordering::SeqCst)).unwrap_or(Timestamp::MAX)
    }
}
