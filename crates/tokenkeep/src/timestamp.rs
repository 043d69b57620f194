//! Points in time, as exact as every backend keeps them.

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;
use std::time::Duration;

use chrono::{DateTime, Datelike, Timelike, Utc};
use serde::{Serialize, Serializer};

use crate::input::{FieldError, datetime};

/// A point in time in UTC, in whole microseconds, from the year 1 to the year 9999.
///
/// Finer digits are cut off when a value enters, so that what is read back from any backend
/// equals what was written. Written as SPEC "The token" says: six digits of a second, or none
/// when the fraction is zero.
///
/// ```
/// use tokenkeep::Timestamp;
///
/// let at: Timestamp = "2024-09-27T16:26:18.0910004+02:00".parse()?;
/// assert_eq!(at.to_string(), "2024-09-27T14:26:18.091000Z");
/// assert_eq!("2024-09-27 14:26".parse::<Timestamp>()?.to_string(), "2024-09-27T14:26:00Z");
///
/// let later = at.saturating_add(std::time::Duration::from_secs(60));
/// assert_eq!(later.as_micros() - at.as_micros(), 60_000_000);
/// assert_eq!(Timestamp::from(at.to_datetime()), at);
/// # Ok::<(), tokenkeep::FieldError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(
    /// How far behind the microsecond before [`MIN`](Self::MIN): never zero, so that an optional
    /// time takes no more room than a time.
    NonZeroU64,
);

const MIN_MICROS: i64 = -62_135_596_800_000_000;
const MAX_MICROS: i64 = 253_402_300_799_999_999;

impl Timestamp {
    /// `0001-01-01T00:00:00Z`, the earliest time that the written form can show.
    pub const MIN: Self = Self::saturating(MIN_MICROS);

    /// `9999-12-31T23:59:59.999999Z`, the latest time that the written form can show.
    pub const MAX: Self = Self::saturating(MAX_MICROS);

    /// The time that lies `micros` microseconds after 1970-01-01T00:00:00Z, or the nearest.
    pub(crate) const fn saturating(micros: i64) -> Self {
        let behind_min = match micros {
            ..=MIN_MICROS => 0,
            MAX_MICROS.. => MAX_MICROS.abs_diff(MIN_MICROS),
            micros => micros.abs_diff(MIN_MICROS),
        };
        Self(NonZeroU64::MIN.saturating_add(behind_min))
    }

    /// The time that lies `micros` microseconds after 1970-01-01T00:00:00Z; `None` outside
    /// [`MIN`](Self::MIN) to [`MAX`](Self::MAX). What a backend calls when it reads a row.
    #[must_use]
    pub const fn from_micros(micros: i64) -> Option<Self> {
        if micros < MIN_MICROS || micros > MAX_MICROS {
            return None;
        }
        Some(Self::saturating(micros))
    }

    /// Microseconds since 1970-01-01T00:00:00Z; negative before.
    #[must_use]
    pub const fn as_micros(self) -> i64 {
        MIN_MICROS.saturating_add_unsigned(self.0.get() - 1)
    }

    /// The same time as `chrono` knows it.
    #[must_use]
    pub fn to_datetime(self) -> DateTime<Utc> {
        // Always in chrono's range, which is wider than MIN..=MAX.
        DateTime::from_timestamp_micros(self.as_micros()).unwrap_or_default()
    }

    /// The time `span` later, [`MAX`](Self::MAX) at the latest; digits finer than a microsecond
    /// are cut off.
    #[must_use]
    pub fn saturating_add(self, span: Duration) -> Self {
        let micros = i64::try_from(span.as_micros()).unwrap_or(i64::MAX);
        Self::saturating(self.as_micros().saturating_add(micros))
    }

    /// Returns the time `span` earlier, [`MIN`](Self::MIN) at the earliest.
    #[must_use]
    pub fn saturating_sub(self, span: Duration) -> Self {
        let micros = i64::try_from(span.as_micros()).unwrap_or(i64::MAX);
        Self::saturating(self.as_micros().saturating_sub(micros))
    }

    /// The form with a space and an offset, as the message on a maximum lifetime shows it.
    pub(crate) fn spelled_with_offset(self) -> String {
        self.to_string().replace('T', " ").replace('Z', "+00:00")
    }
}

impl From<DateTime<Utc>> for Timestamp {
    /// Cuts to microseconds and to [`MIN`](Self::MIN)`..=`[`MAX`](Self::MAX).
    fn from(at: DateTime<Utc>) -> Self {
        Self::saturating(at.timestamp_micros())
    }
}

impl FromStr for Timestamp {
    type Err = FieldError;

    /// Reads `YYYY-MM-DDThh:mm[:ss[.uuuuuu]][+HH:MM|-HH:MM|Z]` in each spelling that a request body
    /// may use (SPEC "Reading a request body"). No offset means UTC.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        datetime::parse(text)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.to_datetime();
        let (year, month, day) = (at.year(), at.month(), at.day());
        let (hour, minute, second) = (at.hour(), at.minute(), at.second());
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")?;
        match self.as_micros().rem_euclid(1_000_000) {
            0 => f.write_str("Z"),
            micros => write!(f, ".{micros:06}Z"),
        }
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_are_the_first_and_the_last_microsecond_that_can_be_written() {
        assert_eq!(Timestamp::MIN.to_string(), "0001-01-01T00:00:00Z");
        assert_eq!(Timestamp::MAX.to_string(), "9999-12-31T23:59:59.999999Z");
        for micros in [MIN_MICROS, -1, 0, 1, MAX_MICROS] {
            assert_eq!(Timestamp::from_micros(micros).unwrap().as_micros(), micros);
        }
        assert_eq!(Timestamp::from_micros(MIN_MICROS - 1), None);
        assert_eq!(Timestamp::from_micros(MAX_MICROS + 1), None);
        assert_eq!(Timestamp::from(DateTime::<Utc>::MAX_UTC), Timestamp::MAX);
        assert_eq!(Timestamp::from(DateTime::<Utc>::MIN_UTC), Timestamp::MIN);
    }

    #[test]
    fn a_fraction_before_the_epoch_is_written_forwards() {
        let at = Timestamp::from_micros(-1).unwrap();
        assert_eq!(at.to_string(), "1969-12-31T23:59:59.999999Z");
    }

    #[test]
    fn an_optional_time_takes_no_more_room_than_a_time() {
        assert_eq!(size_of::<Option<Timestamp>>(), size_of::<u64>());
    }

    #[test]
    fn adding_stops_at_the_last_time() {
        assert_eq!(Timestamp::MIN.saturating_add(Duration::MAX), Timestamp::MAX);
        assert_eq!(Timestamp::MAX.saturating_add(Duration::from_micros(1)), Timestamp::MAX);
    }

    #[test]
    fn a_time_in_a_debug_is_the_written_form() {
        assert_eq!(format!("{:?}", Timestamp::MIN), "0001-01-01T00:00:00Z");
    }

    #[test]
    fn the_spelling_in_messages_has_a_space_and_an_offset() {
        let at: Timestamp = "2024-09-28T14:26:18.090000Z".parse().unwrap();
        assert_eq!(at.spelled_with_offset(), "2024-09-28 14:26:18.090000+00:00");
    }
}
