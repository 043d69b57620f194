//! Two ways to do the same, measured in turns: these machines are noisy, and a ratio of two
//! figures from the same second says more than either.

use std::hint::black_box;
use std::time::{Duration, Instant};

/// How many turns each side gets.
const ROUNDS: usize = 11;

/// Measures `ours` against `floor`, `calls` calls a turn, and prints the medians with their ratio.
/// Each is given the number of the call.
pub fn compare<A, B>(
    name: &str,
    calls: u64,
    mut ours: impl FnMut(u64) -> A,
    mut floor: impl FnMut(u64) -> B,
) {
    let mut times = Vec::new();
    for round in 0..=ROUNDS as u64 {
        let first = round * calls;
        let (a, b) = (time(first, calls, &mut ours), time(first, calls, &mut floor));
        // The first turn warms up.
        if round > 0 {
            times.push((a, b));
        }
    }
    let ratios = times.iter().map(|(a, b)| a / b);
    let (low, ratio, high) = spread(ratios.collect());
    let (_, ours, _) = spread(times.iter().map(|(a, _)| *a).collect());
    let (_, floor, _) = spread(times.iter().map(|(_, b)| *b).collect());
    println!(
        "{name:<52} {:>10} {:>10} {ratio:>6.2} ({low:.2} to {high:.2})",
        shown(ours),
        shown(floor)
    );
}

/// Prints the head of the table that [`compare`] fills.
pub fn head(title: &str) {
    println!("\n{title:<52} {:>10} {:>10} {:>6}", "tokenkeep", "floor", "ratio");
}

/// Seconds a call.
fn time<T>(first: u64, calls: u64, call: &mut impl FnMut(u64) -> T) -> f64 {
    let start = Instant::now();
    for number in first..first + calls {
        black_box(call(number));
    }
    start.elapsed().as_secs_f64() / calls as f64
}

/// The lowest, the median and the highest.
fn spread(mut figures: Vec<f64>) -> (f64, f64, f64) {
    figures.sort_by(f64::total_cmp);
    (figures[0], figures[figures.len() / 2], figures[figures.len() - 1])
}

fn shown(seconds: f64) -> String {
    format!("{:.2?}", Duration::from_secs_f64(seconds))
}
