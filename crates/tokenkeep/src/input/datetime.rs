//! Date-times: `YYYY-MM-DDThh:mm[:ss[.uuuuuu]][+HH:MM|-HH:MM|Z]`.

use chrono::{DateTime, NaiveDate, TimeDelta};

use crate::input::change::{Checked, Field};
use crate::input::error::FieldError;
use crate::input::json::Json;
use crate::timestamp::Timestamp;

/// Reads a date-time that may be null.
pub(super) fn read(value: &Json<'_>) -> Checked<Timestamp> {
    match value {
        Json::Null => Ok(Field::Clear),
        Json::Text(text) => parse(text).map(Field::Set).map_err(|error| vec![error]),
        _ => Err(vec![FieldError::NotADateTime]),
    }
}

/// Reads exactly the form that the message names, with a space allowed for the `T`, and one before
/// the offset, where authentik's generated client has it. No offset means UTC, and digits finer than
/// microseconds are cut off.
pub(crate) fn parse(text: &str) -> Result<Timestamp, FieldError> {
    let mut rest = Reader(text.as_bytes());
    rest.datetime().filter(|_| rest.0.is_empty()).ok_or(FieldError::NotADateTime)
}

/// What is left to read.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn datetime(&mut self) -> Option<Timestamp> {
        // There is none, and an offset to the west would lift its last hours into the year 1.
        let year = self.number(4).filter(|year| *year > 0)?;
        let month = self.after(b"-", 2)?;
        let day = self.after(b"-", 2)?;
        let hour = self.after(b"T ", 2)?;
        let minute = self.after(b":", 2)?;
        let (mut second, mut micro) = (0, 0);
        if self.at(b":") {
            second = self.after(b":", 2)?;
            if self.at(b".") {
                micro = self.fraction()?;
            }
        }
        if self.at(b" ") && self.0.len() > 1 {
            self.byte()?;
        }
        let offset = self.offset()?;
        let date = NaiveDate::from_ymd_opt(i32::try_from(year).ok()?, month, day)?;
        let local = date.and_hms_micro_opt(hour, minute, second, micro)?;
        let utc: DateTime<_> = local.and_utc().checked_sub_signed(offset)?;
        Timestamp::from_micros(utc.timestamp_micros())
    }

    /// The offset from UTC: none, `Z`, or a sign with hours and minutes.
    fn offset(&mut self) -> Option<TimeDelta> {
        if self.0.is_empty() {
            return Some(TimeDelta::zero());
        }
        let west = match self.byte()? {
            b'Z' => return Some(TimeDelta::zero()),
            b'+' => false,
            b'-' => true,
            _ => return None,
        };
        let (hours, minutes) = (self.number(2)?, self.after(b":", 2)?);
        if hours > 23 || minutes > 59 {
            return None;
        }
        let offset = TimeDelta::minutes((hours * 60 + minutes).into());
        Some(if west { -offset } else { offset })
    }

    /// A point and at least one digit; the first six count.
    fn fraction(&mut self) -> Option<u32> {
        self.byte()?;
        let mut micro = 0;
        let mut digits = 0_u32;
        while let Some(digit) = self.digit() {
            if digits < 6 {
                micro = micro * 10 + digit;
            }
            digits = digits.saturating_add(1);
        }
        (digits > 0).then(|| micro * 10_u32.pow(6_u32.saturating_sub(digits)))
    }

    /// One of `marks`, then a number of `width` digits.
    fn after(&mut self, marks: &[u8], width: u32) -> Option<u32> {
        if self.at(marks) {
            self.byte()?;
            self.number(width)
        } else {
            None
        }
    }

    fn number(&mut self, width: u32) -> Option<u32> {
        (0..width).try_fold(0, |number, _| Some(number * 10 + self.digit()?))
    }

    /// Takes a digit if one is next.
    fn digit(&mut self) -> Option<u32> {
        let digit = self.0.first().filter(|byte| byte.is_ascii_digit())?;
        let digit = u32::from(digit - b'0');
        self.byte()?;
        Some(digit)
    }

    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    /// Whether one of `marks` is next.
    fn at(&self, marks: &[u8]) -> bool {
        self.0.first().is_some_and(|byte| marks.contains(byte))
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
            assert_eq!(parse(text).unwrap().to_string(), read);
        }
        assert!(parse(&format!("2024-09-27T15:00:00.{}Z", "9".repeat(60_000))).is_ok());
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
            "2024-09-27T15:00:00 ",
            "2024-09-27T15:00:00  Z",
            "2024-09-27t15:00:00z",
            "2024-09-27T15:00:00z",
            "2024-9-7T5:0:0Z",
            "20240927T150000Z",
            "2024-W39-5T15:00:00Z",
            "2024-09-27T15:00:00.",
            "2024-09-27T15:00:00.Z",
            "2024-09-27T15:00:00,5Z",
            "2024-09-27T15:00:00+05",
            "2024-09-27T15:00:00-0530",
            "2024-09-27T15:00:00+24:00",
            "2024-09-27T15:00:00+01:60",
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
