//! Callers at the same time.

use std::time::{Duration, Instant};

use tokio::runtime::Runtime;

use crate::Times;

/// Lets so many callers call for a while, each one call after the other. `caller` makes what caller
/// number so and so does; it is given the number of the call, which no other call of the turn has.
///
/// Turns that are a million calls of a caller apart have no call in common.
pub fn turn<C, F>(
    runtime: &Runtime,
    callers: u64,
    lasting: Duration,
    first: u64,
    caller: impl Fn(u64) -> C,
) -> Times
where
    C: FnMut(u64) -> F + Send + 'static,
    F: Future<Output = ()> + Send,
{
    let start = Instant::now();
    let tasks: Vec<_> = (0..callers)
        .map(|number| {
            let mut call = caller(number);
            let first = first + number * 1_000_000;
            runtime.spawn(async move {
                let mut times = Vec::new();
                while start.elapsed() < lasting {
                    let before = Instant::now();
                    call(first + times.len() as u64).await;
                    times.push(before.elapsed());
                }
                times
            })
        })
        .collect();
    let calls = tasks.into_iter().flat_map(|task| runtime.block_on(task).unwrap()).collect();
    Times::new(calls, start.elapsed())
}
