//! The PostgreSQL store does what every backend must do. Each case runs on a database of its own,
//! opened more than once.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]
#![allow(clippy::indexing_slicing)]

use std::sync::Arc;

use async_trait::async_trait;
use tokenkeep::{TokenStore, UserStore};
use tokenkeep_conformance::{BoxFuture, Harness, UserHarness};
use tokenkeep_postgres::PostgresStore;
use tokenkeep_test_server::{Database, Server, available};
use tokio::runtime::Runtime;

struct Postgres {
    runtime: Runtime,
    database: Database,
}

impl Postgres {
    fn new() -> Self {
        Self {
            runtime: Runtime::new().unwrap(),
            database: Server::shared().unwrap().database().unwrap(),
        }
    }

    async fn store(&self) -> PostgresStore {
        PostgresStore::connect(&self.database.url()).await.unwrap()
    }
}

#[async_trait]
impl Harness for Postgres {
    async fn open(&self) -> Arc<dyn TokenStore> {
        Arc::new(self.store().await)
    }

    fn block_on(&self, future: BoxFuture<'_>) {
        self.runtime.block_on(future);
    }
}

#[async_trait]
impl UserHarness for Postgres {
    async fn open(&self) -> Arc<dyn UserStore> {
        Arc::new(self.store().await)
    }

    fn block_on(&self, future: BoxFuture<'_>) {
        self.runtime.block_on(future);
    }
}

mod store {
    tokenkeep_conformance::store_tests!(if super::available, super::Postgres::new());
}

mod directory {
    tokenkeep_conformance::user_store_tests!(if super::available, super::Postgres::new());
}
