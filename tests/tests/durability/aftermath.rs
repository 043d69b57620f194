//! What has to be true of a file when it is opened again.

use std::path::Path;
use std::sync::Arc;

use tokenkeep_sqlite::{CheckOnOpen, SqliteOptions, SqliteStore};

/// The file, checked and opened again.
pub(crate) fn open(path: &Path) -> Arc<SqliteStore> {
    let store = SqliteOptions::new().check(CheckOnOpen::Always).open(path).unwrap();
    store.check().unwrap();
    Arc::new(store)
}
