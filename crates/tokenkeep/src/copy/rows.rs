//! What a copy has to know of a kind of rows.

use async_trait::async_trait;

use crate::copy::{Copied, CopyError, CopyReport, RowId};
use crate::store::StoreError;

/// How many rows are read or written at once.
pub(super) const PAGE: u32 = 1_000;

/// The rows of one kind in one store, in an order that all stores have.
#[async_trait]
pub(super) trait Rows: Send + Sync {
    /// One of them, with every field.
    type Row: Clone + PartialEq + Send + Sync;

    /// What the order is by.
    type Place: Ord;

    /// At most a page of the rows behind one, or from the first on; none behind the last.
    async fn behind(&self, last: Option<&Self::Row>) -> Result<Vec<Self::Row>, StoreError>;

    /// Writes rows that are not there, and returns those that have to wait for others.
    async fn write(&self, rows: Vec<Self::Row>) -> Result<Vec<Self::Row>, CopyError>;

    /// Where a row is in the order.
    fn place(row: &Self::Row) -> Self::Place;

    /// The row's name in errors.
    fn id(row: &Self::Row) -> RowId;

    /// Where rows of this kind are counted.
    fn counts(report: &mut CopyReport) -> &mut Copied;
}
