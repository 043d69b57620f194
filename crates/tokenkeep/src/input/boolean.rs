//! Booleans and what is accepted for them.

use crate::input::error::FieldError;
use crate::input::json::Json;
use crate::input::number;

/// Reads `true` and `false`, 1 and 0, and the words for them in any case.
pub(super) fn read(value: &Json<'_>) -> Result<bool, Vec<FieldError>> {
    let read = match value {
        Json::Null => return Err(vec![FieldError::Null]),
        Json::Bool(value) => Some(*value),
        Json::Text(text) => of_word(text),
        Json::Number(spelling) => of_number(spelling),
        Json::List(_) | Json::Object(_) => None,
    };
    read.ok_or_else(|| vec![FieldError::NotABoolean])
}

/// The boolean that a word means, not trimmed.
fn of_word(word: &str) -> Option<bool> {
    let means = |words: &[&str]| words.iter().any(|w| w.eq_ignore_ascii_case(word));
    match word {
        _ if means(&["t", "y", "yes", "true", "on", "1"]) => Some(true),
        _ if means(&["f", "n", "no", "false", "off", "0"]) => Some(false),
        _ => None,
    }
}

/// One and zero, however they are spelled.
fn of_number(spelling: &str) -> Option<bool> {
    match number::spell(spelling)?.as_ref() {
        "1" | "1.0" => Some(true),
        "0" | "0.0" | "-0.0" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_in_any_case_and_digits_are_booleans() {
        for (word, value) in
            [("tRuE", true), ("ON", true), ("1", true), ("F", false), ("off", false)]
        {
            assert_eq!(read(&Json::Text(word.into())), Ok(value));
        }
        for (number, value) in
            [("1", true), ("1.0", true), ("0", false), ("-0", false), ("0e9", false)]
        {
            assert_eq!(read(&Json::Number(number)), Ok(value));
        }
    }

    #[test]
    fn everything_else_is_not() {
        for value in [
            Json::Text(" true ".into()),
            Json::Text("".into()),
            Json::Text("null".into()),
            Json::Number("2"),
            Json::Number("0.5"),
            Json::List("[true]"),
            Json::Object("{}"),
        ] {
            assert_eq!(read(&value), Err(vec![FieldError::NotABoolean]), "{value:?}");
        }
        assert_eq!(read(&Json::Null), Err(vec![FieldError::Null]));
    }
}
