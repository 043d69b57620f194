//! How an operation fails.

use serde_json::{Map, Value, json};
use thiserror::Error;

use crate::fields::TokenField;
use crate::input::{BodyError, FieldError, FieldErrors};
use crate::key::UnsealError;
use crate::random::RandomError;
use crate::store::{CommitError, StoreError, StoreErrorKind, UniqueField};
use crate::token::Revision;

/// Why an operation was refused or failed. Nothing has been changed, with one exception:
/// [`is_outcome_unknown`](Self::is_outcome_unknown).
///
/// Its `Display` is the `detail` of SPEC "Errors", and [`to_json`](Self::to_json) the body of the
/// answer.
///
/// ```
/// use tokenkeep::TokenError;
///
/// let error = TokenError::NotFound;
/// assert_eq!(error.to_string(), "No Token matches the given query.");
/// assert_eq!(error.code(), "not_found");
/// ```
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TokenError {
    /// No credentials were shown.
    #[error("Authentication credentials were not provided.")]
    NotAuthenticated,
    /// Credentials of another scheme than `Bearer` were shown.
    #[error("Unsupported authentication type")]
    UnsupportedScheme,
    /// The key authenticates nobody: unknown, of another intent, expired, or of an owner who is
    /// inactive or gone. All look alike.
    #[error("Token invalid/expired")]
    InvalidKey,
    /// The caller that the host named is inactive or does not exist.
    #[error("User inactive or deleted.")]
    InactiveCaller,
    /// There is no such token, or the caller may not see it.
    #[error("No Token matches the given query.")]
    NotFound,
    /// The caller sees the token and may not do this to it.
    #[error("You do not have permission to perform this action.")]
    Forbidden,
    /// The list has no such page.
    #[error("Invalid page.")]
    InvalidPage,
    /// The token's key is not kept, only its digest.
    #[error("The key of this token is not retained.")]
    KeyNotRetained,
    /// The token is not at the revision that the caller expects.
    #[error("The token is at another revision than expected.")]
    Stale {
        /// The revision it is at.
        current: Revision,
    },
    /// The body of the request could not be read.
    #[error(transparent)]
    Body(BodyError),
    /// Fields were refused.
    #[error("{0}")]
    Invalid(FieldErrors),
    /// Others changed the token each time this operation was about to: try again.
    #[error("The token is being changed by others.")]
    Contended,
    /// The clock is further ahead of the newest event than
    /// [`Policy::maximum_clock_lead`](crate::Policy::maximum_clock_lead) allows.
    #[error("The clock is far ahead of the newest event.")]
    ClockAhead,
    /// There was no randomness, or no good one, for a key or an id: try again.
    #[error("The service is temporarily unavailable.")]
    Random(#[source] RandomError),
    /// A sealed key cannot be opened: the host has not configured what it was sealed with, or the
    /// row has been tampered with.
    #[error("The key of this token cannot be read.")]
    Unseal(#[source] UnsealError),
    /// The storage failed.
    #[error("{}", storage_detail(.0))]
    Store(#[source] StoreError),
}

/// What a caller from outside may know of a storage failure.
fn storage_detail(error: &StoreError) -> &'static str {
    if error.is_retryable() {
        "The service is temporarily unavailable."
    } else {
        "The storage failed."
    }
}

impl TokenError {
    /// Whether the same call may succeed later, without any change by the caller.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Contended | Self::ClockAhead | Self::Random(_) => true,
            Self::Store(error) => error.is_retryable(),
            _ => false,
        }
    }

    /// Whether the operation may have been done all the same, or may still be: its answer was lost,
    /// and the audit trail does not tell yet. Read the token to find out; an operation that expects
    /// a revision can be repeated, since it cannot be done twice.
    #[must_use]
    pub fn is_outcome_unknown(&self) -> bool {
        matches!(self, Self::Store(error) if *error.kind() == StoreErrorKind::OutcomeUnknown)
    }

    /// The refused fields, when that is what is wrong.
    #[must_use]
    pub fn field_errors(&self) -> Option<&FieldErrors> {
        match self {
            Self::Invalid(errors) => Some(errors),
            _ => None,
        }
    }

    /// The `code` of SPEC "Errors".
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotAuthenticated => "not_authenticated",
            Self::UnsupportedScheme | Self::InvalidKey | Self::InactiveCaller => {
                "authentication_failed"
            }
            Self::NotFound | Self::InvalidPage => "not_found",
            Self::KeyNotRetained => "key_not_retained",
            Self::Forbidden => "permission_denied",
            Self::Stale { .. } => "precondition_failed",
            Self::Body(BodyError::TooLarge) => "payload_too_large",
            Self::Body(BodyError::UnsupportedMediaType(_)) => "unsupported_media_type",
            Self::Body(BodyError::NotJson(_)) => "parse_error",
            Self::Body(_) | Self::Invalid(_) => "invalid",
            Self::Unseal(_) => "error",
            Self::Store(error) if !error.is_retryable() => "error",
            Self::Contended | Self::ClockAhead | Self::Random(_) | Self::Store(_) => "unavailable",
        }
    }

    /// The body of the answer: `{field: [messages…], "code": "invalid"}` for what the fields of
    /// the request got wrong, else `{"detail": …, "code": …}`.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut body = match self {
            Self::Invalid(errors) => errors
                .iter()
                .map(|(field, errors)| {
                    let messages: Vec<_> = errors.iter().map(ToString::to_string).collect();
                    (field.name().to_owned(), json!(messages))
                })
                .collect(),
            Self::Body(error @ (BodyError::Null | BodyError::NotAnObject { .. })) => {
                Map::from_iter([("non_field_errors".to_owned(), json!([error.to_string()]))])
            }
            _ => Map::from_iter([("detail".to_owned(), json!(self.to_string()))]),
        };
        body.insert("code".to_owned(), json!(self.code()));
        Value::Object(body)
    }
}

impl From<StoreError> for TokenError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<CommitError> for TokenError {
    /// What somebody else took or changed after it was looked up is refused as if it had been
    /// found so.
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Taken { field: UniqueField::Identifier, .. } => {
                FieldErrors::of(TokenField::Identifier, [FieldError::IdentifierTaken]).into()
            }
            CommitError::Taken { field: UniqueField::Managed, .. } => {
                FieldErrors::of(TokenField::Managed, [FieldError::MarkerTaken]).into()
            }
            CommitError::Taken { field: UniqueField::Key, .. } => {
                FieldErrors::of(TokenField::Key, [FieldError::KeyTaken]).into()
            }
            CommitError::Taken { .. } | CommitError::Stale { .. } => Self::Contended,
            CommitError::Store(error) => Self::Store(error),
        }
    }
}

impl From<FieldErrors> for TokenError {
    fn from(errors: FieldErrors) -> Self {
        Self::Invalid(errors)
    }
}

impl From<UnsealError> for TokenError {
    fn from(error: UnsealError) -> Self {
        Self::Unseal(error)
    }
}

impl From<RandomError> for TokenError {
    fn from(error: RandomError) -> Self {
        Self::Random(error)
    }
}
