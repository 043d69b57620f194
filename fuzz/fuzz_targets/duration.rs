//! A duration expression never panics; what is read is within the limits and what a plain sum of its
//! parts gives, and what is refused is refused by the grammar of SPEC, too.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use tokenkeep::{DurationError, MAX_DURATION, parse_duration};
use tokenkeep_fuzz::is_broken;
use tokenkeep_fuzz::text::strip;

fuzz_target!(|text: &str| {
    match (parse(text), seconds(text)) {
        (Ok(read), Some(sum)) => {
            assert!(read <= MAX_DURATION);
            // A float has 53 bits, and each part was rounded.
            let tolerance = 1e-6 + sum * 1e-14;
            assert!((read.as_secs_f64() - sum).abs() <= tolerance, "{read:?} is not {sum} s");
            assert_eq!(parse_duration(&spell(read)), Ok(read));
        }
        (Err(DurationError::TooLong), Some(sum)) => {
            assert!(sum > MAX_DURATION.as_secs_f64() * (1.0 - 1e-14), "{sum} s are not too long");
        }
        (Err(error), None) => assert_ne!(error, DurationError::TooLong),
        (read, sum) => panic!("{read:?} instead of {sum:?}"),
    }
});

/// As the product does; the broken one forgives a semicolon at the end.
fn parse(text: &str) -> Result<Duration, DurationError> {
    let forgiven = text.strip_suffix(';').filter(|_| is_broken());
    parse_duration(forgiven.unwrap_or(text))
}

/// Exact in every microsecond.
fn spell(read: Duration) -> String {
    format!("seconds={};microseconds={}", read.as_secs(), read.subsec_micros())
}

/// The sum in seconds; `None` where the grammar is broken.
fn seconds(text: &str) -> Option<f64> {
    let mut last = [None; 7];
    for pair in text.split(';') {
        let parts: Vec<&str> = pair.split('=').collect();
        let [key, value] = parts[..] else { return None };
        if let Some((place, unit)) = unit(&key.to_ascii_lowercase()) {
            last[place] = Some(amount(strip(value))? * unit);
        }
    }
    last.iter().any(Option::is_some).then(|| last.iter().flatten().sum())
}

fn unit(key: &str) -> Option<(usize, f64)> {
    Some(match key {
        "microseconds" => (0, 1e-6),
        "milliseconds" => (1, 1e-3),
        "seconds" => (2, 1.0),
        "minutes" => (3, 60.0),
        "hours" => (4, 3_600.0),
        "days" => (5, 86_400.0),
        "weeks" => (6, 604_800.0),
        _ => return None,
    })
}

/// A decimal number that is not negative: a sign, digits with a point among them, an exponent.
fn amount(text: &str) -> Option<f64> {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (text, None),
    };
    let unsigned = |text: &str| text.strip_prefix(['+', '-']).unwrap_or(text).to_owned();
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let fits = is_number(&unsigned(mantissa).replacen('.', "", 1))
        && exponent.is_none_or(|exponent| is_number(&unsigned(exponent)));
    let amount: f64 = if fits { text.parse().ok()? } else { return None };
    (amount >= 0.0).then_some(amount)
}
