//! How long many calls took.

use std::time::Duration;

/// How long each call took, the shortest first, and in which time they were all made.
#[derive(Debug, Clone, Default)]
pub struct Times {
    sorted: Vec<Duration>,
    within: Duration,
}

impl Times {
    /// Those of calls that were all made within a time.
    pub fn new(mut calls: Vec<Duration>, within: Duration) -> Self {
        calls.sort();
        Self { sorted: calls, within }
    }

    /// Those of several turns, as if one had followed the other.
    pub fn joined(turns: impl IntoIterator<Item = Self>) -> Self {
        let (mut calls, mut within) = (Vec::new(), Duration::ZERO);
        for turn in turns {
            calls.extend(turn.sorted);
            within += turn.within;
        }
        Self::new(calls, within)
    }

    /// Calls a second.
    pub fn rate(&self) -> f64 {
        self.sorted.len() as f64 / self.within.as_secs_f64()
    }

    /// The time within which so many of a thousand calls were done.
    pub fn at(&self, per_mille: usize) -> Duration {
        let last = self.sorted.len().saturating_sub(1);
        self.sorted
            .get((self.sorted.len() * per_mille / 1_000).min(last))
            .copied()
            .unwrap_or_default()
    }

    /// Each call's.
    pub fn calls(&self) -> &[Duration] {
        &self.sorted
    }

    /// In which time they were made.
    pub fn within(&self) -> Duration {
        self.within
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle_and_the_last_is_the_longest() {
        let calls = (1..=1_000).rev().map(Duration::from_micros).collect();
        let times = Times::new(calls, Duration::from_secs(2));
        assert_eq!(times.at(500), Duration::from_micros(501));
        assert_eq!(times.at(990), Duration::from_micros(991));
        assert_eq!(times.at(1_000), Duration::from_millis(1));
        assert!((times.rate() - 500.0).abs() < 1e-9);
        let both = Times::joined([times.clone(), times]);
        assert!((both.rate() - 500.0).abs() < 1e-9);
        assert_eq!(both.calls().len(), 2_000);
        assert_eq!(Times::default().at(500), Duration::ZERO);
    }
}
