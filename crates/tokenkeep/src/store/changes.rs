//! How a cache learns that rows have changed.

use std::fmt::Debug;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::store::StoreError;
use crate::token::TokenId;
use crate::user::UserId;

/// Tells a cache whether tokens and users may have changed since it read them.
///
/// A store that sees every change of its rows counts them in [`ChangeCounters`], which are their
/// own `Changes`. One that shares its rows with other processes finds out in `now` whether those
/// have written. One that cannot tell has no `Changes`.
pub trait Changes: Debug + Send + Sync + 'static {
    /// The counters, up to date: asked at each use of the cache, so it should cost less than a
    /// look-up.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when that cannot be found out.
    fn now(&self) -> Result<&ChangeCounters, StoreError>;
}

/// What a change is about.
///
/// See [`ChangeCounters`] for an example.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Subject {
    /// A token.
    Token(TokenId),
    /// A user.
    User(UserId),
    /// Any number of both: what exactly is not known.
    Everything,
}

/// Counts changes: a few thousand counters, over which tokens and users are spread. Two that share
/// a counter seem to change together, which costs a cache a look-up and is never wrong.
///
/// ```
/// use tokenkeep::{ChangeCounters, Subject, TokenId, UserId};
///
/// let counters = ChangeCounters::new();
/// let (ci, alice) = (TokenId::from_bytes([1; 16]), UserId::new(2));
/// let before = counters.stamp(ci, alice);
/// assert_eq!(counters.stamp(ci, alice), before);
///
/// for about in [Subject::Token(ci), Subject::User(alice), Subject::Everything] {
///     let before = counters.stamp(ci, alice);
///     counters.note([about]);
///     assert_ne!(counters.stamp(ci, alice), before);
/// }
/// ```
#[derive(Debug)]
pub struct ChangeCounters {
    /// Raised by every change.
    total: AtomicU64,
    /// Raised when it is not known what has changed.
    everything: AtomicU64,
    spread: Box<[AtomicU64]>,
}

/// How many counters there are: 32 KiB.
const COUNTERS: usize = 4_096;

impl ChangeCounters {
    /// Counters at zero.
    #[must_use]
    pub fn new() -> Self {
        let spread = (0..COUNTERS).map(|_| AtomicU64::new(0)).collect();
        Self { total: AtomicU64::new(0), everything: AtomicU64::new(0), spread }
    }

    /// Notes changes: after they can be seen, and before they are acknowledged. A change that may
    /// have failed can be noted, too.
    pub fn note(&self, about: impl IntoIterator<Item = Subject>) {
        for subject in about {
            // In this order: who sees the second sees that the total has moved. A look-up that was
            // going on takes what it read for no older than that.
            self.total.fetch_add(1, Ordering::AcqRel);
            self.counter(subject).fetch_add(1, Ordering::AcqRel);
        }
    }

    /// How many changes there have been. Between two equal totals nothing was noted.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.total.load(Ordering::Acquire)
    }

    /// A number that is another one after each change that may concern this token or this user.
    #[must_use]
    pub fn stamp(&self, token: TokenId, owner: UserId) -> u64 {
        // None of them ever falls: the sum is the same when each is.
        [Subject::Everything, Subject::Token(token), Subject::User(owner)]
            .into_iter()
            .map(|subject| self.counter(subject).load(Ordering::Acquire))
            .fold(0, u64::wrapping_add)
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "only spreads")]
    fn counter(&self, subject: Subject) -> &AtomicU64 {
        let number = match subject {
            // Random bytes, of which any will do.
            Subject::Token(token) => u128::from_be_bytes(*token.as_bytes()) as usize,
            Subject::User(user) => user.get() as usize,
            Subject::Everything => return &self.everything,
        };
        // Always there.
        self.spread.get(number % COUNTERS).unwrap_or(&self.everything)
    }
}

impl Default for ChangeCounters {
    fn default() -> Self {
        Self::new()
    }
}

impl Changes for ChangeCounters {
    fn now(&self) -> Result<&ChangeCounters, StoreError> {
        Ok(self)
    }
}
