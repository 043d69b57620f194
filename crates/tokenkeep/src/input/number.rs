//! Numbers that stand where a text is wanted.

use std::borrow::Cow;

/// The decimal spelling of a JSON number as Python's `str` gives it: integers digit by digit,
/// floats in the fewest digits that read back equal. `None` for a float that overflows.
pub(super) fn spell(number: &str) -> Option<Cow<'_, str>> {
    if !number.bytes().any(|byte| b".eE".contains(&byte)) {
        return Some(if number == "-0" { "0" } else { number }.into());
    }
    let float: f64 = number.parse().ok()?;
    float.is_finite().then(|| spell_float(float).into())
}

/// Python's `repr` of a float: positional from 1e-4 to below 1e16, else with an exponent of at
/// least two digits.
fn spell_float(float: f64) -> String {
    let positional = format!("{float:?}");
    let scientific = format!("{float:e}");
    let Some((digits, exponent)) = scientific.split_once('e') else {
        return positional;
    };
    match exponent.parse::<i32>() {
        Ok(exponent) if !(-4..16).contains(&exponent) => {
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{digits}e{sign}{:02}", exponent.abs())
        }
        _ => positional,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_keep_their_digits() {
        for number in ["0", "5", "-1", "12345678901234567890", "10000000000000000000000000"] {
            assert_eq!(spell(number).unwrap(), number);
        }
        assert_eq!(spell("-0").unwrap(), "0");
    }

    #[test]
    fn floats_are_spelled_as_python_spells_them() {
        for (number, spelled) in [
            ("-0.0", "-0.0"),
            ("1.50", "1.5"),
            ("3.0", "3.0"),
            ("1e20", "1e+20"),
            ("1E5", "100000.0"),
            ("1e-07", "1e-07"),
            ("0.0001", "0.0001"),
            ("0.00001", "1e-05"),
            ("1e15", "1000000000000000.0"),
            ("9999999999999998.0", "9999999999999998.0"),
            ("1e16", "1e+16"),
            ("1.25e100", "1.25e+100"),
            ("0.1", "0.1"),
            ("-123456.789", "-123456.789"),
            ("5e-324", "5e-324"),
            ("1.7976931348623157e308", "1.7976931348623157e+308"),
        ] {
            assert_eq!(spell(number).unwrap(), spelled);
        }
        assert_eq!(spell("1e400"), None);
    }
}
