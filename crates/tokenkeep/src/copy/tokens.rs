//! Tokens and events as rows.

use std::sync::Arc;

use async_trait::async_trait;

use crate::copy::rows::{PAGE, Rows};
use crate::copy::{Copied, CopyError, CopyReport, RowId};
use crate::event::{Event, EventId};
use crate::store::{
    Change, Commit, CommitError, EventPosition, EventQuery, SortField, SortKey, StoreError,
    StoreErrorKind, TokenQuery, TokenStore, Window,
};
use crate::timestamp::Timestamp;
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

/// Events, in the order of their times and ids.
pub(super) struct Events<'a>(pub(super) &'a dyn TokenStore);

#[async_trait]
impl Rows for Events<'_> {
    type Row = Event;
    type Place = (Timestamp, EventId);

    async fn behind(&self, last: Option<&Event>) -> Result<Vec<Event>, StoreError> {
        let after = last.map(EventPosition::from);
        self.0.events(&EventQuery { after, limit: PAGE, ..EventQuery::default() }).await
    }

    async fn write(&self, rows: Vec<Event>) -> Result<Vec<Event>, CopyError> {
        match self.0.commit(Commit { changes: Vec::new(), events: rows }).await {
            Ok(()) => Ok(Vec::new()),
            Err(CommitError::Store(error)) => Err(CopyError::Target(error)),
            // There is no change that could be: this store does not keep to the contract.
            Err(CommitError::Taken { .. } | CommitError::Stale { .. }) => {
                Err(CopyError::Target(StoreError::new("copy", StoreErrorKind::Other)))
            }
        }
    }

    fn place(row: &Event) -> (Timestamp, EventId) {
        (row.at, row.id)
    }

    fn id(row: &Event) -> RowId {
        RowId::Event(row.id)
    }

    fn counts(report: &mut CopyReport) -> &mut Copied {
        &mut report.events
    }
}
