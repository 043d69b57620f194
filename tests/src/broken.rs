//! Stores that are broken on purpose, one bug each, to show that the conformance suite sees it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tokenkeep::{
    Change, ChangeCounters, Changes, Commit, CommitError, EventCursor, EventPage, EventQuery,
    Filter, Identifier, KeyCheck, KeyDigest, KeyUsage, Lookup, SortField, StoreError, StoreId,
    Timestamp, Token, TokenField, TokenFields, TokenId, TokenPage, TokenQuery, TokenStore, Touch,
    UserId, Visibility, Window,
};
use tokenkeep_memory::MemoryStore;

/// What is wrong with a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// Nothing: the control.
    None,
    /// Finds nothing by markers.
    IgnoresMarkers,
    /// Finds another token where there is none.
    FindsAnyToken,
    /// Finds identifiers whatever their case.
    IgnoresCase,
    /// Finds tokens by identifiers that they have given up.
    FindsOldNames,
    /// Answers look-ups of keys from a cache that is never emptied.
    CachesKeys,
    /// Tells caches of no change.
    CountsNoChanges,
    /// Returns one pepper.
    ReturnsOnePepper,
    /// Returns no sealing key.
    ReturnsNoSealingKeys,
    /// Records the last check value of a secret.
    OverwritesChecks,
    /// Returns the owner of the first token.
    ReturnsOneOwner,
    /// Has another id each time.
    ChangesItsId,
    /// Removes only at the first revision.
    RemovesAtOneRevision,
    /// Keeps the event of a removed token as it was given.
    KeepsEventsOfRemoved,
    /// Ignores releases.
    IgnoresReleases,
    /// Accepts a release that is not replaced.
    ForgetsReleases,
    /// Passes events that are committed while it reads.
    PassesEvents,
    /// Continues at any cursor.
    AcceptsAnyCursor,
    /// Continues at the cursor of another query.
    ContinuesAnyQuery,
    /// Continues at a cursor that counts more prunes than the store.
    ContinuesLaterStates,
    /// Prunes by the order of commits, up to the first that stays.
    PrunesInOrder,
    /// Keeps times to the millisecond.
    RoundsTimes,
    /// Filters nothing.
    IgnoresFilters,
    /// Compares the prefix of a marker whatever its case.
    IgnoresCaseOfPrefixes,
    /// Shows everything to everybody.
    IgnoresVisibility,
    /// Searches for one of the words.
    SearchesAnyWord,
    /// Sorts nulls first.
    SortsNullsFirst,
    /// Sorts by the first key only.
    SortsByOneKey,
    /// Starts every page at the first token.
    IgnoresCursors,
    /// Starts a page that follows one token too late.
    SkipsAtCursors,
    /// Finds no way on when the token at the cursor is gone.
    NeedsTheTokenAtTheCursor,
    /// Counts what it returns.
    CountsThePage,
    /// Does the changes of a batch one by one.
    KeepsHalfABatch,
    /// Writes the events after the changes.
    TellsLater,
    /// Looks at what is expected, then writes.
    ExpectsThenWrites,
    /// Remembers every list for ever.
    CachesLists,
    /// Lets two tokens have one marker.
    SharesMarkers,
    /// Lets two tokens have one key.
    SharesKeys,
    /// Inserts every token at revision 1.
    RestartsRevisions,
    /// Deletes nothing.
    IgnoresDeletes,
    /// Refuses a batch without changes.
    RefusesEmptyBatches,
    /// Forgets the commit that follows one that failed.
    HarmsTheNext,
    /// Replaces and deletes at any revision.
    IgnoresRevisions,
    /// Looks at the revision, then writes.
    ChecksThenWrites,
    /// Ignores what is only expected.
    IgnoresExpectations,
    /// Does not say what is there.
    HidesWhatIsThere,
    /// Names another change than the one that failed.
    BlamesAnother,
    /// Names the key first.
    BlamesTheKey,
    /// Writes every field that differs.
    WritesEveryField,
    /// Replaces by deleting and inserting.
    DeletesAndInserts,
    /// Says that a name was free that was not.
    AcceptsTakenNames,
    /// Does the changes of a batch in the order of their tokens.
    ReordersChanges,
    /// Does the first of those changes of a batch that stand in each other's way.
    MergesABatch,
    /// Drops events.
    DropsEvents,
    /// Drops an event's changed fields.
    DropsChangedFields,
    /// Starts empty each time it is opened.
    Forgets,
    /// Records no use.
    IgnoresTouches,
    /// Records the last touch of a call, and no other.
    TouchesOnce,
    /// Fails when a touched token is gone.
    MissesTouchedTokens,
    /// Sorts the events of a token by time.
    SortsEventsByTime,
    /// Sorts all events by id.
    SortsEventsById,
    /// Drops the events of tokens that are gone.
    DropsEventsOfTheDead,
    /// Lets a range of time include its end.
    IncludesTheEnd,
    /// Returns more events than asked for.
    IgnoresEventLimits,
    /// Prunes what happened at the time given.
    PrunesTheEnd,
}

/// A memory store with one bug.
#[derive(Debug)]
pub struct BrokenStore {
    inner: MemoryStore,
    /// Counters that count nothing.
    uncounted: Arc<ChangeCounters>,
    bug: Bug,
    old_names: Mutex<HashMap<Identifier, TokenId>>,
    cache: Mutex<HashMap<KeyDigest, Option<Arc<Token>>>>,
    has_failed: AtomicBool,
    lists: Mutex<Vec<(TokenQuery, TokenPage)>>,
    ids: AtomicU8,
}

impl BrokenStore {
    pub fn new(bug: Bug) -> Self {
        Self {
            inner: MemoryStore::new(),
            uncounted: Arc::default(),
            bug,
            old_names: Mutex::default(),
            cache: Mutex::default(),
            has_failed: AtomicBool::new(false),
            lists: Mutex::default(),
            ids: AtomicU8::new(0),
        }
    }

    async fn all(&self) -> Vec<Arc<Token>> {
        let window = Window::After { cursor: None, limit: u32::MAX };
        let query = TokenQuery { window, ..TokenQuery::default() };
        self.inner.list(&query).await.unwrap().tokens
    }

    async fn by_id(&self, id: TokenId) -> Option<Arc<Token>> {
        self.inner.find(Lookup::Id(id)).await.unwrap()
    }

    async fn remember_names(&self, changes: &[Change]) {
        for change in changes {
            if let Some(token) = self.by_id(change.token_id()).await {
                self.old_names.lock().unwrap().insert(token.identifier.clone(), token.id);
            }
        }
    }

    /// The change as a store with this bug does it.
    async fn distort(&self, change: Change) -> Vec<Change> {
        match (self.bug, change) {
            (Bug::IgnoresExpectations, Change::Expect { .. })
            | (Bug::IgnoresDeletes, Change::Delete { .. })
            | (Bug::IgnoresReleases | Bug::ForgetsReleases, Change::Release { .. }) => Vec::new(),
            (Bug::RemovesAtOneRevision, Change::Remove { id }) => {
                vec![Change::Delete { id, expected: tokenkeep::Revision::FIRST }]
            }
            (Bug::KeepsEventsOfRemoved, Change::Remove { id }) => {
                let current = self.by_id(id).await;
                let expected = current.map_or(tokenkeep::Revision::FIRST, |token| token.revision);
                vec![Change::Delete { id, expected }]
            }
            (Bug::RestartsRevisions, Change::Insert(token)) => {
                let revision = tokenkeep::Revision::FIRST;
                vec![Change::Insert(Arc::new(Token { revision, ..Token::clone(&token) }))]
            }
            (Bug::RoundsTimes, Change::Insert(token)) => vec![Change::Insert(rounded(&token))],
            (Bug::WritesEveryField, Change::Replace { expected, token, .. }) => {
                let fields = TokenField::ALL.into_iter().collect();
                vec![Change::Replace { expected, fields, token }]
            }
            (Bug::DeletesAndInserts, Change::Replace { expected, token, .. }) => {
                let id = token.id;
                vec![Change::Delete { id, expected }, Change::Insert(token)]
            }
            (Bug::IgnoresRevisions, change) => vec![self.at_any_revision(change).await],
            (_, change) => vec![change],
        }
    }

    async fn at_any_revision(&self, change: Change) -> Change {
        let current = self.by_id(change.token_id()).await;
        let there = current.map(|token| token.revision);
        match change {
            Change::Replace { expected, fields, token } => {
                Change::Replace { expected: there.unwrap_or(expected), fields, token }
            }
            Change::Delete { id, expected } => {
                Change::Delete { id, expected: there.unwrap_or(expected) }
            }
            other => other,
        }
    }

    async fn check_then_write(&self, commit: Commit) -> Result<(), CommitError> {
        for (place, change) in commit.changes.iter().enumerate() {
            let expected = match change {
                Change::Replace { expected, .. } | Change::Delete { expected, .. } => *expected,
                _ => continue,
            };
            let current = self.by_id(change.token_id()).await;
            if current.as_ref().map(|token| token.revision) != Some(expected) {
                return Err(CommitError::Stale { change: place, current });
            }
        }
        std::thread::sleep(Duration::from_micros(200));
        let mut changes = Vec::new();
        for change in commit.changes {
            changes.push(self.at_any_revision(change).await);
        }
        self.inner.commit(Commit { changes, events: commit.events }).await
    }

    async fn expect_then_write(&self, mut commit: Commit) -> Result<(), CommitError> {
        let is_expected = |change: &Change| matches!(change, Change::Expect { .. });
        let (expected, changes) = commit.changes.into_iter().partition(is_expected);
        self.inner.commit(Commit { changes: expected, events: Vec::new() }).await?;
        std::thread::sleep(Duration::from_micros(200));
        commit.changes = changes;
        self.inner.commit(commit).await
    }

    fn distort_error(&self, error: CommitError) -> CommitError {
        match (self.bug, error) {
            (Bug::HidesWhatIsThere, CommitError::Stale { change, .. }) => {
                CommitError::Stale { change, current: None }
            }
            (Bug::BlamesAnother, CommitError::Stale { current, .. }) => {
                CommitError::Stale { change: 0, current }
            }
            (Bug::BlamesTheKey, CommitError::Taken { change, .. }) => {
                CommitError::Taken { change, field: tokenkeep::UniqueField::Key }
            }
            (_, error) => error,
        }
    }

    /// Makes a new token's marker or key one that nobody has.
    fn unshare(&self, change: &mut Change) {
        if let Change::Insert(token) = change {
            let token = Arc::make_mut(token);
            match self.bug {
                Bug::SharesMarkers => token.managed = Some(token.id.to_string().parse().unwrap()),
                _ => token.key_digest = KeyDigest::of(&token.id.to_string().into()),
            }
        }
    }

    /// The query as a store with this bug reads it.
    fn distort_query(&self, query: &TokenQuery) -> TokenQuery {
        let mut query = query.clone();
        match self.bug {
            Bug::IgnoresFilters => query.filter = Filter::default(),
            Bug::IgnoresVisibility => query.visibility = Visibility::All,
            Bug::SearchesAnyWord => query.search.truncate(1),
            Bug::SortsByOneKey => query.order.truncate(1),
            Bug::IgnoresCursors => {
                if let Window::After { cursor, .. } = &mut query.window {
                    *cursor = None;
                }
            }
            _ => {}
        }
        query
    }

    /// The page as a store with this bug returns it.
    async fn distort_page(&self, query: &TokenQuery, mut page: TokenPage) -> TokenPage {
        let follows = matches!(query.window, Window::After { cursor: Some(_), .. });
        match self.bug {
            Bug::SortsNullsFirst
                if query.order.first().is_some_and(|key| key.field == SortField::Expires) =>
            {
                page.tokens.sort_by_key(|token| token.expires.is_some());
            }
            Bug::SkipsAtCursors if follows && !page.tokens.is_empty() => {
                page.tokens.remove(0);
            }
            Bug::NeedsTheTokenAtTheCursor if follows => {
                let Window::After { cursor: Some(cursor), .. } = &query.window else {
                    return page;
                };
                let order = query.token_order();
                let all = self.all().await;
                if !all.iter().any(|token| order.behind(token) == *cursor) {
                    page.tokens.clear();
                }
            }
            Bug::CountsThePage => page.total = page.total.map(|_| page.tokens.len() as u64),
            _ => {}
        }
        page
    }
}

fn rounded(token: &Token) -> Arc<Token> {
    let round = |at: Timestamp| Timestamp::from_micros(at.as_micros() / 1_000 * 1_000).unwrap();
    Arc::new(Token { expires: token.expires.map(round), ..token.clone() })
}

#[async_trait]
impl TokenStore for BrokenStore {
    async fn find(&self, lookup: Lookup<'_>) -> Result<Option<Arc<Token>>, StoreError> {
        match (self.bug, lookup) {
            (Bug::IgnoresMarkers, Lookup::Marker(_)) => return Ok(None),
            (Bug::FindsAnyToken, lookup) => {
                let found = self.inner.find(lookup).await?;
                return Ok(found.or(self.all().await.pop()));
            }
            (Bug::IgnoresCase, Lookup::Identifier(wanted)) => {
                let same = |token: &&Arc<Token>| {
                    token.identifier.as_str().eq_ignore_ascii_case(wanted.as_str())
                };
                return Ok(self.all().await.iter().find(same).cloned());
            }
            (Bug::FindsOldNames, Lookup::Identifier(wanted)) => {
                let old = self.old_names.lock().unwrap().get(wanted).copied();
                if let Some(id) = old {
                    return self.inner.find(Lookup::Id(id)).await;
                }
            }
            (Bug::CachesKeys, Lookup::KeyDigest(digest)) => {
                let cached = self.cache.lock().unwrap().get(digest).cloned();
                if let Some(cached) = cached {
                    return Ok(cached);
                }
                let found = self.inner.find(lookup).await?;
                self.cache.lock().unwrap().insert(digest.clone(), found.clone());
                return Ok(found);
            }
            _ => {}
        }
        self.inner.find(lookup).await
    }

    async fn owners(&self, tokens: &[TokenId]) -> Result<Vec<UserId>, StoreError> {
        let one = if self.bug == Bug::ReturnsOneOwner { 1 } else { usize::MAX };
        self.inner.owners(tokens.get(..one.min(tokens.len())).unwrap()).await
    }

    async fn key_usage(&self) -> Result<KeyUsage, StoreError> {
        let mut usage = self.inner.key_usage().await?;
        match self.bug {
            Bug::ReturnsOnePepper => usage.peppers = usage.peppers.into_iter().take(1).collect(),
            Bug::ReturnsNoSealingKeys => usage.sealing_keys.clear(),
            _ => {}
        }
        Ok(usage)
    }

    async fn record_key_check(&self, check: KeyCheck) -> Result<KeyCheck, StoreError> {
        let recorded = self.inner.record_key_check(check).await?;
        Ok(if self.bug == Bug::OverwritesChecks { check } else { recorded })
    }

    async fn list(&self, query: &TokenQuery) -> Result<TokenPage, StoreError> {
        if let (Bug::IgnoresCaseOfPrefixes, Some(prefix)) = (self.bug, &query.filter.managed_prefix)
        {
            let starts = |token: &Arc<Token>| {
                let marker = token.managed.as_ref().map(|marker| marker.as_str().to_lowercase());
                marker.is_some_and(|marker| marker.starts_with(&prefix.to_lowercase()))
            };
            let tokens = self.all().await.into_iter().filter(starts).collect();
            return Ok(TokenPage { tokens, ..TokenPage::default() });
        }
        if self.bug == Bug::CachesLists {
            let cached = self.lists.lock().unwrap().iter().find(|(q, _)| q == query).cloned();
            if let Some((_, page)) = cached {
                return Ok(page);
            }
        }
        let page = self.inner.list(&self.distort_query(query)).await?;
        let page = self.distort_page(query, page).await;
        self.lists.lock().unwrap().push((query.clone(), page.clone()));
        Ok(page)
    }

    async fn commit(&self, mut commit: Commit) -> Result<(), CommitError> {
        match self.bug {
            Bug::FindsOldNames => self.remember_names(&commit.changes).await,
            Bug::DropsEvents => commit.events.clear(),
            Bug::DropsChangedFields => {
                commit.events.iter_mut().for_each(|event| event.changed = TokenFields::NONE);
            }
            Bug::ReordersChanges => commit.changes.sort_by_key(|change| change.token_id()),
            Bug::MergesABatch => {
                if let Err(
                    CommitError::Stale { change: place @ 1.., .. }
                    | CommitError::Taken { change: place @ 1.., .. },
                ) = self.inner.commit(commit.clone()).await
                {
                    commit.changes.truncate(place);
                } else {
                    return Ok(());
                }
            }
            Bug::RefusesEmptyBatches if commit.changes.is_empty() => {
                let kind = tokenkeep::StoreErrorKind::Other;
                return Err(StoreError::new("broken", kind).into());
            }
            Bug::HarmsTheNext if self.has_failed.swap(false, Ordering::SeqCst) => return Ok(()),
            Bug::TellsLater => {
                let events = std::mem::take(&mut commit.events);
                self.inner.commit(commit).await?;
                std::thread::sleep(Duration::from_micros(200));
                return self.inner.commit(Commit { changes: Vec::new(), events }).await;
            }
            Bug::ExpectsThenWrites => return self.expect_then_write(commit).await,
            Bug::SharesMarkers | Bug::SharesKeys => {
                commit.changes.iter_mut().for_each(|change| self.unshare(change));
            }
            Bug::ChecksThenWrites => return self.check_then_write(commit).await,
            Bug::KeepsHalfABatch => {
                for change in commit.changes {
                    let one = Commit { changes: vec![change], events: Vec::new() };
                    self.inner.commit(one).await?;
                    std::thread::yield_now();
                }
                let events = Commit { changes: Vec::new(), events: commit.events };
                return self.inner.commit(events).await;
            }
            _ => {}
        }
        let mut changes = Vec::new();
        for change in commit.changes {
            changes.extend(self.distort(change).await);
        }
        let committed = self.inner.commit(Commit { changes, events: commit.events }).await;
        self.has_failed.store(committed.is_err(), Ordering::SeqCst);
        match committed {
            Err(CommitError::Taken { .. }) if self.bug == Bug::AcceptsTakenNames => Ok(()),
            committed => committed.map_err(|error| self.distort_error(error)),
        }
    }

    async fn touch(&self, touches: &[Touch]) -> Result<(), StoreError> {
        match self.bug {
            Bug::IgnoresTouches => Ok(()),
            Bug::TouchesOnce => {
                self.inner.touch(touches.last().map_or(&[], std::slice::from_ref)).await
            }
            Bug::MissesTouchedTokens => {
                for touch in touches {
                    if self.by_id(touch.token).await.is_none() {
                        let kind = tokenkeep::StoreErrorKind::Other;
                        return Err(StoreError::new("broken", kind));
                    }
                }
                self.inner.touch(touches).await
            }
            _ => self.inner.touch(touches).await,
        }
    }

    async fn events(&self, query: &EventQuery) -> Result<EventPage, StoreError> {
        let mut query = query.clone();
        match self.bug {
            Bug::IgnoresEventLimits => query.limit = u32::MAX,
            Bug::IncludesTheEnd => {
                query.until = query.until.map(|at| at.saturating_add(Duration::from_micros(1)));
            }
            Bug::AcceptsAnyCursor if query.after.is_some() => {
                let after = query.after;
                return Ok(self
                    .inner
                    .events(&query)
                    .await
                    .unwrap_or(EventPage { events: Vec::new(), next: after }));
            }
            Bug::ContinuesAnyQuery => {
                let token = query.token;
                query.after = query.after.map(|after| EventCursor { token, ..after });
            }
            Bug::ContinuesLaterStates => {
                let all = EventQuery::default();
                let prunes = self.inner.events(&all).await?.next.map_or(0, |next| next.prunes);
                query.after = query
                    .after
                    .map(|after| EventCursor { prunes: after.prunes.min(prunes), ..after });
            }
            _ => {}
        }
        let mut page = self.inner.events(&query).await?;
        let events = &mut page.events;
        match self.bug {
            Bug::SortsEventsById if query.token.is_none() => events.sort_by_key(|event| event.id),
            Bug::SortsEventsByTime => events.sort_by_key(|event| event.at),
            Bug::DropsEventsOfTheDead => {
                let alive: Vec<_> = self.all().await.iter().map(|token| token.id).collect();
                events.retain(|event| alive.contains(&event.token));
            }
            Bug::PassesEvents if query.token.is_none() => {
                // Two events of one commit are met when only one of them is there.
                events.retain(|event| event.id.as_bytes()[..3] != [1, 20, 1]);
            }
            _ => {}
        }
        Ok(page)
    }

    async fn prune_events(&self, before: Timestamp) -> Result<u64, StoreError> {
        if self.bug == Bug::PrunesInOrder {
            let all = EventQuery { limit: u32::MAX, ..EventQuery::default() };
            let first = self.inner.events(&all).await?.events.into_iter().next();
            if first.is_some_and(|event| event.at >= before) {
                return Ok(0);
            }
        }
        let further = u64::from(self.bug == Bug::PrunesTheEnd);
        self.inner.prune_events(before.saturating_add(Duration::from_micros(further))).await
    }

    fn changes(&self) -> Option<Arc<dyn Changes>> {
        match self.bug {
            Bug::CountsNoChanges => Some(self.uncounted.clone()),
            _ => TokenStore::changes(&self.inner),
        }
    }

    fn store_id(&self) -> StoreId {
        match self.bug {
            Bug::ChangesItsId => StoreId::from_bytes([self.ids.fetch_add(1, Ordering::SeqCst); 16]),
            _ => TokenStore::store_id(&self.inner),
        }
    }
}
