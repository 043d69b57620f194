//! SQLite files full of tokens.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::{Connection, OpenFlags};
use tempfile::TempDir;
use tokenkeep::Token;
use tokenkeep_sqlite::{Durability, Sharing, SqliteOptions, SqliteStore};

use crate::load::{fill_users, token};

/// A store in a directory of its own, gone with it.
#[derive(Debug)]
pub struct Files {
    // Closed before the directory goes.
    /// The store.
    pub store: Arc<SqliteStore>,
    directory: TempDir,
}

impl Files {
    /// A store with so many tokens and their users.
    pub fn new(options: &SqliteOptions, tokens: u64) -> Self {
        Self::with(options, (0..tokens).map(token))
    }

    /// A store with these tokens.
    pub fn with(
        options: &SqliteOptions,
        tokens: impl Iterator<Item = Token> + Send + 'static,
    ) -> Self {
        let directory = tempfile::tempdir().unwrap();
        write(&directory.path().join("tokens.db"), tokens);
        let store = options.open(directory.path().join("tokens.db")).unwrap();
        Self { store: Arc::new(store), directory }
    }

    /// Where the file is.
    pub fn path(&self) -> PathBuf {
        self.directory.path().join("tokens.db")
    }

    /// How long the log is, in bytes.
    pub fn log_bytes(&self) -> u64 {
        let log = self.directory.path().join("tokens.db-wal");
        std::fs::metadata(log).map_or(0, |found| found.len())
    }

    /// A bare connection to the file, with the settings that cost time.
    pub fn bare(&self, durability: Durability) -> Connection {
        let bare = connect(&self.path());
        let synchronous = if durability == Durability::Full { "FULL" } else { "NORMAL" };
        bare.pragma_update(None, "synchronous", synchronous).unwrap();
        bare.pragma_update(None, "secure_delete", 1).unwrap();
        bare
    }
}

/// The same tokens in a file without a store, and the only connection to it.
#[derive(Debug)]
pub struct Bare {
    /// The connection.
    pub connection: Connection,
    _directory: TempDir,
}

impl Bare {
    /// A file with so many tokens, which nobody else can open in single-process mode.
    pub fn new(sharing: Sharing, tokens: u64) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tokens.db");
        write(&path, (0..tokens).map(token));
        let connection = connect(&path);
        if sharing == Sharing::SingleProcess {
            connection.pragma_update(None, "locking_mode", "exclusive").unwrap();
        }
        Self { connection, _directory: directory }
    }
}

/// Opens without the mutex that SQLite would take for each call.
fn connect(path: &Path) -> Connection {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(path, flags).unwrap()
}

/// Makes a file of tokens and their users.
pub(crate) fn write(path: &Path, tokens: impl Iterator<Item = Token> + Send + 'static) {
    let store = SqliteOptions::new().durability(Durability::Normal).open(path).unwrap();
    pollster::block_on(async {
        fill_users(&store).await;
        store.import(tokens).await.unwrap();
    });
}
