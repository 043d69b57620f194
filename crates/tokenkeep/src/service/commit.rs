//! Committing, and finding out what became of a commit whose answer was lost.

use crate::error::TokenError;
use crate::event::{Event, EventId, EventKind};
use crate::expected::Expected;
use crate::service::TokenService;
use crate::store::{
    Change, Commit, CommitError, EventQuery, Lookup, StoreError, StoreErrorKind, Subject,
};
use crate::token::{Revision, TokenId};

impl TokenService {
    /// Commits. When the store cannot tell whether that was done, the audit trail may: every commit
    /// has its event.
    pub(super) async fn commit(&self, commit: Commit) -> Result<(), CommitError> {
        let trace = Trace::of(&commit);
        // From here until the outcome is known, the service's own cache reads the store.
        let tokens = commit.changes.iter().map(|change| Subject::Token(change.token_id()));
        let _changing = self.parts.cache.as_ref().and_then(|cache| cache.begin(tokens));
        match (self.parts.store.commit(commit).await, trace) {
            (Err(CommitError::Store(error)), Some(trace))
                if *error.kind() == StoreErrorKind::OutcomeUnknown =>
            {
                self.settle(trace, error).await
            }
            (result, _) => result,
        }
    }

    /// Commits what was decided on a token; `false` when somebody else changed it in between and the
    /// operation may be tried again.
    pub(super) async fn commit_or_lose(
        &self,
        commit: Commit,
        expected: &Expected,
    ) -> Result<bool, TokenError> {
        match self.commit(commit).await {
            Ok(()) => Ok(true),
            Err(CommitError::Stale { .. }) if expected.is_anything() => Ok(false),
            Err(CommitError::Stale { current: None, .. }) => Err(TokenError::NotFound),
            Err(CommitError::Stale { current: Some(current), .. }) => {
                Err(TokenError::Stale { current: current.revision })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Reads what became of a commit; hands over that it is unknown where that cannot be told: it
    /// may still be on its way.
    async fn settle(&self, trace: Trace, unknown: StoreError) -> Result<(), CommitError> {
        let mut query =
            EventQuery { token: Some(trace.token), limit: 1_000, ..EventQuery::default() };
        let mut is_superseded = false;
        loop {
            let Ok(page) = self.parts.events(&query).await else {
                return Err(unknown.into());
            };
            if page.events.iter().any(|event| event.id == trace.event) {
                return Ok(());
            }
            is_superseded |= page.events.iter().any(|event| trace.is_superseded_by(event));
            // Newest first: what comes next is older than the commit.
            let is_older =
                page.events.last().is_none_or(|event| Some(event.revision) < trace.expected);
            match page.next.filter(|_| !is_older) {
                Some(next) => query.after = Some(next),
                None => break,
            }
        }
        if is_superseded {
            let current = self.parts.find(Lookup::Id(trace.token)).await?;
            return Err(CommitError::Stale { change: trace.change, current });
        }
        Err(unknown.into())
    }
}

/// What a commit leaves in the audit trail: its first event, and the revision that the token of
/// that event had to be at.
#[derive(Debug, Clone, Copy)]
struct Trace {
    event: EventId,
    /// The place of the change that the event describes.
    change: usize,
    token: TokenId,
    /// `None` of an insert and of a remove.
    expected: Option<Revision>,
    /// The change deletes the token at any revision.
    removes: bool,
}

impl Trace {
    fn of(commit: &Commit) -> Option<Self> {
        let event = commit.events.first()?;
        let mut changes = commit.changes.iter().enumerate();
        let (place, change) = changes.find(|(_, change)| change.token_id() == event.token)?;
        let expected = match change {
            Change::Insert(_) | Change::Remove { .. } => None,
            Change::Replace { expected, .. }
            | Change::Delete { expected, .. }
            | Change::Expect { expected, .. }
            | Change::Release { expected, .. } => Some(*expected),
        };
        let removes = matches!(change, Change::Remove { .. });
        Some(Self { event: event.id, change: place, token: event.token, expected, removes })
    }

    /// Whether somebody else's event took the token away from the expected revision, to which it
    /// does not come back. That our own event is missing proves nothing: it may have been pruned.
    fn is_superseded_by(&self, event: &Event) -> bool {
        let deletes =
            matches!(event.kind, EventKind::Deleted | EventKind::Consumed | EventKind::Expired);
        let Some(expected) = self.expected else {
            return self.removes && deletes;
        };
        match event.kind {
            EventKind::Deleted | EventKind::Consumed | EventKind::Expired => {
                event.revision == expected
            }
            EventKind::KeyViewed if event.changed.is_empty() => false,
            _ => Some(event.revision) == expected.next(),
        }
    }
}
