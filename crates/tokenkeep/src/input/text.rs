//! Text fields: identifier, description and marker.

use std::borrow::Cow;
use std::str::FromStr;
use std::sync::Arc;

use crate::identifier::Identifier;
use crate::input::change::{Checked, Field};
use crate::input::error::FieldError;
use crate::input::json::Json;
use crate::input::number;
use crate::key::TokenKey;
use crate::managed::Marker;

/// Reads a text that must not be null.
pub(super) fn required<T>(
    value: &Json<'_>,
    check: impl FnOnce(&str) -> Result<T, Vec<FieldError>>,
) -> Checked<T> {
    match nullable(value, check)? {
        Field::Clear => Err(vec![FieldError::Null]),
        field => Ok(field),
    }
}

/// Reads a text that may be null.
pub(super) fn nullable<T>(
    value: &Json<'_>,
    check: impl FnOnce(&str) -> Result<T, Vec<FieldError>>,
) -> Checked<T> {
    let text = match value {
        Json::Null => return Ok(Field::Clear),
        Json::Text(text) => Some(Cow::Borrowed(text.as_ref())),
        Json::Number(spelling) => number::spell(spelling),
        Json::Bool(_) | Json::List(_) | Json::Object(_) => None,
    };
    check(&text.ok_or_else(|| vec![FieldError::NotAString])?).map(Field::Set)
}

/// Checks an identifier.
pub(super) fn identifier(text: &str) -> Result<Identifier, Vec<FieldError>> {
    Identifier::from_str(trim(text)).map_err(|refused| refused.reasons)
}

/// Checks a marker.
pub(super) fn marker(text: &str) -> Result<Marker, Vec<FieldError>> {
    Marker::from_str(trim(text)).map_err(|reason| vec![reason])
}

/// Checks a description.
pub(super) fn description(text: &str) -> Result<Arc<str>, Vec<FieldError>> {
    let text = trim(text);
    if text.contains('\0') { Err(vec![FieldError::NullCharacter]) } else { Ok(text.into()) }
}

/// Checks a key. It may be of any characters but NUL: the holder chose it.
pub(super) fn key(text: &str) -> Result<TokenKey, Vec<FieldError>> {
    let text = trim(text);
    if text.is_empty() {
        Err(vec![FieldError::Blank])
    } else if text.contains('\0') {
        Err(vec![FieldError::NullCharacter])
    } else {
        Ok(TokenKey::from(text.to_owned()))
    }
}

/// Whether nothing of `text` would be left after trimming.
pub(crate) fn is_blank(text: &str) -> bool {
    trim(text).is_empty()
}

/// Trims as Python's `str.strip` does.
pub(crate) fn trim(text: &str) -> &str {
    text.trim_matches(is_space)
}

/// Whether Python takes a character for white space: also U+001C to U+001F, which `str::trim` keeps.
pub(super) fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trimming_takes_what_python_takes() {
        // Every character for which Python's str.isspace is true.
        let spaces = "\u{9}\u{a}\u{b}\u{c}\u{d}\u{1c}\u{1d}\u{1e}\u{1f}\u{20}\u{85}\u{a0}\u{1680}\
                      \u{2000}\u{2001}\u{2002}\u{2003}\u{2004}\u{2005}\u{2006}\u{2007}\u{2008}\
                      \u{2009}\u{200a}\u{2028}\u{2029}\u{202f}\u{205f}\u{3000}";
        assert_eq!(trim(&format!("{spaces}a{spaces}b{spaces}")), format!("a{spaces}b"));
        assert!(is_blank(spaces));
        assert_eq!(trim("\u{200b}\u{feff}\u{1b}"), "\u{200b}\u{feff}\u{1b}");
    }

    #[test]
    fn only_strings_and_numbers_are_texts() {
        assert_eq!(nullable(&Json::Null, description), Ok(Field::Clear));
        assert_eq!(required(&Json::Null, description), Err(vec![FieldError::Null]));
        assert_eq!(required(&Json::Number("5"), description), Ok(Field::Set("5".into())));
        for value in [Json::Bool(true), Json::List("[]"), Json::Object("{}")] {
            assert_eq!(required(&value, description), Err(vec![FieldError::NotAString]));
        }
    }

    #[test]
    fn a_description_may_be_blank_and_has_no_nul() {
        assert_eq!(description("  "), Ok("".into()));
        assert_eq!(description(" a\nb "), Ok("a\nb".into()));
        assert_eq!(description("nul\0"), Err(vec![FieldError::NullCharacter]));
    }

    #[test]
    fn a_marker_is_not_blank() {
        assert_eq!(marker(" m-2 ").unwrap().as_str(), "m-2");
        assert_eq!(marker(" "), Err(vec![FieldError::Blank]));
        assert_eq!(marker("nul\0"), Err(vec![FieldError::NullCharacter]));
    }
}
