//! Every backend, by its name on the command line.

use std::sync::Arc;

use tokenkeep::{EventQuery, KeyScheme, StoreError, TokenQuery, TokenStore, UserStore, Window};
use tokenkeep_memory::MemoryStore;
use tokenkeep_postgres::PostgresStore;
use tokenkeep_sqlite::SqliteStore;

use crate::arguments::{Arguments, Db};
use crate::{Result, keys};

/// A store with its directory and its keys.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) tokens: Arc<dyn TokenStore>,
    pub(crate) users: Arc<dyn UserStore>,
    pub(crate) keys: KeyScheme,
}

/// Opens the store, or makes it, after its keys.
pub(crate) async fn open(arguments: &Arguments) -> Result<Opened> {
    let keys = keys::scheme(arguments)?;
    Ok(match &arguments.db {
        Db::Memory => opened(MemoryStore::new(), keys),
        Db::Sqlite(path) => opened(SqliteStore::open(path)?, keys),
        Db::Postgres(url) => opened(PostgresStore::connect(url).await?, keys),
    })
}

fn opened<S: TokenStore + UserStore>(store: S, keys: KeyScheme) -> Opened {
    let store = Arc::new(store);
    Opened { tokens: store.clone(), users: store, keys }
}

/// Whether nothing was ever kept in the store.
pub(crate) async fn is_empty(store: &dyn TokenStore) -> std::result::Result<bool, StoreError> {
    let window = Window::After { cursor: None, limit: 1 };
    let page = store.list(&TokenQuery { window, ..TokenQuery::default() }).await?;
    let events = store.events(&EventQuery { limit: 1, ..EventQuery::default() }).await?;
    Ok(page.tokens.is_empty() && events.is_empty())
}
