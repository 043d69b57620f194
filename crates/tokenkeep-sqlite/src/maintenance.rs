//! What a file can do that other backends cannot.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};
use thiserror::Error;
use tokenkeep::StoreError;

use crate::error::Fault;
use crate::file::{beside, connect, create_private, is_path, log_size, real_path, sync_directory};
use crate::reader::at_once;
use crate::sharing::Sharing;
use crate::store::SqliteStore;

/// Why a backup was not made. There is no new file, and an older backup is as it was.
///
/// ```
/// use tokenkeep_sqlite::{BackupError, SqliteStore};
///
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("tokens.db");
/// let store = SqliteStore::open(&path)?;
/// assert!(matches!(store.backup(&path), Err(BackupError::InUse(_))), "not onto itself");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BackupError {
    /// The place is that of a database that is open or was not closed: it has a log beside it,
    /// which would be taken for that of the backup.
    #[error("{0} is in use: back up to another name, or delete it with its -wal and -shm")]
    InUse(PathBuf),
    /// The path is empty, or a name that only SQLite's own interface or a URL has.
    #[error("`{0}` is not the path of a file: give a plain path without `file:` or `sqlite:`")]
    NotAPath(PathBuf),
    /// The file system refused.
    #[error("{path} cannot be written")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The store could not be read, or its copy is damaged.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl SqliteStore {
    /// Reads the whole file and checks that it is undamaged. Others can read and write in the
    /// meantime; this thread is held until it is done, about a second for a million tokens.
    ///
    /// ```
    /// use tokenkeep_sqlite::SqliteStore;
    ///
    /// # let directory = tempfile::tempdir()?;
    /// # let path = directory.path().join("tokens.db");
    /// let store = SqliteStore::open(&path)?;
    /// store.check()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// A [`StoreError`] that is [`Corrupt`](tokenkeep::StoreErrorKind::Corrupt) tells the first
    /// damage as its source.
    pub fn check(&self) -> Result<(), StoreError> {
        self.aside(|connection| at_once(connection, full_check))
    }

    /// How long the log beside the file is, in bytes. Readers that take long keep it from starting
    /// again; from 64 MiB on the writer waits for them, for a second whenever it has grown by a quarter.
    ///
    /// ```
    /// use tokenkeep_sqlite::SqliteStore;
    ///
    /// # let directory = tempfile::tempdir()?;
    /// # let path = directory.path().join("tokens.db");
    /// let store = SqliteStore::open(&path)?;
    /// assert!(store.log_size()? < 1024 * 1024);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// What the file system says.
    pub fn log_size(&self) -> io::Result<u64> {
        Ok(log_size(&self.path)?.unwrap_or(0))
    }

    /// Copies the store as it is at one moment into a file at `to`, readable by its owner only, in
    /// place of an older backup. Others can read and write in the meantime; this thread is held until
    /// the copy has been checked and is on the disk. To restore, close the store in every process,
    /// delete its file with `-wal` and `-shm`, and put a copy of the backup in its place. A store
    /// whose file is moved, deleted or replaced while it is open answers no more calls.
    ///
    /// ```
    /// use tokenkeep_sqlite::SqliteStore;
    ///
    /// # let directory = tempfile::tempdir()?;
    /// # let (path, backup) = (directory.path().join("tokens.db"), directory.path().join("backup.db"));
    /// let store = SqliteStore::open(&path)?;
    /// store.backup(&backup)?;
    /// let restored = SqliteStore::open(&backup)?;
    /// # drop(restored);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`BackupError::InUse`] when `to` is a database that is open, this one among them.
    /// [`BackupError::Io`] also when an unfinished copy, `to` with `.partial` behind it, is in the
    /// way: another backup is running, or was cut off and its file can be deleted.
    pub fn backup(&self, to: impl AsRef<Path>) -> Result<(), BackupError> {
        if !is_path(to.as_ref()) {
            return Err(BackupError::NotAPath(to.as_ref().into()));
        }
        let to = real_path(to.as_ref()).map_err(BackupError::io(to.as_ref()))?;
        if ["-wal", "-shm", "-journal"].iter().any(|suffix| beside(&to, suffix).exists()) {
            return Err(BackupError::InUse(to));
        }
        let partial = beside(&to, ".partial");
        create_private(&partial).map_err(BackupError::io(&partial))?;
        let made = self.copy_into(&partial).and_then(|()| {
            let moved = fs::rename(&partial, &to).and_then(|()| sync_directory(&to));
            moved.map_err(BackupError::io(&to))
        });
        if made.is_err() {
            // What is left over is reported by the next backup, if it stays.
            let _ = fs::remove_file(&partial);
        }
        made
    }

    /// Reads for long, on a connection of its own, so that nobody waits.
    fn aside<T>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, Fault>,
    ) -> Result<T, StoreError> {
        let check = || self.files.check().map_err(|failure| StoreError::from(&failure));
        check()?;
        let connection = connect(&self.path, OpenFlags::SQLITE_OPEN_READ_ONLY, self.sharing())?;
        let read = read(&connection)?;
        // Else it may have read other files.
        check()?;
        Ok(read)
    }

    fn copy_into(&self, partial: &Path) -> Result<(), BackupError> {
        let path = partial.to_str().ok_or_else(|| {
            BackupError::io(partial)(io::Error::other("the path is not valid Unicode"))
        })?;
        self.aside(|source| Ok(source.execute("VACUUM INTO ?1", [path])?))?;
        let copy = connect(partial, OpenFlags::SQLITE_OPEN_READ_WRITE, Sharing::Shared)
            .map_err(StoreError::from)?;
        // Its history goes another way than that of the store from here on.
        copy.execute("UPDATE store SET id = randomblob(16)", ())
            .map_err(|error| StoreError::from(Fault::from(error)))?;
        full_check(&copy).map_err(StoreError::from)?;
        drop(copy);
        File::open(partial).and_then(|copy| copy.sync_all()).map_err(BackupError::io(partial))
    }
}

impl BackupError {
    fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { path: path.into(), source }
    }
}

/// Checks every page, every index and every reference.
fn full_check(connection: &Connection) -> Result<(), Fault> {
    expect_ok(connection, "PRAGMA integrity_check(1)")?;
    let orphans: i64 =
        connection.query_row("SELECT count(*) FROM pragma_foreign_key_check", (), |r| r.get(0))?;
    match orphans {
        0 => Ok(()),
        _ => Err(Fault::Damaged("a row refers to one that is missing".into())),
    }
}

/// Checks every page, and not whether the indexes agree with the rows.
pub(crate) fn quick_check(connection: &Connection) -> Result<(), Fault> {
    expect_ok(connection, "PRAGMA quick_check(1)")
}

fn expect_ok(connection: &Connection, pragma: &str) -> Result<(), Fault> {
    let verdict: String = connection.query_row(pragma, (), |row| row.get(0))?;
    if verdict == "ok" { Ok(()) } else { Err(Fault::Damaged(verdict)) }
}
