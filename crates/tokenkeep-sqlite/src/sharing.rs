//! Who may have the file open at the same time.

use rusqlite::Connection;

use crate::error::{Fault, OpenError};

/// Who may have a file open at the same time as a store.
///
/// ```
/// use std::time::Duration;
/// use tokenkeep_sqlite::{OpenError, Sharing, SqliteOptions};
///
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("tokens.db");
/// let at_once = SqliteOptions::new().busy_timeout(Duration::ZERO);
/// let alone = at_once.clone().sharing(Sharing::SingleProcess).open(&path)?;
/// assert!(matches!(at_once.open(&path), Err(OpenError::InUse(_))));
/// drop(alone);
/// at_once.open(&path)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sharing {
    /// Any number of processes on one machine, and of stores in each.
    #[default]
    Shared,
    /// This store alone (`locking_mode=EXCLUSIVE`): reads lock no file. An authentication took
    /// 0.56 to 0.70 of the time that it takes on a shared one.
    ///
    /// As long as it is open, every other process and every other store of this process is shut
    /// out, programs that only look or make backups among them; each of the two, whichever comes
    /// second, gets [`OpenError::InUse`]. Put the store into an `Arc` where several parts of a
    /// program need it. The file is the same: the next to open it may share it again.
    ///
    /// SQLite then allows one connection, which reads and writes. A read waits for the commit that
    /// is running, its flush included, and holds its thread for that time; so does everybody for
    /// [`check`](crate::SqliteStore::check) and [`backup`](crate::SqliteStore::backup). Take it
    /// where reads are many and writes are few; those who wait take turns.
    SingleProcess,
}

impl Sharing {
    /// Settles it for a connection that has not touched the file: one that looks at the log first
    /// shares its index with others, and cannot stop doing so.
    pub(crate) fn prepare(self, connection: &Connection) -> Result<(), OpenError> {
        let mode = match self {
            Self::Shared => return Ok(()),
            Self::SingleProcess => "exclusive",
        };
        let read = connection
            .pragma_update_and_check(None, "locking_mode", mode, |row| row.get::<_, String>(0));
        match read.map_err(Fault::from)? {
            read if read == mode => Ok(()),
            _ => Err(OpenError::Setting { setting: "locking_mode=exclusive" }),
        }
    }
}
