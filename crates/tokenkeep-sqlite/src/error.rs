//! How SQLite's errors become those of the contract. No driver's type leaves this crate.

use std::io;
use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;
use rusqlite::ffi::SQLITE_ERROR;
use thiserror::Error;
use tokenkeep::{StoreError, StoreErrorKind};

/// The backend's name in errors.
const BACKEND: &str = "sqlite";

/// Why a store was not opened. A file that was there is as it was.
///
/// ```
/// use tokenkeep_sqlite::{OpenError, SqliteStore};
///
/// # let directory = tempfile::tempdir()?;
/// let error = SqliteStore::open(directory.path()).unwrap_err();
/// assert!(matches!(error, OpenError::NotAFile(_)));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The path is empty, or a name that only SQLite's own interface or a URL has.
    #[error(
        "`{0}` is not the path of a file: give a plain path without `file:` or `sqlite:`, or use \
         `MemoryStore` of the crate tokenkeep-memory for a store in memory"
    )]
    NotAPath(PathBuf),
    /// The path names a directory, a device or a symbolic link that leads nowhere.
    #[error("{0} is not a regular file: name the database file itself")]
    NotAFile(PathBuf),
    /// The file has several names (hard links). Each name would have a WAL of its own, and a process
    /// that uses one name would not see what was written under the other.
    #[error("{0} has a second name, a hard link: remove that name, or open a copy of the file")]
    SeveralNames(PathBuf),
    /// The file was mounted without its directory. Its WAL would lie in another directory than the WAL
    /// of a process that opens the file where the mount comes from.
    #[error("{0} is mounted without its directory: mount the directory that holds it instead")]
    MountedAlone(PathBuf),
    /// Others than the owner may read or write the file, which holds credentials.
    #[error("{path} has mode {mode:o}: make it private with `chmod 600`")]
    NotPrivate {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file is empty. A new one is made where there is none, but not in place of another.
    #[error("{0} is empty: delete it, and it will be made")]
    Empty(PathBuf),
    /// The file is no SQLite database, or one of another program.
    #[error("{0} is not a tokenkeep database")]
    Foreign(PathBuf),
    /// The file has the tables of tokenkeep, and not the marks of its header: they are lost when a dump
    /// is restored.
    #[error("{path} was restored from a dump, which lacks two marks; set them with `{command}`")]
    Unmarked {
        /// The file.
        path: PathBuf,
        /// The shell command that sets the marks.
        command: String,
    },
    /// The file was written by a newer version.
    #[error("{path} has schema version {found}, this program knows up to {known}: update it")]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its schema version.
        found: i64,
        /// The newest one that this program knows.
        known: i64,
    },
    /// The file is open elsewhere, and one of the two wants it for itself
    /// ([`Sharing::SingleProcess`](crate::Sharing::SingleProcess)).
    #[error("{0} is open elsewhere, and one of the two in single-process mode: close it there")]
    InUse(PathBuf),
    /// The file's log is there without the file: what was committed last may be in it, and belongs to
    /// no file that would be made now.
    #[error("{0} is missing and its -wal is there: put the file back, or move the -wal away")]
    LogAlone(PathBuf),
    /// The SQLite library has a bug that loses commits.
    #[error("SQLite {0} can lose commits: use 3.51.3 or newer, or the `bundled` feature")]
    LibraryTooOld(String),
    /// A setting did not take.
    #[error("SQLite did not accept {setting}")]
    Setting {
        /// The setting.
        setting: &'static str,
    },
    /// The file or its directory is read-only for this process.
    #[error(
        "{path} cannot be opened for writing: make the file, its -wal and -shm, and its directory \
         writable for this process"
    )]
    NotWritable {
        /// The file.
        path: PathBuf,
        /// What the system or SQLite says.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The file system refused.
    #[error("{path} cannot be opened or created")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The database could not be read or written, or is damaged.
    #[error("the database cannot be opened")]
    Store(#[from] StoreError),
}

impl OpenError {
    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| match source.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                Self::NotWritable { path: path.into(), source: source.into() }
            }
            _ => Self::Io { path: path.into(), source },
        }
    }

    /// Names the file that SQLite could not open or write.
    pub(crate) fn fault(path: &Path) -> impl FnOnce(Fault) -> Self {
        move |fault| match fault {
            Fault::Sqlite(error) if is_not_writable(&error) => {
                Self::NotWritable { path: path.into(), source: Failure::of(&error).cause.into() }
            }
            fault => fault.into(),
        }
    }

    pub(crate) fn unmarked(path: &Path, version: i64) -> Self {
        let name = path.to_string_lossy().replace('\'', r"'\''");
        let command = format!("sqlite3 '{name}' '{}'", crate::schema::marks(version));
        Self::Unmarked { path: path.into(), command }
    }

    /// What it means that a file cannot even be read: where it is shared, readers wait for nobody.
    pub(crate) fn shut_out(path: &Path) -> impl FnOnce(Fault) -> Self {
        move |fault| match Self::fault(path)(fault) {
            Self::Store(error) if *error.kind() == StoreErrorKind::Busy => Self::InUse(path.into()),
            error => error,
        }
    }

    pub(crate) fn newer(path: &Path, found: i64) -> Self {
        Self::Newer { path: path.into(), found, known: crate::schema::NEWEST }
    }
}

/// What can go wrong inside: SQLite, or what it returned.
#[derive(Debug)]
pub(crate) enum Fault {
    Sqlite(rusqlite::Error),
    Corrupt {
        table: &'static str,
        column: &'static str,
        id: String,
    },
    /// What a check of the file found.
    Damaged(String),
    /// A setting that did not take.
    Setting(&'static str),
    /// A cursor of another store or of another history of this one.
    InvalidCursor,
}

impl Fault {
    /// An index has led to another token than was asked for, which is not to blame.
    pub(crate) fn of_index() -> Self {
        Self::Corrupt { table: "token", column: "index", id: "the store".into() }
    }
}

/// A fault in the contract's terms, to be told to several callers.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    pub(crate) kind: StoreErrorKind,
    pub(crate) cause: String,
    /// SQLite could not read or write the file.
    is_storage_fault: bool,
}

impl Failure {
    pub(crate) fn new(kind: StoreErrorKind, cause: impl Into<String>) -> Self {
        Self { kind, cause: cause.into(), is_storage_fault: false }
    }

    /// What an error of SQLite means, in words that hold no value of a row: its number and SQLite's
    /// own text for it, instead of the message of the statement.
    pub(crate) fn of(error: &rusqlite::Error) -> Self {
        let (kind, is_storage_fault) = match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                (StoreErrorKind::Busy, false)
            }
            Some(ErrorCode::OperationInterrupted) => (StoreErrorKind::Timeout, false),
            Some(ErrorCode::DiskFull) => (StoreErrorKind::Full, false),
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => (damaged(), true),
            Some(
                ErrorCode::SystemIoFailure
                | ErrorCode::CannotOpen
                | ErrorCode::ReadOnly
                | ErrorCode::PermissionDenied,
            ) => (StoreErrorKind::Unavailable, true),
            // The length of what is read: a row that long is never written over HTTP, and damaged ones
            // say such lengths.
            Some(ErrorCode::TooBig) => (damaged(), false),
            _ if is_foreign(error) => (damaged(), true),
            _ => (StoreErrorKind::Other, false),
        };
        let cause = match error.sqlite_error() {
            _ if is_foreign(error) => "the schema is not what was written".into(),
            Some(failure) => failure.to_string(),
            None => "unexpected use of the driver".into(),
        };
        Self { kind, cause, is_storage_fault }
    }

    /// Whether nothing may be written on top of it.
    pub(crate) fn is_storage_fault(&self) -> bool {
        self.is_storage_fault
    }
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Sqlite(error) => Self::of(&error),
            Fault::Corrupt { table, column, id } => {
                Self::new(StoreErrorKind::Corrupt { table, column, id }, "not what was written")
            }
            Fault::InvalidCursor => Self::new(
                StoreErrorKind::InvalidCursor,
                "the cursor belongs to another store, state or token, or events after it were \
                 pruned: read the trail from its start",
            ),
            Fault::Damaged(cause) => Self::new(damaged(), cause),
            Fault::Setting(setting) => {
                let cause = format!("SQLite did not accept {setting}");
                Self::new(StoreErrorKind::Other, cause)
            }
        }
    }
}

/// Whether a statement meets tables or values that are not those of the schema: statements are fixed,
/// so that the file must have changed.
fn is_foreign(error: &rusqlite::Error) -> bool {
    use rusqlite::Error::{
        FromSqlConversionFailure, IntegralValueOutOfRange, InvalidColumnType, SqlInputError,
        SqliteFailure, Utf8Error,
    };
    match error {
        // The driver tells what is missing as the next, unless SQLite does not say where in the statement.
        SqliteFailure(error, Some(told)) => {
            let is_missing = told.starts_with("no such ") || told.contains(" has no column named ");
            error.extended_code == SQLITE_ERROR && is_missing
        }
        SqlInputError { .. }
        | InvalidColumnType(..)
        | FromSqlConversionFailure(..)
        | IntegralValueOutOfRange(..)
        | Utf8Error(..) => true,
        _ => false,
    }
}

fn is_not_writable(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error_code();
    matches!(code, Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly | ErrorCode::PermissionDenied))
}

/// The kind of an error of the file as a whole.
fn damaged() -> StoreErrorKind {
    StoreErrorKind::Corrupt { table: "database", column: "file", id: "the store".into() }
}

/// The error of a call that the contract does not allow.
pub(crate) fn refused(cause: &'static str) -> StoreError {
    StoreError::from(&Failure::new(StoreErrorKind::Other, cause))
}

impl From<&Failure> for StoreError {
    fn from(failure: &Failure) -> Self {
        Self::new(BACKEND, failure.kind.clone()).with_source(failure.cause.clone())
    }
}

impl From<Fault> for StoreError {
    fn from(fault: Fault) -> Self {
        Self::from(&Failure::from(fault))
    }
}

impl From<Fault> for OpenError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Setting(setting) => Self::Setting { setting },
            fault => Self::Store(fault.into()),
        }
    }
}
