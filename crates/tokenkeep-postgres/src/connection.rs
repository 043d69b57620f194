//! One connection at work.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};

use deadpool_postgres::{ClientWrapper, Object};
use tokenkeep::StoreErrorKind;
use tokio::sync::Notify;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Error, Row, SimpleQueryMessage};

use crate::error::{Fault, Refusal};
use crate::statement::Statement;
use crate::value::Value;

/// How a transaction ended.
#[derive(Debug)]
pub(crate) enum Transacted {
    Committed,
    /// Nothing was done, because of the statement at this place.
    RolledBack(usize, Cause),
}

/// Why a transaction was not committed.
#[derive(Debug)]
pub(crate) enum Cause {
    /// The statement found other rows than it should.
    Rows,
    /// The server refused the statement.
    Refusal(Refusal),
}

impl Cause {
    /// The same as a fault: no rows are wrong where any are right.
    pub(crate) fn into_fault(self) -> Fault {
        match self {
            Self::Rows => Fault::Unsent(StoreErrorKind::Other, "unexpected rows".into()),
            Self::Refusal(refusal) => Fault::Refused(refusal),
        }
    }
}

/// A connection that is lost so long after a statement was sent was silent before.
const LATE: Duration = Duration::from_secs(1);

/// What the connections of a store share.
#[derive(Debug)]
pub(crate) struct Shared {
    /// How long an answer is waited for.
    patience: Duration,
    /// When an answer was last waited for in vain.
    silence: Mutex<Option<Instant>>,
    /// Woken whenever a connection goes back to the pool.
    pub(crate) returned: Notify,
}

impl Shared {
    pub(crate) fn new(patience: Duration) -> Self {
        Self { patience, silence: Mutex::default(), returned: Notify::new() }
    }

    /// Whether a connection that was made at that time may be silent, as another one was later.
    pub(crate) fn is_silent(&self, created: Instant) -> bool {
        let silence = *self.silence.lock().unwrap_or_else(PoisonError::into_inner);
        silence.is_some_and(|silence| created <= silence)
    }

    /// Waits for the answer to a statement, for a limited time: a network can swallow it.
    async fn within<T>(&self, answer: impl Future<Output = Result<T, Error>>) -> Result<T, Fault> {
        self.within_time(self.patience, answer).await
    }

    async fn within_time<T>(
        &self,
        patience: Duration,
        answer: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Fault> {
        let start = Instant::now();
        let answered = match tokio::time::timeout(patience, answer).await {
            Ok(answered) => answered.map_err(Fault::from),
            Err(_) => Err(Fault::Silent),
        };
        // The system, too, gives up a connection that was silent.
        let is_lost_late = matches!(answered, Err(Fault::Lost(_))) && start.elapsed() > LATE;
        if is_lost_late || matches!(answered, Err(Fault::Silent)) {
            let mut silence = self.silence.lock().unwrap_or_else(PoisonError::into_inner);
            *silence = Some(Instant::now());
        }
        answered
    }
}

/// One connection. Dropped in the middle of a statement or a transaction it is closed, so that the
/// next one to use it neither waits for the answer of another nor works in another's transaction.
pub(crate) struct Connection {
    /// There until it is dropped.
    object: Option<Object>,
    /// No answer is outstanding.
    is_idle: bool,
    in_transaction: bool,
    shared: Arc<Shared>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        let object = self.object.take();
        if !self.is_idle || self.in_transaction {
            // Outside the pool, the connection ends with the object.
            drop(object.map(Object::take));
        } else {
            drop(object);
        }
        self.shared.returned.notify_one();
    }
}

impl Connection {
    pub(crate) fn new(object: Object, shared: Arc<Shared>) -> Self {
        Self { object: Some(object), is_idle: true, in_transaction: false, shared }
    }

    /// Closes the connection.
    pub(crate) fn close(mut self) {
        self.is_idle = false;
    }

    /// Runs statements that show a setting each, and returns the settings. They wait for no lock, so that
    /// the time for an answer may be short.
    pub(crate) async fn show(
        &mut self,
        sql: &str,
        patience: Duration,
    ) -> Result<Vec<String>, Fault> {
        let client = client(self.object.as_ref())?;
        self.is_idle = false;
        let shown = self.shared.within_time(patience, client.simple_query(sql)).await?;
        self.is_idle = true;
        let settings = shown.iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row.try_get(0).ok()??.to_owned()),
            _ => None,
        });
        Ok(settings.collect())
    }

    /// Prepares a statement, if it has not come this way before.
    pub(crate) async fn prepare(&mut self, sql: &str) -> Result<(), Fault> {
        let client = client(self.object.as_ref())?;
        self.is_idle = false;
        let prepared = self.shared.within(client.prepare_cached(sql)).await;
        self.is_idle = is_idle_after(&prepared);
        prepared.map(drop)
    }

    /// Runs a statement, prepared when it first comes this way.
    pub(crate) async fn query(
        &mut self,
        sql: &str,
        values: &[Value<'_>],
    ) -> Result<Vec<Row>, Fault> {
        self.run(sql, values, Plan::Kept).await
    }

    /// Runs a statement.
    pub(crate) async fn run(
        &mut self,
        sql: &str,
        values: &[Value<'_>],
        plan: Plan,
    ) -> Result<Vec<Row>, Fault> {
        let client = client(self.object.as_ref())?;
        self.is_idle = false;
        let rows = self.shared.within(async {
            match plan {
                Plan::Kept => {
                    let statement = client.prepare_cached(sql).await?;
                    let values: Vec<_> = values.iter().map(parameter).collect();
                    client.query(&statement, &values).await
                }
                Plan::Dropped => {
                    let typed = values.iter().map(|value| (parameter(value), value.kind()));
                    client.query_typed(sql, &typed.collect::<Vec<_>>()).await
                }
            }
        });
        let rows = rows.await;
        self.is_idle = is_idle_after(&rows);
        rows
    }

    /// Runs statements without parameters, which return nothing.
    pub(crate) async fn batch(&mut self, sql: &str) -> Result<(), Fault> {
        let client = client(self.object.as_ref())?;
        self.is_idle = false;
        let done = self.shared.within(client.batch_execute(sql)).await;
        self.is_idle = is_idle_after(&done);
        done
    }

    /// Begins a transaction and runs statements in it, all sent at once; tells how many rows each
    /// found. Those behind one that the server refuses are refused, too.
    pub(crate) async fn begin(
        &mut self,
        statements: &[&Statement<'_>],
    ) -> Result<Vec<Result<u64, Fault>>, Fault> {
        let client = client(self.object.as_ref())?;
        self.is_idle = false;
        self.in_transaction = true;
        let results = pipeline(client, statements, &self.shared).await?;
        self.is_idle = results.iter().all(is_idle_after);
        Ok(results)
    }

    /// Runs statements in a transaction, and commits it when each has found the rows that it should.
    pub(crate) async fn try_transact(
        mut self,
        statements: &[&Statement<'_>],
    ) -> Result<Transacted, Fault> {
        let results = self.begin(statements).await?;
        for (place, (statement, result)) in statements.iter().zip(results).enumerate() {
            let cause = match result {
                Ok(rows) if statement.wants.are(rows) => continue,
                Ok(_) => Cause::Rows,
                Err(Fault::Refused(refusal)) if !refusal.may_be_repeated() => {
                    Cause::Refusal(refusal)
                }
                Err(fault) => {
                    self.roll_back().await;
                    return Err(fault);
                }
            };
            self.roll_back().await;
            return Ok(Transacted::RolledBack(place, cause));
        }
        self.commit().await?;
        Ok(Transacted::Committed)
    }

    /// Commits the transaction.
    pub(crate) async fn commit(mut self) -> Result<(), Fault> {
        self.batch("COMMIT").await.map_err(Fault::of_commit)?;
        self.in_transaction = false;
        Ok(())
    }

    /// Undoes the transaction, as dropping the connection does, and keeps the connection.
    pub(crate) async fn roll_back(mut self) {
        // Where it does not succeed, the connection is closed: that undoes it, too.
        self.in_transaction = self.batch("ROLLBACK").await.is_err();
    }
}

/// What becomes of the plan of a statement.
#[derive(Clone, Copy)]
pub(crate) enum Plan {
    Kept,
    Dropped,
}

fn parameter<'a>(value: &'a Value<'_>) -> &'a (dyn ToSql + Sync) {
    value
}

fn client(object: Option<&Object>) -> Result<&ClientWrapper, Fault> {
    let missing = || Fault::Unsent(StoreErrorKind::Unavailable, "the connection is closed".into());
    object.map(|object| &**object).ok_or_else(missing)
}

fn is_idle_after<T>(result: &Result<T, Fault>) -> bool {
    result.as_ref().err().is_none_or(Fault::spares_connection)
}

/// Sends `BEGIN` and the statements before the first answer is there, and waits for each answer.
async fn pipeline(
    client: &ClientWrapper,
    statements: &[&Statement<'_>],
    shared: &Shared,
) -> Result<Vec<Result<u64, Fault>>, Fault> {
    let mut prepared = Vec::with_capacity(statements.len());
    for statement in statements {
        prepared.push(shared.within(client.prepare_cached(&statement.sql)).await?);
    }
    let mut begun = Box::pin(client.batch_execute("BEGIN"));
    let begun_at_once = send(begun.as_mut()).await;
    let mut sent = Vec::with_capacity(statements.len());
    for (statement, prepared) in statements.iter().zip(&prepared) {
        let mut answer = Box::pin(client.execute_raw(prepared, &statement.values));
        sent.push((send(answer.as_mut()).await, answer));
    }
    match begun_at_once {
        Poll::Ready(answer) => answer?,
        Poll::Pending => shared.within(begun).await?,
    }
    let mut results = Vec::with_capacity(sent.len());
    for (at_once, answer) in sent {
        results.push(match at_once {
            Poll::Ready(answer) => answer.map_err(Fault::from),
            Poll::Pending => match shared.within(answer).await {
                // Those behind it would not be answered either.
                Err(fault @ (Fault::Broken(_) | Fault::Silent)) => return Err(fault),
                answer => answer,
            },
        });
    }
    Ok(results)
}

/// Polls a request once, which hands it to the connection.
async fn send<F: Future>(mut request: Pin<&mut F>) -> Poll<F::Output> {
    poll_fn(|context| Poll::Ready(request.as_mut().poll(context))).await
}
