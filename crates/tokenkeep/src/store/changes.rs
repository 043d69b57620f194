//! How a cache learns that rows have changed.

use std::fmt::{self, Debug, Formatter};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::store::StoreError;
use crate::sync::AtomicU64;
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
/// use std::sync::Arc;
/// use tokenkeep::{ChangeCounters, Subject, TokenId, UserId};
///
/// let counters = Arc::new(ChangeCounters::new());
/// let (ci, alice) = (TokenId::from_bytes([1; 16]), UserId::new(2));
/// let before = counters.stamp(ci, alice);
/// assert_eq!(counters.stamp(ci, alice), before);
///
/// for about in [Subject::Token(ci), Subject::User(alice), Subject::Everything] {
///     let before = counters.stamp(ci, alice);
///     let change = counters.begin(vec![about]);
///     assert_eq!(counters.stamp(ci, alice), None);
///     // Here the rows are written.
///     drop(change);
///     assert_ne!(counters.stamp(ci, alice), before);
/// }
/// ```
pub struct ChangeCounters {
    /// Raised by every change that ends.
    total: AtomicU64,
    /// For when it is not known what has changed.
    everything: Counter,
    spread: Box<[Counter]>,
}

impl Debug for ChangeCounters {
    /// Without the thousands of counters.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChangeCounters").field("total", &self.total()).finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Counter {
    /// How many changes have begun and not ended.
    under_way: AtomicU64,
    ended: AtomicU64,
}

impl Counter {
    /// How many changes have ended; `None` while one is under way.
    fn read(&self) -> Option<u64> {
        // In this order: who sees that the last change is no longer under way sees that it ended.
        let under_way = self.under_way.load(Ordering::Acquire);
        (under_way == 0).then(|| self.ended.load(Ordering::Acquire))
    }
}

/// A change that is under way: while this is kept, caches ask the store.
///
/// See [`ChangeCounters`] for an example.
#[derive(Debug)]
#[must_use = "the change ends when this is dropped"]
pub struct Changing {
    counters: Arc<ChangeCounters>,
    about: Vec<Subject>,
}

impl Drop for Changing {
    fn drop(&mut self) {
        self.counters.note(&self.about);
        for subject in &self.about {
            self.counters.counter(*subject).under_way.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

/// How many counters there are: 64 KiB.
const COUNTERS: usize = if cfg!(tokenkeep_shuttle) { 4 } else { 4_096 };

impl ChangeCounters {
    /// Counters at zero.
    #[must_use]
    pub fn new() -> Self {
        let spread = (0..COUNTERS).map(|_| Counter::default()).collect();
        Self { total: AtomicU64::new(0), everything: Counter::default(), spread }
    }

    /// Begins a change, which ends when what is returned is dropped: before anybody can see it, and
    /// after everybody does, but before it is acknowledged. Between the two some see it and some do
    /// not; a cache that went on would show the past to those who have seen what came after. A
    /// change may fail.
    pub fn begin(self: &Arc<Self>, about: Vec<Subject>) -> Changing {
        for subject in &about {
            self.counter(*subject).under_way.fetch_add(1, Ordering::AcqRel);
        }
        Changing { counters: self.clone(), about }
    }

    /// Notes changes that everybody sees already, as a store that shares its rows with others finds
    /// out.
    pub fn note(&self, about: &[Subject]) {
        for subject in about {
            // In this order: who sees the second sees that the total has moved. A look-up that was
            // going on takes what it read for no older than that.
            self.total.fetch_add(1, Ordering::AcqRel);
            self.counter(*subject).ended.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// How many changes have ended. Between two equal totals none did.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.total.load(Ordering::Acquire)
    }

    /// A number that is another one after each change that may concern this token or this user;
    /// `None` while such a change is under way.
    #[must_use]
    pub fn stamp(&self, token: TokenId, owner: UserId) -> Option<u64> {
        // None of them ever falls: the sum is the same when each is.
        [Subject::Everything, Subject::Token(token), Subject::User(owner)]
            .into_iter()
            .try_fold(0_u64, |sum, subject| Some(sum.wrapping_add(self.counter(subject).read()?)))
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "only spreads")]
    fn counter(&self, subject: Subject) -> &Counter {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_stays_while_others_change() {
        let counters = Arc::new(ChangeCounters::new());
        let token = |number: u8| TokenId::from_bytes([number; 16]);
        let before = counters.stamp(token(1), UserId::new(2));
        let others = [Subject::Token(token(3)), Subject::User(UserId::new(4))];
        let change = counters.begin(others.into());
        assert_eq!(counters.stamp(token(1), UserId::new(2)), before);
        drop(change);
        assert_eq!(counters.stamp(token(1), UserId::new(2)), before);
        assert_eq!(counters.total(), 2);
    }

    #[test]
    fn thousands_of_counters_are_not_told() {
        let counters = ChangeCounters::new();
        assert_eq!(format!("{counters:?}"), "ChangeCounters { total: 0, .. }");
    }
}
