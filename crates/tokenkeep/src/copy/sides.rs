//! The three steps of a copy, for any kind of rows.

use crate::copy::report::Told;
use crate::copy::rows::{PAGE, Rows};
use crate::copy::walk::{Found, SideBySide};
use crate::copy::{CopyError, RowId};

/// The rows of one kind on both sides.
pub(super) struct Sides<R> {
    pub(super) from: R,
    pub(super) to: R,
}

impl<R: Rows> Sides<R> {
    fn side_by_side(&self) -> SideBySide<'_, R> {
        SideBySide::new(&self.from, &self.to)
    }

    /// First: the target has nothing but what the source has. Costs what reading the target costs.
    pub(super) async fn check(&self) -> Result<(), CopyError> {
        let mut walk = self.side_by_side();
        while walk.target_goes_on().await? {
            walk.next().await?;
        }
        Ok(())
    }

    /// Then: writes what is missing, again and again as long as rows wait for others.
    pub(super) async fn fill(&self, told: &mut Told<'_>) -> Result<(), CopyError> {
        loop {
            let before = R::counts(&mut told.report).written;
            let Some(waiting) = self.fill_once(told).await? else { return Ok(()) };
            if R::counts(&mut told.report).written == before {
                return Err(CopyError::Refused(waiting));
            }
        }
    }

    /// Writes what is missing and can be written, and names the first row that has to wait.
    async fn fill_once(&self, told: &mut Told<'_>) -> Result<Option<RowId>, CopyError> {
        let mut walk = self.side_by_side();
        let mut first_waiting = None;
        let mut page = Vec::new();
        loop {
            let found = walk.next().await?;
            let is_end = found.is_none();
            if let Some(Found::Missing(row)) = found {
                page.push(row);
            }
            if page.len() >= PAGE as usize || is_end && !page.is_empty() {
                let missing = page.len();
                let waiting = self.to.write(std::mem::take(&mut page)).await?;
                first_waiting = first_waiting.or_else(|| waiting.first().map(R::id));
                R::counts(&mut told.report).written += (missing - waiting.len()) as u64;
                told.tell();
            }
            if is_end {
                return Ok(first_waiting);
            }
        }
    }

    /// At last: every row is there on both sides, and is the same in every field.
    pub(super) async fn verify(&self, told: &mut Told<'_>) -> Result<(), CopyError> {
        let mut walk = self.side_by_side();
        while let Some(found) = walk.next().await? {
            if let Found::Missing(row) = found {
                return Err(CopyError::Missing(R::id(&row)));
            }
            let counts = R::counts(&mut told.report);
            counts.verified += 1;
            if counts.verified.is_multiple_of(PAGE.into()) {
                told.tell();
            }
        }
        told.tell();
        Ok(())
    }
}
