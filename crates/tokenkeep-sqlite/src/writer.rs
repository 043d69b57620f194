//! The queue of work and its group commit.
//!
//! Work waits in a queue. Whoever leads takes all that waits, does it in one transaction, and
//! answers after its end: so one flush of the disk serves many callers. A caller whose work still
//! waits after it has let the other tasks of its executor run once leads itself, if nobody does and
//! it will not take long: alone, it pays no hop to another thread. Else a thread leads, which also
//! waits for other processes and moves the log into the database.
//!
//! Measured with FULL on two cores (`cargo bench -p tokenkeep-benches --bench update`): one caller
//! who leads makes 4,800 updates a second, through the thread 3,100; from 8 callers on there is no
//! difference.

use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use tokenkeep::{ChangeCounters, Changing, StoreError, StoreErrorKind, Subject};

use crate::error::{Failure, Fault};
use crate::line::Line;
use crate::slot::{Slot, yield_once};

/// How much work goes into one transaction: more makes each cheaper by less than a tenth, and the
/// last of them wait longer.
const MAX_GROUP: usize = 256;

/// As long as groups take less than this, a caller may lead: its executor's thread is held no
/// longer. On a slower disk the hop to the writing thread does not matter.
const QUICK: Duration = Duration::from_millis(1);

/// How long a piece of work takes, as far as its kind tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effort {
    /// A few rows.
    Short,
    /// As many rows as there are: left to the writing thread.
    Long,
}

/// Does work on the writing connection, many callers' at a time.
#[derive(Debug)]
pub(crate) struct Writer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    queue: Mutex<Queue>,
    /// Rung when the thread shall lead or end.
    bell: Condvar,
    line: Mutex<Line>,
    /// Held while waiting for the line: who holds it is next. Without it, callers who come back at
    /// once keep the thread out, which has to be woken.
    next: Mutex<()>,
    /// A running mean of how long a group takes, in microseconds.
    pace: AtomicU64,
    /// How long to wait for another process.
    patience: Duration,
    changes: Arc<ChangeCounters>,
}

#[derive(Default)]
struct Queue {
    work: VecDeque<Box<dyn Work>>,
    /// The thread is asked to lead.
    called: bool,
    closed: bool,
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} waiting", self.work.len())
    }
}

/// What has to be done inside a transaction.
pub(crate) trait Work: Send {
    fn effort(&self) -> Effort;

    /// Does it, and tells whether it is to stay; or how SQLite failed.
    fn run(&mut self, connection: &Connection) -> Result<bool, Failure>;

    /// Answers the caller, once it is known what became of the transaction.
    fn settle(self: Box<Self>, failure: Option<&Failure>);
}

/// Why work was not done: refused for a reason of its own, or failed.
pub(crate) enum Undone<E> {
    Refused(E),
    Failed(Fault),
}

impl<E> From<Fault> for Undone<E> {
    fn from(fault: Fault) -> Self {
        Self::Failed(fault)
    }
}

impl<E> From<rusqlite::Error> for Undone<E> {
    fn from(error: rusqlite::Error) -> Self {
        Self::Failed(error.into())
    }
}

impl Writer {
    /// Starts to write on `line`, waiting at most `patience` for other processes and noting every
    /// change in `changes`.
    ///
    /// # Errors
    ///
    /// When no thread can be started.
    pub(crate) fn start(
        line: Line,
        patience: Duration,
        changes: Arc<ChangeCounters>,
    ) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            bell: Condvar::new(),
            line: Mutex::new(line),
            next: Mutex::default(),
            pace: AtomicU64::new(0),
            patience,
            changes,
        });
        let for_thread = shared.clone();
        let thread = thread::Builder::new()
            .name("tokenkeep-sqlite".into())
            .spawn(move || for_thread.serve())?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Does `work` in a transaction, and returns what it returned once that is durable. What
    /// returns an error leaves no trace. A dropped future may leave the work done. Until it is
    /// answered, caches ask for those whom it is `about`.
    pub(crate) async fn run<T, E>(
        &self,
        effort: Effort,
        about: Vec<Subject>,
        work: impl FnOnce(&Connection) -> Result<T, Undone<E>> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let slot = Arc::new(Slot::new());
        let changing = Some(self.shared.changes.begin(about));
        let job = Job { effort, changing, work: Some(work), answer: None, slot: slot.clone() };
        lock(&self.shared.queue).work.push_back(Box::new(job));
        // From here on somebody has to lead, also if this future is dropped.
        let mut call = CallOnDrop { shared: &self.shared, needed: true };
        yield_once().await;
        call.needed = !slot.is_filled() && !self.shared.lead_here();
        drop(call);
        slot.take().await
    }
}

impl Drop for Writer {
    /// Waits until what has been handed over is done.
    fn drop(&mut self) {
        lock(&self.shared.queue).closed = true;
        self.shared.bell.notify_one();
        // The thread itself may be dropping the last task that holds the store.
        let own = |thread: &JoinHandle<()>| thread.thread().id() == thread::current().id();
        if let Some(thread) = self.thread.take().filter(|thread| !own(thread)) {
            let _ = thread.join();
        }
    }
}

/// One caller's work.
struct Job<F, T, E: From<StoreError>> {
    effort: Effort,
    /// Until it is answered.
    changing: Option<Changing>,
    work: Option<F>,
    answer: Option<Result<T, E>>,
    slot: Arc<Slot<Result<T, E>>>,
}

impl<F, T, E: From<StoreError>> Job<F, T, E> {
    /// Answers the caller, after the caches.
    fn give(&mut self, answer: Result<T, E>) {
        drop(self.changing.take());
        self.slot.fill(answer);
    }
}

impl<F, T, E> Work for Job<F, T, E>
where
    F: FnOnce(&Connection) -> Result<T, Undone<E>> + Send,
    T: Send,
    E: From<StoreError> + Send,
{
    fn effort(&self) -> Effort {
        self.effort
    }

    fn run(&mut self, connection: &Connection) -> Result<bool, Failure> {
        let Some(work) = self.work.take() else {
            return Ok(false);
        };
        match work(connection) {
            Ok(answer) => {
                self.answer = Some(Ok(answer));
                Ok(true)
            }
            Err(Undone::Refused(refusal)) => {
                self.answer = Some(Err(refusal));
                Ok(false)
            }
            Err(Undone::Failed(fault)) => {
                let failure = Failure::from(fault);
                self.answer = Some(Err(StoreError::from(&failure).into()));
                Err(failure)
            }
        }
    }

    fn settle(mut self: Box<Self>, failure: Option<&Failure>) {
        let answer = match failure {
            None => self.answer.take().unwrap_or_else(|| Err(panicked().into())),
            Some(failure) => Err(StoreError::from(failure).into()),
        };
        self.give(answer);
    }
}

impl<F, T, E: From<StoreError>> Drop for Job<F, T, E> {
    /// Nobody waits for ever, whatever happens to the leader.
    fn drop(&mut self) {
        if !self.slot.is_filled() {
            let failure = Failure::new(StoreErrorKind::OutcomeUnknown, "the writer came to an end");
            self.give(Err(StoreError::from(&failure).into()));
        }
    }
}

/// The error of work that panicked.
fn panicked() -> StoreError {
    StoreError::from(&Failure::new(StoreErrorKind::Other, "the work panicked and left no trace"))
}

/// Calls the thread to lead.
struct CallOnDrop<'a> {
    shared: &'a Shared,
    needed: bool,
}

impl Drop for CallOnDrop<'_> {
    fn drop(&mut self) {
        if self.needed {
            self.shared.call_thread();
        }
    }
}

impl Shared {
    fn call_thread(&self) {
        lock(&self.queue).called = true;
        self.bell.notify_one();
    }

    /// Takes the line, behind whoever has it or waits for it.
    fn wait_for_line(&self) -> MutexGuard<'_, Line> {
        let _next = lock(&self.next);
        lock(&self.line)
    }

    /// Takes the line if it is free and nobody waits for it.
    fn try_line(&self) -> Option<MutexGuard<'_, Line>> {
        let _next = try_lock(&self.next)?;
        try_lock(&self.line)
    }

    /// Leads on this thread, if nobody leads, nobody is in the way, and it will not take long.
    /// Returns whether nothing is left to be led.
    fn lead_here(&self) -> bool {
        let Some(mut line) = self.try_line() else {
            return false;
        };
        if self.nothing_waits() {
            return true;
        }
        // A log that is due is moved by the thread, which must not have to race for its turn.
        if !self.is_quick() || line.needs_checkpoint() {
            return false;
        }
        match line.begin() {
            Err(failure) if failure.kind == StoreErrorKind::Busy => return false,
            begun => self.lead(&mut line, begun),
        }
        if line.needs_checkpoint() {
            self.call_thread();
        }
        drop(line);
        self.nothing_waits()
    }

    fn nothing_waits(&self) -> bool {
        lock(&self.queue).work.is_empty()
    }

    /// Whether a caller may lead what waits.
    fn is_quick(&self) -> bool {
        u128::from(self.pace.load(Ordering::Relaxed)) <= QUICK.as_micros()
            && lock(&self.queue).work.iter().all(|work| work.effort() == Effort::Short)
    }

    /// What the thread does: leads and moves the log when it is called, until the writer ends and
    /// nothing waits.
    fn serve(&self) {
        while self.wait_for_call() {
            // A panic answers those it meets, and ends nobody else's service.
            let _ = catch_unwind(AssertUnwindSafe(|| self.serve_once(&mut self.wait_for_line())));
        }
    }

    fn serve_once(&self, line: &mut Line) {
        if !self.nothing_waits() {
            let begun = line.begin_patiently(self.patience);
            self.lead(line, begun);
        }
        if line.needs_checkpoint() {
            line.checkpoint();
        }
    }

    /// Waits until the thread is called; `false` when there is nothing left to do for ever.
    fn wait_for_call(&self) -> bool {
        let mut queue = lock(&self.queue);
        loop {
            if !queue.work.is_empty() && (queue.called || queue.closed) {
                return true;
            }
            if queue.closed {
                return false;
            }
            if std::mem::take(&mut queue.called) {
                // Nothing waits: called for the log.
                return true;
            }
            queue = self.bell.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Does what waits in the transaction that has begun, and answers.
    fn lead(&self, line: &mut Line, begun: Result<(), Failure>) {
        let start = Instant::now();
        let mut group = self.take_group();
        let outcome = begun.and_then(|()| line.write(&mut group));
        self.keep_pace(start.elapsed());
        for work in group {
            // An answer wakes a task, and with it the code of others: their panics are not ours.
            let settled = AssertUnwindSafe(|| work.settle(outcome.as_ref().err()));
            let _ = catch_unwind(settled);
        }
    }

    fn take_group(&self) -> Vec<Box<dyn Work>> {
        let mut queue = lock(&self.queue);
        let count = queue.work.len().min(MAX_GROUP);
        queue.work.drain(..count).collect()
    }

    fn keep_pace(&self, took: Duration) {
        let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX / 8);
        let pace = self.pace.load(Ordering::Relaxed);
        self.pace.store(pace - pace / 8 + took / 8, Ordering::Relaxed);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn try_lock<T>(mutex: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    match mutex.try_lock() {
        Ok(guard) => Some(guard),
        Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::mpsc;
    use std::task::{Context, Waker};
    use std::thread;

    use rusqlite::ffi;
    use tempfile::TempDir;
    use tokenkeep::{TokenId, UserId};

    use super::*;
    use crate::open::Durability;
    use crate::sharing::Sharing;
    use crate::watch::OpenFiles;

    struct Rig {
        directory: TempDir,
        writer: Writer,
    }

    impl Rig {
        fn new() -> Self {
            Self::with_patience(Duration::from_millis(200))
        }

        fn with_patience(patience: Duration) -> Self {
            let directory = tempfile::tempdir().unwrap();
            let connection = connect(directory.path());
            connection.pragma_update(None, "journal_mode", "wal").unwrap();
            connection.busy_timeout(Duration::ZERO).unwrap();
            connection.execute_batch("CREATE TABLE done (number INTEGER UNIQUE)").unwrap();
            connection.execute_batch("CREATE TABLE filler (bytes BLOB)").unwrap();
            let path = directory.path().join("test.db");
            let files = OpenFiles::of(&path, Sharing::Shared).unwrap();
            let line = Line::on(connection, files.into(), Durability::Normal).unwrap();
            let writer = Writer::start(line, patience, Arc::default()).unwrap();
            Self { directory, writer }
        }

        /// The numbers that have been written, as another connection sees them.
        fn done(&self) -> Vec<i64> {
            numbers(&connect(self.directory.path()))
        }

        fn write(&self, number: i64) -> Result<(), StoreError> {
            pollster::block_on(
                self.writer
                    .run(Effort::Short, Vec::new(), move |connection| put(connection, number)),
            )
        }
    }

    fn connect(directory: &Path) -> Connection {
        Connection::open(directory.join("test.db")).unwrap()
    }

    fn numbers(connection: &Connection) -> Vec<i64> {
        let mut select = connection.prepare("SELECT number FROM done ORDER BY number").unwrap();
        select.query_map((), |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
    }

    fn put(connection: &Connection, number: i64) -> Result<(), Undone<StoreError>> {
        connection.execute("INSERT INTO done VALUES (?1)", [number])?;
        Ok(())
    }

    fn refusal() -> Undone<StoreError> {
        Undone::Refused(StoreError::new("test", StoreErrorKind::Other))
    }

    fn io_error() -> Undone<StoreError> {
        let code = ffi::Error::new(ffi::SQLITE_IOERR_WRITE);
        rusqlite::Error::SqliteFailure(code, Some("secret".into())).into()
    }

    #[test]
    fn refused_failed_and_panicking_work_leaves_no_trace() {
        let rig = Rig::new();
        rig.write(1).unwrap();
        let refused = pollster::block_on(rig.writer.run(Effort::Short, Vec::new(), |connection| {
            put(connection, 2)?;
            Err::<(), _>(refusal())
        }));
        assert_eq!(refused.unwrap_err().backend(), "test");
        assert_eq!(*rig.write(1).unwrap_err().kind(), StoreErrorKind::Other, "not unique");
        let panicked =
            pollster::block_on(rig.writer.run(Effort::Short, Vec::new(), |connection| {
                put(connection, 3)?;
                assert!(numbers(connection).is_empty(), "always fails");
                Ok::<_, Undone<StoreError>>(())
            }));
        assert_eq!(*panicked.unwrap_err().kind(), StoreErrorKind::Other);
        rig.write(4).unwrap();
        assert_eq!(rig.done(), [1, 4]);
    }

    #[test]
    fn what_waits_is_done_in_one_transaction_and_each_gets_its_own_answer() {
        let rig = Rig::new();
        let (go, wait) = mpsc::channel::<()>();
        let (held, is_held) = mpsc::channel::<()>();
        let seen_outside = Mutex::new(Vec::new());
        thread::scope(|scope| {
            // The first holds the line until everybody else waits.
            let first = rig.writer.run(Effort::Short, Vec::new(), move |connection| {
                held.send(()).unwrap();
                wait.recv().unwrap();
                put(connection, 0)
            });
            let first = scope.spawn(|| pollster::block_on(first));
            is_held.recv().unwrap();
            let others: Vec<_> = (1..=20)
                .map(|number| {
                    let path = rig.directory.path().to_owned();
                    let work = rig.writer.run(Effort::Short, Vec::new(), move |connection| {
                        put(connection, number)?;
                        let outside = numbers(&connect(&path)).len();
                        if number % 5 == 0 { Err(refusal()) } else { Ok(outside) }
                    });
                    scope.spawn(|| pollster::block_on(work))
                })
                .collect();
            while lock(&rig.writer.shared.queue).work.len() < 20 {
                thread::yield_now();
            }
            go.send(()).unwrap();
            first.join().unwrap().unwrap();
            for (number, other) in (1..).zip(others) {
                match other.join().unwrap() {
                    Ok(outside) => seen_outside.lock().unwrap().push(outside),
                    Err(error) => assert_eq!((error.backend(), number % 5), ("test", 0)),
                }
            }
        });
        assert_eq!(seen_outside.into_inner().unwrap(), [1; 16], "none saw another from outside");
        let kept: Vec<_> = (0..=20).filter(|number| *number == 0 || number % 5 != 0).collect();
        assert_eq!(rig.done(), kept);
    }

    #[test]
    fn a_dropped_future_wedges_nobody() {
        let rig = Rig::new();
        for polls in 0..3 {
            let mut dropped =
                Box::pin(rig.writer.run(Effort::Short, Vec::new(), move |connection| {
                    put(connection, 100 + polls)
                }));
            for _ in 0..polls {
                let _ = dropped.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            }
            drop(dropped);
            rig.write(polls).unwrap();
        }
        assert_eq!(rig.done(), [0, 1, 2, 101, 102], "what was handed over is done");
    }

    #[test]
    fn nothing_is_written_on_top_of_a_storage_fault() {
        let rig = Rig::new();
        rig.write(1).unwrap();
        let failed = pollster::block_on(rig.writer.run(Effort::Short, Vec::new(), |connection| {
            put(connection, 2)?;
            Err::<(), _>(io_error())
        }));
        let failed = failed.unwrap_err();
        assert_eq!(*failed.kind(), StoreErrorKind::Unavailable);
        let cause = std::error::Error::source(&failed).unwrap().to_string();
        assert!(cause.contains("disk I/O error") && !cause.contains("secret"), "{cause}");

        let next = rig.write(3).unwrap_err();
        assert_eq!(*next.kind(), StoreErrorKind::Unavailable);
        let cause = std::error::Error::source(&next).unwrap().to_string();
        assert!(cause.contains("open the store anew"), "{cause}");
        assert_eq!(rig.done(), [1]);
    }

    #[test]
    fn who_waits_for_the_line_is_next() {
        let rig = Rig::new();
        let (held, is_held) = mpsc::channel();
        let taken = AtomicU64::new(0);
        thread::scope(|scope| {
            let line = lock(&rig.writer.shared.line);
            scope.spawn(|| {
                held.send(()).unwrap();
                let _line = rig.writer.shared.wait_for_line();
                taken.store(1, Ordering::SeqCst);
            });
            is_held.recv().unwrap();
            let start = Instant::now();
            while try_lock(&rig.writer.shared.next).is_some() {
                assert!(start.elapsed() < Duration::from_secs(10), "nobody is next");
                thread::yield_now();
            }
            drop(line);
            // Whoever comes back at once comes behind the one who waits.
            drop(rig.writer.shared.wait_for_line());
            assert_eq!(taken.load(Ordering::SeqCst), 1);
        });
    }

    #[test]
    fn a_full_disk_fails_one_piece_of_work() {
        let rig = Rig::new();
        let full = pollster::block_on(rig.writer.run(Effort::Short, Vec::new(), |connection| {
            put(connection, 1)?;
            let code = ffi::Error::new(ffi::SQLITE_FULL);
            Err::<(), _>(Undone::from(rusqlite::Error::SqliteFailure(code, None)))
        }));
        let full: StoreError = full.unwrap_err();
        assert_eq!(*full.kind(), StoreErrorKind::Full);
        rig.write(2).unwrap();
        assert_eq!(rig.done(), [2]);
    }

    #[test]
    fn another_process_is_waited_for_and_then_reported() {
        let rig = Rig::new();
        let other = connect(rig.directory.path());
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        let busy = rig.write(1).unwrap_err();
        assert_eq!(*busy.kind(), StoreErrorKind::Busy);
        assert!(busy.is_retryable());
        thread::scope(|scope| {
            let waiting = scope.spawn(|| rig.write(2));
            thread::sleep(Duration::from_millis(50));
            other.execute_batch("COMMIT").unwrap();
            waiting.join().unwrap().unwrap();
        });
        assert_eq!(rig.done(), [2]);
    }

    #[test]
    fn a_slow_disk_moves_the_work_to_the_thread() {
        let rig = Rig::new();
        let thread_of = || {
            let name = rig.writer.run(Effort::Short, Vec::new(), |_| {
                thread::sleep(Duration::from_millis(1));
                Ok::<_, Undone<StoreError>>(thread::current().name().map(str::to_owned))
            });
            pollster::block_on(name).unwrap()
        };
        let own = thread::current().name().map(str::to_owned);
        assert_eq!(thread_of(), own, "alone and quick: led by the caller");
        rig.writer.shared.pace.store(10_000, Ordering::Relaxed);
        assert_eq!(thread_of().as_deref(), Some("tokenkeep-sqlite"));
    }

    #[test]
    fn long_work_is_left_to_the_thread() {
        let rig = Rig::new();
        let name = |effort| {
            let name = rig.writer.run(effort, Vec::new(), |_| {
                Ok::<_, Undone<StoreError>>(thread::current().name().map(str::to_owned))
            });
            pollster::block_on(name).unwrap()
        };
        assert_eq!(name(Effort::Short).as_deref(), thread::current().name());
        assert_eq!(name(Effort::Long).as_deref(), Some("tokenkeep-sqlite"));
    }

    #[test]
    fn caches_hear_of_it_before_the_caller() {
        /// Notes how much caches have heard of when it is woken.
        struct Witness(Arc<ChangeCounters>, AtomicU64);
        impl std::task::Wake for Witness {
            fn wake(self: Arc<Self>) {
                self.1.store(self.0.total(), Ordering::SeqCst);
            }
        }
        let rig = Rig::new();
        let changes = rig.writer.shared.changes.clone();
        let about = || vec![Subject::Everything];
        let mut work = Box::pin(rig.writer.run(Effort::Long, about(), |line| put(line, 1)));
        let witness = Arc::new(Witness(changes.clone(), AtomicU64::new(0)));
        let waker = Waker::from(witness.clone());
        while work.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
            thread::yield_now();
        }
        drop(work);
        // The first wake is that of yielding, the last that of the answer.
        assert_eq!((witness.1.load(Ordering::SeqCst), changes.total()), (1, 1));

        let dropped = rig.writer.run(Effort::Long, about(), |connection| put(connection, 2));
        let mut dropped = Box::pin(dropped);
        let _ = dropped.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        drop(dropped);
        rig.write(3).unwrap();
        assert_eq!(changes.total(), 2, "nobody waits for it, and it was done");
    }

    #[test]
    fn caches_ask_while_it_is_done() {
        let rig = Rig::new();
        let changes = rig.writer.shared.changes.clone();
        let (token, owner) = (TokenId::from_bytes([1; 16]), UserId::new(2));
        let before = changes.stamp(token, owner);
        assert!(before.is_some());
        let counters = changes.clone();
        let about = vec![Subject::Token(token)];
        let during = pollster::block_on(rig.writer.run(Effort::Short, about, move |connection| {
            put(connection, 1)?;
            Ok::<_, Undone<StoreError>>(counters.stamp(token, owner))
        }));
        assert_eq!(during.unwrap(), None);
        let after = changes.stamp(token, owner);
        assert!(after.is_some() && after != before);
    }

    /// Panics when it is woken.
    struct Bomb;

    impl std::task::Wake for Bomb {
        fn wake(self: Arc<Self>) {
            panic!("woken");
        }
    }

    #[test]
    fn a_panic_of_somebody_elses_waker_harms_nobody() {
        let rig = Rig::new();
        for number in 0..3 {
            let mut woken = Box::pin(
                rig.writer.run(Effort::Long, Vec::new(), move |connection| put(connection, number)),
            );
            // The first poll yields, with this waker; the second hands over, with the bomb.
            let _ = woken.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            let bomb = Waker::from(Arc::new(Bomb));
            let _ = woken.as_mut().poll(&mut Context::from_waker(&bomb));
            rig.write(10 + number).unwrap();
            pollster::block_on(woken).unwrap();
        }
        assert_eq!(rig.done(), [0, 1, 2, 10, 11, 12]);
    }

    #[test]
    fn a_writer_can_be_dropped_by_its_own_thread() {
        /// Drops what it holds when it is woken.
        struct Last(Mutex<Option<Writer>>);
        impl std::task::Wake for Last {
            fn wake(self: Arc<Self>) {
                drop(lock(&self.0).take());
            }
        }
        let Rig { directory, writer } = Rig::new();
        let shared = writer.shared.clone();
        let slot = Arc::new(Slot::<Result<(), StoreError>>::new());
        let last = Waker::from(Arc::new(Last(Mutex::new(Some(writer)))));
        let mut answer = Box::pin(slot.take());
        let _ = answer.as_mut().poll(&mut Context::from_waker(&last));
        let work = |connection: &Connection| put(connection, 1);
        let job = Job {
            effort: Effort::Long,
            changing: None,
            work: Some(work),
            answer: None,
            slot: slot.clone(),
        };
        lock(&shared.queue).work.push_back(Box::new(job));
        shared.call_thread();
        pollster::block_on(answer).unwrap();
        assert_eq!(numbers(&connect(directory.path())), [1]);
    }

    #[test]
    fn a_process_that_waits_for_nobody_is_busy_at_once() {
        let rig = Rig::with_patience(Duration::ZERO);
        let other = connect(rig.directory.path());
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        let start = Instant::now();
        assert_eq!(*rig.write(1).unwrap_err().kind(), StoreErrorKind::Busy);
        assert!(start.elapsed() < Duration::from_secs(3));
    }

    #[test]
    fn the_log_is_moved_before_it_grows_long() {
        let rig = Rig::new();
        let log = rig.directory.path().join("test.db-wal");
        for number in 0..40 {
            let fill = rig.writer.run(Effort::Short, Vec::new(), move |connection| {
                // About 100 pages.
                connection.execute("INSERT INTO filler VALUES (zeroblob(400000))", ())?;
                put(connection, number)
            });
            pollster::block_on(fill).unwrap();
        }
        // The thread may still be about to move it.
        pollster::block_on(
            rig.writer.run(Effort::Long, Vec::new(), |_| Ok::<_, Undone<StoreError>>(())),
        )
        .unwrap();
        let length = log.metadata().unwrap().len();
        assert!(length < 3_000 * 4_096, "4,000 pages were written, {length} bytes are left");
    }

    #[test]
    fn what_is_handed_over_is_done_before_the_writer_ends() {
        let rig = Rig::new();
        let mut dropped =
            Box::pin(rig.writer.run(Effort::Short, Vec::new(), |connection| put(connection, 1)));
        let _ = dropped.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        drop(dropped);
        let Rig { directory, writer } = rig;
        drop(writer);
        assert_eq!(numbers(&connect(directory.path())), [1]);
    }
}
