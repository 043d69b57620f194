//! The verify cache: what an authentication has read, kept for the next one.

use std::fmt;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use crate::directory::UserDirectory;
use crate::key::KeyDigest;
use crate::store::{ChangeCounters, Changes, Changing, StoreError, Subject, TokenStore};
use crate::sync::{Mutex, MutexGuard};
use crate::token::Token;

/// Lets a service keep what authentication reads: the tokens that were shown last, and whether
/// their owners are active. Off unless it is [set](crate::TokenServiceBuilder::cache).
///
/// It is exact wherever the store can tell that its rows have changed (see
/// [`Changes`]): an authentication that starts after a revocation was acknowledged is refused, in
/// every process. What is kept are rows, never verdicts: expiry and the owner's state are judged at
/// each call. The owner's state is kept where the directory is part of the store, and asked for at
/// each call where it is not. Keys that open nothing are not kept.
///
/// A store that cannot tell, as PostgreSQL, is read at each call as if there were no cache, unless
/// the host [accepts](Self::accept_staleness) that a revocation by another instance takes its time.
/// What the service itself commits binds its own cache at once, and the owner's state is asked for
/// at each call.
///
/// ```
/// # pollster::block_on(async {
/// # use std::sync::Arc;
/// # use tokenkeep::{Caller, Timestamp, TokenChange, TokenError, User, UserId, UserStore};
/// use tokenkeep::{Caching, TokenService, VerifyCache};
/// # use tokenkeep_memory::MemoryStore;
///
/// # let store = Arc::new(MemoryStore::new());
/// # let alice = User::new(UserId::new(2), uuid::Uuid::from_u128(2), "alice", Timestamp::MIN);
/// # store.put_user(alice).await?;
/// let cache = VerifyCache::of(10_000);
/// let service = TokenService::builder(store.clone(), store).cache(cache).open().await?;
/// assert_eq!(service.caching(), Caching::Exact);
/// # let alice = Caller::User(UserId::new(2));
/// let key = service.create(&alice, TokenChange::new().identifier("ci")).await?.key;
/// let header = format!("Bearer {}", key.expose());
/// service.authenticate(Some(header.as_bytes())).await?;
/// service.authenticate(Some(header.as_bytes())).await?;
/// service.delete(&alice, "ci", tokenkeep::Expected::Anything).await?;
/// let revoked = service.authenticate(Some(header.as_bytes())).await;
/// assert!(matches!(revoked, Err(TokenError::InvalidKey)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VerifyCache {
    tokens: usize,
    staleness: Option<Duration>,
}

/// How a service uses its [`VerifyCache`].
///
/// See [`VerifyCache`] for an example.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caching {
    /// Every authentication reads the store.
    Off,
    /// The cache answers as the store would: every change that was acknowledged counts at once.
    Exact,
    /// A revocation or a new key that another instance committed may be missed for this long.
    Stale(Duration),
}

impl VerifyCache {
    /// A cache of at most this many tokens, or somewhat more; 16,777,216 are the most. Each place
    /// takes 32 bytes from the start, and the token itself once it is there: as much as it has text,
    /// and about 250 bytes.
    #[must_use]
    pub const fn of(tokens: usize) -> Self {
        Self { tokens, staleness: None }
    }

    /// Uses the cache on stores too that cannot tell whether their rows have changed. What was read
    /// is then used for `staleness`: until that has passed, a revoked key may still be accepted.
    #[must_use]
    pub const fn accept_staleness(mut self, staleness: Duration) -> Self {
        self.staleness = Some(staleness);
        self
    }

    /// The cache for these rows; `None` where it has to be off.
    pub(super) fn open(
        self,
        store: &dyn TokenStore,
        directory: &dyn UserDirectory,
    ) -> Option<Cache> {
        let staleness = self.staleness.filter(|staleness| !staleness.is_zero());
        let freshness = match (store.changes(), staleness) {
            _ if self.tokens == 0 => return None,
            (Some(changes), _) => Freshness::Exact {
                keeps_owners: directory.changes().is_some_and(|users| is_same(&users, &changes)),
                changes,
            },
            (None, Some(staleness)) => {
                Freshness::Stale { staleness, start: Instant::now(), own: Arc::default() }
            }
            (None, None) => return None,
        };
        Some(Cache { freshness, sets: sets_for(self.tokens) })
    }
}

/// What authentication has read, and is kept as long as it holds.
pub(super) struct Cache {
    freshness: Freshness,
    sets: Box<[Mutex<Set>]>,
}

impl fmt::Debug for Cache {
    /// Leaves the tokens out: a host may log a service.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").field("freshness", &self.freshness).finish_non_exhaustive()
    }
}

/// How it is known that what was read still holds.
#[derive(Debug)]
enum Freshness {
    Exact {
        changes: Arc<dyn Changes>,
        keeps_owners: bool,
    },
    /// `own` counts what this service commits.
    Stale {
        staleness: Duration,
        start: Instant,
        own: Arc<ChangeCounters>,
    },
}

/// What a decision needs to know.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) token: Arc<Token>,
    /// Whether its owner is active; `None` where that has to be asked.
    pub(super) owner_is_active: Option<bool>,
}

#[derive(Debug)]
struct Entry {
    known: Known,
    /// The stamp of its rows when they were read.
    stamp: u64,
    /// When they were read.
    read_at: u64,
}

impl Entry {
    fn holds_at(&self, moment: Moment<'_>) -> bool {
        let token = &self.known.token;
        self.read_at >= moment.oldest
            && moment.counters.stamp(token.id, token.owner) == Some(self.stamp)
    }
}

/// A moment before a look-up: what is read after it is at least as new.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment<'a> {
    counters: &'a ChangeCounters,
    total: u64,
    /// In microseconds since the cache was opened. Zero where the age of an entry does not matter.
    now: u64,
    /// What was read before this time does not hold any more.
    oldest: u64,
}

/// Digests are random, so that one chooses its place by itself: a set, and in it the place that
/// was used first.
type Set = [Option<Entry>; WAYS];

/// How many places there are in a set.
const WAYS: usize = 4;

/// The most sets that a cache has.
const MAX_SETS: usize = 1 << 22;

fn sets_for(tokens: usize) -> Box<[Mutex<Set>]> {
    let sets = tokens.div_ceil(WAYS).clamp(1, MAX_SETS).next_power_of_two();
    (0..sets).map(|_| Mutex::default()).collect()
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// Whether both are the same, and not only alike.
fn is_same(one: &Arc<dyn Changes>, other: &Arc<dyn Changes>) -> bool {
    std::ptr::addr_eq(Arc::as_ptr(one), Arc::as_ptr(other))
}

impl Cache {
    pub(super) const fn caching(&self) -> Caching {
        match self.freshness {
            Freshness::Exact { .. } => Caching::Exact,
            Freshness::Stale { staleness, .. } => Caching::Stale(staleness),
        }
    }

    /// Whether the owner's state is kept with the token.
    pub(super) const fn keeps_owners(&self) -> bool {
        match self.freshness {
            Freshness::Exact { keeps_owners, .. } => keeps_owners,
            Freshness::Stale { .. } => false,
        }
    }

    /// Begins a change that this service makes, where the store does not count changes.
    pub(super) fn begin(&self, subjects: impl Iterator<Item = Subject>) -> Option<Changing> {
        match &self.freshness {
            Freshness::Exact { .. } => None,
            Freshness::Stale { own, .. } => Some(own.begin(subjects.collect())),
        }
    }

    /// The present, as a look-up that begins now has to see it.
    pub(super) fn moment(&self) -> Result<Moment<'_>, StoreError> {
        let (counters, now, oldest) = match &self.freshness {
            Freshness::Exact { changes, .. } => (changes.now()?, 0, 0),
            Freshness::Stale { staleness, start, own } => {
                let now = start.elapsed();
                (&**own, micros(now), micros(now.saturating_sub(*staleness)))
            }
        };
        Ok(Moment { counters, total: counters.total(), now, oldest })
    }

    /// What is known of the token with this digest, if that still holds.
    pub(super) fn get(&self, digest: &KeyDigest, moment: Moment<'_>) -> Option<Known> {
        let mut set = self.set(digest)?;
        let is_it = |entry: &Entry| entry.known.token.key_digest == *digest;
        let place = set.iter_mut().find(|place| place.as_ref().is_some_and(is_it))?;
        if !place.as_ref().is_some_and(|entry| entry.holds_at(moment)) {
            *place = None;
        }
        place.as_ref().map(|entry| entry.known.clone())
    }

    /// Keeps what was read after `moment`, unless it may have changed meanwhile.
    pub(super) fn put(&self, known: Known, moment: Moment<'_>) {
        let stamp = match moment.counters.stamp(known.token.id, known.token.owner) {
            Some(stamp) if moment.counters.total() == moment.total => stamp,
            _ => return,
        };
        let read_at = moment.now;
        let digest = known.token.key_digest.clone();
        let Some(mut set) = self.set(&digest) else { return };
        // The last place holds what came first, unless one is empty or had the token already.
        let is_it = |entry: &Entry| entry.known.token.key_digest == digest;
        let place = set.iter().position(|place| place.as_ref().is_none_or(is_it));
        let end = place.unwrap_or(WAYS - 1);
        if let Some(places) = set.get_mut(..=end) {
            places.rotate_right(1);
        }
        if let Some(first) = set.first_mut() {
            *first = Some(Entry { known, stamp, read_at });
        }
    }

    fn set(&self, digest: &KeyDigest) -> Option<MutexGuard<'_, Set>> {
        let [.., high, middle, low] = *digest.as_bytes();
        let number = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
        let set = self.sets.get(number % self.sets.len().max(1))?;
        Some(set.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timestamp::Timestamp;
    use crate::token::{Intent, Revision, TokenId};
    use crate::user::UserId;

    fn cache_of(tokens: usize) -> Cache {
        let staleness = Duration::from_secs(3_600);
        let freshness = Freshness::Stale { staleness, start: Instant::now(), own: Arc::default() };
        Cache { freshness, sets: sets_for(tokens) }
    }

    /// A digest that ends so.
    fn digest(end: u32) -> KeyDigest {
        let mut bytes = [0; KeyDigest::BYTES];
        bytes[KeyDigest::BYTES - 4..].copy_from_slice(&end.to_be_bytes());
        KeyDigest::from_bytes(&bytes).unwrap()
    }

    fn known(key_digest: KeyDigest) -> Known {
        let token = Token {
            id: TokenId::from_bytes([1; 16]),
            identifier: "ci".parse().unwrap(),
            intent: Intent::Api,
            owner: UserId::new(2),
            description: "".into(),
            expires: None,
            expiring: false,
            managed: None,
            revision: Revision::FIRST,
            created: Timestamp::MIN,
            updated: Timestamp::MIN,
            last_used: None,
            owner_may_view_key: false,
            key_digest,
            sealed_key: None,
        };
        Known { token: Arc::new(token), owner_is_active: Some(true) }
    }

    /// Which of the first ten digests are known after these were kept, one after the other.
    fn kept(cache: &Cache, digests: &[u32]) -> Vec<u32> {
        let moment = cache.moment().unwrap();
        for end in digests {
            cache.put(known(digest(*end)), moment);
        }
        (0..10).filter(|end| cache.get(&digest(*end), moment).is_some()).collect()
    }

    #[test]
    fn what_came_first_makes_room() {
        assert_eq!(kept(&cache_of(1), &[0, 1, 2, 3]), [0, 1, 2, 3]);
        assert_eq!(kept(&cache_of(1), &[0, 1, 2, 3, 4]), [1, 2, 3, 4]);
        assert_eq!(kept(&cache_of(1), &[0, 1, 2, 3, 4, 5]), [2, 3, 4, 5]);
    }

    #[test]
    fn what_is_kept_again_takes_no_other_place() {
        assert_eq!(kept(&cache_of(1), &[0, 1, 2, 1, 1, 1, 1]), [0, 1, 2]);
        assert_eq!(kept(&cache_of(1), &[0, 1, 2, 3, 1, 4]), [1, 2, 3, 4]);
        assert_eq!(kept(&cache_of(1), &[0, 1, 2, 3, 0, 4]), [0, 2, 3, 4], "it came last");
    }

    #[test]
    fn a_cache_of_many_has_room_for_them() {
        let many: Vec<_> = (0..10).collect();
        assert_eq!(kept(&cache_of(40), &many), many);
    }

    #[test]
    fn the_last_bits_of_a_digest_choose_its_set() {
        let cache = cache_of(WAYS << 17);
        let place = |end| std::ptr::from_ref(&*cache.set(&digest(end)).unwrap()).addr();
        let places = (0..17).map(|bit| place(1 << bit)).chain([place(0)]);
        assert_eq!(places.collect::<std::collections::HashSet<_>>().len(), 18);
    }
}
