//! Opening a store: checks before anything is written, settings that are read back.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode, OpenFlags};
use tokenkeep::{ChangeCounters, Changes, StoreError};

use crate::changes::SharedChanges;
use crate::error::{Fault, OpenError};
use crate::events;
use crate::file::{self, PAUSE, keep_log, set};
use crate::line::Line;
use crate::maintenance::quick_check;
use crate::reader::Readers;
use crate::scan::Scanners;
use crate::schema::{self, Origin};
use crate::sharing::{Alone, Sharing};
use crate::store::SqliteStore;
use crate::watch::OpenFiles;
use crate::writer::Writer;

/// The first SQLite without the bug that loses a commit during another connection's checkpoint.
const OLDEST_SQLITE: i32 = 3_051_003;

/// How much of the log stays on the disk once it has been emptied, in bytes.
const JOURNAL_SIZE_LIMIT: i64 = 16 * 1024 * 1024;

/// How much of the file the writing connection keeps in memory at most, in KiB. Its own commits drop
/// nothing of it. Sweeps and batches touch pages everywhere.
const WRITER_CACHE: i64 = 16 * 1024;

/// How much of the file the readers keep in memory together, in bytes, unless the host says otherwise.
/// Each commit drops all of it. Between commits, an authentication among 100,000 tokens takes two
/// thirds of the time that it takes with 2 MiB for each reader, for which SQLite asks the system for a
/// page or two at each look-up (`cargo bench -p tokenkeep-benches --bench authenticate`).
const PAGE_CACHE: usize = 64 * 1024 * 1024;

/// What SQLite gives a connection by itself, in bytes.
const USUAL_CACHE: usize = 2 * 1024 * 1024;

/// Held while a file is opened, one at a time in a process: looking at a file and closing it would
/// drop the locks that another thread has just taken on it.
static OPENING: Mutex<()> = Mutex::new(());

/// What an acknowledged commit survives.
///
/// ```
/// use tokenkeep_sqlite::Durability;
///
/// assert_eq!(Durability::default(), Durability::Full);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// The death of the process and a power cut: the disk is flushed before a commit is
    /// acknowledged (`synchronous=FULL`).
    #[default]
    Full,
    /// The death of the process. A power cut can lose the last commits, acknowledged or not; what
    /// is left is whole (`synchronous=NORMAL`).
    Normal,
}

/// When a file is read through and checked while it is opened, which takes about a second for a
/// million tokens. A damaged one is refused.
///
/// ```
/// use tokenkeep_sqlite::{CheckOnOpen, SqliteOptions};
///
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("tokens.db");
/// let store = SqliteOptions::new().check(CheckOnOpen::Always).open(&path)?;
/// # drop(store);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CheckOnOpen {
    /// When it has a log, and so is open elsewhere or was not closed: after a crash or a fault of
    /// the storage.
    #[default]
    WithLog,
    /// Each time.
    Always,
    /// Never: [`SqliteStore::check`] can be called at a better time.
    Never,
}

/// How to open a [`SqliteStore`].
///
/// ```
/// use std::time::Duration;
/// use tokenkeep_sqlite::{Durability, SqliteOptions};
///
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("tokens.db");
/// let store = SqliteOptions::new()
///     .durability(Durability::Normal)
///     .busy_timeout(Duration::from_secs(1))
///     .open(&path)?;
/// # drop(store);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct SqliteOptions {
    durability: Durability,
    check: CheckOnOpen,
    sharing: Sharing,
    busy_timeout: Duration,
    readers: usize,
    page_cache: usize,
    scan_timeout: Duration,
}

impl SqliteOptions {
    /// The defaults: full durability, a check of files with a log, a file that others may share,
    /// five seconds of patience with them, a reading connection for each processor, and 64 MiB of pages
    /// for all of these.
    #[must_use]
    pub fn new() -> Self {
        Self {
            durability: Durability::default(),
            check: CheckOnOpen::default(),
            sharing: Sharing::default(),
            busy_timeout: Duration::from_secs(5),
            readers: thread::available_parallelism().map_or(2, usize::from),
            page_cache: PAGE_CACHE,
            scan_timeout: Duration::from_secs(10),
        }
    }

    /// What an acknowledged commit survives.
    #[must_use]
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// When the file is checked while it is opened.
    #[must_use]
    pub fn check(mut self, check: CheckOnOpen) -> Self {
        self.check = check;
        self
    }

    /// Who may have the file open at the same time.
    #[must_use]
    pub fn sharing(mut self, sharing: Sharing) -> Self {
        self.sharing = sharing;
        self
    }

    /// How long to wait for another process that is writing before the call fails as busy, and for
    /// one that keeps the file from being opened; an hour at most.
    #[must_use]
    pub fn busy_timeout(mut self, timeout: Duration) -> Self {
        self.busy_timeout = timeout.min(Duration::from_secs(3600));
        self
    }

    /// How many connections read, at least one: as many calls can read at the same time.
    #[must_use]
    pub fn readers(mut self, readers: usize) -> Self {
        self.readers = readers.max(1);
        self
    }

    /// How much of the file the reading connections keep in memory together at most, in bytes; each has
    /// its part of it, and two MiB at least. 64 MiB unless said otherwise, which a file of 100,000 tokens
    /// half fills. The process grows by what is read, not before.
    #[must_use]
    pub fn page_cache(mut self, bytes: usize) -> Self {
        self.page_cache = bytes;
        self
    }

    /// How long a list, a search or a page of events may take, waiting for a thread included, before
    /// it fails as [`Timeout`](tokenkeep::StoreErrorKind::Timeout). Ten seconds unless said otherwise;
    /// an hour at most.
    #[must_use]
    pub fn scan_timeout(mut self, timeout: Duration) -> Self {
        self.scan_timeout = timeout.min(Duration::from_secs(3_600));
        self
    }

    /// Opens the file at `path`, or creates it, readable by its owner only. This thread is held
    /// until that is done.
    ///
    /// # Errors
    ///
    /// [`OpenError`] tells what is wrong and what to do. A file that is not a tokenkeep database,
    /// that a newer version has written, that others may read, that has a second name, or that another
    /// store has for itself is refused and left as it was.
    pub fn open(&self, path: impl AsRef<Path>) -> Result<SqliteStore, OpenError> {
        if rusqlite::version_number() < OLDEST_SQLITE {
            return Err(OpenError::LibraryTooOld(rusqlite::version().into()));
        }
        if !file::is_path(path.as_ref()) {
            return Err(OpenError::NotAPath(path.as_ref().into()));
        }
        let path = file::real_path(path.as_ref()).map_err(OpenError::io(path.as_ref()))?;
        let _one_at_a_time = OPENING.lock().unwrap_or_else(PoisonError::into_inner);
        self.wait_for_file(&path)?;
        if !file::is_there(&path, self.busy_timeout)? {
            file::check_no_log_is_left(&path)?;
            file::create(&path, self.busy_timeout, |new| self.write_new(new))?;
        }
        let had_log = file::log_size(&path).map_err(OpenError::io(&path))? > Some(0);

        let alone = self.shut_others_out(&path, had_log)?;
        let mut writer = self.connect(&path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        // What is refused here is refused the next time, too.
        keep_log(&writer, had_log)?;
        self.enter_wal(&writer, &path)?;
        // Its transaction also makes the log, which shows from here on that the file is open.
        match schema::migrate(&mut writer).map_err(OpenError::fault(&path))? {
            Origin::Ours(found) if found > schema::NEWEST => {
                return Err(OpenError::newer(&path, found));
            }
            Origin::Ours(_) => {}
            Origin::Unmarked(version) => return Err(OpenError::unmarked(&path, version)),
            Origin::Foreign => return Err(OpenError::Foreign(path)),
        }
        let files = OpenFiles::of(&path, self.sharing).map_err(OpenError::io(&path))?;
        let files = Arc::new(files);
        self.set_up_writer(&writer)?;
        if self.check == CheckOnOpen::Always || (had_log && self.check == CheckOnOpen::WithLog) {
            quick_check(&writer)?;
        }
        keep_log(&writer, false)?;

        let id = events::store_id(&writer)?;
        let readers = Arc::new(self.readers_of(&path, files.clone())?);
        let scanners = self.scanners_of(&path, files.clone())?;
        files.check().map_err(|failure| OpenError::Store(StoreError::from(&failure)))?;
        let counters = Arc::new(ChangeCounters::new());
        let line = Line::on(writer, files.clone(), self.durability)?;
        let writer = Writer::start(line, self.busy_timeout, counters.clone());
        let writer = writer.map_err(OpenError::io(&path))?;
        let changes: Arc<dyn Changes> = match self.sharing {
            Sharing::Shared => Arc::new(SharedChanges { readers: readers.clone(), counters }),
            // Nobody else writes.
            Sharing::SingleProcess => counters,
        };
        Ok(SqliteStore { path, id, files, readers, scanners, changes, writer, alone })
    }

    /// Waits for a store of this process that has the file for itself.
    fn wait_for_file(&self, path: &Path) -> Result<(), OpenError> {
        let start = Instant::now();
        while Alone::is_with(path) {
            if start.elapsed() >= self.busy_timeout {
                return Err(OpenError::InUse(path.into()));
            }
            thread::sleep(PAUSE);
        }
        Ok(())
    }

    /// Makes sure that nobody in this process has the file open either, where this store is to have
    /// it for itself: a connection that wants it for itself in SQLite's own way finds out.
    fn shut_others_out(&self, path: &Path, had_log: bool) -> Result<Option<Alone>, OpenError> {
        if self.sharing == Sharing::Shared {
            return Ok(None);
        }
        let first = file::connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE, Sharing::Shared)?;
        first.busy_timeout(self.busy_timeout).map_err(Fault::from)?;
        keep_log(&first, had_log)?;
        let exclusive = first.pragma_update_and_check(None, "locking_mode", "exclusive", |row| {
            Ok(row.get_ref(0)?.as_str()? == "exclusive")
        });
        if !exclusive.map_err(Fault::from)? {
            return Err(OpenError::Setting { setting: "locking_mode=exclusive" });
        }
        self.enter_wal(&first, path)?;
        Ok(Some(Alone::with(path)))
    }

    fn readers_of(&self, path: &Path, files: Arc<OpenFiles>) -> Result<Readers, OpenError> {
        // Pages are positive, KiB negative.
        let cache_size = -i64::from(self.kib_for_each_reader());
        let reader = || {
            let reader = self.connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
            set(&reader, "cache_size", cache_size)?;
            // A first read opens the WAL, under whose name there may be another file later.
            schema::origin(&reader)?;
            Ok::<_, OpenError>(reader)
        };
        let others = (1..self.readers).map(|_| reader()).collect::<Result<_, _>>()?;
        Ok(Readers::new(files, reader()?, others))
    }

    /// One thread less than there are processors, so that scans leave one for everything else, and a
    /// thread for bounded scans.
    fn scanners_of(&self, path: &Path, files: Arc<OpenFiles>) -> Result<Scanners, OpenError> {
        let processors = thread::available_parallelism().map_or(1, usize::from);
        let connect = || self.connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY);
        let connections = (0..processors.saturating_sub(1).max(1)).map(|_| connect());
        let connections = connections.collect::<Result<_, _>>()?;
        Scanners::start(files, connect()?, connections, self.scan_timeout)
    }

    fn kib_for_each_reader(&self) -> i32 {
        let bytes = (self.page_cache / self.readers).max(USUAL_CACHE);
        i32::try_from(bytes / 1024).unwrap_or(i32::MAX)
    }

    /// Writes the schema into an empty file of our own.
    fn write_new(&self, path: &Path) -> Result<(), OpenError> {
        let mut connection = self.connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        schema::create(&mut connection)?;
        self.enter_wal(&connection, path)
    }

    /// A connection that readers and the writer are made of.
    fn connect(&self, path: &Path, mode: OpenFlags) -> Result<Connection, OpenError> {
        let connection = file::connect(path, mode, self.sharing).map_err(OpenError::fault(path))?;
        connection.busy_timeout(self.busy_timeout).map_err(Fault::from)?;
        connection.set_prepared_statement_cache_capacity(64);
        Ok(connection)
    }

    /// Switches the file to the write-ahead log, unless it is already.
    fn enter_wal(&self, connection: &Connection, path: &Path) -> Result<(), OpenError> {
        let start = Instant::now();
        loop {
            let mode = connection.pragma_update_and_check(None, "journal_mode", "wal", |row| {
                row.get::<_, String>(0)
            });
            match mode {
                Ok(mode) if mode == "wal" => return Ok(()),
                Ok(_) => return Err(OpenError::Setting { setting: "journal_mode=wal" }),
                // Another process has the file for itself, or open in the other mode; or we want it
                // for ourselves.
                Err(error) if is_busy(&error) && start.elapsed() < self.busy_timeout => {
                    thread::sleep(PAUSE);
                }
                Err(error) => return Err(OpenError::shut_out(path)(error.into())),
            }
        }
    }

    fn set_up_writer(&self, connection: &Connection) -> Result<(), OpenError> {
        let synchronous = match self.durability {
            Durability::Normal => 1,
            Durability::Full => 2,
        };
        set(connection, "synchronous", synchronous)?;
        set(connection, "journal_size_limit", JOURNAL_SIZE_LIMIT)?;
        // Pages are positive, KiB negative.
        set(connection, "cache_size", -WRITER_CACHE)?;
        // The writing thread waits in its own way.
        set(connection, "busy_timeout", 0)?;
        Ok(())
    }
}

impl Default for SqliteOptions {
    fn default() -> Self {
        Self::new()
    }
}

fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

#[cfg(test)]
mod tests {
    use rusqlite::config::DbConfig;

    use super::*;

    /// What a connection says of its settings.
    fn settings(connection: &Connection, names: &[&str]) -> Vec<i64> {
        let read = |name: &&str| connection.pragma_query_value(None, name, |row| row.get(0));
        names.iter().map(read).collect::<Result<_, _>>().unwrap()
    }

    #[test]
    fn readers_share_what_pages_may_take() {
        const MIB: usize = 1024 * 1024;
        let each = |bytes, readers| {
            SqliteOptions::new().page_cache(bytes).readers(readers).kib_for_each_reader()
        };
        assert_eq!(each(64 * MIB, 0), 64 * 1024);
        assert_eq!(each(64 * MIB, 2), 32 * 1024);
        assert_eq!(each(64 * MIB, 1_000), 2 * 1024);
        assert_eq!(each(usize::MAX, 1), i32::MAX);
        let directory = tempfile::tempdir().unwrap();
        let options = SqliteOptions::new().page_cache(usize::MAX);
        drop(options.open(directory.path().join("tokens.db")).unwrap());
    }

    #[test]
    fn every_connection_has_the_settings_that_were_promised() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tokens.db");
        let options = SqliteOptions::new();
        drop(options.open(&path).unwrap());
        for mode in [OpenFlags::SQLITE_OPEN_READ_ONLY, OpenFlags::SQLITE_OPEN_READ_WRITE] {
            let connection = file::connect(&path, mode, Sharing::Shared).unwrap();
            let names =
                ["foreign_keys", "trusted_schema", "cell_size_check", "secure_delete", "mmap_size"];
            assert_eq!(settings(&connection, &names), [1, 0, 1, 1, 0]);
            assert!(connection.db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE).unwrap());
            assert!(connection.db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG).unwrap());
        }
        for (durability, synchronous) in [(Durability::Full, 2), (Durability::Normal, 1)] {
            let options = SqliteOptions::new().durability(durability);
            let connection = options.connect(&path, OpenFlags::SQLITE_OPEN_READ_WRITE).unwrap();
            options.set_up_writer(&connection).unwrap();
            let names = ["synchronous", "journal_size_limit", "cache_size", "busy_timeout"];
            let wanted = [synchronous, JOURNAL_SIZE_LIMIT, -WRITER_CACHE, 0];
            assert_eq!(settings(&connection, &names), wanted);
        }
        assert_eq!(Durability::default(), Durability::Full);
    }
}
