//! Date-times, split at their marks, without a calendar library.

/// The microseconds since 1970 of a date-time in the form of SPEC, from the year 1 to the year 9999.
pub fn read(text: &str) -> Option<i64> {
    let text = text.strip_suffix('\n').unwrap_or(text);
    let (date, rest) = text.split_once(['T', ' '])?;
    let [year, month, day] = *date.split('-').collect::<Vec<_>>() else { return None };
    let (year, month, day) = (digits(year, 4, 4)?, digits(month, 1, 2)?, digits(day, 1, 2)?);
    let end = rest.find(|c: char| is_space(c) || "Z+-".contains(c)).unwrap_or(rest.len());
    let (time, zone) = rest.split_at(end);
    let (hour, rest) = time.split_once(':')?;
    let (minute, second) = rest.split_once(':').unwrap_or((rest, "0"));
    let (second, fraction) = second.split_once(['.', ',']).unwrap_or((second, "0"));
    let (hour, minute) = (digits(hour, 1, 2)?, digits(minute, 1, 2)?);
    let (second, micro) = (digits(second, 1, 2)?, micros(fraction)?);
    let offset = offset(zone.trim_start_matches(is_space))?;
    let is_real = year >= 1
        && (1..=12).contains(&month)
        && (1..=days_of(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    let of_day = (hour * 60 + minute - offset) * 60 + second;
    let seconds = days_before(year, month) + day - 1 - days_before(1970, 1);
    let micros = (seconds * 86_400 + of_day) * 1_000_000 + micro;
    let first = -days_before(1970, 1) * 86_400_000_000;
    let end = (days_before(10_000, 1) - days_before(1970, 1)) * 86_400_000_000;
    (is_real && (first..end).contains(&micros)).then_some(micros)
}

/// A number of ASCII digits, from `least` to `most` of them.
fn digits(text: &str, least: usize, most: usize) -> Option<i64> {
    let fits = (least..=most).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    fits.then(|| text.bytes().fold(0, |number, digit| number * 10 + i64::from(digit - b'0')))
}

/// The millionths of a fraction.
fn micros(fraction: &str) -> Option<i64> {
    let is_number = !fraction.is_empty() && fraction.bytes().all(|b| b.is_ascii_digit());
    if is_number { digits(&format!("{fraction}00000")[..6], 6, 6) } else { None }
}

/// What Python takes for white space.
fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// The offset from UTC in minutes.
fn offset(zone: &str) -> Option<i64> {
    let (sign, zone) = match zone.split_at_checked(1) {
        _ if matches!(zone, "" | "Z") => return Some(0),
        Some(("+", rest)) => (1, rest),
        Some(("-", rest)) => (-1, rest),
        _ => return None,
    };
    let (hours, minutes) = zone.split_at_checked(2)?;
    let minutes = match minutes.strip_prefix(':').unwrap_or(minutes) {
        "" if minutes.is_empty() => 0,
        minutes => digits(minutes, 2, 2)?,
    };
    let minutes = digits(hours, 2, 2)? * 60 + minutes;
    (minutes < 24 * 60).then_some(sign * minutes)
}

const fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

const fn days_of(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// How many days there are from the first of the year 1 to that of the month.
fn days_before(year: i64, month: i64) -> i64 {
    let years = year - 1;
    let leap_days = years / 4 - years / 100 + years / 400;
    years * 365 + leap_days + (1..month).map(|month| days_of(year, month)).sum::<i64>()
}
