//! Reads of more than a row. They run on threads and connections of their own, so that they hold neither
//! the caller's thread nor a connection that an authentication needs. A scan ends when its future is
//! dropped, or when it has taken too long. One thread runs bounded scans only, so that they never wait
//! for those whose cost grows with the rows of the store.

use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use tokenkeep::{StoreError, StoreErrorKind};

use crate::error::{Failure, Fault, OpenError};
use crate::slot::Slot;
use crate::watch::OpenFiles;

/// How many steps of SQLite's virtual machine pass between two looks at whether a scan is to end:
/// well below a millisecond.
const STEPS: i32 = 10_000;

/// The threads that scan.
#[derive(Debug)]
pub(crate) struct Scanners {
    shared: Arc<Shared>,
    files: Arc<OpenFiles>,
    time_limit: Duration,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    queue: Mutex<Queue>,
    /// Wakes the threads that run every scan.
    wake: Condvar,
    /// Wakes the thread that runs bounded scans only.
    wake_bounded: Condvar,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let queue = lock(&self.queue);
        write!(f, "{} scans waiting", queue.bounded.len() + queue.unbounded.len())
    }
}

#[derive(Default)]
struct Queue {
    bounded: VecDeque<Scan>,
    unbounded: VecDeque<Scan>,
    is_closed: bool,
}

/// Whether the cost of a scan grows with the rows of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cost {
    /// An index limits the rows that are read.
    Bounded,
    /// The scan may read every row.
    Unbounded,
}

impl Cost {
    pub(crate) const fn of(is_bounded: bool) -> Self {
        if is_bounded { Self::Bounded } else { Self::Unbounded }
    }
}

/// A scan that waits for a thread.
struct Scan {
    limits: Arc<Limits>,
    run: Box<dyn FnOnce(&Connection) + Send>,
}

/// When a scan is to end.
struct Limits {
    is_dropped: AtomicBool,
    deadline: Instant,
}

impl Limits {
    fn are_reached(&self) -> bool {
        self.is_dropped.load(Ordering::Relaxed) || Instant::now() >= self.deadline
    }
}

/// Ends a scan when its future is dropped.
struct DropGuard(Arc<Limits>);

impl Drop for DropGuard {
    fn drop(&mut self) {
        self.0.is_dropped.store(true, Ordering::Relaxed);
    }
}

impl Scanners {
    /// Starts a thread for each connection: one for bounded scans only, the others for all. A scan may
    /// take `time_limit`, waiting for a thread included.
    pub(crate) fn start(
        files: Arc<OpenFiles>,
        bounded: Connection,
        connections: Vec<Connection>,
        time_limit: Duration,
    ) -> Result<Self, OpenError> {
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            wake: Condvar::new(),
            wake_bounded: Condvar::new(),
        });
        let mut scanners = Self { shared, files, time_limit, threads: Vec::new() };
        scanners.spawn(bounded, Cost::Bounded)?;
        for connection in connections {
            scanners.spawn(connection, Cost::Unbounded)?;
        }
        Ok(scanners)
    }

    /// Starts a thread for scans up to `highest`.
    fn spawn(&mut self, connection: Connection, highest: Cost) -> Result<(), OpenError> {
        let shared = self.shared.clone();
        let thread = thread::Builder::new().name("tokenkeep-scan".into());
        let thread = thread.spawn(move || shared.serve(connection, highest));
        self.threads.push(thread.map_err(OpenError::io("thread".as_ref()))?);
        Ok(())
    }

    /// Returns the number of unbounded scans that run at once.
    #[cfg(test)]
    pub(crate) fn unbounded_threads(&self) -> usize {
        self.threads.len() - 1
    }

    /// Runs a scan and returns what it found.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        cost: Cost,
        scan: impl FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.files.check_now_and_then().map_err(|failure| StoreError::from(&failure))?;
        let slot = Arc::new(Slot::new());
        let limits = Arc::new(Limits {
            is_dropped: AtomicBool::new(false),
            // The options allow an hour at most.
            deadline: Instant::now() + self.time_limit,
        });
        let guard = DropGuard(limits.clone());
        let filled = slot.clone();
        let of_scan = limits.clone();
        let run = move |connection: &Connection| {
            let found = if of_scan.are_reached() {
                Err(timeout())
            } else {
                let ran = catch_unwind(AssertUnwindSafe(|| scan(connection)));
                ran.map_or_else(|_| Err(panicked()), |found| found.map_err(StoreError::from))
            };
            filled.fill(found);
        };
        self.shared.push(cost, Scan { limits, run: Box::new(run) });
        let found = slot.take().await;
        drop(guard);
        found
    }
}

impl Drop for Scanners {
    /// Ends the threads, so that their connections are closed before the writing one.
    fn drop(&mut self) {
        lock(&self.shared.queue).is_closed = true;
        self.shared.wake.notify_all();
        self.shared.wake_bounded.notify_all();
        for thread in self.threads.drain(..) {
            // A scan can wake a task that drops the last handle on the store.
            if thread.thread().id() != thread::current().id() {
                let _ = thread.join();
            }
        }
    }
}

impl Shared {
    fn push(&self, cost: Cost, scan: Scan) {
        let mut queue = lock(&self.queue);
        match cost {
            Cost::Bounded => queue.bounded.push_back(scan),
            Cost::Unbounded => queue.unbounded.push_back(scan),
        }
        drop(queue);
        // The first thread that wakes takes the scan, the other waits again.
        self.wake.notify_one();
        if cost == Cost::Bounded {
            self.wake_bounded.notify_one();
        }
    }

    /// Runs one scan after the other, up to `highest`, until the store is closed.
    fn serve(&self, mut connection: Connection, highest: Cost) {
        let current = Arc::new(Mutex::new(None::<Arc<Limits>>));
        let watched = current.clone();
        let is_over = move || lock(&watched).as_ref().is_some_and(|limits| limits.are_reached());
        // Older drivers return nothing, newer ones an error for a connection that is borrowed.
        #[allow(clippy::let_unit_value, reason = "see above")]
        let _ = connection.progress_handler(STEPS, Some(is_over));
        while let Some(scan) = self.next(highest) {
            *lock(&current) = Some(scan.limits);
            // The answer wakes a task, whose waker can panic.
            let _ = catch_unwind(AssertUnwindSafe(|| (scan.run)(&connection)));
            *lock(&current) = None;
        }
    }

    /// Waits for a scan, a bounded one first. Returns `None` when the store is closed.
    fn next(&self, highest: Cost) -> Option<Scan> {
        let wake = match highest {
            Cost::Bounded => &self.wake_bounded,
            Cost::Unbounded => &self.wake,
        };
        let mut queue = lock(&self.queue);
        loop {
            if queue.is_closed {
                return None;
            }
            let mut scan = queue.bounded.pop_front();
            if highest == Cost::Unbounded {
                scan = scan.or_else(|| queue.unbounded.pop_front());
            }
            match scan {
                Some(scan) => return Some(scan),
                None => queue = wake.wait(queue).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }
}

fn timeout() -> StoreError {
    let cause = "the scan took longer than the scan timeout of the store";
    StoreError::from(&Failure::new(StoreErrorKind::Timeout, cause))
}

fn panicked() -> StoreError {
    StoreError::from(&Failure::new(StoreErrorKind::Other, "the scan panicked"))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::task::{Context, Waker};

    use super::*;

    /// Counts for longer than any test runs.
    const ENDLESS: &str = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) \
         SELECT count(*) FROM n";

    fn scanners(time_limit: Duration) -> Scanners {
        let files = OpenFiles::unwatched().into();
        let connection = || Connection::open_in_memory().unwrap();
        Scanners::start(files, connection(), vec![connection()], time_limit).unwrap()
    }

    fn endless(connection: &Connection) -> Result<i64, Fault> {
        Ok(connection.query_row(ENDLESS, (), |row| row.get(0))?)
    }

    #[test]
    fn scan_past_its_time_limit_fails_as_timeout() {
        let scanners = scanners(Duration::from_millis(50));
        let error = pollster::block_on(scanners.run(Cost::Unbounded, endless)).unwrap_err();
        assert_eq!(*error.kind(), StoreErrorKind::Timeout);
        assert!(error.is_retryable());
        assert_eq!(pollster::block_on(scanners.run(Cost::Unbounded, |_| Ok(7))).unwrap(), 7);
    }

    #[test]
    fn dropped_scan_frees_its_thread() {
        let scanners = scanners(Duration::from_secs(3_600));
        let (begun, has_begun) = mpsc::channel();
        let mut scan = Box::pin(scanners.run(Cost::Unbounded, move |connection| {
            begun.send(()).unwrap();
            endless(connection)
        }));
        let _ = scan.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        has_begun.recv().unwrap();
        drop(scan);
        assert_eq!(pollster::block_on(scanners.run(Cost::Unbounded, |_| Ok(7))).unwrap(), 7);
    }

    #[test]
    fn panicking_scan_harms_no_other() {
        let scanners = scanners(Duration::from_secs(3_600));
        let scan = scanners.run(Cost::Unbounded, |_| -> Result<(), Fault> { panic!() });
        assert_eq!(*pollster::block_on(scan).unwrap_err().kind(), StoreErrorKind::Other);
        assert_eq!(pollster::block_on(scanners.run(Cost::Unbounded, |_| Ok(7))).unwrap(), 7);
    }

    #[test]
    fn scanners_can_be_dropped_by_their_own_thread() {
        /// Drops what it holds when it is woken.
        struct Last(Mutex<Option<Arc<Scanners>>>);
        impl std::task::Wake for Last {
            fn wake(self: Arc<Self>) {
                drop(lock(&self.0).take());
            }
        }
        let scanners = Arc::new(scanners(Duration::from_secs(3_600)));
        let held = scanners.clone();
        let (go, wait) = mpsc::channel::<()>();
        let mut scan = Box::pin(async move {
            let found = held.run(Cost::Unbounded, move |_| Ok(wait.recv().is_ok())).await;
            drop(held);
            found
        });
        let waker = Waker::from(Arc::new(Last(Mutex::new(Some(scanners)))));
        let _ = scan.as_mut().poll(&mut Context::from_waker(&waker));
        go.send(()).unwrap();
        assert!(pollster::block_on(scan).unwrap());
    }
}
