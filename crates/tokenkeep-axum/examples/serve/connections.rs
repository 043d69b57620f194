//! Connections, with limits on their number and on the time of each request.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn};
use axum::response::IntoResponse;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// How long requests may still take after the signal to stop.
const GRACE: Duration = Duration::from_secs(10);

/// How long a connection is used. A client that reads no answer gives its place back after that.
const LIFETIME: Duration = Duration::from_secs(600);

/// Limits on clients.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// How many connections are open at a time. Others wait to be accepted.
    pub(crate) connections: usize,
    /// How long a client may be idle and send the head of a request; and again, how long the body and
    /// the answer may take.
    pub(crate) request_timeout: Duration,
}

/// Answers requests until `stop` completes, and then finishes those that have begun.
pub(crate) async fn serve(
    listener: TcpListener,
    app: Router,
    limits: Limits,
    stop: impl Future<Output = ()>,
) {
    let in_time = from_fn(move |request: Request, next: Next| async move {
        let answered = timeout(limits.request_timeout, next.run(request)).await;
        answered.unwrap_or_else(|_| StatusCode::REQUEST_TIMEOUT.into_response())
    });
    let app = app.layer(in_time);
    let places = Arc::new(Semaphore::new(limits.connections));
    let (stopping, stopped) = watch::channel(());
    let mut connections = JoinSet::new();
    let mut stop = pin!(stop);
    loop {
        let accepted = tokio::select! {
            () = stop.as_mut() => break,
            accepted = accept(&listener, &places) => accepted,
        };
        let Some((stream, place)) = accepted else { continue };
        let answered = answer(stream, app.clone(), limits, stopped.clone());
        connections.spawn(async move {
            answered.await;
            drop(place);
        });
        while connections.try_join_next().is_some() {}
    }
    drop((listener, stopping));
    while connections.join_next().await.is_some() {}
}

/// Accepts the next connection; `None` when that fails.
async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> Option<(TcpStream, OwnedSemaphorePermit)> {
    let place = places.clone().acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => Some((stream, place)),
        Err(error) => {
            tracing::error!("accepting a connection failed: {error}");
            // There may be no file descriptors left.
            sleep(Duration::from_secs(1)).await;
            None
        }
    }
}

/// Answers the requests of one connection.
async fn answer(stream: TcpStream, app: Router, limits: Limits, mut stop: watch::Receiver<()>) {
    let mut builder = Builder::new(TokioExecutor::new()).http1_only();
    builder.http1().timer(TokioTimer::new()).header_read_timeout(limits.request_timeout);
    let connection = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(app));
    let mut connection = pin!(connection);
    tokio::select! {
        // A connection that breaks concerns one client only.
        _ = connection.as_mut() => return,
        _ = stop.changed() => {}
        () = sleep(LIFETIME) => {}
    }
    connection.as_mut().graceful_shutdown();
    if timeout(GRACE, connection).await.is_err() {
        tracing::warn!("a connection was cut off after {GRACE:?}");
    }
}
