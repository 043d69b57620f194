//! Date-times by their places, without a calendar library.

const DIGITS: &str = "dddd-dd-ddTdd:dd";

/// The microseconds since 1970 of a date-time in the form of SPEC, from the year 1 to the year 9999.
pub fn read(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    if bytes.len() < DIGITS.len() || !bytes.iter().zip(DIGITS.bytes()).all(fits) {
        return None;
    }
    let [year, month, day] = [number(&bytes[..4]), number(&bytes[5..7]), number(&bytes[8..10])];
    let [hour, minute] = [number(&bytes[11..13]), number(&bytes[14..16])];
    let (second, micro, rest) = seconds(&bytes[16..])?;
    let offset = offset(rest)?;
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

fn fits((byte, form): (&u8, u8)) -> bool {
    match form {
        b'd' => byte.is_ascii_digit(),
        b'T' => matches!(byte, b'T' | b' '),
        mark => *byte == mark,
    }
}

fn number(digits: &[u8]) -> i64 {
    digits.iter().fold(0, |number, digit| number * 10 + i64::from(digit - b'0'))
}

/// The seconds, their millionths, and what follows.
fn seconds(rest: &[u8]) -> Option<(i64, i64, &[u8])> {
    let [b':', ten, one, rest @ ..] = rest else { return Some((0, 0, rest)) };
    if !ten.is_ascii_digit() || !one.is_ascii_digit() {
        return None;
    }
    let second = number(&[*ten, *one]);
    let [b'.', rest @ ..] = rest else { return Some((second, 0, rest)) };
    let end = rest.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(rest.len());
    let (digits, rest) = rest.split_at(end);
    let six = digits.iter().chain(b"000000").take(6).copied().collect::<Vec<_>>();
    (!digits.is_empty()).then(|| (second, number(&six), rest))
}

/// The offset from UTC in minutes.
fn offset(rest: &[u8]) -> Option<i64> {
    match rest {
        b"" | b"Z" | b" Z" => Some(0),
        [b' ', rest @ ..] | rest => {
            let [sign @ (b'+' | b'-'), digits @ ..] = rest else { return None };
            let fits = digits.len() == 5 && digits.iter().zip("dd:dd".bytes()).all(fits);
            let (hours, minutes) =
                if fits { (number(&digits[..2]), number(&digits[3..])) } else { (99, 0) };
            let minutes = (hours < 24 && minutes < 60).then_some(hours * 60 + minutes)?;
            Some(if *sign == b'-' { -minutes } else { minutes })
        }
    }
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
