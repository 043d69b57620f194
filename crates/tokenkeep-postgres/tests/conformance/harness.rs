//! A database for one case.

use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use tokenkeep::{TokenStore, UserStore};
use tokenkeep_conformance::{BoxFuture, Harness, UserHarness};
use tokenkeep_postgres::PostgresStore;
use tokenkeep_test_server::{Database, Server};
use tokio::runtime::Runtime;

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());

pub(crate) struct Postgres(Database);

impl Postgres {
    pub(crate) fn shared() -> Self {
        Self::on(Server::shared().unwrap())
    }

    pub(crate) fn on(server: &Server) -> Self {
        Self(server.database().unwrap())
    }

    async fn store(&self) -> PostgresStore {
        PostgresStore::connect(&self.0.url()).await.unwrap()
    }
}

#[async_trait]
impl Harness for Postgres {
    async fn open(&self) -> Arc<dyn TokenStore> {
        Arc::new(self.store().await)
    }

    fn block_on(&self, future: BoxFuture<'_>) {
        RUNTIME.block_on(future);
    }
}

#[async_trait]
impl UserHarness for Postgres {
    async fn open(&self) -> Arc<dyn UserStore> {
        Arc::new(self.store().await)
    }

    fn block_on(&self, future: BoxFuture<'_>) {
        RUNTIME.block_on(future);
    }
}
