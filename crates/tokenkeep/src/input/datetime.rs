//! Date-times: `YYYY-MM-DDThh:mm[:ss[.uuuuuu]][+HH:MM|-HH:MM|Z]`, in the spellings that Django reads.

use std::ops::RangeInclusive;

use chrono::{DateTime, NaiveDate, TimeDelta};

use crate::input::change::{Checked, Field};
use crate::input::error::FieldError;
use crate::input::json::Json;
use crate::input::text::is_space;
use crate::timestamp::Timestamp;

/// Reads a date-time that may be null.
pub(super) fn read(value: &Json<'_>) -> Checked<Timestamp> {
    match value {
        Json::Null => Ok(Field::Clear),
        Json::Text(text) => parse(text).map(Field::Set).map_err(|error| vec![error]),
        _ => Err(vec![FieldError::NotADateTime]),
    }
}

/// Reads what the pattern of Django's `parse_datetime` matches, with ASCII digits only:
///
/// ```text
/// \d{4}-\d{1,2}-\d{1,2}[T ]\d{1,2}:\d{1,2}(:\d{1,2}([.,]\d+)?)?\s*(Z|[+-]\d{2}(:?\d{2})?)?$
/// ```
///
/// No offset means UTC. Digits after the sixth of a fraction are cut off.
pub(crate) fn parse(text: &str) -> Result<Timestamp, FieldError> {
    // Python's `$` also matches before a last line feed.
    let text = text.strip_suffix('\n').unwrap_or(text);
    Reader(text).datetime().ok_or(FieldError::NotADateTime)
}

/// The part of a text that has not been read yet.
struct Reader<'a>(&'a str);

impl Reader<'_> {
    fn datetime(mut self) -> Option<Timestamp> {
        // There is no year 0, and a western offset would move its last hours into the year 1.
        let year = self.number(4..=4).filter(|year| *year > 0)?;
        let month = self.after("-")?;
        let day = self.after("-")?;
        let hour = self.after("T ")?;
        let minute = self.after(":")?;
        let (mut second, mut micro) = (0, 0);
        if self.take(":") {
            second = self.number(1..=2)?;
            if self.take(".,") {
                micro = self.micros()?;
            }
        }
        self.0 = self.0.trim_start_matches(is_space);
        let offset = self.offset()?;
        let date = NaiveDate::from_ymd_opt(i32::try_from(year).ok()?, month, day)?;
        let local = date.and_hms_micro_opt(hour, minute, second, micro)?;
        let utc: DateTime<_> = local.and_utc().checked_sub_signed(offset)?;
        Timestamp::from_micros(utc.timestamp_micros())
    }

    /// Reads the rest: nothing, `Z`, or a sign with hours and, optionally, minutes.
    fn offset(mut self) -> Option<TimeDelta> {
        if matches!(self.0, "" | "Z") {
            return Some(TimeDelta::zero());
        }
        let west = self.take("-");
        if !west && !self.take("+") {
            return None;
        }
        let hours = self.number(2..=2)?;
        let minutes = if self.0.is_empty() {
            0
        } else {
            self.take(":");
            self.number(2..=2)?
        };
        // As in Python, the sum is limited, and not the minutes.
        let minutes = i64::from(hours * 60 + minutes);
        let is_offset = self.0.is_empty() && minutes < 24 * 60;
        is_offset.then(|| TimeDelta::minutes(if west { -minutes } else { minutes }))
    }

    /// Reads the digits of a fraction, of which the first six count.
    fn micros(&mut self) -> Option<u32> {
        let digits = self.0.bytes().take(6).take_while(u8::is_ascii_digit).count();
        let fraction = self.number(1..=6)?;
        self.0 = self.0.trim_start_matches(|digit: char| digit.is_ascii_digit());
        Some(fraction * 10_u32.pow(6 - u32::try_from(digits).ok()?))
    }

    /// Reads one of `marks`, then a number of one or two digits.
    fn after(&mut self, marks: &str) -> Option<u32> {
        if self.take(marks) { self.number(1..=2) } else { None }
    }

    /// Reads a number of so many ASCII digits, as many as there are.
    fn number(&mut self, width: RangeInclusive<usize>) -> Option<u32> {
        let digits = self.0.bytes().take(*width.end()).take_while(u8::is_ascii_digit).count();
        let (number, rest) = self.0.split_at_checked(digits)?;
        self.0 = rest;
        if width.contains(&digits) { number.parse().ok() } else { None }
    }

    /// Reads one of `marks` if it is next.
    fn take(&mut self, marks: &str) -> bool {
        let mut rest = self.0.chars();
        let found = rest.next().is_some_and(|next| marks.contains(next));
        if found {
            self.0 = rest.as_str();
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_named_form_is_read() {
        for (text, read) in [
            ("2024-09-27T15:00:00Z", "2024-09-27T15:00:00Z"),
            ("2024-09-27T15:00:00", "2024-09-27T15:00:00Z"),
            ("2024-09-27 15:00", "2024-09-27T15:00:00Z"),
            ("2024-09-27T15:00+02:00", "2024-09-27T13:00:00Z"),
            ("2024-09-27T15:00:00+23:59", "2024-09-26T15:01:00Z"),
            ("2024-09-27T15:00:00-05:30", "2024-09-27T20:30:00Z"),
            ("2024-09-27 15:00:00.5 +02:00", "2024-09-27T13:00:00.500000Z"),
            ("2024-09-27T15:00:00 Z", "2024-09-27T15:00:00Z"),
            ("2024-09-27T15:00:00.123Z", "2024-09-27T15:00:00.123000Z"),
            ("2024-09-27T15:00:00.1234567Z", "2024-09-27T15:00:00.123456Z"),
            ("2024-09-27T15:00:00.000000001Z", "2024-09-27T15:00:00Z"),
            ("2024-02-29T00:00Z", "2024-02-29T00:00:00Z"),
            ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
            ("9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999Z"),
        ] {
            assert_eq!(parse(text).map(|at| at.to_string()).as_deref(), Ok(read), "{text}");
        }
        assert!(parse(&format!("2024-09-27T15:00:00.{}Z", "9".repeat(60_000))).is_ok());
    }

    /// As Django 5.2.19 on Python 3.11 reads them.
    #[test]
    fn the_spellings_of_django_are_read() {
        for (text, read) in [
            ("2024-09-27T15:00:00+0000", "2024-09-27T15:00:00Z"),
            ("2024-09-27T15:00:00-0530", "2024-09-27T20:30:00Z"),
            ("2024-09-27T15:00:00+05", "2024-09-27T10:00:00Z"),
            ("2024-09-27T15:00-05", "2024-09-27T20:00:00Z"),
            ("2024-09-27T15:00:00.5+0200", "2024-09-27T13:00:00.500000Z"),
            ("2024-09-27T15:00:00-00:00", "2024-09-27T15:00:00Z"),
            ("2024-09-27T15:00:00-2359", "2024-09-28T14:59:00Z"),
            ("2024-09-27T15:00:00+01:60", "2024-09-27T13:00:00Z"),
            ("2024-09-27T15:00:00+00:99", "2024-09-27T13:21:00Z"),
            ("2024-09-27T15:00:00,5Z", "2024-09-27T15:00:00.500000Z"),
            ("2024-9-7T5:0:0Z", "2024-09-07T05:00:00Z"),
            ("2024-9-7 5:0", "2024-09-07T05:00:00Z"),
            ("2024-09-27T15:00 +02", "2024-09-27T13:00:00Z"),
            ("2024-09-27T15:00:00 \t\u{a0}\u{1c}Z", "2024-09-27T15:00:00Z"),
            ("2024-09-27T15:00:00  ", "2024-09-27T15:00:00Z"),
            ("2024-09-27T15:00:00Z\n", "2024-09-27T15:00:00Z"),
            ("2024-09-27T15:00:00+05\n", "2024-09-27T10:00:00Z"),
        ] {
            assert_eq!(parse(text).map(|at| at.to_string()).as_deref(), Ok(read), "{text:?}");
        }
    }

    #[test]
    fn other_spellings_are_refused() {
        for text in [
            "",
            " ",
            "now",
            "0000-12-31T23:59:59-02:01",
            "15:00:00",
            "2024-09-27",
            "2024-09-27T15",
            "2024-09-27T15Z",
            " 2024-09-27T15:00:00Z",
            "2024-09-27T15:00:00Z ",
            "2024-09-27t15:00:00z",
            "2024-09-27T15:00:00z",
            "20240927T150000Z",
            "2024-W39-5T15:00:00Z",
            "2024-09-27T15:00:00.",
            "2024-09-27T15:00:00.Z",
            "2024-09-27T15:00:00Z\n\n",
            "2024-09-27T15:00:00Z \n",
            "2024-09-27T15:00:00,",
            "2024-09-27T15:00:00;5Z",
            "2024-09-27T15:00.5Z",
            "2024-09-27T15:00:Z",
            "2024-09-27T15:00:000Z",
            "2024-09-027T15:00Z",
            "24-09-27T15:00Z",
            "2024-09-27T15:00:00\u{200b}Z",
            "2024-09-27T15:00:00+5",
            "2024-09-27T15:00:00+053",
            "2024-09-27T15:00:00+05:",
            "2024-09-27T15:00:00+05:3",
            "2024-09-27T15:00:00+05:030",
            "2024-09-27T15:00:00+053000",
            "2024-09-27T15:00:00+05 30",
            "2024-09-27T15:00:00+ 05",
            "2024-09-27T15:00:00+-05",
            "2024-09-27T15:00:00+0５",
            "2024-09-27T15:00:00Z+05",
            "2024-09-27T15:00:00UTC",
            "2024-09-27T15:00:00+24",
            "2024-09-27T15:00:00-2400",
            "2024-09-27T15:00:00+23:60",
            "2024-09-27T15:00:00+24:00",
            "2024-09-27T15:00:00+01:00:00",
            "2024-02-30T00:00:00Z",
            "2023-02-29T00:00:00Z",
            "2024-09-27T24:00:00Z",
            "2024-09-27T23:59:60Z",
            "2024-09-27T23:60:00Z",
            "2024-13-01T00:00:00Z",
            "10000-01-01T00:00:00Z",
            "0000-01-01T00:00:00Z",
            "-001-01-01T00:00:00Z",
            "2024-09-27T15:00:00\u{2212}05:00",
            "２０２４-09-27T15:00:00Z",
            "0001-01-01T00:00:00+00:01",
            "9999-12-31T23:59:59-00:01",
        ] {
            assert_eq!(parse(text), Err(FieldError::NotADateTime), "{text}");
        }
    }
}
