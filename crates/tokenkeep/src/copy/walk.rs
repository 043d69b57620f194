//! Walking through the rows of two stores side by side.

use std::cmp::Ordering;
use std::collections::VecDeque;

use crate::copy::CopyError;
use crate::copy::rows::Rows;
use crate::store::StoreError;

/// A walk through all rows of one store, page by page.
struct Walk<'a, R: Rows> {
    rows: &'a R,
    page: VecDeque<R::Row>,
    /// The last row of the page, also when it has been taken.
    last: Option<R::Row>,
    is_over: bool,
    /// Which side it is that fails.
    failed: fn(StoreError) -> CopyError,
}

impl<'a, R: Rows> Walk<'a, R> {
    fn new(rows: &'a R, failed: fn(StoreError) -> CopyError) -> Self {
        Self { rows, page: VecDeque::new(), last: None, is_over: false, failed }
    }

    /// Reads the next page when this one is at its end. Once there was none, it stays so: rows that
    /// are written behind the end were not there.
    async fn fill(&mut self) -> Result<(), CopyError> {
        if self.page.is_empty() && !self.is_over {
            let page = self.rows.behind(self.last.as_ref()).await.map_err(self.failed)?;
            self.is_over = page.is_empty();
            self.last = page.last().cloned();
            self.page = page.into();
        }
        Ok(())
    }

    async fn next(&mut self) -> Result<Option<R::Row>, CopyError> {
        self.fill().await?;
        Ok(self.page.pop_front())
    }
}

/// What is found of a row of the source in the target.
pub(super) enum Found<T> {
    /// The same row.
    Same,
    /// Nothing.
    Missing(T),
}

/// A walk through the source, with the target beside it.
pub(super) struct SideBySide<'a, R: Rows> {
    from: Walk<'a, R>,
    to: Walk<'a, R>,
}

impl<'a, R: Rows> SideBySide<'a, R> {
    pub(super) fn new(from: &'a R, to: &'a R) -> Self {
        Self { from: Walk::new(from, CopyError::Source), to: Walk::new(to, CopyError::Target) }
    }

    /// The next row of the source, or `None` when both sides have ended. A row of the target that
    /// the source does not have just so is an error.
    pub(super) async fn next(&mut self) -> Result<Option<Found<R::Row>>, CopyError> {
        match (self.from.next().await?, self.to.next().await?) {
            (None, None) => Ok(None),
            (Some(row), None) => Ok(Some(Found::Missing(row))),
            (None, Some(foreign)) => Err(CopyError::Foreign(R::id(&foreign))),
            (Some(row), Some(other)) => match R::place(&row).cmp(&R::place(&other)) {
                Ordering::Less => {
                    self.to.page.push_front(other);
                    Ok(Some(Found::Missing(row)))
                }
                Ordering::Greater => Err(CopyError::Foreign(R::id(&other))),
                Ordering::Equal if row == other => Ok(Some(Found::Same)),
                // Of events, whose place is a number, another one can be there.
                Ordering::Equal if R::id(&row) != R::id(&other) => {
                    Err(CopyError::Foreign(R::id(&other)))
                }
                Ordering::Equal => Err(CopyError::Differs(R::id(&row))),
            },
        }
    }

    /// Whether the target has rows that have not been reached.
    pub(super) async fn target_goes_on(&mut self) -> Result<bool, CopyError> {
        self.to.fill().await?;
        Ok(!self.to.page.is_empty())
    }
}
