//! The files of an open store, watched by name.
//!
//! SQLite keeps using a file that was moved, deleted or replaced. What it commits there is lost when the
//! process ends, and other processes do not see it.

use std::fs::Metadata;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokenkeep::StoreErrorKind;

use crate::error::Failure;
use crate::file::beside;
use crate::sharing::Sharing;

/// How long readers go without a check of the files. A check takes as long as a look-up of a token.
const INTERVAL: Duration = Duration::from_millis(20);

/// Which file a name leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    #[cfg(unix)]
    fn new(found: &Metadata) -> Self {
        use std::os::unix::fs::MetadataExt;
        Self { device: found.dev(), inode: found.ino() }
    }

    /// Where files have no numbers, a file that is open can neither be moved nor deleted.
    #[cfg(not(unix))]
    fn new(_: &Metadata) -> Self {
        Self { device: 0, inode: 0 }
    }

    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        path.symlink_metadata().map(|found| Self::new(&found))
    }
}

/// Returns how many names a file has.
#[cfg(unix)]
pub(crate) fn links(found: &Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::nlink(found)
}

#[cfg(not(unix))]
pub(crate) fn links(_: &Metadata) -> u64 {
    1
}

/// The files of an open store.
#[derive(Debug)]
pub(crate) struct OpenFiles {
    database: (PathBuf, Identity),
    wal: (PathBuf, Identity),
    /// The index of the WAL, which connections of several processes share.
    index: Option<(PathBuf, Identity)>,
    /// What was wrong when the files were found changed; they stay unusable.
    failure: OnceLock<Failure>,
    opened: Instant,
    /// When a reader checked the files last, in milliseconds since the opening.
    looked: AtomicU64,
}

impl OpenFiles {
    /// Notes which files a connection uses. It must have read or written, so that its WAL is there.
    pub(crate) fn of(database: &Path, sharing: Sharing) -> io::Result<Self> {
        let file = |path: PathBuf| Identity::of(&path).map(|identity| (path, identity));
        Ok(Self {
            database: file(database.into())?,
            wal: file(beside(database, "-wal"))?,
            index: match sharing {
                Sharing::Shared => Some(file(beside(database, "-shm"))?),
                // In memory.
                Sharing::SingleProcess => None,
            },
            failure: OnceLock::new(),
            opened: Instant::now(),
            looked: AtomicU64::new(0),
        })
    }

    /// Files of a test that has none, which no reader checks.
    #[cfg(test)]
    pub(crate) fn unwatched() -> Self {
        let nowhere = || (PathBuf::new(), Identity { device: 0, inode: 0 });
        Self {
            database: nowhere(),
            wal: nowhere(),
            index: None,
            failure: OnceLock::new(),
            opened: Instant::now(),
            looked: AtomicU64::new(u64::MAX),
        }
    }

    /// Checks that each file is found under its name, and the database under no other name. Returns the
    /// size of the WAL, in bytes.
    ///
    /// # Errors
    ///
    /// [`Unavailable`](StoreErrorKind::Unavailable), each time once it failed.
    pub(crate) fn check(&self) -> Result<u64, Failure> {
        if let Some(failure) = self.failure.get() {
            return Err(failure.clone());
        }
        let found = |(path, identity): &(PathBuf, Identity)| {
            let found = path.symlink_metadata().ok();
            found.filter(|found| Identity::new(found) == *identity)
        };
        let Some(database) = found(&self.database) else {
            return Err(self.fail(
                "the database file was moved, deleted or replaced; close the store and move its -wal \
                 to the place of the database file before the store is opened again",
            ));
        };
        if links(&database) > 1 {
            return Err(self.fail(
                "the database file has a second name, a hard link; remove that name, then close the \
                 store in every process and open it again",
            ));
        }
        let Some(wal) = found(&self.wal) else {
            return Err(self.fail(
                "the -wal of the database was moved, deleted or replaced; close the store in every \
                 process and open it again",
            ));
        };
        if self.index.as_ref().is_some_and(|index| found(index).is_none()) {
            return Err(self.fail(
                "the -shm of the database was moved, deleted or replaced; close the store in every \
                 process and open it again",
            ));
        }
        Ok(wal.len())
    }

    /// Checks the files if no reader did within the last 20 ms, as [`check`](Self::check) does.
    pub(crate) fn check_now_and_then(&self) -> Result<(), Failure> {
        let now = u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX);
        let is_due = now.saturating_sub(self.looked.load(Ordering::Relaxed))
            >= u64::try_from(INTERVAL.as_millis()).unwrap_or(u64::MAX);
        if is_due {
            self.looked.store(now, Ordering::Relaxed);
            return self.check().map(drop);
        }
        self.failure.get().map_or(Ok(()), |failure| Err(failure.clone()))
    }

    /// Makes every later check fail, and returns the failure.
    pub(crate) fn fail(&self, cause: &str) -> Failure {
        self.failure.get_or_init(|| Failure::new(StoreErrorKind::Unavailable, cause)).clone()
    }

    /// Whether the WAL has lost its name, the database has kept its own, and no other process has committed
    /// since: there is no other WAL, or an empty one whose index is still this one.
    pub(crate) fn is_only_wal_missing(&self) -> bool {
        let is_missing = |path: &Path| {
            path.symlink_metadata().is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
        };
        let is_kept = |(path, identity): &(PathBuf, Identity)| {
            Identity::of(path).is_ok_and(|found| found == *identity)
        };
        let wal = &self.wal.0;
        let is_empty = wal.symlink_metadata().is_ok_and(|found| found.len() == 0);
        is_kept(&self.database)
            && (is_missing(wal) || (is_empty && self.index.as_ref().is_some_and(is_kept)))
    }
}
