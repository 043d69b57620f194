//! Tokens and events as rows.

use std::sync::Arc;

use async_trait::async_trait;

use crate::copy::rows::{PAGE, Rows};
use crate::copy::{Copied, CopyError, CopyReport, RowId};
use crate::event::Event;
use crate::store::{
    Change, Commit, CommitError, EventCursor, EventQuery, SortField, SortKey, StoreError,
    StoreErrorKind, TokenQuery, TokenStore, Window,
};
use crate::token::{Token, TokenId};

/// Tokens, in the order of their ids.
pub(super) struct Tokens<'a>(pub(super) &'a dyn TokenStore);

#[async_trait]
impl Rows for Tokens<'_> {
    type Row = Arc<Token>;
    type Place = TokenId;

    async fn behind(&self, last: Option<&Arc<Token>>) -> Result<Vec<Arc<Token>>, StoreError> {
        let order = vec![SortKey { field: SortField::Id, descending: false }];
        let mut query = TokenQuery { order, ..TokenQuery::default() };
        let cursor = last.map(|token| query.token_order().behind(token));
        query.window = Window::After { cursor, limit: PAGE };
        Ok(self.0.list(&query).await?.tokens)
    }

    async fn write(&self, rows: Vec<Arc<Token>>) -> Result<Vec<Arc<Token>>, CopyError> {
        let changes = rows.iter().cloned().map(Change::Insert).collect();
        match self.0.commit(Commit { changes, events: Vec::new() }).await {
            Ok(()) => Ok(Vec::new()),
            Err(CommitError::Store(error)) => Err(CopyError::Target(error)),
            Err(CommitError::Taken { change, .. } | CommitError::Stale { change, .. }) => {
                Err(match rows.get(change) {
                    Some(token) => CopyError::Refused(Self::id(token)),
                    None => CopyError::Target(StoreError::new("copy", StoreErrorKind::Other)),
                })
            }
        }
    }

    fn place(row: &Arc<Token>) -> TokenId {
        row.id
    }

    fn id(row: &Arc<Token>) -> RowId {
        RowId::Token(row.id)
    }

    fn counts(report: &mut CopyReport) -> &mut Copied {
        &mut report.tokens
    }
}

/// The events of a store, in the order of commits.
pub(super) struct Events<'a>(pub(super) &'a dyn TokenStore);

/// An event with its place in the trail, counted from 0.
#[derive(Debug, Clone)]
pub(super) struct Numbered {
    place: u64,
    event: Event,
    /// Where the events after the page continue.
    next: Option<EventCursor>,
}

impl PartialEq for Numbered {
    fn eq(&self, other: &Self) -> bool {
        // A cursor belongs to one store.
        (self.place, &self.event) == (other.place, &other.event)
    }
}

#[async_trait]
impl Rows for Events<'_> {
    type Row = Numbered;
    type Place = u64;

    async fn behind(&self, last: Option<&Numbered>) -> Result<Vec<Numbered>, StoreError> {
        let after = last.and_then(|last| last.next);
        let query = EventQuery { after, limit: PAGE, ..EventQuery::default() };
        let page = self.0.events(&query).await?;
        let first = last.map_or(0, |last| last.place + 1);
        let number = |(place, event)| Numbered { place, event, next: page.next };
        Ok((first..).zip(page.events).map(number).collect())
    }

    async fn write(&self, rows: Vec<Numbered>) -> Result<Vec<Numbered>, CopyError> {
        let events = rows.into_iter().map(|row| row.event).collect();
        match self.0.commit(Commit { changes: Vec::new(), events }).await {
            Ok(()) => Ok(Vec::new()),
            Err(CommitError::Store(error)) => Err(CopyError::Target(error)),
            // There is no change that could be: this store does not keep to the contract.
            Err(CommitError::Taken { .. } | CommitError::Stale { .. }) => {
                Err(CopyError::Target(StoreError::new("copy", StoreErrorKind::Other)))
            }
        }
    }

    fn place(row: &Numbered) -> u64 {
        row.place
    }

    fn id(row: &Numbered) -> RowId {
        RowId::Event(row.event.id)
    }

    fn counts(report: &mut CopyReport) -> &mut Copied {
        &mut report.events
    }
}

/// Records the check values of the source's secrets in the target.
pub(super) async fn copy_checks(
    from: &dyn TokenStore,
    to: &dyn TokenStore,
) -> Result<(), CopyError> {
    for check in from.key_usage().await.map_err(CopyError::Source)?.checks {
        let recorded = to.record_key_check(check).await.map_err(CopyError::Target)?;
        if recorded != check {
            return Err(CopyError::Differs(RowId::Secret(check.secret)));
        }
    }
    Ok(())
}

/// Refuses a target that was opened with another secret under the id of one of the source.
pub(super) async fn compare_checks(
    from: &dyn TokenStore,
    to: &dyn TokenStore,
) -> Result<(), CopyError> {
    let source = from.key_usage().await.map_err(CopyError::Source)?;
    for check in to.key_usage().await.map_err(CopyError::Target)?.checks {
        if source.check_of(check.secret).is_some_and(|of_source| of_source != check) {
            return Err(CopyError::Differs(RowId::Secret(check.secret)));
        }
    }
    Ok(())
}
