//! What happened to tokens: the audit trail.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use uuid::Uuid;

use crate::access::Caller;
use crate::fields::TokenFields;
use crate::identifier::Identifier;
use crate::random::{Random, RandomError};
use crate::timestamp::Timestamp;
use crate::token::{Revision, Token, TokenId};
use crate::user::UserId;

/// An event's id: a version 7 UUID (RFC 9562), so that ids made by one service sort in the order
/// in which they were made, also while the clock stands still.
///
/// ```
/// use tokenkeep::EventId;
///
/// let id = EventId::from_bytes([1; 16]);
/// assert!(id < EventId::from_bytes([2; 16]));
/// assert_eq!(id.as_bytes(), &[1; 16]);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId(Uuid);

impl EventId {
    /// The id with these 16 bytes, as a backend reads them from a row.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }

    /// The id's 16 bytes, as a backend writes them into a row.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// What was done to a token.
///
/// ```
/// use tokenkeep::EventKind;
///
/// assert_eq!(EventKind::Updated.as_str(), "updated");
/// assert_eq!(EventKind::from_name("updated"), Some(EventKind::Updated));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EventKind {
    /// The token was created.
    Created,
    /// Fields of the token were changed.
    Updated,
    /// The token was deleted.
    Deleted,
    /// The key was shown to the actor. The token itself did not change, unless its key was sealed
    /// anew on the way: then that is what the changed fields say.
    KeyViewed,
    /// The key was set by hand.
    KeySet,
    /// The key was replaced by a new one.
    Rotated,
    /// A single-use token was used, and is gone.
    Consumed,
    /// The token had expired and was removed by a sweep.
    Expired,
}

impl EventKind {
    /// Every kind.
    pub const ALL: [Self; 8] = [
        Self::Created,
        Self::Updated,
        Self::Deleted,
        Self::KeyViewed,
        Self::KeySet,
        Self::Rotated,
        Self::Consumed,
        Self::Expired,
    ];

    /// The name in storage.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Updated => "updated",
            Self::Deleted => "deleted",
            Self::KeyViewed => "key_viewed",
            Self::KeySet => "key_set",
            Self::Rotated => "rotated",
            Self::Consumed => "consumed",
            Self::Expired => "expired",
        }
    }

    /// The kind of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One entry of the audit trail, committed together with what it describes. It names fields, never
/// their values, and never a key.
///
/// Its `Display` is one line for a log: `2024-09-27T14:26:18Z revision 2 of "ci": updated
/// (description) by user 1`.
///
/// [The page on testing](crate::guide::testing) has an example.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The event's own id.
    pub id: EventId,
    /// When it happened, by the clock of the service that did it.
    pub at: Timestamp,
    /// The token.
    pub token: TokenId,
    /// The token's identifier after the event, which outlives the token here.
    pub identifier: Identifier,
    /// The token's owner, for the same reason.
    pub owner: UserId,
    /// The token's revision after the event; of a deleted token, the last it had.
    pub revision: Revision,
    /// What was done.
    pub kind: EventKind,
    /// Which fields were changed; of a created token, none.
    pub changed: TokenFields,
    /// Who did it.
    pub actor: Caller,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, revision, identifier, kind, changed, actor, .. } = self;
        write!(f, "{at} revision {revision} of \"{identifier}\": {kind}")?;
        if !changed.is_empty() {
            write!(f, " ({changed})")?;
        }
        write!(f, " by {actor}")
    }
}

/// Makes events whose ids rise.
#[derive(Debug, Default)]
pub(crate) struct EventMaker {
    /// The last id given out.
    last: Mutex<u128>,
}

impl EventMaker {
    /// The event that `actor` did `kind` to `token`, which is shown as it is afterwards.
    pub(crate) fn make(
        &self,
        kind: EventKind,
        token: &Token,
        changed: TokenFields,
        actor: Caller,
        at: Timestamp,
        random: &dyn Random,
    ) -> Result<Event, RandomError> {
        Ok(Event {
            id: self.next_id(at, random)?,
            at,
            token: token.id,
            identifier: token.identifier.clone(),
            owner: token.owner,
            revision: token.revision,
            kind,
            changed,
            actor,
        })
    }

    /// A version 7 UUID for `at`, or the successor of the last one where the clock has not moved
    /// on (RFC 9562, section 6.2, method 2), which saves asking the system for random bytes.
    fn next_id(&self, at: Timestamp, random: &dyn Random) -> Result<EventId, RandomError> {
        let millis = u64::try_from(at.as_micros() / 1_000).unwrap_or(0);
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        *last = if u128::from(millis) > *last >> 80 {
            let mut bytes = [0; 10];
            random.fill(&mut bytes)?;
            uuid::Builder::from_unix_timestamp_millis(millis, &bytes).into_uuid().as_u128()
        } else {
            successor(*last)
        };
        Ok(EventId(Uuid::from_u128(*last)))
    }
}

/// The next higher version 7 UUID: the 74 random bits are counted up, around the version and the
/// variant.
const fn successor(id: u128) -> u128 {
    const VERSION_AND_VARIANT: u128 = 0xf << 76 | 0b11 << 62;
    // With the fixed bits all set, a carry runs through them into the bits above.
    let counted = (id | VERSION_AND_VARIANT).wrapping_add(1);
    counted & !VERSION_AND_VARIANT | 0x7 << 76 | 0b10 << 62
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SeededRandom;

    #[test]
    fn ids_rise_while_the_clock_stands_still_or_goes_back() {
        let (maker, random) = (EventMaker::default(), SeededRandom::new(1));
        let times = [1_000_000, 1_000_000, 999_000, 1_000_000, 1_001_000, -5];
        let ids: Vec<_> = times
            .map(|micros| maker.next_id(Timestamp::from_micros(micros).unwrap(), &random).unwrap())
            .into();
        assert!(ids.is_sorted_by(|a, b| a < b), "{ids:?}");
        for id in ids {
            assert_eq!((id.0.get_version_num(), id.0.get_variant()), (7, uuid::Variant::RFC4122));
        }
    }

    #[test]
    fn an_id_has_the_milliseconds_of_a_clock_that_has_moved_on() {
        let (maker, random) = (EventMaker::default(), SeededRandom::new(1));
        for (micros, millis) in [(1_000_000, 1_000), (1_000_999, 1_000), (1_002_000, 1_002)] {
            let at = Timestamp::from_micros(micros).unwrap();
            let id = maker.next_id(at, &random).unwrap();
            assert_eq!(id.0.as_u128() >> 80, millis, "{id}");
        }
    }

    #[test]
    fn ids_are_shown_as_uuids() {
        let id = EventId::from_bytes([0x1f; 16]);
        assert_eq!(id.to_string(), "1f1f1f1f-1f1f-1f1f-1f1f-1f1f1f1f1f1f");
    }

    #[test]
    fn a_successor_carries_over_version_and_variant() {
        let id = Uuid::parse_str("00000000-0001-7fff-bfff-ffffffffffff").unwrap().as_u128();
        let next = Uuid::from_u128(successor(id)).to_string();
        assert_eq!(next, "00000000-0002-7000-8000-000000000000");
    }
}
