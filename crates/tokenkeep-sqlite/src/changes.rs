//! How a cache learns that a shared file has changed.

use std::sync::Arc;

use tokenkeep::{ChangeCounters, Changes, StoreError, Subject};

use crate::reader::Readers;

/// Asks SQLite whether anybody has written, which is exact and costs a third of a look-up
/// (`PRAGMA data_version`). What was written it does not tell: every commit counts for everything.
#[derive(Debug)]
pub(crate) struct SharedChanges {
    pub(crate) readers: Arc<Readers>,
    pub(crate) counters: Arc<ChangeCounters>,
}

impl Changes for SharedChanges {
    fn now(&self) -> Result<&ChangeCounters, StoreError> {
        self.readers.when_somebody_wrote(|| self.counters.note(&[Subject::Everything]))?;
        Ok(&self.counters)
    }
}
