//! A key that is set by hand.

use crate::expected::Expected;
use crate::input::body::{self, BodyError, Fields};
use crate::input::change::{Checked, Field};
use crate::input::error::FieldError;
use crate::input::json::Json;
use crate::input::text;
use crate::key::TokenKey;

/// The key that a token is to have, and the version of the token that the caller expects: what
/// [`set_key`](crate::TokenService::set_key) is given.
///
/// Like [`TokenChange`](crate::TokenChange) it has a typed door and an untrusted one, and neither
/// fails: what is wrong is reported by the operation, after it has judged access.
///
/// ```
/// use tokenkeep::KeyChange;
///
/// let typed = KeyChange::new("correct horse battery staple of the day");
/// let untrusted = KeyChange::from_json(br#"{"key": "correct horse battery staple of the day"}"#);
/// assert_eq!(format!("{typed:?}"), format!("{untrusted:?}"));
/// ```
#[derive(Debug, Clone)]
pub struct KeyChange {
    pub(crate) key: Checked<TokenKey>,
    pub(crate) expected: Expected,
    pub(crate) unreadable: Option<BodyError>,
}

impl KeyChange {
    /// Wants this key: trimmed, not blank, without NUL.
    #[must_use]
    pub fn new(key: impl AsRef<str>) -> Self {
        Self { key: text::key(key.as_ref()).map(Field::Set), ..Self::default() }
    }

    /// Reads the body of a request, `{"key": …}`.
    #[must_use]
    pub fn from_json(body: &[u8]) -> Self {
        body::read(body).unwrap_or_else(Self::unreadable)
    }

    /// The change of a request whose body could not be read at all, for adapters that find that
    /// out before they call.
    #[must_use]
    pub fn unreadable(error: BodyError) -> Self {
        Self { unreadable: Some(error), ..Self::default() }
    }

    /// Makes the operation fail with [`TokenError::Stale`](crate::TokenError::Stale) unless the
    /// token is at this version.
    #[must_use]
    pub fn expecting(mut self, expected: impl Into<Expected>) -> Self {
        self.expected = expected.into();
        self
    }

    /// The key, if it has at least `min` characters, or every reason to refuse it.
    pub(crate) fn checked(&self, min: usize) -> Result<&TokenKey, Vec<FieldError>> {
        match &self.key {
            Ok(Field::Set(key)) if key.expose().chars().count() < min => {
                Err(vec![FieldError::KeyTooShort { min }])
            }
            Ok(Field::Set(key)) => Ok(key),
            Ok(Field::Keep | Field::Clear) => Err(vec![FieldError::Required]),
            Err(errors) => Err(errors.clone()),
        }
    }
}

impl Default for KeyChange {
    /// A change that names no key.
    fn default() -> Self {
        Self { key: Ok(Field::Keep), expected: Expected::Anything, unreadable: None }
    }
}

impl Fields for KeyChange {
    type Name = ();

    fn named(key: &str) -> Option<()> {
        (key == "key").then_some(())
    }

    fn set(&mut self, (): (), value: &Json<'_>) {
        self.key = text::required(value, text::key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(body: &str) -> Result<String, Vec<FieldError>> {
        let change = KeyChange::from_json(body.as_bytes());
        assert_eq!(change.unreadable, None);
        change.checked(2).map(|key| key.expose().to_owned())
    }

    #[test]
    fn a_key_is_trimmed_and_a_number_is_its_digits() {
        assert_eq!(checked(r#"{"key": "  sp  "}"#).unwrap(), "sp");
        assert_eq!(checked(r#"{"key": 15, "keys": 7}"#).unwrap(), "15");
    }

    #[test]
    fn what_is_no_key_says_why() {
        for (body, error) in [
            ("{}", FieldError::Required),
            ("", FieldError::Required),
            (r#"{"key": null}"#, FieldError::Null),
            (r#"{"key": " \t"}"#, FieldError::Blank),
            (r#"{"key": true}"#, FieldError::NotAString),
            (r#"{"key": "a\u0000b"}"#, FieldError::NullCharacter),
            (r#"{"key": "é"}"#, FieldError::KeyTooShort { min: 2 }),
        ] {
            assert_eq!(checked(body).unwrap_err(), [error], "{body}");
        }
    }

    #[test]
    fn what_is_no_object_is_kept_for_later() {
        let change = KeyChange::from_json(b"[]");
        assert_eq!(change.unreadable, Some(BodyError::NotAnObject { received: "list" }));
    }
}
