//! The statistics of dudect (Reparaz, Balasch, Verbauwhede, 2017): whether two kinds of samples differ.

/// From here on a difference is one.
pub const LIMIT: f64 = 4.5;

/// Mean, variance and number of one kind's samples.
#[derive(Default)]
struct Moments {
    count: f64,
    mean: f64,
    squares: f64,
}

impl Moments {
    /// Welford's way, which loses no digits.
    fn add(&mut self, sample: f64) {
        self.count += 1.0;
        let from_mean = sample - self.mean;
        self.mean += from_mean / self.count;
        self.squares += from_mean * (sample - self.mean);
    }

    fn variance_of_mean(&self) -> f64 {
        self.squares / (self.count - 1.0) / self.count
    }
}

/// Welch's t for two kinds of samples.
fn t_of(samples: impl Iterator<Item = (bool, f64)>) -> f64 {
    let mut kinds = [Moments::default(), Moments::default()];
    for (kind, sample) in samples {
        kinds[usize::from(kind)].add(sample);
    }
    let [one, other] = kinds;
    (one.mean - other.mean) / (one.variance_of_mean() + other.variance_of_mean()).sqrt()
}

/// The largest t, of all samples and of those below some percentiles.
pub fn largest_t(samples: &[(bool, f64)]) -> f64 {
    let mut sorted: Vec<f64> = samples.iter().map(|(_, sample)| *sample).collect();
    sorted.sort_by(f64::total_cmp);
    let limits = [50, 75, 90, 99].map(|percent| sorted[sorted.len() / 100 * percent]);
    let of = |limit| t_of(samples.iter().copied().filter(|(_, sample)| *sample <= limit)).abs();
    limits.into_iter().chain([f64::INFINITY]).map(of).fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use tokenkeep::{Random, SeededRandom};

    use super::*;

    /// Samples as a clock gives them, of which those of one kind take longer; every hundredth was
    /// interrupted.
    fn samples(longer: f64) -> Vec<(bool, f64)> {
        let mut drawn = vec![0; 200_000];
        SeededRandom::new(1).fill(&mut drawn).unwrap();
        let sample = |(number, drawn): (usize, &[u8])| {
            let kind = drawn[0] % 2 == 1;
            let noise = f64::from(drawn[1] % 16) + if number % 100 == 0 { 10_000.0 } else { 0.0 };
            (kind, 300.0 + noise + if kind { longer } else { 0.0 })
        };
        drawn.chunks(2).enumerate().map(sample).collect()
    }

    #[test]
    fn samples_of_one_kind_do_not_differ() {
        assert!(largest_t(&samples(0.0)) < LIMIT);
    }

    /// The control of what `constant_time` says.
    #[test]
    fn a_third_of_a_nanosecond_is_found_in_noise() {
        assert!(largest_t(&samples(0.3)) > LIMIT);
    }
}
