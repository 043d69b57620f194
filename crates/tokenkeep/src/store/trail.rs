//! Reading the audit trail: of one token, or of all of them.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;
use uuid::Uuid;

use crate::event::{Event, EventId};
use crate::store::TokenQuery;
use crate::timestamp::Timestamp;
use crate::token::TokenId;

/// Which events to read, and in which of two orders.
///
/// With a token: that token's events, newest first. A page costs its own events, however long the
/// trail is. Without one: the events of all tokens in the order of their commits, which a follower
/// continues by cursor.
///
/// ```
/// use tokenkeep::EventQuery;
///
/// # pollster::block_on(async {
/// # use tokenkeep::TokenStore;
/// # let store = tokenkeep_memory::MemoryStore::new();
/// // A follower keeps its cursor and asks again later.
/// let mut query = EventQuery::default();
/// loop {
///     let page = store.events(&query).await?;
///     query.after = page.next;
///     if page.events.is_empty() {
///         break;
///     }
/// }
/// # Ok::<(), tokenkeep::StoreError>(())
/// # }).unwrap();
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventQuery {
    /// Only the events of this token, newest first.
    pub token: Option<TokenId>,
    /// Only events at this time or later.
    pub from: Option<Timestamp>,
    /// Only events before this time.
    pub until: Option<Timestamp>,
    /// Continues after an earlier page of the same query.
    pub after: Option<EventCursor>,
    /// The most events to return.
    pub limit: u32,
}

impl EventQuery {
    /// Returns whether `event` passes the token and the times of the query.
    #[must_use]
    pub fn matches(&self, event: &Event) -> bool {
        self.token.is_none_or(|token| event.token == token)
            && self.from.is_none_or(|from| event.at >= from)
            && self.until.is_none_or(|until| event.at < until)
    }

    /// Returns whether a store that has pruned events `prunes` times can have returned the cursor of
    /// the query, if there is one, for the same token or for all tokens.
    ///
    /// A backend refuses other cursors as [`InvalidCursor`](crate::StoreErrorKind::InvalidCursor).
    /// Whether events after the cursor were pruned, it checks by itself.
    ///
    /// ```
    /// use tokenkeep::{EventCursor, EventQuery, StoreId, TokenId};
    ///
    /// let store = StoreId::from_bytes([7; 16]);
    /// let after = EventCursor { store, number: 12, prunes: 3, event: None, token: None };
    /// let all = EventQuery { after: Some(after), ..EventQuery::default() };
    /// assert!(all.accepts_cursor(store, 3));
    /// assert!(!all.accepts_cursor(store, 2));
    /// let token = Some(TokenId::from_bytes([1; 16]));
    /// assert!(!EventQuery { token, ..all }.accepts_cursor(store, 3));
    /// ```
    #[must_use]
    pub fn accepts_cursor(&self, store: StoreId, prunes: u64) -> bool {
        self.after.is_none_or(|after| {
            after.store == store && after.token == self.token && after.prunes <= prunes
        })
    }

    /// Returns whether an index bounds what the query reads, as [`TokenQuery::is_bounded`] does for
    /// lists.
    ///
    /// A query of one token reads that token's events at most. One of all tokens is bounded if it has no
    /// times and a limit of [1,000](TokenQuery::BOUNDED_ROWS) at most.
    ///
    /// ```
    /// use tokenkeep::{EventQuery, Timestamp};
    ///
    /// assert!(EventQuery::default().is_bounded());
    /// let from = Some(Timestamp::MIN);
    /// assert!(!EventQuery { from, ..EventQuery::default() }.is_bounded());
    /// ```
    #[must_use]
    pub fn is_bounded(&self) -> bool {
        let is_timed = self.from.is_some() || self.until.is_some();
        self.token.is_some() || (!is_timed && self.limit <= TokenQuery::BOUNDED_ROWS)
    }
}

impl Default for EventQuery {
    /// The first hundred events of all tokens.
    fn default() -> Self {
        Self { token: None, from: None, until: None, after: None, limit: 100 }
    }
}

/// A page of the audit trail.
///
/// See [`EventQuery`] for an example.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EventPage {
    /// The events.
    pub events: Vec<Event>,
    /// Where the next page starts. Of one token: `None` after its oldest event. Of all tokens: always
    /// there, also after an empty page, since events can follow.
    pub next: Option<EventCursor>,
}

/// A place in the audit trail of one store. Its text form can be kept and parsed again.
///
/// ```
/// use tokenkeep::{EventCursor, StoreId};
///
/// let store = StoreId::from_bytes([7; 16]);
/// let cursor = EventCursor { store, number: 12, prunes: 0, event: None, token: None };
/// assert_eq!(cursor.to_string().parse(), Ok(cursor));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EventCursor {
    /// The store that returned the cursor.
    pub store: StoreId,
    /// The store's own number of the place.
    pub number: u64,
    /// How often the store had pruned events when it returned the cursor: by it the store notices
    /// that events after the place were pruned since.
    pub prunes: u64,
    /// The event at the place, by which a store that was restored from an older backup notices that
    /// the cursor belongs to another history.
    pub event: Option<EventId>,
    /// The token of the query; `None` for all tokens. The cursor continues no other query.
    pub token: Option<TokenId>,
}

/// Identifies a store: the rows, not the handle. Two handles on the same rows have the same id.
///
/// ```
/// use tokenkeep::StoreId;
///
/// let id = StoreId::from_bytes([1; 16]);
/// assert_eq!(id.as_bytes(), &[1; 16]);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StoreId(Uuid);

impl StoreId {
    /// Returns the id with these 16 bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }

    /// Returns the 16 bytes of the id.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }
}

impl fmt::Display for EventCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.store.0.simple(), self.number, self.prunes)?;
        if self.event.is_some() || self.token.is_some() {
            f.write_str(".")?;
        }
        if let Some(event) = self.event {
            write!(f, "{}", Uuid::from_bytes(*event.as_bytes()).simple())?;
        }
        match self.token {
            Some(token) => write!(f, ".{}", Uuid::from_bytes(*token.as_bytes()).simple()),
            None => Ok(()),
        }
    }
}

/// The error of a text that is not an [`EventCursor`].
///
/// ```
/// use tokenkeep::EventCursor;
///
/// assert!("12".parse::<EventCursor>().is_err());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("not a cursor of an audit trail")]
pub struct InvalidEventCursor;

impl FromStr for EventCursor {
    type Err = InvalidEventCursor;

    fn from_str(text: &str) -> Result<Self, InvalidEventCursor> {
        let uuid = |text| Uuid::try_parse(text).map_err(|_| InvalidEventCursor);
        let mut parts = text.split('.');
        let (Some(store), Some(number), Some(prunes)) = (parts.next(), parts.next(), parts.next())
        else {
            return Err(InvalidEventCursor);
        };
        let (event, token) = (parts.next(), parts.next());
        // The event of a cursor with a token may be empty.
        let event = event.filter(|event| !event.is_empty() || token.is_none());
        if parts.next().is_some() {
            return Err(InvalidEventCursor);
        }
        Ok(Self {
            store: StoreId(uuid(store)?),
            number: number.parse().map_err(|_| InvalidEventCursor)?,
            prunes: prunes.parse().map_err(|_| InvalidEventCursor)?,
            event: event.map(uuid).transpose()?.map(|id| EventId::from_bytes(id.into_bytes())),
            token: token.map(uuid).transpose()?.map(|id| TokenId::from_bytes(id.into_bytes())),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_of_one_token_and_pages_by_cursor_are_bounded() {
        let of = |token, from, until, limit| EventQuery { token, from, until, after: None, limit };
        let (token, time) = (Some(TokenId::from_bytes([1; 16])), Some(Timestamp::MIN));
        assert!(of(token, time, time, u32::MAX).is_bounded());
        assert!(of(None, None, None, 1_000).is_bounded());
        assert!(!of(None, None, None, 1_001).is_bounded());
        assert!(!of(None, time, None, 1).is_bounded());
        assert!(!of(None, None, time, 1).is_bounded());
    }

    #[test]
    fn cursor_text_parses_back() {
        let store = StoreId::from_bytes([0xab; 16]);
        for event in [None, Some(EventId::from_bytes([3; 16]))] {
            for token in [None, Some(TokenId::from_bytes([4; 16]))] {
                let cursor = EventCursor { store, number: u64::MAX, prunes: 3, event, token };
                assert_eq!(cursor.to_string().parse(), Ok(cursor));
            }
        }
        let store = "abababababababababababababababab";
        for text in ["", "x", "1.2.3", store, &format!("{store}.1"), &format!("{store}.-1.0")] {
            assert_eq!(text.parse::<EventCursor>(), Err(InvalidEventCursor), "{text:?}");
        }
        for rest in [".", "..", ".x", "..x", &format!("..{store}."), &format!(".x.{store}")] {
            let text = format!("{store}.1.0{rest}");
            assert_eq!(text.parse::<EventCursor>(), Err(InvalidEventCursor), "{text:?}");
        }
    }
}
