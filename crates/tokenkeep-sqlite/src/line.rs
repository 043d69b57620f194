//! The writing connection: transactions for a group of work, the log, and what a fault means.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use tokenkeep::StoreErrorKind;

use crate::error::{Failure, Fault};
use crate::file::{keep_log, set};
use crate::open::Durability;
use crate::watch::OpenFiles;
use crate::writer::Work;

/// From how many pages on the log is moved into the database. Fewer cost more flushes, more make
/// each move longer. With FULL and 32 callers, 250 pages leave 0.9 of the updates that 1,000 allow, and
/// half their p99 (3.8 and 7.2 ms); moving most of them on another connection leaves as much and helps
/// nobody, since the flushes wait for each other. With NORMAL nothing else is flushed.
const fn checkpoint_pages(durability: Durability) -> i32 {
    match durability {
        Durability::Full => 250,
        Durability::Normal => 1_000,
    }
}

/// From how many pages on readers are waited for, so that the log can start again: 64 MiB.
const LOG_LIMIT_PAGES: i32 = 16_384;

/// How long readers are waited for then.
const READERS_PATIENCE: Duration = Duration::from_secs(1);

/// How long the header of a WAL is, and that of each page in it, in bytes
/// (<https://sqlite.org/fileformat2.html>, section 4.1).
const WAL_HEADER: u64 = 32;
const FRAME_HEADER: u64 = 24;

/// The connection, and whether it may still be written on.
#[derive(Debug)]
pub(crate) struct Line {
    connection: Connection,
    files: Arc<OpenFiles>,
    /// The storage fault after which nothing is acknowledged any more.
    broken: Option<Failure>,
    /// How long the log is, in pages, as the last commit or checkpoint left it.
    log_pages: i32,
    /// How many frames the WAL had after the last commit, and how long one is, in bytes.
    frames: (i32, u64),
    /// By how many pages it may grow until it is moved.
    checkpoint_pages: i32,
    /// At which length the log is to be moved next.
    checkpoint_at: i32,
    /// From which length on readers are waited for then. It goes up by a quarter each time that they
    /// stay: 50,000 updates beside one took 103 s when each move waited, and take 14.
    wait_at: i32,
}

impl Line {
    /// Writes on `connection`, which does not wait for others by itself, to `files`.
    pub(crate) fn on(
        connection: Connection,
        files: Arc<OpenFiles>,
        durability: Durability,
    ) -> Result<Self, Fault> {
        // SQLite drops the errors of the checkpoints that it makes by itself.
        set(&connection, "wal_autocheckpoint", 0)?;
        let page_size: u32 = connection.pragma_query_value(None, "page_size", |row| row.get(0))?;
        let checkpoint_pages = checkpoint_pages(durability);
        let checkpoint_at = checkpoint_pages;
        Ok(Self {
            connection,
            files,
            broken: None,
            log_pages: 0,
            frames: (0, u64::from(page_size) + FRAME_HEADER),
            checkpoint_pages,
            checkpoint_at,
            wait_at: LOG_LIMIT_PAGES,
        })
    }

    /// Begins a transaction; busy at once when another process is writing.
    pub(crate) fn begin(&mut self) -> Result<(), Failure> {
        // Left open by a panic, if at all.
        self.roll_back();
        self.check_files();
        match &self.broken {
            Some(failure) => Err(failure.clone()),
            None => self.execute("BEGIN IMMEDIATE"),
        }
    }

    /// Stops writing when a file was moved, deleted, replaced or cut short, which SQLite does not notice.
    fn check_files(&mut self) {
        if self.broken.is_some() {
            return;
        }
        for _ in 0..3 {
            match self.files.check() {
                Ok(wal_size) if wal_size >= self.least_wal_size() => return,
                // Another process may have emptied the WAL since the frames were counted.
                Ok(_) => self.count_frames(),
                Err(failure) => return self.lose_files(failure.cause),
            }
        }
        let cut = self.files.fail(
            "the -wal of the database was cut short by another program; close the store in every \
             process and open it again",
        );
        self.give_up(cut.cause);
    }

    /// How long a WAL with the counted frames is at least, in bytes.
    fn least_wal_size(&self) -> u64 {
        match u64::try_from(self.frames.0) {
            Ok(frames) if frames > 0 => WAL_HEADER + frames * self.frames.1,
            _ => 0,
        }
    }

    /// Counts the frames in the WAL; keeps the old count where others are in the way.
    fn count_frames(&mut self) {
        let count = self
            .connection
            .prepare_cached("PRAGMA wal_checkpoint(NOOP)")
            .and_then(|mut noop| noop.query_row((), |row| row.get::<_, i32>("log")));
        match count {
            Ok(frames) if frames >= 0 => self.frames.0 = frames,
            Ok(_) => {}
            Err(error) => drop(self.failed(Failure::of(&error))),
        }
    }

    /// Writes no more. Where only the WAL is gone, and no other process has made a new one, what was
    /// acknowledged is saved: this connection still has the old WAL, and moves it into the database.
    fn lose_files(&mut self, cause: String) {
        if self.files.is_only_wal_missing() {
            let _ = self.connection.busy_timeout(READERS_PATIENCE);
            self.move_log("PRAGMA wal_checkpoint(FULL)");
        }
        self.give_up(cause);
    }

    /// Begins a transaction; busy when another process has been writing for longer than `patience`.
    ///
    /// SQLite's own waiting doubles its pauses, and starves beside a process that writes without a
    /// pause.
    pub(crate) fn begin_patiently(&mut self, patience: Duration) -> Result<(), Failure> {
        let start = Instant::now();
        let mut pause = Duration::from_micros(50);
        loop {
            match self.begin() {
                Err(failure)
                    if failure.kind == StoreErrorKind::Busy && start.elapsed() < patience => {}
                begun => return begun,
            }
            thread::sleep(pause);
            // Uneven, so that two who wait for each other fall out of step.
            pause = if pause > Duration::from_micros(800) { pause / 9 } else { pause * 7 / 5 };
        }
    }

    /// Does the work of a group in the transaction that has begun, and ends it.
    pub(crate) fn write(&mut self, group: &mut [Box<dyn Work>]) -> Result<(), Failure> {
        let worked = group.iter_mut().try_for_each(|work| self.run(&mut **work));
        let outcome = worked.and_then(|()| self.commit());
        if outcome.is_err() {
            self.roll_back();
        }
        outcome
    }

    /// Does one piece of work, which leaves no trace unless it is to stay. An error is one of the
    /// whole transaction.
    fn run(&mut self, work: &mut dyn Work) -> Result<(), Failure> {
        self.execute("SAVEPOINT work")?;
        let connection = &self.connection;
        let ran = catch_unwind(AssertUnwindSafe(|| work.run(connection)));
        let stays = match ran {
            Ok(Ok(stays)) => stays,
            Ok(Err(failure)) => {
                let failure = self.failed(failure);
                // Some failures end the transaction, with the work of others in it.
                if self.broken.is_some() || self.connection.is_autocommit() {
                    return Err(failure);
                }
                false
            }
            Err(_panic) => false,
        };
        if !stays {
            self.execute("ROLLBACK TO work")?;
        }
        self.execute("RELEASE work")
    }

    fn commit(&mut self) -> Result<(), Failure> {
        // The log may hold the commit, to be found when the file is opened again.
        let unknown =
            |failure: Failure| Failure::new(StoreErrorKind::OutcomeUnknown, failure.cause);
        self.execute("COMMIT").map_err(|failure| {
            if failure.is_storage_fault() { unknown(failure) } else { failure }
        })?;
        self.count_frames();
        self.log_pages = self.frames.0;
        self.check_files();
        self.broken.clone().map_or(Ok(()), |failure| Err(unknown(failure)))
    }

    /// Ends a transaction that failed. A connection on which even that fails is not used again.
    fn roll_back(&mut self) {
        if !self.connection.is_autocommit() && self.execute("ROLLBACK").is_err() {
            self.give_up("a transaction could not be ended: open the store anew");
        }
    }

    /// Whether the log should be moved into the database.
    pub(crate) fn needs_checkpoint(&self) -> bool {
        self.broken.is_none() && self.log_pages >= self.checkpoint_at
    }

    /// Moves the log into the database, so that it can start again. What readers still need stays
    /// in the log; once that is too much, they are waited for.
    pub(crate) fn checkpoint(&mut self) {
        let mut left = self.move_log("PRAGMA wal_checkpoint(PASSIVE)");
        if left > 0 && self.log_pages >= self.wait_at {
            let _ = self.connection.busy_timeout(READERS_PATIENCE);
            left = self.move_log("PRAGMA wal_checkpoint(RESTART)");
            let _ = self.connection.busy_timeout(Duration::ZERO);
            self.wait_at = self.log_pages.saturating_add(self.log_pages / 4);
        }
        if left == 0 {
            self.wait_at = LOG_LIMIT_PAGES;
        }
        if left == 0 {
            self.log_pages = 0;
        }
        self.checkpoint_at = self.log_pages.saturating_add(self.checkpoint_pages);
    }

    /// Runs a checkpoint, and tells how many pages it has left in the log.
    fn move_log(&mut self, sql: &'static str) -> i32 {
        let moved = self.connection.query_row(sql, (), |row| {
            Ok((row.get::<_, i32>("log")?, row.get::<_, i32>("checkpointed")?))
        });
        match moved {
            Ok((log, moved)) => log.saturating_sub(moved),
            Err(error) => {
                // A full disk or another process in the way: tried again later.
                self.failed(Failure::of(&error));
                self.log_pages
            }
        }
    }

    fn execute(&mut self, sql: &'static str) -> Result<(), Failure> {
        let done = self.connection.prepare_cached(sql).and_then(|mut sql| sql.execute(()));
        done.map(drop).map_err(|error| self.failed(Failure::of(&error)))
    }

    /// Notes what a failure means for the work to come: nothing is written on top of a storage
    /// fault. SQLite itself would go on.
    fn failed(&mut self, failure: Failure) -> Failure {
        if failure.is_storage_fault() {
            self.give_up(format!(
                "after {}: look at the disk and open the store anew",
                failure.cause
            ));
        }
        failure
    }

    /// Writes no more, and leaves the log.
    fn give_up(&mut self, cause: impl Into<String>) {
        if self.broken.is_none() {
            let _ = keep_log(&self.connection, true);
            self.broken = Some(Failure::new(StoreErrorKind::Unavailable, cause));
        }
    }
}

impl Drop for Line {
    /// Keeps SQLite from deleting the WAL of another file, or of another process, when it closes.
    fn drop(&mut self) {
        self.check_files();
    }
}
