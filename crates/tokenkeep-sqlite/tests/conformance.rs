//! The SQLite store does what every backend must do. Each case runs on a file of its own, opened
//! more than once; where one store has the file for itself, the open one is handed out again.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]
#![allow(clippy::indexing_slicing)]

use std::sync::{Arc, Mutex, PoisonError, Weak};

use async_trait::async_trait;
use tempfile::TempDir;
use tokenkeep::{TokenStore, UserStore};
use tokenkeep_conformance::{Harness, UserHarness};
use tokenkeep_sqlite::{Sharing, SqliteOptions, SqliteStore};

struct Sqlite(TempDir);

impl Sqlite {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn store(&self) -> SqliteStore {
        SqliteStore::open(self.0.path().join("tokens.db")).unwrap()
    }
}

#[async_trait]
impl Harness for Sqlite {
    async fn open(&self) -> Arc<dyn TokenStore> {
        Arc::new(self.store())
    }
}

#[async_trait]
impl UserHarness for Sqlite {
    async fn open(&self) -> Arc<dyn UserStore> {
        Arc::new(self.store())
    }
}

/// A store in single-process mode: the one that is open, or a new one after a restart.
struct Alone {
    directory: TempDir,
    open: Mutex<Weak<SqliteStore>>,
}

impl Alone {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap(), open: Mutex::default() }
    }

    fn store(&self) -> Arc<SqliteStore> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.upgrade().unwrap_or_else(|| {
            let options = SqliteOptions::new().sharing(Sharing::SingleProcess);
            let store = Arc::new(options.open(self.directory.path().join("tokens.db")).unwrap());
            *open = Arc::downgrade(&store);
            store
        })
    }
}

#[async_trait]
impl Harness for Alone {
    async fn open(&self) -> Arc<dyn TokenStore> {
        self.store()
    }
}

#[async_trait]
impl UserHarness for Alone {
    async fn open(&self) -> Arc<dyn UserStore> {
        self.store()
    }
}

mod store {
    tokenkeep_conformance::store_tests!(super::Sqlite::new());
}

mod directory {
    tokenkeep_conformance::user_store_tests!(super::Sqlite::new());
}

mod store_alone {
    tokenkeep_conformance::store_tests!(super::Alone::new());
}

mod directory_alone {
    tokenkeep_conformance::user_store_tests!(super::Alone::new());
}
