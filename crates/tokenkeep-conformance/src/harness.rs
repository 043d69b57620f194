//! Between a backend and the cases.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::{Arc, Barrier, Mutex, PoisonError};
use std::thread;

use async_trait::async_trait;
use tokenkeep::{TokenStore, UserStore};

/// A future in a box, as the cases return it.
pub type BoxFuture<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// Opens the store that one case runs on. A harness is made for each case, and starts empty.
///
/// ```
/// use std::sync::{Arc, Barrier, Mutex, PoisonError};
/// use async_trait::async_trait;
/// use tokenkeep::TokenStore;
/// use tokenkeep_conformance::Harness;
/// use tokenkeep_memory::MemoryStore;
///
/// #[derive(Default)]
/// struct Memory(Arc<MemoryStore>);
///
/// #[async_trait]
/// impl Harness for Memory {
///     async fn open(&self) -> Arc<dyn TokenStore> {
///         self.0.clone()
///     }
/// }
///
/// tokenkeep_conformance::check_store(|| Box::new(Memory::default()));
/// ```
#[async_trait]
pub trait Harness: Send + Sync {
    /// Opens the store: the first time it is empty, after that it holds what was committed. Cases
    /// open it more than once, with the earlier handles still open or dropped: what would be
    /// another process where the backend can be shared, and a restart where it outlives one.
    async fn open(&self) -> Arc<dyn TokenStore>;

    /// Removes what the case has left behind. Called at the end of each case, failed ones too, when
    /// every handle has been dropped.
    async fn clean_up(&self) {}

    /// Runs a future to its end, on whichever thread it is called. A backend that needs a runtime
    /// overrides it.
    fn block_on(&self, future: BoxFuture<'_>) {
        pollster::block_on(future);
    }
}

/// Opens the directory that one case runs on, as [`Harness`] does for stores.
///
/// See [`user_store_tests!`](crate::user_store_tests) for an example.
#[async_trait]
pub trait UserHarness: Send + Sync {
    /// Opens the directory: the first time it is empty, after that it holds what was written.
    async fn open(&self) -> Arc<dyn UserStore>;

    /// Removes what the case has left behind.
    async fn clean_up(&self) {}

    /// Runs a future to its end.
    fn block_on(&self, future: BoxFuture<'_>) {
        pollster::block_on(future);
    }
}

/// One case: a test of some clauses.
///
/// ```
/// use tokenkeep_conformance::STORE_CASES;
///
/// let first = &STORE_CASES[0];
/// assert_eq!(first.name, "finds_a_token_by_each_of_its_names");
/// assert_eq!(first.clauses, ["find.1"]);
/// ```
#[derive(Debug)]
pub struct Case<H: ?Sized + 'static> {
    /// The name, stable across versions.
    pub name: &'static str,
    /// The Behavior clauses that it tests.
    pub clauses: &'static [&'static str],
    /// The test, which panics when a clause does not hold.
    pub run: for<'a> fn(&'a H) -> BoxFuture<'a>,
}

/// Runs `run`, then cleans up, then goes on panicking if `run` did.
pub(crate) fn run_and_clean_up(run: impl FnOnce(), clean_up: impl FnOnce()) {
    let ran = catch_unwind(AssertUnwindSafe(run));
    clean_up();
    if let Err(panic) = ran {
        resume_unwind(panic);
    }
}

/// Runs `racers` futures at the same time, each on a thread of its own, all starting together, and
/// returns what they return, in their order.
pub(crate) fn race<T: Send, F: Future<Output = T> + Send>(
    harness: &dyn Harness,
    racers: u8,
    race: impl Fn(u8) -> F + Sync,
) -> Vec<T> {
    let start = Barrier::new(racers.into());
    let run = |number| {
        let result = Mutex::new(None);
        let racer = race(number);
        start.wait();
        harness.block_on(Box::pin(async {
            let returned = racer.await;
            *result.lock().unwrap_or_else(PoisonError::into_inner) = Some(returned);
        }));
        result.into_inner().unwrap_or_else(PoisonError::into_inner)
    };
    let results: Vec<_> = thread::scope(|scope| {
        let run = &run;
        let racers: Vec<_> = (0..racers).map(|number| scope.spawn(move || run(number))).collect();
        racers.into_iter().map(|racer| racer.join()).collect()
    });
    let returned = results.into_iter().map(|result| result.unwrap_or_else(|p| resume_unwind(p)));
    returned.flatten().collect()
}
