//! Every backend, as the tests open it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::TempDir;
use tokenkeep::{TokenStore, UserStore};
use tokenkeep_memory::MemoryStore;
use tokenkeep_sqlite::{Durability, SqliteOptions, SqliteStore};

use crate::fixture::Fixture;

/// A store with the directory that comes with it, gone when dropped.
#[derive(Debug)]
pub struct Backend {
    pub name: &'static str,
    pub tokens: Arc<dyn TokenStore>,
    pub users: Arc<dyn UserStore>,
    directory: Option<TempDir>,
}

impl Backend {
    /// The same tokens as another process has them: through a handle of its own, where the backend
    /// can be shared.
    pub fn another_handle(&self) -> Arc<dyn TokenStore> {
        match &self.directory {
            Some(directory) => Arc::new(open_sqlite(&file_in(directory))),
            None => self.tokens.clone(),
        }
    }

    pub fn memory() -> Self {
        Self::of("memory", Arc::new(MemoryStore::new()), None)
    }

    pub fn sqlite() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = open_sqlite(&file_in(&directory));
        Self::of("sqlite", Arc::new(store), Some(directory))
    }

    fn of<S: TokenStore + UserStore>(
        name: &'static str,
        store: Arc<S>,
        directory: Option<TempDir>,
    ) -> Self {
        Self { name, tokens: store.clone(), users: store, directory }
    }
}

/// Where a backend's file is.
fn file_in(directory: &TempDir) -> PathBuf {
    directory.path().join("tokens.db")
}

/// Opens a file without waiting for the disk, which these tests do not test.
fn open_sqlite(path: &Path) -> SqliteStore {
    SqliteOptions::new().durability(Durability::Normal).readers(1).open(path).unwrap()
}

/// Makes any number of stores that hold the fixture.
pub trait Loaded {
    fn fresh(&self) -> Backend;
}

/// Loads the fixture into a new memory store each time.
#[derive(Debug)]
pub struct LoadedMemory<'a>(pub &'a Fixture);

impl Loaded for LoadedMemory<'_> {
    fn fresh(&self) -> Backend {
        let backend = Backend::memory();
        pollster::block_on(self.0.load(&*backend.tokens, &*backend.users));
        backend
    }
}

/// Loads the fixture into one file, and copies it.
#[derive(Debug)]
pub struct LoadedSqlite {
    directory: TempDir,
}

impl LoadedSqlite {
    pub fn new(fixture: &Fixture) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = open_sqlite(&directory.path().join("template.db"));
        pollster::block_on(fixture.load(&store, &store));
        // Closing the last connection moves all of the log into the file.
        drop(store);
        Self { directory }
    }
}

impl Loaded for LoadedSqlite {
    fn fresh(&self) -> Backend {
        let directory = tempfile::tempdir().unwrap();
        let path = file_in(&directory);
        std::fs::copy(self.directory.path().join("template.db"), &path).unwrap();
        Backend::of("sqlite", Arc::new(open_sqlite(&path)), Some(directory))
    }
}
