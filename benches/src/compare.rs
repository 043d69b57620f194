//! Two ways to do the same, measured in turns: these machines are noisy, and a ratio of two
//! figures from the same second says more than either. Neither criterion nor divan pairs that way,
//! which is why the benches have no harness of theirs.

use std::hint::black_box;
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokenkeep_load::Times;

use crate::scale::Scale;

/// The lowest, the median and the highest of the turns.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// The lowest.
    pub low: f64,
    /// The median.
    pub median: f64,
    /// The highest.
    pub high: f64,
}

impl Spread {
    /// That of at least one figure.
    pub fn of(figures: impl IntoIterator<Item = f64>) -> Self {
        let mut figures: Vec<_> = figures.into_iter().map(rounded).collect();
        figures.sort_by(f64::total_cmp);
        Self {
            low: figures[0],
            median: figures[figures.len() / 2],
            high: figures[figures.len() - 1],
        }
    }
}

/// Four digits: more would be noise.
pub(crate) fn rounded(figure: f64) -> f64 {
    format!("{figure:.3e}").parse().unwrap()
}

/// What two sides took, or got done.
#[derive(Debug, Clone, Copy)]
pub struct Paired {
    /// What is measured.
    pub ours: Spread,
    /// What it is measured beside.
    pub floor: Spread,
    /// The one by the other, turn by turn.
    pub ratio: Spread,
}

/// Gives each side a turn, one after the other, for so many rounds; a first one warms up. Each is
/// given the number of the round, and returns a figure.
pub fn in_turns(
    scale: &Scale,
    mut ours: impl FnMut(u64) -> f64,
    mut floor: impl FnMut(u64) -> f64,
) -> Paired {
    let all: Vec<_> = (0..=scale.rounds).map(|round| (ours(round), floor(round))).collect();
    let turns = || all.iter().skip(1);
    Paired {
        ours: Spread::of(turns().map(|(ours, _)| *ours)),
        floor: Spread::of(turns().map(|(_, floor)| *floor)),
        ratio: Spread::of(turns().map(|(ours, floor)| ours / floor)),
    }
}

/// Measures what a call takes, in seconds, `calls` calls a turn. Each is given its number.
pub fn compare<A, B>(
    scale: &Scale,
    calls: u64,
    mut ours: impl FnMut(u64) -> A,
    mut floor: impl FnMut(u64) -> B,
) -> Paired {
    let calls = scale.calls(calls);
    in_turns(
        scale,
        |round| seconds(round * calls, calls, &mut ours),
        |round| seconds(round * calls, calls, &mut floor),
    )
}

/// Measures what a call takes where nothing is beside it.
pub fn alone<T>(scale: &Scale, calls: u64, mut call: impl FnMut(u64) -> T) -> Spread {
    let calls = scale.calls(calls);
    let turns = (0..=scale.rounds).map(|round| seconds(round * calls, calls, &mut call));
    Spread::of(turns.collect::<Vec<_>>().into_iter().skip(1))
}

/// What two threads get done in a turn, each with its own calls, beside what one does.
pub fn two_threads(scale: &Scale, calls: u64, call: impl Fn(u64) + Sync) -> Paired {
    let calls = scale.calls(calls);
    let run = |first: u64| (first..first + calls).for_each(&call);
    let rate = |threads: u64, round: u64| {
        let start = Instant::now();
        thread::scope(|scope| {
            for thread in 1..threads {
                scope.spawn(move || run((round * 2 + thread) * calls));
            }
            run(round * 2 * calls);
        });
        (threads * calls) as f64 / start.elapsed().as_secs_f64()
    };
    in_turns(scale, |round| rate(2, round), |round| rate(1, round))
}

/// Seconds a call, of `calls` calls.
fn seconds<T>(first: u64, calls: u64, call: &mut impl FnMut(u64) -> T) -> f64 {
    let start = Instant::now();
    for number in first..first + calls {
        black_box(call(number));
    }
    start.elapsed().as_secs_f64() / calls as f64
}

/// What each of `calls` calls takes.
pub fn each<T>(first: u64, calls: u64, mut call: impl FnMut(u64) -> T) -> Times {
    let start = Instant::now();
    let mut times = Vec::new();
    for number in first..first + calls {
        let before = Instant::now();
        black_box(call(number));
        times.push(before.elapsed());
    }
    Times::new(times, start.elapsed())
}

/// Calls for a while, one after the other.
pub fn for_a_while<T>(lasting: Duration, first: u64, mut call: impl FnMut(u64) -> T) -> Times {
    let (start, mut times) = (Instant::now(), Vec::new());
    while start.elapsed() < lasting {
        let before = Instant::now();
        black_box(call(first + times.len() as u64));
        times.push(before.elapsed());
    }
    Times::new(times, start.elapsed())
}
