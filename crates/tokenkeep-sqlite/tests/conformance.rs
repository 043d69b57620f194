//! The SQLite store does what every backend must do. Each case runs on a file of its own, opened
//! more than once.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]
#![allow(clippy::indexing_slicing)]

use std::sync::Arc;

use async_trait::async_trait;
use tempfile::TempDir;
use tokenkeep::{TokenStore, UserStore};
use tokenkeep_conformance::{Harness, UserHarness};
use tokenkeep_sqlite::SqliteStore;

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

mod store {
    tokenkeep_conformance::store_tests!(super::Sqlite::new());
}

mod directory {
    tokenkeep_conformance::user_store_tests!(super::Sqlite::new());
}
