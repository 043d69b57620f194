//! The storage contract: what a backend keeps, and what it promises.

mod changes;
mod commit;
mod error;
mod keys;
mod prefix;
mod query;
mod trail;

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;

pub use changes::{ChangeCounters, Changes, Changing, Subject};
pub use commit::{Change, Commit, CommitError, UniqueField};
pub use error::{StoreError, StoreErrorKind};
pub use keys::{KeyCheck, KeyUsage, SecretId};
pub use query::{
    Cursor, Filter, OwnerMatch, SearchWord, SortField, SortKey, SortValue, TokenOrder, TokenPage,
    TokenQuery, Visibility, Window,
};
pub use trail::{EventCursor, EventPage, EventQuery, InvalidEventCursor, StoreId};

use crate::identifier::Identifier;
use crate::key::KeyDigest;
use crate::managed::Marker;
use crate::timestamp::Timestamp;
use crate::token::{Token, TokenId};
use crate::user::UserId;

/// A backend: keeps rows and commits atomically, and does nothing else. It knows no rule, reads no
/// clock and makes no random value; everything that it stores is given to it.
///
/// # Contract
///
/// - **Durable.** What was acknowledged survives the death of the process; whether also a power
///   cut is for the backend to document.
/// - **Linearizable.** Each call takes effect at one moment between its start and its return, for
///   all tasks and, where a backend is shared, for all processes. A read sees every commit that
///   was acknowledged before it began.
/// - **All or nothing.** No reader ever sees a part of a commit. A commit that fails has
///   changed nothing, with one exception that has a kind of its own:
///   [`OutcomeUnknown`](StoreErrorKind::OutcomeUnknown).
/// - **Cancellation.** A future that is dropped may leave its commit done but unseen. The revision
///   makes the retry safe: what was done once is stale the second time.
/// - **Blocking.** A call that reads a bounded number of rows (`find`, `touch`, a small commit) may
///   use the caller's thread. A call whose cost grows with the rows of the store (`list`, `events`,
///   `key_usage`) must neither hold that thread nor delay a `find`, and ends when its future is
///   dropped. A list that [is bounded](TokenQuery::is_bounded), and such a
///   [read of events](EventQuery::is_bounded), must not wait until others that are not have ended.
/// - **Exact.** Text is compared byte by byte, whatever the locale; times are kept to the
///   microsecond; what is read equals what was written.
///
/// Each method's **Behavior** clauses are checked by the cases of `tokenkeep-conformance` that
/// cite their numbers. A complete toy store is in
/// [`guide::write_a_store`](crate::guide::write_a_store).
///
/// # Example
///
/// What a service does with a store:
///
/// ```
/// # pollster::block_on(async {
/// # use tokenkeep::{Intent, KeyDigest, Timestamp, TokenId, TokenKey, UserId};
/// use std::sync::Arc;
/// use tokenkeep::{
///     Change, Commit, CommitError, EventQuery, Lookup, Revision, Token, TokenStore, Touch,
/// };
/// use tokenkeep_memory::MemoryStore;
///
/// # let (now, key) = (Timestamp::MIN, TokenKey::from("key".to_owned()));
/// # let token = Token {
/// #     id: TokenId::from_bytes([1; 16]), identifier: "ci".parse()?, intent: Intent::Api,
/// #     owner: UserId::new(2), description: "".into(), expires: None, expiring: false,
/// #     managed: None, revision: Revision::FIRST, created: now, updated: now, last_used: None,
/// #     owner_may_view_key: true, key_digest: KeyDigest::of(&key), sealed_key: None,
/// # };
/// let store = MemoryStore::new();
/// let insert = Change::Insert(Arc::new(token.clone()));
/// store.commit(Commit { changes: vec![insert], events: Vec::new() }).await?;
///
/// let found = store.find(Lookup::Identifier(&token.identifier)).await?.unwrap();
/// let after = Token {
///     description: "deploys".into(),
///     revision: found.revision.next().unwrap(),
///     ..Token::clone(&found)
/// };
/// let replace = Change::replace(&found, after);
/// let commit = Commit { changes: vec![replace], events: Vec::new() };
/// store.commit(commit.clone()).await?;
/// // The same again is stale, and tells what is there now.
/// match store.commit(commit).await {
///     Err(CommitError::Stale { change: 0, current: Some(current) }) => {
///         assert_eq!(current.revision.get(), 2);
///     }
///     other => panic!("{other:?}"),
/// }
///
/// store.touch(&[Touch { token: token.id, at: now }]).await?;
/// let used = store.find(Lookup::Id(token.id)).await?.unwrap();
/// assert_eq!((used.last_used, used.revision.get()), (Some(now), 2));
/// assert_eq!(store.events(&EventQuery::default()).await?.events, []);
/// assert!(store.key_usage().await?.checks.is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[async_trait]
pub trait TokenStore: Debug + Send + Sync + 'static {
    /// Finds one token.
    ///
    /// # Behavior
    ///
    /// - **find.1** A token is found by its id, its identifier, its marker and its key digest.
    /// - **find.2** When there is none, the answer is `Ok(None)`.
    /// - **find.3** Identifiers and markers that differ only in case are different.
    /// - **find.4** Every field comes back as it was written, at its limits too.
    /// - **find.5** An identifier, marker or digest that a token has given up finds it no more.
    /// - **find.6** It sees every commit that was acknowledged before it began, through whichever
    ///   handle on the same rows.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the store cannot be read, or what it holds cannot be a token.
    async fn find(&self, lookup: Lookup<'_>) -> Result<Option<Arc<Token>>, StoreError>;

    /// Returns the owners of tokens, in any order.
    ///
    /// # Behavior
    ///
    /// - **owners.1** The owner of each of the tokens is there once. Ids of no token are passed over.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the store cannot be read.
    async fn owners(&self, tokens: &[TokenId]) -> Result<Vec<UserId>, StoreError>;

    /// Returns which secrets the rows need, and the recorded check values.
    ///
    /// # Behavior
    ///
    /// - **keys.1** Each [pepper](KeyDigest::pepper_id) that the digest of a token names is there;
    ///   no other is.
    /// - **keys.2** Each [sealing key](crate::SealedKey::sealed_by) that the sealed key of a token
    ///   names is there; no other is.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the store cannot be read.
    async fn key_usage(&self) -> Result<KeyUsage, StoreError>;

    /// Records the check value of a secret unless one is recorded, and returns the recorded one.
    ///
    /// # Behavior
    ///
    /// - **keys.3** The first check value of a secret stays, whatever is recorded later, and
    ///   [`key_usage`](Self::key_usage) returns it from then on. Of callers at the same time, all
    ///   get the same one.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the store cannot be written.
    async fn record_key_check(&self, check: KeyCheck) -> Result<KeyCheck, StoreError>;

    /// Lists tokens: those that are visible and pass the filter and the search, in order, the part
    /// that the window shows.
    ///
    /// # Behavior
    ///
    /// - **list.1** Every filter that is set must hold, compared exactly.
    /// - **list.2** Of a visibility that is limited, only the tokens of that owner and those of the
    ///   listed ids are there.
    /// - **list.3** Every search word must occur in identifier, intent or description, the case of
    ///   ASCII letters ignored, or the token's owner must be one of the word's
    ///   [`owners`](SearchWord::owners). A store that is no directory need not know
    ///   [`OwnerMatch::Directory`].
    /// - **list.4** The order is that of the keys, text byte by byte; nulls come last in
    ///   either direction; ties are broken by the ascending id.
    /// - **list.5** The window's offset and limit count the tokens that are left.
    /// - **list.6** The total, where asked for, counts them without the window. While others write
    ///   it may be that of another moment.
    /// - **list.7** Pages that follow each other by cursor show every token that stays unchanged
    ///   exactly once, in order, in either direction and with nulls.
    /// - **list.8** A page that ends before the last token has a cursor; one that reaches it has
    ///   none.
    /// - **list.9** It sees every commit that was acknowledged before it began.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the store cannot be read, or what it holds cannot be a token.
    async fn list(&self, query: &TokenQuery) -> Result<TokenPage, StoreError>;

    /// Commits a batch of changes with the events that describe them.
    ///
    /// # Behavior
    ///
    /// - **commit.1** All changes and events are done, or none.
    /// - **commit.2** An insert adds the token as it is given.
    /// - **commit.3** A replace writes the named fields, revision and update time of the token with
    ///   that id, if it is at the expected revision.
    /// - **commit.4** A replace leaves creation time, last-used time and all other fields alone.
    /// - **commit.5** A delete removes the token with that id, if it is at the expected revision.
    /// - **commit.6** An expect changes nothing, and fails if the token is not at that revision.
    /// - **commit.7** A token that is missing or at another revision fails the batch as
    ///   [`Stale`](CommitError::Stale), which names the change and shows what is there.
    /// - **commit.8** An id, identifier, marker or key digest that another token has fails the
    ///   batch as [`Taken`](CommitError::Taken), which names the change and the field: the first of
    ///   id, identifier, marker, key that is taken.
    /// - **commit.9** Changes are done in the order given, each seeing those before it, and the
    ///   first that fails is the one reported. What a change gives up, a later one may take.
    /// - **commit.10** Of commits that race for one revision, one wins, and no acknowledged change
    ///   is lost.
    /// - **commit.11** Of commits that race for one identifier, marker or key digest, one wins.
    /// - **commit.12** When it returns, the commit is durable.
    /// - **commit.13** A batch without changes and events is done.
    /// - **commit.14** A commit that fails does no harm to those that run at the same time.
    /// - **commit.15** A remove deletes the token with that id, at any revision. The event at the
    ///   same place, where it is of that token, is kept with the identifier and the revision that the
    ///   token had. A token that is missing is stale.
    /// - **commit.16** A release lets later changes of the batch take the token's identifier, marker
    ///   and key digest, and leaves its revision. Tokens can so exchange them.
    /// - **commit.17** A batch with a release that is [not replaced](Commit::releases_are_replaced)
    ///   is refused as a store error, and changes nothing. The next change of the token must be a
    ///   replace that expects the revision of the release and names the three fields.
    ///
    /// # Errors
    ///
    /// [`CommitError`]; nothing has been changed, unless its store error's kind is
    /// [`OutcomeUnknown`](StoreErrorKind::OutcomeUnknown).
    async fn commit(&self, commit: Commit) -> Result<(), CommitError>;

    /// Records when tokens were last used.
    ///
    /// # Behavior
    ///
    /// - **touch.1** The last-used time becomes the given one, if that is later or there was none,
    ///   and is seen from then on. (What is merged and delayed, the service holds back.)
    /// - **touch.2** It never goes back, also among the touches of one call.
    /// - **touch.3** A token that is gone is passed over.
    /// - **touch.4** Nothing else changes, the revision and the update time included.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the store cannot be written.
    async fn touch(&self, touches: &[Touch]) -> Result<(), StoreError>;

    /// Reads the audit trail.
    ///
    /// # Behavior
    ///
    /// - **events.1** The events of one token come in the reverse order of their commits, newest
    ///   first, whatever their times are.
    /// - **events.2** The events of all tokens come in one order, which puts those of a commit that
    ///   was acknowledged before another began first, and keeps the order given within a commit,
    ///   whatever their times are.
    /// - **events.3** A time range holds its start and not its end.
    /// - **events.4** After a cursor come the events that follow it, at most as many as the limit.
    /// - **events.5** Events outlive their token.
    /// - **events.6** Every field comes back as it was written.
    /// - **events.7** It sees every commit that was acknowledged before it began.
    /// - **events.8** A follower that continues by cursor over all tokens sees every event exactly
    ///   once, while others commit.
    /// - **events.9** A cursor of another store is refused as
    ///   [`InvalidCursor`](StoreErrorKind::InvalidCursor), and so is one over all tokens if events
    ///   after it were pruned since it was returned.
    /// - **events.10** So is a cursor that was returned for another token, or for one token where the
    ///   query is for all, or the reverse. So is one that counts more prunes than the store: the store
    ///   is a restored, older state.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the store cannot be read, or what it holds cannot be an event.
    async fn events(&self, query: &EventQuery) -> Result<EventPage, StoreError>;

    /// Deletes the events that happened before a time, and returns how many. It may be done part by
    /// part: when it fails, some may be gone, the oldest first, and it can be called again.
    ///
    /// # Behavior
    ///
    /// - **prune.1** Events before the time are gone, those at it and after it stay.
    /// - **prune.2** The count is that of the events dropped.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the store cannot be written.
    async fn prune_events(&self, before: Timestamp) -> Result<u64, StoreError>;

    /// How a cache learns that tokens have changed; `None` where the store cannot tell.
    ///
    /// # Behavior
    ///
    /// - **changes.1** When a change of a token has been acknowledged, a touch included, it is
    ///   counted from then on, whichever handle and whichever process made it. Before
    ///   anyone can see the change, it is counted or counts as under way.
    /// - **changes.2** It is the same one each time.
    fn changes(&self) -> Option<Arc<dyn Changes>>;

    /// Identifies the rows.
    ///
    /// # Behavior
    ///
    /// - **store-id.1** Every handle on the same rows returns the same id. No other store does.
    fn store_id(&self) -> StoreId;
}

/// By what a token is looked up.
///
/// See [`TokenStore`] for an example.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lookup<'a> {
    /// By primary key.
    Id(TokenId),
    /// By identifier.
    Identifier(&'a Identifier),
    /// By marker.
    Marker(&'a Marker),
    /// By the digest of its key.
    KeyDigest(&'a KeyDigest),
}

impl Lookup<'_> {
    /// Whether it is this token that is looked up, for whoever does not trust what led to it. Digests
    /// compare in constant time.
    #[must_use]
    pub fn names(self, token: &Token) -> bool {
        match self {
            Self::Id(id) => token.id == id,
            Self::Identifier(identifier) => token.identifier == *identifier,
            Self::Marker(marker) => token.managed.as_ref() == Some(marker),
            Self::KeyDigest(digest) => token.key_digest == *digest,
        }
    }
}

/// When a token was used.
///
/// See [`TokenStore`] for an example.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Touch {
    /// The token.
    pub token: TokenId,
    /// When.
    pub at: Timestamp,
}
