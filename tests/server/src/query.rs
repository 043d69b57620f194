//! SQL of the tests themselves, beside whatever they test.

use std::thread;

use thiserror::Error;
use tokio_postgres::{Config, NoTls, SimpleQueryMessage, SimpleQueryRow};

/// A statement of a test could not be run.
///
/// See the [crate's page](crate) for an example.
#[derive(Debug, Error)]
pub enum QueryError {
    /// What the driver says.
    #[error("{0}")]
    Driver(#[from] tokio_postgres::Error),
    /// There was no thread, or no runtime, to run it.
    #[error("{0}")]
    System(#[from] std::io::Error),
}

/// Runs statements on a connection of their own, and returns the rows as text; a null is empty.
pub(crate) fn query(url: &str, sql: &str) -> Result<Vec<Vec<String>>, QueryError> {
    let config: Config = url.parse()?;
    // No runtime may be started on a thread that has one.
    thread::scope(|scope| {
        let runs = thread::Builder::new().spawn_scoped(scope, || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(rows(&config, sql))
        })?;
        runs.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

async fn rows(config: &Config, sql: &str) -> Result<Vec<Vec<String>>, QueryError> {
    let (client, connection) = config.connect(NoTls).await?;
    let connection = tokio::spawn(connection);
    let messages = client.simple_query(sql).await;
    drop(client);
    // The session has ended when this returns: a database that it used can be dropped.
    let _ = connection.await;
    let rows = messages?.into_iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(texts(&row)),
        _ => None,
    });
    Ok(rows.collect())
}

fn texts(row: &SimpleQueryRow) -> Vec<String> {
    (0..row.len()).map(|column| row.get(column).unwrap_or_default().to_owned()).collect()
}
