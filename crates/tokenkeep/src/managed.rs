//! The marker of tokens that an automated process owns.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Serialize, Serializer};

use crate::input::FieldError;

/// Says that an automated process owns a token: it may be edited, and the next reconcile
/// overwrites the edit (SPEC "Managed tokens"). Not blank, no NUL, of any length, unique in a
/// store and compared byte by byte. Cheap to clone.
///
/// ```
/// use tokenkeep::Marker;
///
/// let marker: Marker = "goauthentik.io/outposts/embedded".parse()?;
/// assert_eq!(marker.as_str(), "goauthentik.io/outposts/embedded");
/// assert!("  ".parse::<Marker>().is_err());
/// # Ok::<(), tokenkeep::FieldError>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Marker(Arc<str>);

impl Marker {
    /// The marker as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Marker {
    type Err = FieldError;

    /// Takes the text as it is: trimming belongs to the reading of a request.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if crate::input::text::is_blank(text) {
            Err(FieldError::Blank)
        } else if text.contains('\0') {
            Err(FieldError::NullCharacter)
        } else {
            Ok(Self(text.into()))
        }
    }
}

impl AsRef<str> for Marker {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Marker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Marker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl Serialize for Marker {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_is_shown_as_its_text() {
        let marker: Marker = "acme/ci".parse().unwrap();
        assert_eq!(format!("{marker} {marker:?}"), "acme/ci \"acme/ci\"");
        assert_eq!(AsRef::<str>::as_ref(&marker), "acme/ci");
    }
}
