//! Duration expressions: `hours=3;minutes=1` (SPEC "Update").

use std::time::Duration;

use thiserror::Error;

use crate::input::text::trim;
use crate::timestamp::Timestamp;

/// The longest duration that an expression may give: the span between the first and the last
/// [`Timestamp`]. A longer one could never be added to a time.
#[allow(clippy::cast_sign_loss, reason = "MAX is later than MIN")]
pub const MAX_DURATION: Duration =
    Duration::from_micros((Timestamp::MAX.as_micros() - Timestamp::MIN.as_micros()) as u64);

/// Why a duration expression cannot be read.
///
/// ```
/// use tokenkeep::DurationError;
///
/// assert_eq!(tokenkeep::parse_duration("years=1"), Err(DurationError::NoUnit));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DurationError {
    /// A part between semicolons is not `key=value`; so also after a trailing `;`.
    #[error("`{0}` is not of the form key=value")]
    NotAPair(String),
    /// A value is not a decimal number.
    #[error("`{0}` is not a decimal number")]
    NotANumber(String),
    /// A value is below zero.
    #[error("`{0}` is negative")]
    Negative(String),
    /// The whole is longer than [`MAX_DURATION`].
    #[error("the duration is too long")]
    TooLong,
    /// No part has a known unit.
    #[error(
        "no known unit: use microseconds, milliseconds, seconds, minutes, hours, days or weeks"
    )]
    NoUnit,
}

/// Reads a duration expression: pairs `key=value` split at `;`, the keys `microseconds`,
/// `milliseconds`, `seconds`, `minutes`, `hours`, `days` and `weeks` in any case and not trimmed,
/// the values decimal numbers, trimmed. Pairs with unknown keys are skipped, of a repeated key the
/// last counts, and the sum is rounded to whole microseconds.
///
/// ```
/// use std::time::Duration;
///
/// assert_eq!(tokenkeep::parse_duration("Hours=1.5;minutes=1")?, Duration::from_secs(91 * 60));
/// assert!(tokenkeep::parse_duration("hours=1;").is_err());
/// # Ok::<(), tokenkeep::DurationError>(())
/// ```
///
/// # Errors
///
/// [`DurationError`] tells the first thing that cannot be read.
pub fn parse_duration(expression: &str) -> Result<Duration, DurationError> {
    let mut amounts = [None; UNITS.len()];
    for pair in expression.split(';') {
        let Some((key, value)) = pair.split_once('=').filter(|(_, value)| !value.contains('='))
        else {
            return Err(DurationError::NotAPair(pair.into()));
        };
        let unit =
            UNITS.iter().zip(&mut amounts).find(|(unit, _)| unit.0.eq_ignore_ascii_case(key));
        if let Some((_, amount)) = unit {
            *amount = Some(read_amount(trim(value))?);
        }
    }
    if amounts.iter().all(Option::is_none) {
        return Err(DurationError::NoUnit);
    }
    sum(UNITS.iter().zip(amounts).map(|((_, unit), amount)| (amount.unwrap_or(0.0), *unit)))
}

/// Each unit with its length in microseconds.
const UNITS: [(&str, f64); 7] = [
    ("microseconds", 1.0),
    ("milliseconds", 1e3),
    ("seconds", 1e6),
    ("minutes", 60e6),
    ("hours", 3_600e6),
    ("days", 86_400e6),
    ("weeks", 604_800e6),
];

/// The sum of amounts of units. Whole units are added as integers, since a float cannot hold every
/// microsecond of a long duration; the fractions are rounded once.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "saturates, not negative"
)]
fn sum(amounts: impl Iterator<Item = (f64, f64)>) -> Result<Duration, DurationError> {
    let (mut whole, mut fraction) = (0_u128, 0.0);
    for (amount, unit) in amounts {
        whole = whole.saturating_add((amount.trunc() * unit) as u128);
        fraction += amount.fract() * unit;
    }
    let micros = whole.saturating_add(fraction.round_ties_even() as u128);
    match u64::try_from(micros).map(Duration::from_micros) {
        Ok(total) if total <= MAX_DURATION => Ok(total),
        _ => Err(DurationError::TooLong),
    }
}

/// Reads digits with an optional sign, fraction and exponent; Rust's other spellings of floats
/// (`inf`, `nan`) are not numbers here.
fn read_amount(text: &str) -> Result<f64, DurationError> {
    let amount: f64 = match text.parse() {
        Ok(amount) if text.bytes().all(|b| b"0123456789.eE+-".contains(&b)) => amount,
        _ => return Err(DurationError::NotANumber(text.into())),
    };
    if amount < 0.0 { Err(DurationError::Negative(text.into())) } else { Ok(amount) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn micros(expression: &str) -> u128 {
        parse_duration(expression).unwrap().as_micros()
    }

    #[test]
    fn every_unit_has_its_length() {
        assert_eq!(micros("microseconds=1"), 1);
        assert_eq!(micros("milliseconds=1"), 1_000);
        assert_eq!(micros("seconds=1"), 1_000_000);
        assert_eq!(micros("minutes=1"), 60_000_000);
        assert_eq!(micros("hours=1"), 3_600_000_000);
        assert_eq!(micros("days=1"), 86_400_000_000);
        assert_eq!(micros("weeks=1"), 604_800_000_000);
    }

    #[test]
    fn keys_keep_their_spaces_and_values_lose_them() {
        // As the attribute of a user in the vectors: the hours have a space before them.
        assert_eq!(micros("Days=2; hours=1.5;bogus=1"), 2 * 86_400_000_000);
        assert_eq!(micros("DAYS= 1 ;hours=\u{1c}1"), 25 * 3_600_000_000);
    }

    #[test]
    fn the_last_of_a_repeated_key_counts() {
        assert_eq!(micros("hours=5;HOURS=1"), 3_600_000_000);
    }

    #[test]
    fn fractions_are_rounded_to_microseconds() {
        assert_eq!(micros("seconds=0.1"), 100_000);
        assert_eq!(micros("milliseconds=0.0005"), 0);
        assert_eq!(micros("milliseconds=0.0015"), 2);
        assert_eq!(micros("milliseconds=0.0005;microseconds=0.5"), 1);
        assert_eq!(micros("days=.5"), 43_200_000_000);
        assert_eq!(micros("seconds=1e3"), 1_000_000_000);
        assert_eq!(micros("hours=0"), 0);
    }

    #[test]
    fn values_of_unknown_keys_are_not_read() {
        assert_eq!(micros("bogus=x;seconds=1"), 1_000_000);
    }

    #[test]
    fn unreadable_expressions_say_why() {
        let error = |expression| parse_duration(expression).unwrap_err();
        assert_eq!(error(""), DurationError::NotAPair(String::new()));
        assert_eq!(error("hours=1;"), DurationError::NotAPair(String::new()));
        assert_eq!(error("not a duration"), DurationError::NotAPair("not a duration".into()));
        assert_eq!(error("a=b=c;hours=1"), DurationError::NotAPair("a=b=c".into()));
        assert_eq!(error("hours=x"), DurationError::NotANumber("x".into()));
        assert_eq!(error("hours="), DurationError::NotANumber(String::new()));
        assert_eq!(error("hours=nan"), DurationError::NotANumber("nan".into()));
        assert_eq!(error("hours=inf"), DurationError::NotANumber("inf".into()));
        assert_eq!(error("hours=-1"), DurationError::Negative("-1".into()));
        assert_eq!(error("days=4000000"), DurationError::TooLong);
        assert_eq!(error("days=1e300"), DurationError::TooLong);
        assert_eq!(error("days=1e999"), DurationError::TooLong);
        assert_eq!(error("bogus=1"), DurationError::NoUnit);
    }

    #[test]
    fn the_longest_duration_is_readable() {
        let longest = MAX_DURATION.as_micros();
        assert_eq!(
            micros(&format!("microseconds={}", longest - longest % 1024)),
            longest - longest % 1024
        );
    }

    #[test]
    fn the_longest_duration_reaches_from_the_first_time_to_the_last() {
        assert_eq!(Timestamp::MIN.saturating_add(MAX_DURATION), Timestamp::MAX);
        let shorter = MAX_DURATION.checked_sub(Duration::from_micros(1)).unwrap();
        assert!(Timestamp::MIN.saturating_add(shorter) < Timestamp::MAX);
    }
}
