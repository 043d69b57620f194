//! What a host does for its tokens now and then: the core starts no timer of its own.

use std::time::Duration;

use tokenkeep::{Clock, SystemClock, Timestamp, TokenService};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use crate::arguments::Arguments;

/// How often the last-used times of tokens are written.
const FLUSH_INTERVAL: Duration = Duration::from_secs(10);

/// The tasks that run beside the requests.
#[derive(Debug)]
pub(crate) struct Background(Vec<JoinHandle<()>>);

/// Starts sweeping and flushing, each for the first time after one interval. A clock that stands
/// still leaves nothing to sweep.
pub(crate) fn start(tokens: &TokenService, arguments: &Arguments) -> Background {
    let mut tasks = vec![tokio::spawn(flush(tokens.clone()))];
    if arguments.clock.is_none() {
        let keep_events = arguments.keep_events;
        tasks.push(tokio::spawn(sweep(tokens.clone(), arguments.sweep_interval, keep_events)));
    }
    Background(tasks)
}

impl Background {
    /// Stops them. A sweep that is cut off is taken up by the next.
    pub(crate) async fn stop(self) {
        for task in self.0 {
            task.abort();
            // Aborted, or over: either way it runs no more.
            let _ = task.await;
        }
    }
}

async fn sweep(tokens: TokenService, interval: Duration, keep_events: Option<Duration>) {
    let mut ticks = every(interval);
    loop {
        ticks.tick().await;
        match tokens.sweep().await {
            Ok(report) => tracing::info!(?report, "swept"),
            Err(error) => tracing::error!("sweeping failed: {}", crate::chain::chain(&error)),
        }
        let Some(age) = keep_events else { continue };
        match tokens.prune_events(before(SystemClock.now(), age)).await {
            Ok(events) => tracing::info!(events, "pruned"),
            Err(error) => tracing::error!("pruning failed: {}", crate::chain::chain(&error)),
        }
    }
}

async fn flush(tokens: TokenService) {
    let mut ticks = every(FLUSH_INTERVAL);
    loop {
        ticks.tick().await;
        if let Err(error) = tokens.flush().await {
            tracing::error!("writing last-used times failed: {}", crate::chain::chain(&error));
        }
    }
}

/// The time so long before another.
fn before(now: Timestamp, age: Duration) -> Timestamp {
    let age = i64::try_from(age.as_micros()).unwrap_or(i64::MAX);
    Timestamp::from_micros(now.as_micros().saturating_sub(age)).unwrap_or(Timestamp::MIN)
}

fn every(interval: Duration) -> tokio::time::Interval {
    // An interval beyond any uptime must not overflow.
    let start = Instant::now().checked_add(interval).unwrap_or_else(Instant::now);
    let mut ticks = interval_at(start, interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
