//! Who may have the file open at the same time.

use std::ffi::CStr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::watch::Identity;

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
    /// This store alone: no file is locked for a read, and threads that read do not wait for each
    /// other. An authentication takes three quarters of the time that it takes on a shared file, and two
    /// threads get almost twice as much done as one. On Unix only.
    ///
    /// As long as it is open, every other process and every other store of this process is shut
    /// out, programs that only look or make backups among them; each of the two, whichever comes
    /// second, gets [`InUse`](crate::OpenError::InUse). Put the store into an `Arc` where several parts of a
    /// program need it. The file is the same: the next to open it may share it again.
    ///
    /// A connection of SQLite's own that this process opens beside it is not shut out. It finds what
    /// it would find in a shared file, but nobody is told of what it writes, a
    /// [cache](tokenkeep::VerifyCache) least of all.
    SingleProcess,
}

impl Sharing {
    /// The SQLite file system to open the file with. The one for a single process keeps the index of
    /// the log in memory, and locks the file once, against every other process. Beside it,
    /// `locking_mode=EXCLUSIVE` allows one connection only: a look-up takes 0.95 of the time with
    /// it, but waits for every commit.
    pub(crate) const fn vfs(self) -> Option<&'static CStr> {
        match self {
            Self::Shared => None,
            Self::SingleProcess => Some(c"unix-excl"),
        }
    }
}

/// The files that stores of this process have for themselves. A directory that is mounted twice gives a
/// file two paths.
static ALONE: Mutex<Vec<(PathBuf, Option<Identity>)>> = Mutex::new(Vec::new());

/// A file that one store of this process has for itself, until this is dropped. SQLite shuts out
/// other processes, and nobody in this one.
#[derive(Debug)]
pub(crate) struct Alone(PathBuf, Option<Identity>);

impl Alone {
    /// Enters the file, of which nobody else has a connection.
    pub(crate) fn with(path: &Path) -> Self {
        let identity = Identity::of(path).ok();
        files().push((path.into(), identity));
        Self(path.into(), identity)
    }

    /// Whether a store has the file for itself.
    pub(crate) fn is_with(path: &Path) -> bool {
        let identity = Identity::of(path).ok();
        let is_same = |(other, its): &(PathBuf, Option<Identity>)| {
            other == path || (identity.is_some() && *its == identity)
        };
        files().iter().any(is_same)
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        let mut files = files();
        let own = |(path, identity): &(PathBuf, _)| *path == self.0 && *identity == self.1;
        if let Some(place) = files.iter().position(own) {
            files.swap_remove(place);
        }
    }
}

fn files() -> MutexGuard<'static, Vec<(PathBuf, Option<Identity>)>> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}
