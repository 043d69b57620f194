//! Makes histories in this process.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tokenkeep::TokenService;
use tokenkeep_tests::history::{Draw, Judged, Keys, Task, Told, calls_of};

pub(crate) const TASKS: u64 = 8;
pub(crate) const CALLS: u64 = 50;

/// How many histories each test makes.
pub(crate) fn histories() -> u64 {
    let histories = std::env::var("TOKENKEEP_HISTORIES").ok();
    histories.and_then(|histories| histories.parse().ok()).unwrap_or(500)
}

/// A moment that comes after every one that was told before, to whichever thread.
fn clock() -> u64 {
    static TIME: AtomicU64 = AtomicU64::new(0);
    TIME.fetch_add(1, Ordering::SeqCst)
}

/// Runs one history, and judges it token by token.
pub(crate) async fn run(service: &TokenService, number: u64, judged: &mut Judged) {
    let keys = Arc::new(Keys::default());
    let told: Arc<Mutex<Vec<Told>>> = Arc::default();
    let tasks = (0..TASKS).map(|task| {
        let (service, keys, told) = (service.clone(), keys.clone(), told.clone());
        let tell = Arc::new(move |what| told.lock().unwrap().push(what));
        let (history, draw) = (number.to_string(), Draw::new(number * TASKS + task));
        let task = Task { service, keys, tell, history, draw, number: task, clock };
        tokio::spawn(task.run(CALLS))
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    let told = std::mem::take(&mut *told.lock().unwrap());
    for calls in calls_of(told).values() {
        judged.add(calls);
    }
}
