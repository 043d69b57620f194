//! The connections of a store: a pool that heals by itself, and what is tried again on it.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use deadpool_postgres::{Object, ObjectId, Pool, PoolError, TimeoutType};
use tokenkeep::{StoreError, StoreErrorKind};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;
use tokio_postgres::Row;
use tokio_postgres::error::SqlState;

use crate::connection::{Connection, Plan, Shared, Transacted};
use crate::error::Fault;
use crate::runtime::OnRuntime;
use crate::statement::Statement;
use crate::value::Value;

/// How often a statement is tried while others are in its way, or connections turn out to be gone.
pub(crate) const MAX_ATTEMPTS: u32 = 32;

/// How much longer than a statement may take its answer is waited for: what cuts a statement off is
/// the server, as long as there is one.
const GRACE: Duration = Duration::from_secs(1);

/// How long a connection is used without a check of its session.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// How long to wait for a connection to come back before the pool is asked again: others than this store
/// may use it, too.
const PAUSE: Duration = Duration::from_millis(20);

/// How long no connection is made after the server had no room for one.
const FULL_PAUSE: Duration = Duration::from_millis(500);

/// The connections of a store.
pub(crate) struct Connections {
    pool: Pool,
    connect_timeout: Duration,
    runtime: Handle,
    shared: Arc<Shared>,
    session: Session,
    /// One for each scan that may run: one connection less than there are, but at least one.
    scans: Semaphore,
    /// When each connection was checked last.
    checked: Mutex<HashMap<ObjectId, Instant>>,
    /// When the server had no room for another connection.
    full: Mutex<Option<Instant>>,
}

/// What is expected of the session of a connection.
#[derive(Debug)]
pub(crate) enum Session {
    /// Anything: the URL accepts servers that do not accept writes.
    Any,
    /// It can write.
    Writable,
    /// It can write, and has the settings that the first connection had: others use the pool, too.
    Unchanged(Mutex<Option<Vec<String>>>),
}

impl Session {
    /// What shows the settings, the first of which is whether it cannot write.
    const fn sql(&self) -> Option<&'static str> {
        match self {
            Self::Any => None,
            Self::Writable => Some("SHOW transaction_read_only"),
            Self::Unchanged(_) => Some(
                "SHOW transaction_read_only; SHOW search_path; SHOW role; SHOW synchronous_commit",
            ),
        }
    }

    /// Why the settings are not as expected, if so.
    fn wrong(&self, settings: &[String]) -> Option<&'static str> {
        if settings.first().is_none_or(|read_only| read_only != "off") {
            return Some(
                "the server does not accept writes: it is a standby, or set to be read-only",
            );
        }
        let Self::Unchanged(first) = self else { return None };
        let changed = "search_path, role or synchronous_commit of a connection of the pool has changed \
             since the store was opened";
        let mut first = lock(first);
        (first.get_or_insert_with(|| settings.to_vec()) != settings).then_some(changed)
    }
}

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The pool's own shows the user and the host.
        f.debug_struct("Connections").field("status", &self.pool.status()).finish_non_exhaustive()
    }
}

impl Connections {
    pub(crate) fn new(
        pool: Pool,
        (connect_timeout, statement_timeout): (Duration, Duration),
        session: Session,
        runtime: Handle,
    ) -> Self {
        let shared = Arc::new(Shared::new(statement_timeout.saturating_add(GRACE)));
        let scans = Semaphore::new(pool.status().max_size.saturating_sub(1).max(1));
        let (checked, full) = (Mutex::default(), Mutex::default());
        Self { pool, connect_timeout, runtime, shared, session, scans, checked, full }
    }

    /// Waits until another call may read many rows, as long as for a connection. It may while the
    /// permit is held.
    pub(crate) async fn scan_permit(&self) -> Result<SemaphorePermit<'_>, Fault> {
        match timeout(self.connect_timeout, self.scans.acquire()).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(Fault::Unsent(StoreErrorKind::Busy, "too many calls read many rows".into())),
        }
    }

    /// Returns a connection for exclusive use, whose session was checked within the last second.
    pub(crate) async fn get(&self) -> Result<Connection, Fault> {
        loop {
            let object = self.take().await?;
            let metrics = *Object::metrics(&object);
            if self.shared.is_silent(metrics.created) {
                // Made before a connection went silent: what has swallowed that may have this one, too.
                drop(Object::take(object));
                continue;
            }
            let id = Object::id(&object);
            let mut connection = Connection::new(object, self.shared.clone());
            match self.check(id, &mut connection).await {
                Ok(()) => return Ok(connection),
                Err(fault) => {
                    connection.close();
                    // Of those that the pool had, each is tried; a new one shows what the server is like.
                    if metrics.recycle_count == 0 {
                        return Err(fault);
                    }
                }
            }
        }
    }

    /// Checks the session of a connection, unless it was checked within the last second.
    async fn check(&self, id: ObjectId, connection: &mut Connection) -> Result<(), Fault> {
        let Some(sql) = self.session.sql() else { return Ok(()) };
        let is_recent = |at: &Instant| at.elapsed() < CHECK_INTERVAL;
        if lock(&self.checked).get(&id).is_some_and(is_recent) {
            return Ok(());
        }
        let settings = connection.show(sql, self.connect_timeout).await?;
        if let Some(wrong) = self.session.wrong(&settings) {
            return Err(Fault::Unsent(StoreErrorKind::Unavailable, wrong.into()));
        }
        let mut checked = lock(&self.checked);
        // Connections that are gone are forgotten.
        if checked.len() > 2 * self.pool.status().max_size {
            checked.retain(|_, at| is_recent(at));
        }
        checked.insert(id, Instant::now());
        Ok(())
    }

    /// Takes a connection from the pool, or makes one. Where the server has no room for another one, those
    /// that there are serve all.
    async fn take(&self) -> Result<Object, Fault> {
        let deadline = Instant::now() + self.connect_timeout;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let is_full = lock(&self.full).is_some_and(|at| at.elapsed() < FULL_PAUSE);
            if !is_full || self.pool.status().available > 0 {
                match timeout(self.connect_timeout, self.pool.get()).await {
                    Ok(Err(PoolError::Backend(error)))
                        if error.code() == Some(&SqlState::TOO_MANY_CONNECTIONS) =>
                    {
                        *lock(&self.full) = Some(Instant::now());
                        if left.is_zero() {
                            return Err(Fault::of_connecting(&error));
                        }
                    }
                    Ok(taken) => return Ok(taken?),
                    Err(_) => {
                        let status = self.pool.status();
                        return Err(if status.available == 0 && status.size >= status.max_size {
                            PoolError::Timeout(TimeoutType::Wait).into()
                        } else {
                            PoolError::Timeout(TimeoutType::Create).into()
                        });
                    }
                }
            } else if left.is_zero() {
                let cause = "the server has no room for another connection, and all are in use";
                return Err(Fault::Unsent(StoreErrorKind::Busy, cause.into()));
            }
            let _ = timeout(left.min(PAUSE), self.shared.returned.notified()).await;
        }
    }

    /// Runs a statement that may be run twice, and keeps its plan.
    pub(crate) async fn query(
        &self,
        sql: &str,
        values: &[Value<'_>],
    ) -> Result<Vec<Row>, StoreError> {
        self.repeat(sql, values, Plan::Kept).await
    }

    /// Runs a statement that may be run twice, and comes in too many forms for its plan to be kept.
    pub(crate) async fn query_once(
        &self,
        sql: &str,
        values: &[Value<'_>],
    ) -> Result<Vec<Row>, StoreError> {
        self.repeat(sql, values, Plan::Dropped).await
    }

    async fn repeat(
        &self,
        sql: &str,
        values: &[Value<'_>],
        plan: Plan,
    ) -> Result<Vec<Row>, StoreError> {
        let mut attempts = Attempts::default();
        let mut was_silent = false;
        loop {
            match self.get().await?.run(sql, values, plan).await {
                Ok(rows) => return Ok(rows),
                // Once, since a silence takes long: the next connection is one that was made after it.
                Err(Fault::Silent) if !was_silent => was_silent = true,
                Err(fault) => attempts.another_after(fault).await?,
            }
        }
    }

    /// Runs a statement that must not be run twice, as a transaction of its own, in one round trip.
    /// It is tried again only where it is known that nothing was done.
    pub(crate) async fn execute(&self, sql: &str, values: &[Value<'_>]) -> Result<Vec<Row>, Fault> {
        let mut attempts = Attempts::default();
        let mut was_silent = false;
        loop {
            let mut connection = self.get().await?;
            // Until the statement itself is sent, a connection that is lost has done nothing.
            let fault = match connection.prepare(sql).await {
                Ok(()) => match connection.query(sql, values).await {
                    Ok(rows) => return Ok(rows),
                    Err(fault) => fault.of_commit(),
                },
                Err(Fault::Silent) if !was_silent => {
                    was_silent = true;
                    continue;
                }
                Err(fault) => fault,
            };
            attempts.another_after(fault).await?;
        }
    }

    /// Runs statements in one transaction: all are sent at once, and committed when each has found
    /// the rows that it should; else nothing is done. It is tried again as [`execute`](Self::execute)
    /// does.
    pub(crate) async fn transact(
        &self,
        statements: &[&Statement<'_>],
    ) -> Result<Transacted, Fault> {
        let mut attempts = Attempts::default();
        loop {
            match self.get().await?.try_transact(statements).await {
                Ok(transacted) => return Ok(transacted),
                Err(fault) => attempts.another_after(fault).await?,
            }
        }
    }

    /// Runs a future inside the runtime that the connections live on, whoever polls it.
    pub(crate) fn on_runtime<F: Future>(&self, future: F) -> OnRuntime<F> {
        OnRuntime::new(self.runtime.clone(), future)
    }
}

/// How often something has been tried.
#[derive(Debug, Default)]
struct Attempts(u32);

impl Attempts {
    /// Waits until it is worth trying again, the longer the more often others were in the way.
    ///
    /// # Errors
    ///
    /// The fault, when it is not worth trying again.
    async fn another_after(&mut self, fault: Fault) -> Result<(), Fault> {
        self.0 += 1;
        if self.0 == MAX_ATTEMPTS || !fault.may_be_repeated() {
            return Err(fault);
        }
        if matches!(fault, Fault::Refused(_)) {
            let pause = Duration::from_millis(1 << self.0.min(6));
            tokio::time::sleep(pause).await;
        }
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
