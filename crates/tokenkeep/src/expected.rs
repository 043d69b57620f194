//! Which version of a token an operation is meant for.

use crate::error::TokenError;
use crate::token::{Revision, Token, TokenId};

/// Which version of a token an operation is meant for. A version is a token's id together with a
/// revision ([`TokenView::version`](crate::TokenView::version)): a revision alone would also match
/// another token that took the name later.
///
/// With anything but [`Anything`](Self::Anything), an operation that meets another version fails
/// with [`TokenError::Stale`] instead of being applied to whatever is there.
///
/// ```
/// use tokenkeep::{Expected, Revision, TokenId};
///
/// let version = (TokenId::from_bytes([1; 16]), Revision::FIRST);
/// assert_eq!(Expected::from(version), Expected::OneOf(vec![version]));
/// assert_eq!(Expected::default(), Expected::Anything);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Expected {
    /// Whatever is there: on a lost race the operation is tried again.
    #[default]
    Anything,
    /// One of these versions, as a request lists them in `If-Match`; an empty list expects nothing
    /// that can be there.
    OneOf(Vec<(TokenId, Revision)>),
}

impl Expected {
    /// Whether whatever is there will do.
    pub(crate) const fn is_anything(&self) -> bool {
        matches!(self, Self::Anything)
    }

    /// The token must be one that is expected.
    pub(crate) fn check(&self, token: &Token) -> Result<(), TokenError> {
        let is_expected = match self {
            Self::Anything => true,
            Self::OneOf(versions) => versions.contains(&(token.id, token.revision)),
        };
        if is_expected { Ok(()) } else { Err(TokenError::Stale { current: token.revision }) }
    }
}

impl From<(TokenId, Revision)> for Expected {
    fn from(version: (TokenId, Revision)) -> Self {
        Self::OneOf(vec![version])
    }
}
