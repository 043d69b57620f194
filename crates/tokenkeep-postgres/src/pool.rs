//! The connections of a store: a pool that heals by itself, and what is tried anew on it.

use std::fmt;
use std::time::Duration;

use deadpool_postgres::Pool;
use tokenkeep::StoreError;
use tokio::runtime::Handle;
use tokio_postgres::Row;

use crate::connection::{Connection, Plan, Transacted};
use crate::error::Fault;
use crate::runtime::OnRuntime;
use crate::statement::Statement;
use crate::value::Value;

/// How often a statement is tried while others are in its way, or connections turn out to be gone.
pub(crate) const MAX_ATTEMPTS: u32 = 32;

/// How much longer than a statement may take its answer is waited for: what cuts a statement off is
/// the server, as long as there is one.
const GRACE: Duration = Duration::from_secs(1);

/// The connections of a store.
pub(crate) struct Connections {
    pool: Pool,
    statement_timeout: Duration,
    runtime: Handle,
}

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The pool's own shows the user and the host.
        f.debug_struct("Connections").field("status", &self.pool.status()).finish_non_exhaustive()
    }
}

impl Connections {
    pub(crate) fn new(pool: Pool, statement_timeout: Duration, runtime: Handle) -> Self {
        Self { pool, statement_timeout, runtime }
    }

    /// A connection that nobody else uses until it is dropped.
    pub(crate) async fn get(&self) -> Result<Connection, Fault> {
        let object = self.pool.get().await?;
        Ok(Connection::new(object, self.statement_timeout.saturating_add(GRACE)))
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
        loop {
            match self.get().await?.run(sql, values, plan).await {
                Ok(rows) => return Ok(rows),
                Err(fault) => attempts.another_after(fault).await?,
            }
        }
    }

    /// Runs a statement that must not be run twice, as a transaction of its own, in one round trip.
    /// It is tried anew only where it is known that nothing was done.
    pub(crate) async fn execute(&self, sql: &str, values: &[Value<'_>]) -> Result<Vec<Row>, Fault> {
        let mut attempts = Attempts::default();
        loop {
            let mut connection = self.get().await?;
            // Until the statement itself is sent, a connection that is lost has done nothing.
            let fault = match connection.prepare(sql).await {
                Ok(()) => match connection.query(sql, values).await {
                    Ok(rows) => return Ok(rows),
                    Err(fault) => fault.of_commit(),
                },
                Err(fault) => fault,
            };
            attempts.another_after(fault).await?;
        }
    }

    /// Runs statements in one transaction: all are sent at once, and committed when each has found
    /// the rows that it should; else nothing is done. It is tried anew as [`execute`](Self::execute)
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
