//! The intent: one of four names.

use std::borrow::Cow;

use crate::input::error::FieldError;
use crate::input::json::Json;
use crate::input::number;
use crate::token::Intent;

/// Reads an intent's name, compared exactly and not trimmed.
pub(super) fn read(value: &Json<'_>) -> Result<Intent, Vec<FieldError>> {
    let name = match value {
        Json::Null => return Err(vec![FieldError::Null]),
        Json::Text(name) => name.as_ref().into(),
        Json::Number(number) => number::spell(number).unwrap_or((*number).into()),
        Json::List(other) | Json::Object(other) => (*other).into(),
        Json::Bool(true) => Cow::Borrowed("True"),
        Json::Bool(false) => Cow::Borrowed("False"),
    };
    Intent::from_name(&name).ok_or_else(|| vec![FieldError::NotAChoice(name.into_owned())])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_compared_exactly() {
        assert_eq!(read(&Json::Text("app_password".into())), Ok(Intent::AppPassword));
        for name in ["API", " api", "api\n", "", "app-password"] {
            let refused = vec![FieldError::NotAChoice(name.into())];
            assert_eq!(read(&Json::Text(name.into())), Err(refused));
        }
    }

    #[test]
    fn what_is_not_a_text_is_no_choice() {
        for (value, shown) in [(Json::Number("1.50"), "1.5"), (Json::Bool(true), "True")] {
            assert_eq!(read(&value), Err(vec![FieldError::NotAChoice(shown.into())]));
        }
        assert_eq!(read(&Json::Null), Err(vec![FieldError::Null]));
    }
}
