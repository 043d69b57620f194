//! How much do many callers at the same time get done, and how long does each wait?
//!
//! In turns: one caller, 8, 32 and 64, on a runtime with two threads, on one file with full
//! durability; and for 32 and 64 the bare statements of as many updates in one transaction, which is
//! what the best group commit could do if nothing else took time.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokenkeep::TokenService;
use tokenkeep_load::{Times, turn};
use tokenkeep_sqlite::{Durability, SqliteOptions};
use tokio::runtime::Runtime;

use crate::compare::{Paired, Spread, for_a_while};
use crate::files::Files;
use crate::finding::{Findings, Line, Row};
use crate::goal::Unit;
use crate::load::{self, service};
use crate::scale::Scale;
use crate::statements::Statements;

const CALLERS: [u64; 4] = [1, 8, 32, 64];

/// Measures it.
pub fn measure(scale: &Scale) -> Findings {
    let mut turns = Turns::new(scale);
    for round in 0..=scale.rounds {
        turns.round(scale, round);
    }
    let rows = vec![
        turns.ratio("update-full-32", 2),
        turns.ratio("update-full-64", 3),
        turns.percentile("update-full-32-p99", 2, 990),
        turns.percentile("update-full-64-p99", 3, 990),
        turns.percentile("update-full-32-p999", 2, 999),
        turns.percentile("update-full-64-p999", 3, 999),
        turns.log(),
    ];
    let mut lines = turns.lines();
    lines.extend(over_time(scale, &turns.service));
    Findings { rows, lines, ..Findings::default() }
}

/// A runtime with a thread for each of two processors.
pub(crate) fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// What callers who update get done in a turn.
pub(crate) fn updates(
    runtime: &Runtime,
    service: &TokenService,
    callers: u64,
    scale: &Scale,
    first: u64,
) -> Times {
    let tokens = scale.tokens;
    turn(runtime, callers, scale.turn, first, |_| {
        let service = service.clone();
        move |call| {
            let service = service.clone();
            async move { load::update(&service, call, tokens).await }
        }
    })
}

/// What was measured of each number of callers.
struct Turns {
    runtime: Runtime,
    files: Files,
    service: TokenService,
    other: Files,
    /// Round by round, for each number of callers.
    ours: [Vec<Times>; 4],
    /// Updates a second, so many in one transaction.
    together: [Vec<f64>; 4],
    log_bytes: Vec<f64>,
}

impl Turns {
    fn new(scale: &Scale) -> Self {
        let (files, other) = (
            Files::new(&SqliteOptions::new(), scale.tokens),
            Files::new(&SqliteOptions::new(), scale.tokens),
        );
        let service = service(&files.store);
        let (ours, together, log_bytes) = Default::default();
        Self { runtime: runtime(), files, service, other, ours, together, log_bytes }
    }

    fn round(&mut self, scale: &Scale, round: u64) {
        for (index, callers) in CALLERS.into_iter().enumerate() {
            let first = (round * 4 + index as u64) * 100_000_000;
            let times = updates(&self.runtime, &self.service, callers, scale, first);
            // The first round warms up.
            if round > 0 {
                self.ours[index].push(times);
                self.log_bytes.push(self.files.log_bytes() as f64);
            }
            if round > 0 && callers >= 32 {
                let rate = self.all_in_one(scale, callers, first);
                self.together[index].push(rate);
            }
        }
    }

    /// Updates a second on a bare connection, so many in one transaction.
    fn all_in_one(&self, scale: &Scale, callers: u64, first: u64) -> f64 {
        let bare = self.other.bare(Durability::Full);
        let mut statements = Statements::on(&bare, scale.tokens);
        let times = for_a_while(scale.turn / 2, 0, |turn| {
            let first = first + turn * callers;
            statements.update_together(first..first + callers);
        });
        times.rate() * callers as f64
    }

    fn rates(&self, index: usize) -> impl Iterator<Item = f64> {
        self.ours[index].iter().map(Times::rate)
    }

    fn ratio(&self, goal: &str, index: usize) -> Row {
        let ratios = self.rates(index).zip(self.rates(0)).map(|(many, one)| many / one);
        let paired = Paired {
            ours: Spread::of(self.rates(index)),
            floor: Spread::of(self.rates(0)),
            ratio: Spread::of(ratios),
        };
        let best = self.rates(index).zip(&self.together[index]).map(|(ours, best)| ours / best);
        let note = format!(
            "{:.2} of the bare statements, {} updates in a transaction",
            Spread::of(best).median,
            CALLERS[index]
        );
        Row::ratio(goal, paired, Unit::PerSecond).noting(note)
    }

    /// Of all turns together, which is the median, between the turns that were best and worst.
    fn percentile(&self, goal: &str, index: usize, per_mille: usize) -> Row {
        let at = |times: &Times| times.at(per_mille).as_secs_f64();
        let all = Times::joined(self.ours[index].iter().cloned());
        let spread = Spread::of(self.ours[index].iter().map(at));
        let all_calls = Spread { median: Spread::of([at(&all)]).median, ..spread };
        Row::figure(goal, all_calls).noting(format!("of {} updates", all.calls().len()))
    }

    fn log(&self) -> Row {
        let lengths = Spread::of(self.log_bytes.iter().copied());
        let longest = Spread { median: lengths.high, ..lengths };
        Row::figure("update-full-log", longest)
    }

    fn lines(&self) -> Vec<Line> {
        let line = |plot, name, figure: &dyn Fn(usize) -> f64| {
            let points = (0..4).map(|index| (CALLERS[index] as f64, figure(index)));
            Line::new(plot, name, points)
        };
        let percentile = |per_mille| {
            move |index: usize| {
                Times::joined(self.ours[index].iter().cloned()).at(per_mille).as_secs_f64()
            }
        };
        vec![
            line("callers-rate", "tokenkeep", &|index| Spread::of(self.rates(index)).median),
            line("callers-latency", "tokenkeep, p50", &percentile(500)),
            line("callers-latency", "tokenkeep, p99", &percentile(990)),
            line("callers-latency", "tokenkeep, p99.9", &percentile(999)),
        ]
    }
}

/// How long updates of 32 callers take while time goes by: the longest and the median of those that
/// end within each hundredth of a second. The log is moved into the database now and then.
fn over_time(scale: &Scale, service: &TokenService) -> [Line; 2] {
    let lasting = scale.turn * 6;
    let (start, ended) = (Instant::now(), Arc::new(Mutex::new(Vec::new())));
    turn(&runtime(), 32, lasting, 9_000_000_000, |_| {
        let (service, ended, tokens) = (service.clone(), ended.clone(), scale.tokens);
        move |call| {
            let (service, ended) = (service.clone(), ended.clone());
            async move {
                let before = Instant::now();
                load::update(&service, call, tokens).await;
                ended.lock().unwrap().push((start.elapsed(), before.elapsed()));
            }
        }
    });
    let mut bins = vec![Vec::new(); 1 + usize::try_from(lasting.as_millis() / 10).unwrap()];
    for (at, took) in ended.lock().unwrap().drain(..) {
        if let Some(bin) = bins.get_mut(usize::try_from(at.as_millis() / 10).unwrap()) {
            bin.push(took);
        }
    }
    let mut line = |name, figure: fn(&[Duration]) -> Duration| {
        let points = bins.iter_mut().enumerate().filter(|(_, bin)| !bin.is_empty());
        let points = points.map(|(number, bin)| {
            bin.sort();
            (number as f64 / 100.0, figure(bin).as_secs_f64())
        });
        Line::new("over-time", name, points.collect::<Vec<_>>())
    };
    [
        line("the longest", |bin| bin.last().copied().unwrap_or_default()),
        line("the median", |bin| bin.get(bin.len() / 2).copied().unwrap_or_default()),
    ]
}
