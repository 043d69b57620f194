//! A request body: one JSON object of known and unknown fields.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use thiserror::Error;

use crate::input::json::{self, Json};

/// The longest body that is read: many times what the fields of a token can need, and small enough
/// that nobody can make a service hold much.
pub const MAX_BODY_BYTES: usize = 64 * 1024;

/// How deep a body may be nested: far deeper than any that means something.
const MAX_DEPTH: usize = 128;

/// Why a body could not be read as a set of fields. Its `Display` is the message of SPEC.
///
/// ```
/// use tokenkeep::{BodyError, TokenChange};
///
/// let change = TokenChange::from_json(b"[1, 2]");
/// assert_eq!(change.body_error(), Some(&BodyError::NotAnObject { received: "list" }));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum BodyError {
    /// Longer than [`MAX_BODY_BYTES`].
    #[error("Request body exceeds {MAX_BODY_BYTES} bytes.")]
    TooLarge,
    /// Of a media type that is not JSON.
    #[error("Unsupported media type \"{0}\" in request.")]
    UnsupportedMediaType(String),
    /// Not JSON, or nested more than 128 levels deep.
    #[error("JSON parse error - {0}")]
    NotJson(String),
    /// `null`.
    #[error("No data provided")]
    Null,
    /// JSON, but not an object.
    #[error("Invalid data. Expected a dictionary, but got {received}.")]
    NotAnObject {
        /// What it is, as Python names it.
        received: &'static str,
    },
}

impl From<serde_json::Error> for BodyError {
    fn from(error: serde_json::Error) -> Self {
        Self::NotJson(error.to_string())
    }
}

/// What a body can be read into: some known fields, each checked by itself.
pub(super) trait Fields: Default {
    /// A known field.
    type Name: Copy;

    /// The field of that name, compared exactly after its escapes have been read.
    fn named(key: &str) -> Option<Self::Name>;

    /// Checks a field and keeps what comes of it.
    fn set(&mut self, name: Self::Name, value: &Json<'_>);
}

/// Reads a body. Every field is checked; only a body that is no object at all is an error here.
pub(super) fn read<F: Fields>(body: &[u8]) -> Result<F, BodyError> {
    if body.is_empty() {
        return Ok(F::default());
    }
    if body.len() > MAX_BODY_BYTES {
        return Err(BodyError::TooLarge);
    }
    if json::is_deeper_than(MAX_DEPTH, body) {
        return Err(BodyError::NotJson("nested too deeply".into()));
    }
    if body.trim_ascii_start().starts_with(b"{") {
        let Object(fields) = serde_json::from_slice(body)?;
        return Ok(fields);
    }
    match Json::of(serde_json::from_slice(body)?)? {
        Json::Null => Err(BodyError::Null),
        other => Err(BodyError::NotAnObject { received: other.type_name() }),
    }
}

/// An object, read field by field.
struct Object<F>(F);

impl<'de, F: Fields> Deserialize<'de> for Object<F> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor(PhantomData))
    }
}

struct ObjectVisitor<F>(PhantomData<F>);

impl<'de, F: Fields> Visitor<'de> for ObjectVisitor<F> {
    type Value = Object<F>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object<F>, A::Error> {
        let mut fields = F::default();
        // Of a repeated key the last counts; a value of an unknown one only has to be JSON.
        while let Some((Key(name), value)) = map.next_entry::<Key<F>, &RawValue>()? {
            if let Some(name) = name {
                fields.set(name, &Json::of(value).map_err(de::Error::custom)?);
            }
        }
        Ok(Object(fields))
    }
}

/// A key of the object, `None` when it is unknown.
struct Key<F: Fields>(Option<F::Name>);

impl<'de, F: Fields> Deserialize<'de> for Key<F> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_identifier(KeyVisitor(PhantomData))
    }
}

struct KeyVisitor<F>(PhantomData<F>);

impl<F: Fields> Visitor<'_> for KeyVisitor<F> {
    type Value = Key<F>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Key<F>, E> {
        Ok(Key(F::named(key)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fields::TokenField;
    use crate::input::{Field, FieldError, TokenChange};

    fn read(body: &[u8]) -> Result<TokenChange, BodyError> {
        super::read(body)
    }

    fn error(body: &str) -> BodyError {
        read(body.as_bytes()).unwrap_err()
    }

    #[test]
    fn a_body_that_is_no_object_says_what_it_is() {
        assert_eq!(error("null"), BodyError::Null);
        for (body, received) in [
            ("[[1], {}]", "list"),
            ("\"x\"", "str"),
            ("true", "bool"),
            ("-0", "int"),
            ("99999999999999999999999", "int"),
            (" 1.5 ", "float"),
        ] {
            assert_eq!(error(body), BodyError::NotAnObject { received });
        }
    }

    #[test]
    fn what_is_not_json_is_refused_whole() {
        for body in [
            "{",
            "{\"a\":NaN}",
            "{\"identifier\":01}",
            "{\"identifier\":\"\\ud800\"}",
            "[1] x",
            "\u{feff}{}",
            " ",
            "{} {}",
            "{\"description\":\"tab\there\"}",
            "{\"x\":\"tab\there\"}",
            "{\"user\":1e}",
            "{\"identifier\":tru}",
            "{'a':1}",
            "{\"a\":1,}",
        ] {
            assert!(matches!(error(body), BodyError::NotJson(_)), "{body}");
        }
        for body in [&b"{\"description\":\"\xff\"}"[..], b"{\"x\":\"\xff\"}", b"{\"\xff\":1}"] {
            assert!(matches!(read(body), Err(BodyError::NotJson(_))), "{body:?}");
        }
    }

    #[test]
    fn unknown_and_read_only_fields_only_have_to_be_json() {
        for body in [r#"{"x":1e400,"pk":-1e999}"#, r#"{"x":"\ud800"}"#, r#"{"x":[{"y":[]}]}"#] {
            assert!(read(body.as_bytes()).unwrap().refusals().is_empty(), "{body}");
        }
    }

    #[test]
    fn deep_nesting_is_refused_wherever_it_is() {
        let nested = |depth| "[".repeat(depth) + &"]".repeat(depth);
        assert!(matches!(error(&nested(129)), BodyError::NotJson(_)));
        assert!(matches!(error(&nested(128)), BodyError::NotAnObject { .. }));
        for field in ["x", "identifier"] {
            let body = |depth| format!("{{\"{field}\":{}}}", nested(depth));
            assert!(matches!(error(&body(128)), BodyError::NotJson(_)));
            assert!(read(body(127).as_bytes()).is_ok());
        }
        assert!(matches!(error(&"[".repeat(60_000)), BodyError::NotJson(_)));
        // Brackets in strings nest nothing, and those that follow each other are not deep.
        let text = format!("{{\"description\":\"{0}\\\"{0}\"}}", "[".repeat(200));
        assert!(read(text.as_bytes()).unwrap().refusals().is_empty());
        let flat = format!("{{\"x\":[{}{{}}]}}", "[{}],".repeat(200));
        assert!(read(flat.as_bytes()).unwrap().refusals().is_empty());
    }

    #[test]
    fn the_size_is_limited() {
        let body = |len: usize| format!("{{\"x\":\"{}\"}}", "y".repeat(len - 8));
        assert!(read(body(MAX_BODY_BYTES).as_bytes()).is_ok());
        assert_eq!(error(&body(MAX_BODY_BYTES + 1)), BodyError::TooLarge);
        assert_eq!(MAX_BODY_BYTES, 65_536);
    }

    #[test]
    fn the_last_of_a_repeated_key_counts_and_escapes_in_keys_are_read() {
        let change = read(br#"{"expiring": 7, "expiring": true, "\u0065xpires": 7}"#).unwrap();
        assert_eq!(change.expiring, Ok(Field::Set(true)));
        assert_eq!(change.refusals().get(TokenField::Expires), [FieldError::NotADateTime]);
    }

    #[test]
    fn an_empty_body_is_an_empty_object() {
        assert!(read(b"").unwrap().refusals().is_empty());
    }
}
