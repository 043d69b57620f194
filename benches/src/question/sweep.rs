//! How fast does a sweep delete what has expired, and do others wait for it?
//!
//! A quarter of the tokens have expired. One thread sweeps, and four callers update others until it
//! is done.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tokenkeep::{Timestamp, Token, TokenService};
use tokenkeep_load::Times;
use tokenkeep_sqlite::SqliteOptions;

use crate::compare::Spread;
use crate::files::Files;
use crate::finding::{Findings, Row};
use crate::load::{service, token, update};
use crate::question::callers::runtime;
use crate::scale::Scale;

/// Measures it.
pub fn measure(scale: &Scale) -> Findings {
    let rounds: Vec<_> = (0..5).map(|_| sweep_beside_updates(scale)).collect();
    let rate = Spread::of(rounds.iter().map(|(rate, _)| *rate));
    let p99 = Spread::of(rounds.iter().map(|(_, times)| times.at(990).as_secs_f64()));
    let all = Times::joined(rounds.into_iter().map(|(_, times)| times));
    let note = format!("{:.0} updates a second, p99.9 {:.1?}", all.rate(), all.at(999));
    let rows = vec![Row::figure("sweep", rate), Row::figure("sweep-p99", p99).noting(note)];
    Findings { rows, ..Findings::default() }
}

/// So many tokens that have expired, behind those that have not.
fn expired(number: u64) -> Token {
    let expires = Timestamp::from_micros(1 + number.cast_signed());
    Token { expires, ..token(number) }
}

/// Tokens swept a second, and what the updates took meanwhile.
fn sweep_beside_updates(scale: &Scale) -> (f64, Times) {
    let kept = scale.tokens / 4 * 3;
    let tokens = (0..kept).map(token).chain((kept..scale.tokens).map(expired));
    let files = Files::with(&SqliteOptions::new(), tokens);
    let service = service(&files.store);
    let stop = Arc::new(AtomicBool::new(false));
    thread::scope(|scope| {
        let updates = scope.spawn(|| updates_until(&stop, &service, kept));
        // Until they have found their pace.
        thread::sleep(scale.turn / 5);
        let start = Instant::now();
        let report = pollster::block_on(service.sweep()).unwrap();
        let took = start.elapsed();
        stop.store(true, Ordering::Relaxed);
        assert_eq!(report.deleted, scale.tokens - kept);
        (report.deleted as f64 / took.as_secs_f64(), updates.join().unwrap())
    })
}

fn updates_until(stop: &Arc<AtomicBool>, service: &TokenService, tokens: u64) -> Times {
    let (runtime, start) = (runtime(), Instant::now());
    let tasks: Vec<_> = (0..4)
        .map(|caller| {
            let (service, stop) = (service.clone(), stop.clone());
            runtime.spawn(async move {
                let mut times: Vec<Duration> = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let before = Instant::now();
                    update(&service, caller * 1_000_000 + times.len() as u64, tokens).await;
                    times.push(before.elapsed());
                }
                times
            })
        })
        .collect();
    let times = tasks.into_iter().flat_map(|task| runtime.block_on(task).unwrap()).collect();
    Times::new(times, start.elapsed())
}
