//! The owner: a user's primary key.

use std::num::IntErrorKind;

use crate::input::error::FieldError;
use crate::input::json::Json;
use crate::user::UserId;

/// Reads a user's id: an integer, or a text of its digits. Whether there is such a user is for
/// the operation to find out; an integer beyond 64 bits is nobody's id.
pub(super) fn read(value: &Json<'_>) -> Result<UserId, Vec<FieldError>> {
    let wrong_type = || vec![FieldError::NotAPk { received: value.type_name() }];
    let digits = match value {
        Json::Null => return Err(vec![FieldError::Null]),
        // As the framework has it: an empty choice is no choice.
        Json::Text(digits) if digits.is_empty() => return Err(vec![FieldError::Null]),
        Json::Text(digits) => digits,
        Json::Number(digits) => *digits,
        Json::Bool(_) | Json::List(_) | Json::Object(_) => return Err(wrong_type()),
    };
    digits.parse().map(UserId::new).map_err(|error| match error.kind() {
        IntErrorKind::PosOverflow | IntErrorKind::NegOverflow => {
            vec![FieldError::UnknownUser(digits.into())]
        }
        _ => wrong_type(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_and_their_digits_are_ids() {
        assert_eq!(read(&Json::Number("2")), Ok(UserId::new(2)));
        assert_eq!(read(&Json::Number("-1")), Ok(UserId::new(-1)));
        assert_eq!(read(&Json::Text("02".into())), Ok(UserId::new(2)));
    }

    #[test]
    fn an_id_beyond_64_bits_is_nobodys() {
        let digits = "9223372036854775808";
        let refused = vec![FieldError::UnknownUser(digits.into())];
        assert_eq!(read(&Json::Number(digits)), Err(refused));
    }

    #[test]
    fn other_types_are_named() {
        for (value, received) in [
            (Json::Text("abc".into()), "str"),
            (Json::Text(" 2 ".into()), "str"),
            (Json::Text("1e3".into()), "str"),
            (Json::Number("1.5"), "float"),
            (Json::Bool(true), "bool"),
            (Json::List("[2]"), "list"),
            (Json::Object("{}"), "dict"),
        ] {
            assert_eq!(read(&value), Err(vec![FieldError::NotAPk { received }]));
        }
        assert_eq!(read(&Json::Text("".into())), Err(vec![FieldError::Null]));
        assert_eq!(read(&Json::Null), Err(vec![FieldError::Null]));
    }
}
