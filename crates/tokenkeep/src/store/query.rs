//! What can be asked of a store.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::sync::Arc;

use crate::store::prefix::behind_prefix;
use crate::timestamp::Timestamp;
use crate::token::{Intent, Token, TokenId};
use crate::user::UserId;

/// Which tokens to list, in which order, and which part of them. The default is every token, by
/// identifier.
///
/// ```
/// # pollster::block_on(async {
/// use std::collections::BTreeSet;
///
/// use tokenkeep::{
///     Filter, Intent, OwnerMatch, SearchWord, SortField, SortKey, TokenQuery, TokenStore, UserId,
///     Visibility, Window,
/// };
/// # use tokenkeep_memory::MemoryStore;
/// # let store = MemoryStore::new();
///
/// let mut query = TokenQuery {
///     visibility: Visibility::Limited { owner: UserId::new(2), also: BTreeSet::new() },
///     filter: Filter { intent: Some(Intent::Api), ..Filter::default() },
///     search: vec![SearchWord { text: "deploy".into(), owners: OwnerMatch::Directory }],
///     order: vec![SortKey { field: SortField::Expires, descending: true }],
///     window: Window::After { cursor: None, limit: 20 },
///     count: true,
/// };
/// loop {
///     let page = store.list(&query).await?;
///     assert_eq!(page.total, Some(0));
///     let Some(next) = page.next else { break };
///     query.window = Window::After { cursor: Some(next), limit: 20 };
/// }
/// # Ok::<(), tokenkeep::StoreError>(())
/// # }).unwrap();
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TokenQuery {
    /// Whose tokens may be shown at all.
    pub visibility: Visibility,
    /// What must hold.
    pub filter: Filter,
    /// What must occur.
    pub search: Vec<SearchWord>,
    /// What to sort by. The id breaks ties; without keys, the identifier sorts.
    pub order: Vec<SortKey>,
    /// Which part to return.
    pub window: Window,
    /// Whether to count all tokens that the window is cut from.
    pub count: bool,
}

/// Whose tokens may be shown at all.
///
/// See [`TokenQuery`] for an example.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Visibility {
    /// Everybody's.
    #[default]
    All,
    /// Those of one owner, and some others.
    Limited {
        /// The owner.
        owner: UserId,
        /// The others.
        also: BTreeSet<TokenId>,
    },
}

/// What must hold of a listed token. Every field that is set is compared exactly.
///
/// See [`TokenQuery`] for an example.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filter {
    /// The identifier.
    pub identifier: Option<String>,
    /// The intent.
    pub intent: Option<Intent>,
    /// The owner.
    pub owner: Option<UserId>,
    /// The description.
    pub description: Option<String>,
    /// The expiry.
    pub expires: Option<Timestamp>,
    /// Whether the expiry counts.
    pub expiring: Option<bool>,
    /// The marker.
    pub managed: Option<String>,
    /// The token expires, and its expiry is before this time.
    pub expired_before: Option<Timestamp>,
    /// The marker starts with these bytes.
    pub managed_prefix: Option<String>,
}

/// A word that must occur in a listed token.
///
/// See [`TokenQuery`] for an example.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SearchWord {
    /// The word, without NUL.
    pub text: String,
    /// The owners whose username contains the word.
    pub owners: OwnerMatch,
}

/// The owners whose username contains a search word.
///
/// See [`TokenQuery`] for an example.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OwnerMatch {
    /// The store compares the usernames of its own directory, of the tokens that are visible and
    /// pass the filter. A service asks for this where the
    /// [directory is part of the store](crate::UserDirectory::store_id).
    Directory,
    /// These owners.
    Listed(BTreeSet<UserId>),
}

/// One key to sort by.
///
/// See [`TokenQuery`] for an example.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SortKey {
    /// What to sort by.
    pub field: SortField,
    /// From high to low.
    pub descending: bool,
}

/// What tokens can be sorted by.
///
/// See [`TokenQuery`] for an example.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SortField {
    /// The primary key.
    Id,
    /// The marker.
    Managed,
    /// The identifier.
    Identifier,
    /// The intent's name.
    Intent,
    /// The owner's id.
    Owner,
    /// The description.
    Description,
    /// The expiry.
    Expires,
    /// Whether the expiry counts: `false` before `true`.
    Expiring,
}

impl SortField {
    /// Every field that can be sorted by.
    pub const ALL: [Self; 8] = [
        Self::Id,
        Self::Managed,
        Self::Identifier,
        Self::Intent,
        Self::Owner,
        Self::Description,
        Self::Expires,
        Self::Expiring,
    ];

    /// Whether no two tokens have the same value, so that no further key can matter.
    #[must_use]
    pub const fn is_unique(self) -> bool {
        matches!(self, Self::Id | Self::Identifier)
    }

    /// Whether a token may have no value, which comes last in either direction.
    #[must_use]
    pub const fn is_nullable(self) -> bool {
        matches!(self, Self::Managed | Self::Expires)
    }

    /// The token's value.
    fn value_of(self, token: &Token) -> SortValue {
        let text = |text: &str| SortValue::Text(text.into());
        match self {
            Self::Id => SortValue::Id(token.id),
            Self::Managed => token.managed.as_ref().map_or(SortValue::Null, |m| text(m.as_str())),
            Self::Identifier => text(token.identifier.as_str()),
            Self::Intent => text(token.intent.as_str()),
            Self::Owner => SortValue::Number(token.owner.get()),
            Self::Description => text(&token.description),
            Self::Expires => {
                token.expires.map_or(SortValue::Null, |at| SortValue::Number(at.as_micros()))
            }
            Self::Expiring => SortValue::Number(token.expiring.into()),
        }
    }
}

/// A value to sort by. Values of one field compare as the ascending order has them, nulls last.
///
/// ```
/// use tokenkeep::SortValue;
///
/// assert!(SortValue::Number(-1) < SortValue::Number(1));
/// assert!(SortValue::Text("Z".into()) < SortValue::Text("a".into()));
/// assert!(SortValue::Number(i64::MAX) < SortValue::Null);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum SortValue {
    /// A number, a time in microseconds, or a boolean as 0 and 1.
    Number(i64),
    /// A text, compared byte by byte.
    Text(Box<str>),
    /// A primary key.
    Id(TokenId),
    /// No value.
    Null,
}

impl SortValue {
    fn present(&self) -> Option<&Self> {
        (*self != Self::Null).then_some(self)
    }
}

/// Which part of the tokens to return. A limit of 0 shows no token and has no cursor, for queries
/// that only count.
///
/// See [`TokenQuery`] for an example.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Window {
    /// Skips some and returns the next.
    Offset {
        /// How many to skip. Costs what reading them costs.
        offset: u64,
        /// How many to return at most.
        limit: u32,
    },
    /// Continues after a cursor that an earlier page of the same query returned. The cost does not
    /// grow with the place. By identifier it is that of the page, for all tokens and for those of one
    /// owner; by id, for all tokens; by expiry, for those that expire before a time. In other orders
    /// each page costs what sorting the first did.
    After {
        /// Where to go on; `None` starts at the first token.
        cursor: Option<Cursor>,
        /// How many to return at most.
        limit: u32,
    },
}

impl Window {
    /// How many tokens to return at most.
    #[must_use]
    pub const fn limit(&self) -> u32 {
        match self {
            Self::Offset { limit, .. } | Self::After { limit, .. } => *limit,
        }
    }
}

impl Default for Window {
    /// The first hundred.
    fn default() -> Self {
        Self::After { cursor: None, limit: 100 }
    }
}

/// The order of the index of expiries.
const BY_EXPIRY: [SortKey; 2] = [
    SortKey { field: SortField::Expires, descending: false },
    SortKey { field: SortField::Id, descending: false },
];

impl TokenQuery {
    /// The complete order of the tokens.
    #[must_use]
    pub fn token_order(&self) -> TokenOrder {
        let by = |field| SortKey { field, descending: false };
        let default = [by(SortField::Identifier)];
        let wanted = if self.order.is_empty() { default.as_slice() } else { &self.order };
        let mut keys: Vec<SortKey> = Vec::new();
        for key in wanted.iter().chain(&[by(SortField::Id)]) {
            let is_decided = keys.last().is_some_and(|last| last.field.is_unique());
            if !is_decided && keys.iter().all(|known| known.field != key.field) {
                keys.push(*key);
            }
        }
        TokenOrder { keys }
    }

    /// Returns whether an index bounds what the query reads, so that its cost does not grow with the
    /// store. A store that limits how many lists run at once answers these without waiting for others.
    ///
    /// No search is bounded. Any other query is, in one of these cases:
    ///
    /// - The filter names an identifier, a marker, or a prefix of markers that is not empty. At most the
    ///   tokens that have it are read.
    /// - The filter names an owner, or the visibility is limited. At most the tokens of that owner are
    ///   read, or those that are visible.
    /// - It counts nothing, skips and returns at most [1,000](Self::BOUNDED_ROWS) tokens together, and
    ///   takes them from an index in its order. Without a filter, that is by identifier or id. With
    ///   [`expired_before`](Filter::expired_before) alone, it is by ascending expiry.
    ///
    /// ```
    /// use tokenkeep::{Filter, Intent, TokenQuery, UserId};
    ///
    /// let of = |filter| TokenQuery { filter, count: true, ..TokenQuery::default() };
    /// assert!(of(Filter { owner: Some(UserId::new(2)), ..Filter::default() }).is_bounded());
    /// assert!(!of(Filter { intent: Some(Intent::Api), ..Filter::default() }).is_bounded());
    /// ```
    #[must_use]
    pub fn is_bounded(&self) -> bool {
        self.search.is_empty()
            && (self.visibility != Visibility::All
                || self.filter.is_narrow()
                || self.is_page_of_index())
    }

    /// The number of rows that a bounded query reads at most, where only its window limits them.
    pub const BOUNDED_ROWS: u32 = 1_000;

    fn is_page_of_index(&self) -> bool {
        let skipped = match self.window {
            Window::Offset { offset, .. } => offset,
            Window::After { .. } => 0,
        };
        let rows = skipped.saturating_add(self.window.limit().into());
        let expired = Filter { expired_before: self.filter.expired_before, ..Filter::default() };
        let first = self.order.first().map_or(SortField::Identifier, |key| key.field);
        let is_in_order = if self.filter == Filter::default() {
            first.is_unique()
        } else {
            self.filter == expired && self.token_order().keys() == BY_EXPIRY
        };
        !self.count && rows <= Self::BOUNDED_ROWS.into() && is_in_order
    }

    /// Returns whether `token` is one of those listed, the window apart: the meaning of visibility,
    /// filter and search, for stores that keep tokens in memory. `named` returns whether the username
    /// of an owner contains a text. It is called for [`OwnerMatch::Directory`] only.
    #[must_use]
    pub fn matches(&self, token: &Token, named: impl Fn(UserId, &str) -> bool) -> bool {
        self.visibility.includes(token)
            && self.filter.accepts(token)
            && self.search.iter().all(|word| word.occurs_in(token, &named))
    }
}

/// An order in which no two tokens are equal.
///
/// ```
/// use tokenkeep::{SortField, SortKey, TokenQuery};
///
/// let by_owner = SortKey { field: SortField::Owner, descending: true };
/// let query = TokenQuery { order: vec![by_owner], ..TokenQuery::default() };
/// let keys = query.token_order().keys().to_vec();
/// assert_eq!(keys, [by_owner, SortKey { field: SortField::Id, descending: false }]);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenOrder {
    keys: Vec<SortKey>,
}

impl TokenOrder {
    /// The keys: those of the query, or the identifier, each field once, up to the first that is
    /// unique, else with the ascending id behind them.
    #[must_use]
    pub fn keys(&self) -> &[SortKey] {
        &self.keys
    }

    /// How two tokens stand in the order.
    #[must_use]
    pub fn compare(&self, a: &Token, b: &Token) -> Ordering {
        let mut sides = self.keys.iter().map(|key| key.compare(a, b));
        sides.find(|side| side.is_ne()).unwrap_or(Ordering::Equal)
    }

    /// The place behind `token`.
    #[must_use]
    pub fn behind(&self, token: &Token) -> Cursor {
        Cursor(self.keys.iter().map(|key| key.field.value_of(token)).collect())
    }

    /// Whether `token` comes behind `cursor`.
    #[must_use]
    pub fn is_behind(&self, token: &Token, cursor: &Cursor) -> bool {
        let mut sides = self
            .keys
            .iter()
            .zip(&cursor.0)
            .map(|(key, value)| key.compare_values(&key.field.value_of(token), value));
        sides.find(|side| side.is_ne()) == Some(Ordering::Greater)
    }
}

impl SortKey {
    fn compare(self, a: &Token, b: &Token) -> Ordering {
        match self.field {
            SortField::Id => self.directed(a.id.cmp(&b.id)),
            SortField::Managed => self.nulls_last(a.managed.as_ref(), b.managed.as_ref()),
            SortField::Identifier => self.directed(a.identifier.cmp(&b.identifier)),
            SortField::Intent => self.directed(a.intent.as_str().cmp(b.intent.as_str())),
            SortField::Owner => self.directed(a.owner.cmp(&b.owner)),
            SortField::Description => self.directed(a.description.cmp(&b.description)),
            SortField::Expires => self.nulls_last(a.expires, b.expires),
            SortField::Expiring => self.directed(a.expiring.cmp(&b.expiring)),
        }
    }

    fn compare_values(self, a: &SortValue, b: &SortValue) -> Ordering {
        self.nulls_last(a.present(), b.present())
    }

    fn nulls_last<T: Ord>(self, a: Option<T>, b: Option<T>) -> Ordering {
        match (a, b) {
            (Some(a), Some(b)) => self.directed(a.cmp(&b)),
            (a, b) => a.is_none().cmp(&b.is_none()),
        }
    }

    fn directed(self, ascending: Ordering) -> Ordering {
        if self.descending { ascending.reverse() } else { ascending }
    }
}

/// A place in a [`TokenOrder`]: behind one token, which may change or go in the meantime.
///
/// See [`TokenQuery`] for an example.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor(Vec<SortValue>);

impl Cursor {
    /// The values of the token in front of the place, one for each key of the order.
    #[must_use]
    pub fn values(&self) -> &[SortValue] {
        &self.0
    }
}

impl Visibility {
    fn includes(&self, token: &Token) -> bool {
        match self {
            Self::All => true,
            Self::Limited { owner, also } => token.owner == *owner || also.contains(&token.id),
        }
    }
}

impl Filter {
    /// The first text behind all those that start with [`managed_prefix`](Self::managed_prefix), in
    /// the order of their bytes, for stores that enter an index by it; `None` when there is none.
    ///
    /// ```
    /// use tokenkeep::Filter;
    ///
    /// let filter = Filter { managed_prefix: Some("ci/".into()), ..Filter::default() };
    /// assert_eq!(filter.behind_managed_prefix().as_deref(), Some("ci0"));
    /// ```
    #[must_use]
    pub fn behind_managed_prefix(&self) -> Option<String> {
        behind_prefix(self.managed_prefix.as_deref()?)
    }

    /// Returns whether an index leads to the tokens that pass.
    fn is_narrow(&self) -> bool {
        self.identifier.is_some()
            || self.managed.is_some()
            || self.owner.is_some()
            || self.managed_prefix.as_deref().is_some_and(|prefix| !prefix.is_empty())
    }

    fn accepts(&self, token: &Token) -> bool {
        fn equals<T: PartialEq>(wanted: Option<T>, is: impl Into<Option<T>>) -> bool {
            wanted.is_none_or(|wanted| is.into() == Some(wanted))
        }
        let marker = token.managed.as_ref().map(AsRef::as_ref);
        let marker_starts = |prefix| marker.is_some_and(|marker: &str| marker.starts_with(prefix));
        equals(self.identifier.as_deref(), token.identifier.as_str())
            && equals(self.intent, token.intent)
            && equals(self.owner, token.owner)
            && equals(self.description.as_deref(), &*token.description)
            && equals(self.expires, token.expires)
            && equals(self.expiring, token.expiring)
            && equals(self.managed.as_deref(), marker)
            && self.expired_before.is_none_or(|time| token.is_expired(time))
            && self.managed_prefix.as_deref().is_none_or(marker_starts)
    }
}

impl SearchWord {
    fn occurs_in(&self, token: &Token, named: &impl Fn(UserId, &str) -> bool) -> bool {
        let word = self.text.to_ascii_lowercase();
        let contains = |text: &str| text.to_ascii_lowercase().contains(&word);
        contains(token.identifier.as_str())
            || contains(token.intent.as_str())
            || contains(&token.description)
            || match &self.owners {
                OwnerMatch::Directory => named(token.owner, &word),
                OwnerMatch::Listed(owners) => owners.contains(&token.owner),
            }
    }
}

/// A part of a list.
///
/// See [`TokenQuery`] for an example.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TokenPage {
    /// The tokens.
    pub tokens: Vec<Arc<Token>>,
    /// How many there are without the window, where that was asked for.
    pub total: Option<u64>,
    /// Where the next page starts; `None` behind the last token.
    pub next: Option<Cursor>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_has_each_field_once_up_to_the_first_that_is_unique() {
        use SortField::{Expires, Id, Identifier, Owner};
        let by = |field| SortKey { field, descending: false };
        let keys = |fields: &[SortField]| {
            let order = fields.iter().copied().map(by).collect();
            let keys = TokenQuery { order, ..TokenQuery::default() }.token_order();
            keys.keys().iter().map(|key| key.field).collect::<Vec<_>>()
        };
        assert_eq!(keys(&[]), [Identifier]);
        assert_eq!(keys(&[Id, Owner]), [Id]);
        assert_eq!(keys(&[Owner, Expires, Owner]), [Owner, Expires, Id]);
        assert_eq!(keys(&[Owner, Identifier, Expires]), [Owner, Identifier]);
    }

    #[test]
    fn a_range_of_markers_ends_behind_all_that_have_the_prefix() {
        let prefixed =
            |prefix: &str| Filter { managed_prefix: Some(prefix.into()), ..Filter::default() };
        assert_eq!(prefixed("m/").behind_managed_prefix().as_deref(), Some("m0"));
        assert_eq!(Filter::default().behind_managed_prefix(), None);
    }

    fn by(field: SortField, descending: bool) -> Vec<SortKey> {
        vec![SortKey { field, descending }]
    }

    #[test]
    fn query_that_an_index_bounds_is_bounded() {
        let owner = UserId::new(2);
        let filtered = |filter| TokenQuery { filter, ..TokenQuery::default() };
        let limited = Visibility::Limited { owner, also: BTreeSet::new() };
        let all = Window::After { cursor: None, limit: u32::MAX };
        let expired_before = Some(Timestamp::MAX);
        for query in [
            TokenQuery::default(),
            TokenQuery { order: by(SortField::Identifier, true), ..TokenQuery::default() },
            TokenQuery { order: by(SortField::Id, false), ..TokenQuery::default() },
            TokenQuery {
                window: Window::Offset { offset: 900, limit: 100 },
                ..TokenQuery::default()
            },
            TokenQuery {
                order: by(SortField::Expires, false),
                ..filtered(Filter { expired_before, ..Filter::default() })
            },
        ] {
            assert!(query.is_bounded(), "{query:?}");
            assert!(!TokenQuery { count: true, ..query }.is_bounded());
        }
        for query in [
            TokenQuery { visibility: limited, ..TokenQuery::default() },
            filtered(Filter { owner: Some(owner), ..Filter::default() }),
            filtered(Filter { owner: Some(owner), intent: Some(Intent::Api), ..Filter::default() }),
            filtered(Filter { identifier: Some("ci".into()), ..Filter::default() }),
            filtered(Filter { managed: Some("m/1".into()), ..Filter::default() }),
            filtered(Filter { managed_prefix: Some("m/".into()), ..Filter::default() }),
        ] {
            let order = by(SortField::Description, true);
            let query = TokenQuery { order, count: true, window: all.clone(), ..query };
            assert!(query.is_bounded(), "{query:?}");
            let word = SearchWord { text: "a".into(), owners: OwnerMatch::Directory };
            assert!(!TokenQuery { search: vec![word], ..query }.is_bounded());
        }
    }

    #[test]
    fn query_that_may_read_every_token_is_not_bounded() {
        let filtered = |filter| TokenQuery { filter, ..TokenQuery::default() };
        let windowed = |window| TokenQuery { window, ..TokenQuery::default() };
        let expired_before = Some(Timestamp::MAX);
        let expired = filtered(Filter { expired_before, ..Filter::default() });
        let is_ordered = |field: &SortField| !field.is_unique();
        let ordered = SortField::ALL.into_iter().filter(is_ordered).map(|field| by(field, false));
        let ordered = ordered.map(|order| TokenQuery { order, ..TokenQuery::default() });
        let others = [
            windowed(Window::Offset { offset: 901, limit: 100 }),
            windowed(Window::Offset { offset: u64::MAX, limit: 1 }),
            windowed(Window::After { cursor: None, limit: 1_001 }),
            filtered(Filter { description: Some(String::new()), ..Filter::default() }),
            filtered(Filter { intent: Some(Intent::Api), ..Filter::default() }),
            filtered(Filter { expiring: Some(true), ..Filter::default() }),
            filtered(Filter { expires: Some(Timestamp::MAX), ..Filter::default() }),
            filtered(Filter { managed_prefix: Some(String::new()), ..Filter::default() }),
            TokenQuery { order: by(SortField::Expires, true), ..expired.clone() },
            TokenQuery { order: by(SortField::Id, false), ..expired.clone() },
            expired,
        ];
        for query in ordered.chain(others) {
            assert!(!query.is_bounded(), "{query:?}");
        }
    }

    #[test]
    fn a_token_may_be_without_a_marker_and_an_expiry() {
        let nullable = SortField::ALL.into_iter().filter(|field| field.is_nullable());
        assert!(nullable.eq([SortField::Managed, SortField::Expires]));
    }
}
