//! One value of a request body, as far as the checks need to know it.

use std::borrow::Cow;

use serde_json::value::RawValue;

/// A JSON value. Numbers, lists and objects keep their spelling: a number may stand for a text,
/// and then its digits count.
#[derive(Debug, PartialEq)]
pub(super) enum Json<'a> {
    Null,
    Bool(bool),
    Number(&'a str),
    Text(Cow<'a, str>),
    List(&'a str),
    Object(&'a str),
}

impl<'a> Json<'a> {
    /// Reads a value whose syntax has been checked; what can still fail is an escape in a string.
    pub(super) fn of(value: &'a RawValue) -> Result<Self, serde_json::Error> {
        let spelling = value.get();
        Ok(match spelling.as_bytes().first() {
            Some(b'n') => Self::Null,
            Some(b't') => Self::Bool(true),
            Some(b'f') => Self::Bool(false),
            Some(b'[') => Self::List(spelling),
            Some(b'{') => Self::Object(spelling),
            Some(b'"') => Self::Text(unquote(spelling)?),
            _ => Self::Number(spelling),
        })
    }

    /// The type as Python names it, which the messages do too.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "NoneType",
            Self::Bool(_) => "bool",
            Self::Number(spelling) if spelling.bytes().any(|b| b".eE".contains(&b)) => "float",
            Self::Number(_) => "int",
            Self::Text(_) => "str",
            Self::List(_) => "list",
            Self::Object(_) => "dict",
        }
    }
}

/// The text between the quotes, borrowed where nothing is escaped.
fn unquote(spelling: &str) -> Result<Cow<'_, str>, serde_json::Error> {
    match spelling.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(text) if !text.contains('\\') => Ok(text.into()),
        _ => serde_json::from_str::<String>(spelling).map(Cow::Owned),
    }
}

/// Whether brackets outside of strings are nested more than `depth` levels deep. What is not JSON
/// may get any answer: it is refused later.
pub(super) fn is_deeper_than(depth: usize, json: &[u8]) -> bool {
    let mut level = 0_usize;
    let mut bytes = json.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'[' | b'{' => level += 1,
            b']' | b'}' => level = level.saturating_sub(1),
            b'"' => skip_string(&mut bytes),
            _ => {}
        }
        if level > depth {
            return true;
        }
    }
    false
}

/// Goes to the end of a string that has begun.
fn skip_string(bytes: &mut std::slice::Iter<'_, u8>) {
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => return,
            b'\\' => _ = bytes.next(),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(spelling: &str) -> Json<'_> {
        Json::of(serde_json::from_str(spelling).unwrap()).unwrap()
    }

    #[test]
    fn values_are_told_apart_by_their_spelling() {
        for (spelling, value, type_name) in [
            ("null", Json::Null, "NoneType"),
            ("false", Json::Bool(false), "bool"),
            ("-0", Json::Number("-0"), "int"),
            ("1e3", Json::Number("1e3"), "float"),
            ("\"a\"", Json::Text("a".into()), "str"),
            (r#""\u0061\"\ud83d\ude00""#, Json::Text("a\"😀".into()), "str"),
            ("[1]", Json::List("[1]"), "list"),
            ("{}", Json::Object("{}"), "dict"),
        ] {
            assert_eq!(json(spelling), value);
            assert_eq!(json(spelling).type_name(), type_name);
        }
    }
}
