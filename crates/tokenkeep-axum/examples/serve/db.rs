//! Every backend, by its name on the command line. The example `copy_store` uses it, too.

use std::error::Error;
use std::fmt;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use tokenkeep::{TokenStore, UserStore};
use tokenkeep_memory::MemoryStore;
use tokenkeep_postgres::PostgresOptions;
use tokenkeep_sqlite::SqliteOptions;

use crate::Result;

/// Where tokens are kept.
#[derive(Clone, PartialEq)]
pub(crate) enum Db {
    Sqlite(PathBuf),
    Postgres(String),
    Memory,
}

impl fmt::Debug for Db {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => f.debug_tuple("Sqlite").field(path).finish(),
            // The URL may hold a password.
            Self::Postgres(_) => f.write_str("Postgres(…)"),
            Self::Memory => f.write_str("Memory"),
        }
    }
}

/// A store with its directory.
pub(crate) type Stores = (Arc<dyn TokenStore>, Arc<dyn UserStore>);

impl Db {
    /// Opens the store, or makes it, with so many connections, or the backend's default.
    pub(crate) async fn open(&self, pool: Option<NonZeroUsize>) -> Result<Stores> {
        let pool = pool.map(NonZeroUsize::get);
        Ok(match self {
            Self::Memory if pool.is_some() => return Err("memory: has no pool".into()),
            Self::Memory => both(MemoryStore::new()),
            Self::Sqlite(path) => {
                let options = SqliteOptions::new();
                let options = pool.into_iter().fold(options, SqliteOptions::readers);
                both(options.open(path)?)
            }
            Self::Postgres(url) => {
                let options = PostgresOptions::new();
                let options = pool.into_iter().fold(options, PostgresOptions::max_connections);
                both(options.connect(url).await?)
            }
        })
    }
}

fn both<S: TokenStore + UserStore>(store: S) -> Stores {
    let store = Arc::new(store);
    (store.clone(), store)
}

impl FromStr for Db {
    type Err = Box<dyn Error + Send + Sync>;

    fn from_str(url: &str) -> Result<Self> {
        match url.split_once(':') {
            Some(("sqlite", path)) => sqlite(path),
            Some(("postgres" | "postgresql", _)) => Ok(Self::Postgres(url.into())),
            Some(("memory", "")) => Ok(Self::Memory),
            // Not what was given: it may hold a password.
            _ => Err("use sqlite:PATH, postgres://USER@HOST/NAME or memory:".into()),
        }
    }
}

/// The database at a path, which is taken as it stands. Other programs read more into what follows
/// `sqlite:`, each something else.
fn sqlite(path: &str) -> Result<Db> {
    let refused =
        |instead: &str| Err(format!("sqlite:{path} is not supported: use {instead}").into());
    if path.is_empty() {
        refused("sqlite:PATH, as sqlite:tokens.db")
    } else if path.contains(":memory:") || path.contains("mode=memory") {
        refused("memory:")
    } else if path.starts_with("//") {
        refused(
            "sqlite:PATH without slashes before it, as sqlite:tokens.db or sqlite:/var/lib/tokens.db",
        )
    } else if path.contains(['?', '#']) || path.starts_with("file:") {
        refused("sqlite:PATH without parameters, as sqlite:tokens.db")
    } else {
        Ok(Db::Sqlite(path.into()))
    }
}
