//! The name by which a token is addressed.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Serialize, Serializer};
use thiserror::Error;

use crate::input::FieldError;

/// A token's identifier: a slug of 1 to 255 ASCII letters, digits, `_` and `-`, unique in a store
/// and compared exactly, case included. Cheap to clone.
///
/// ```
/// use tokenkeep::{FieldError, Identifier};
///
/// let identifier: Identifier = "ci-deploy_2".parse()?;
/// assert_eq!(identifier.as_str(), "ci-deploy_2");
///
/// let refused = "ci deploy".parse::<Identifier>().unwrap_err();
/// assert_eq!(refused.reasons, [FieldError::NotASlug]);
/// # Ok::<(), tokenkeep::InvalidIdentifier>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identifier(Arc<str>);

/// A text that cannot be an [`Identifier`], with every reason.
///
/// See [`Identifier`] for an example.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("not an identifier: {}", FieldError::join(reasons))]
pub struct InvalidIdentifier {
    /// Each rule that the text breaks, in the order in which a request would report them.
    pub reasons: Vec<FieldError>,
}

impl Identifier {
    /// The most characters that an identifier may have: the width of authentik's column, kept so
    /// that every identifier fits into an index row of every backend.
    pub const MAX_CHARS: usize = 255;

    /// The identifier as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `text` can be an identifier, without the reasons why not.
    fn is_valid(text: &str) -> bool {
        !text.is_empty() && text.len() <= Self::MAX_CHARS && text.bytes().all(is_slug_byte)
    }

    /// Every reason why `text`, trimmed and not blank, cannot be an identifier.
    fn reasons_against(text: &str) -> Vec<FieldError> {
        let mut reasons = Vec::new();
        if text.is_empty() {
            return vec![FieldError::Blank];
        }
        if text.chars().count() > Self::MAX_CHARS {
            reasons.push(FieldError::TooLong { max: Self::MAX_CHARS });
        }
        if text.contains('\0') {
            reasons.push(FieldError::NullCharacter);
        }
        if !text.bytes().all(is_slug_byte) {
            reasons.push(FieldError::NotASlug);
        }
        reasons
    }
}

/// `[-a-zA-Z0-9_]`, SPEC "The token".
const fn is_slug_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'
}

impl FromStr for Identifier {
    type Err = InvalidIdentifier;

    /// Takes the text as it is: trimming belongs to the reading of a request.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if Self::is_valid(text) {
            Ok(Self(text.into()))
        } else {
            Err(InvalidIdentifier { reasons: Self::reasons_against(text) })
        }
    }
}

impl AsRef<str> for Identifier {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl std::borrow::Borrow<str> for Identifier {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Identifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Identifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl Serialize for Identifier {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reasons(text: &str) -> Vec<FieldError> {
        text.parse::<Identifier>().unwrap_err().reasons
    }

    #[test]
    fn every_slug_character_is_accepted_and_nothing_else() {
        for c in '\0'..='\u{3ff}' {
            let allowed = c.is_ascii_alphanumeric() || "-_".contains(c);
            assert_eq!(c.to_string().parse::<Identifier>().is_ok(), allowed, "{c:?}");
        }
    }

    #[test]
    fn the_length_counts_characters() {
        assert!("y".repeat(255).parse::<Identifier>().is_ok());
        assert_eq!(reasons(&"y".repeat(256)), [FieldError::TooLong { max: 255 }]);
        assert_eq!(reasons(&"é".repeat(255)), [FieldError::NotASlug]);
        assert_eq!(
            reasons(&"é".repeat(256)),
            [FieldError::TooLong { max: 255 }, FieldError::NotASlug]
        );
    }

    #[test]
    fn an_identifier_is_found_shown_and_compared_as_its_text() {
        let identifier: Identifier = "ci".parse().unwrap();
        let known = std::collections::HashSet::from([identifier.clone()]);
        assert!(known.contains("ci") && !known.contains("CI"));
        assert_eq!(AsRef::<str>::as_ref(&identifier), "ci");
        assert_eq!(format!("{identifier} {identifier:?}"), "ci \"ci\"");
    }

    #[test]
    fn a_final_newline_is_not_overlooked() {
        assert_eq!(reasons("tail\n"), [FieldError::NotASlug]);
    }

    #[test]
    fn all_reasons_are_told_in_order() {
        assert_eq!(reasons("nul\0x"), [FieldError::NullCharacter, FieldError::NotASlug]);
        assert_eq!(reasons(""), [FieldError::Blank]);
    }
}
