//! Every backend, by its name on the command line. The example `copy_store` uses it, too.

use std::error::Error;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use tokenkeep::{TokenStore, UserStore};
use tokenkeep_memory::MemoryStore;
use tokenkeep_sqlite::SqliteStore;

use crate::Result;

/// Where tokens are kept.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Db {
    Sqlite(PathBuf),
    Memory,
}

/// A store with its directory.
pub(crate) type Stores = (Arc<dyn TokenStore>, Arc<dyn UserStore>);

impl Db {
    /// Opens the store, or makes it.
    pub(crate) fn open(&self) -> Result<Stores> {
        Ok(match self {
            Self::Memory => both(MemoryStore::new()),
            Self::Sqlite(path) => both(SqliteStore::open(path)?),
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
            Some(("sqlite", path)) if !path.is_empty() => Ok(Self::Sqlite(path.into())),
            Some(("memory", "")) => Ok(Self::Memory),
            _ => Err(format!("{url}: use sqlite:PATH or memory:").into()),
        }
    }
}
