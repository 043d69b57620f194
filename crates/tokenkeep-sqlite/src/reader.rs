//! Reading connections. Reads run on the caller's thread: they take a few microseconds, and a hop
//! to another thread and back takes more.

use std::iter;
use std::ops::Deref;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, TryLockError};

use rusqlite::Connection;
use tokenkeep::StoreError;

use crate::error::Fault;
use crate::watch::OpenFiles;

/// A few connections that only read. Each call takes one for itself.
#[derive(Debug)]
pub(crate) struct Readers {
    files: Arc<OpenFiles>,
    first: Mutex<Reader>,
    others: Box<[Mutex<Reader>]>,
    /// How many calls wait for a connection.
    waiting: AtomicUsize,
    /// Held while a waiting call looks, so that it misses no connection that becomes free.
    looking: Mutex<()>,
    freed: Condvar,
}

/// A connection, and what it last saw of the others.
#[derive(Debug)]
struct Reader {
    connection: Connection,
    /// SQLite's `data_version` when it was last looked at.
    version: Option<i64>,
}

impl From<Connection> for Reader {
    fn from(connection: Connection) -> Self {
        Self { connection, version: None }
    }
}

impl Readers {
    pub(crate) fn new(files: Arc<OpenFiles>, first: Connection, others: Vec<Connection>) -> Self {
        let reader = |connection| Mutex::new(Reader::from(connection));
        Self {
            files,
            first: reader(first),
            others: others.into_iter().map(reader).collect(),
            waiting: AtomicUsize::new(0),
            looking: Mutex::new(()),
            freed: Condvar::new(),
        }
    }

    /// Runs one statement.
    pub(crate) fn read<T>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, Fault>,
    ) -> Result<T, StoreError> {
        self.check_files()?;
        Ok(read(&self.take())?)
    }

    /// Runs several statements that see the same state.
    pub(crate) fn read_at_once<T>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, Fault>,
    ) -> Result<T, StoreError> {
        self.read(|connection| at_once(connection, read))
    }

    /// Calls `note` when anybody has written, through whichever connection, since this was last asked
    /// on the one connection that answers now; each of them tells it for itself. Whoever asks next
    /// does so after it was noted.
    pub(crate) fn when_somebody_wrote(&self, note: impl FnOnce()) -> Result<(), StoreError> {
        self.check_files()?;
        let mut reader = self.take();
        let version = data_version(&reader)?;
        if reader.reader.version != Some(version) {
            note();
            reader.reader.version = Some(version);
        }
        Ok(())
    }

    /// Checks that what others write is seen: they use the files that have the names.
    fn check_files(&self) -> Result<(), StoreError> {
        self.files.check_now_and_then().map_err(|failure| StoreError::from(&failure))
    }

    /// A connection that is free, waiting until there is one.
    fn take(&self) -> Taken<'_> {
        if let Some(taken) = self.try_take() {
            return taken;
        }
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let mut looking = lock(&self.looking);
        let taken = loop {
            match self.try_take() {
                Some(taken) => break taken,
                None => looking = self.freed.wait(looking).unwrap_or_else(PoisonError::into_inner),
            }
        };
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        taken
    }

    /// A connection that is free, the same one for the same thread where possible: its pages are
    /// warm.
    fn try_take(&self) -> Option<Taken<'_>> {
        let count = self.others.len() + 1;
        let all = || iter::once(&self.first).chain(&self.others);
        let from_own = all().cycle().skip(thread_number() % count).take(count);
        let mut free = from_own.filter_map(|reader| match reader.try_lock() {
            Ok(reader) => Some(reader),
            // Statements and transactions have ended themselves when the panic unwound them.
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        });
        free.next().map(|reader| Taken { reader, _freed: Freed(self) })
    }
}

/// A connection that has been taken. Dropping it gives it back, then wakes who waits.
struct Taken<'a> {
    reader: MutexGuard<'a, Reader>,
    _freed: Freed<'a>,
}

impl Deref for Taken<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.reader.connection
    }
}

/// Wakes a waiting call when it is dropped.
struct Freed<'a>(&'a Readers);

impl Drop for Freed<'_> {
    fn drop(&mut self) {
        if self.0.waiting.load(Ordering::SeqCst) > 0 {
            let _looking = lock(&self.0.looking);
            self.0.freed.notify_one();
        }
    }
}

/// Runs several statements that see the same state.
pub(crate) fn at_once<T>(
    connection: &Connection,
    read: impl FnOnce(&Connection) -> Result<T, Fault>,
) -> Result<T, Fault> {
    let moment = Moment::begin(connection)?;
    let answer = read(connection)?;
    moment.end()?;
    Ok(answer)
}

/// A transaction that reads, ended when this is dropped. Its statements are held, as those of
/// rusqlite's transactions are not: they would take longer than a look-up.
struct Moment<'a>(&'a Connection);

impl<'a> Moment<'a> {
    fn begin(connection: &'a Connection) -> Result<Self, rusqlite::Error> {
        connection.prepare_cached("BEGIN")?.execute(())?;
        Ok(Self(connection))
    }

    fn end(&self) -> Result<(), rusqlite::Error> {
        self.0.prepare_cached("COMMIT")?.execute(()).map(drop)
    }
}

impl Drop for Moment<'_> {
    fn drop(&mut self) {
        // Nothing was written that could be lost, and a transaction that stays open is found out by
        // the next that begins.
        if !self.0.is_autocommit() {
            let _ = self.0.execute_batch("ROLLBACK");
        }
    }
}

/// A number that is another one once another connection has committed.
fn data_version(connection: &Connection) -> Result<i64, Fault> {
    let mut version = connection.prepare_cached("PRAGMA data_version")?;
    Ok(version.query_row((), |row| row.get(0))?)
}

/// A small number of this thread's own.
fn thread_number() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static NUMBER: usize = NEXT.fetch_add(1, Ordering::Relaxed);
    }
    NUMBER.with(|number| *number)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;
    use std::time::Duration;

    use super::*;

    fn readers(count: usize) -> Readers {
        let connection = || Connection::open_in_memory().unwrap();
        let files = OpenFiles::unwatched().into();
        Readers::new(files, connection(), (1..count).map(|_| connection()).collect())
    }

    #[test]
    fn a_call_takes_whichever_connection_becomes_free() {
        let readers = readers(2);
        let (tell, told) = mpsc::channel();
        thread::scope(|scope| {
            // One connection is held to the end, the other for a moment.
            let held = readers.take();
            let other = readers.take();
            for _ in 0..4 {
                let (readers, tell) = (&readers, tell.clone());
                scope.spawn(move || {
                    drop(readers.take());
                    tell.send(()).unwrap();
                });
            }
            thread::sleep(Duration::from_millis(50));
            drop(other);
            let all = (0..4).all(|_| told.recv_timeout(Duration::from_secs(10)).is_ok());
            drop(held);
            assert!(all, "waited for the busy one");
        });
    }

    #[test]
    fn nobody_is_told_that_nothing_was_written_before_it_was_noted() {
        let readers = readers(1);
        let (tell, told) = mpsc::channel();
        let noted = AtomicUsize::new(0);
        thread::scope(|scope| {
            scope.spawn(|| {
                let note = || {
                    tell.send(()).unwrap();
                    thread::sleep(Duration::from_millis(50));
                    noted.store(1, Ordering::SeqCst);
                };
                readers.when_somebody_wrote(note).unwrap();
            });
            told.recv().unwrap();
            readers.when_somebody_wrote(|| panic!("it was noted")).unwrap();
            assert_eq!(noted.load(Ordering::SeqCst), 1);
        });
    }

    #[test]
    fn a_panic_while_reading_takes_no_connection_away() {
        let readers = readers(1);
        for _ in 0..2 {
            let panicked = thread::scope(|scope| {
                scope.spawn(|| readers.read(|_| -> Result<(), Fault> { panic!() })).join()
            });
            assert!(panicked.is_err());
            readers.read(|_| Ok(())).unwrap();
        }
    }
}
