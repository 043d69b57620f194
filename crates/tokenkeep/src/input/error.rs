//! What is wrong with a field, and with which.

use thiserror::Error;

use crate::fields::TokenField;
use crate::timestamp::Timestamp;
use crate::token::Intent;
use crate::user::UserId;

/// One broken rule of one field. Its `Display` is the message of SPEC "Reading a request body"
/// and "Update", to the letter.
///
/// ```
/// use tokenkeep::FieldError;
///
/// assert_eq!(FieldError::Required.to_string(), "This field is required.");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum FieldError {
    /// A field that must be there is absent.
    #[error("This field is required.")]
    Required,
    /// A field that must have a value is null.
    #[error("This field may not be null.")]
    Null,
    /// A text that must not be blank is.
    #[error("This field may not be blank.")]
    Blank,
    /// Neither a string nor a number.
    #[error("Not a valid string.")]
    NotAString,
    /// A text has too many characters.
    #[error("Ensure this field has no more than {max} characters.")]
    TooLong {
        /// How many it may have.
        max: usize,
    },
    /// A text contains U+0000, which PostgreSQL cannot store.
    #[error("Null characters are not allowed.")]
    NullCharacter,
    /// Not of the form `[-a-zA-Z0-9_]+`.
    #[error("Enter a valid \"slug\" consisting of letters, numbers, underscores or hyphens.")]
    NotASlug,
    /// Another token has this identifier.
    #[error("Token with this identifier already exists.")]
    IdentifierTaken,
    /// Another token has this marker.
    #[error("Token with this managed already exists.")]
    MarkerTaken,
    /// No intent has this name.
    #[error("\"{0}\" is not a valid choice.")]
    NotAChoice(String),
    /// No user has this id.
    #[error("Invalid pk \"{0}\" - object does not exist.")]
    UnknownUser(String),
    /// A user's id is of another type.
    #[error("Incorrect type. Expected pk value, received {received}.")]
    NotAPk {
        /// What it is, as Python names it.
        received: &'static str,
    },
    /// Not a date-time that can be read.
    #[error(
        "Datetime has wrong format. Use one of these formats instead: \
         YYYY-MM-DDThh:mm[:ss[.uuuuuu]][+HH:MM|-HH:MM|Z]."
    )]
    NotADateTime,
    /// Not a boolean.
    #[error("Must be a valid boolean.")]
    NotABoolean,
    /// A token keeps its owner.
    #[error("User cannot be changed")]
    OwnerFixed,
    /// Only superusers create tokens for others.
    #[error("Tokens can only be created for yourself")]
    OwnerNotSelf,
    /// The owner has as many tokens as the host allows.
    #[error("This user has too many tokens")]
    TooManyTokens,
    /// Only superusers rename managed tokens.
    #[error("Only a superuser may change the identifier of a managed token")]
    ManagedIdentifierForSuperusers,
    /// Only superusers mark tokens as managed, change a marker or take it away.
    #[error("Only a superuser may change this flag")]
    MarkerForSuperusers,
    /// A single-use token keeps its intent.
    #[error("Intent of a {0} token cannot be changed")]
    IntentFixed(Intent),
    /// An intent that cannot be chosen.
    #[error("Invalid intent {0}")]
    IntentNotAllowed(Intent),
    /// Only superusers decide whether a token expires, beyond what the owner's attribute says.
    #[error("Only a superuser may change whether this token expires")]
    ExpiringForSuperusers,
    /// Only superusers move the expiry of a single-use token later, or clear it.
    #[error("Only a superuser may prolong a {0} token")]
    ExpiryForSuperusers(Intent),
    /// The expiry of an `api` token follows from the default duration; set in code only.
    #[error("Expiry of an api token cannot be chosen")]
    ExpiryNotChosen,
    /// The expiry is later than the owner's maximum lifetime allows.
    #[error("Token expires exceeds maximum lifetime ({} UTC).", .latest.spelled_with_offset())]
    ExpiryTooLate {
        /// The latest expiry that would have been accepted.
        latest: Timestamp,
    },
    /// The intent of a token whose key cannot be replaced by a new one.
    #[error("Only api and app_password tokens can be rotated")]
    IntentNotRotatable,
    /// A key has too few characters.
    #[error("This key is too short: at least {min} characters")]
    KeyTooShort {
        /// How many it must have.
        min: usize,
    },
    /// Another token has this key.
    #[error("This key is already in use")]
    KeyTaken,
    /// A search has too many words.
    #[error("Ensure this search has no more than {max} words.")]
    TooManyWords {
        /// How many it may have.
        max: usize,
    },
    /// No intent has this name, in a filter.
    #[error("Select a valid choice. {0} is not one of the available choices.")]
    NotAFilterChoice(String),
    /// Not a date-time that can be read, in a filter.
    #[error("Enter a valid date/time.")]
    NotAFilterDateTime,
}

impl FieldError {
    /// The error of an id that no user has.
    pub(crate) fn unknown_user(id: UserId) -> Self {
        Self::UnknownUser(id.to_string())
    }

    /// The messages of several errors in one line.
    pub(crate) fn join(errors: &[Self]) -> String {
        errors.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    }
}

/// What a request names: a field of the token, or a parameter of a list.
///
/// ```
/// use tokenkeep::{RequestField, TokenField};
///
/// assert_eq!(RequestField::from(TokenField::User).name(), "user");
/// assert_eq!(RequestField::Username.name(), "user__username");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum RequestField {
    /// A field of the token, also as a filter.
    Token(TokenField),
    /// The owner's username, as a filter.
    Username,
    /// The words to search for.
    Search,
}

impl RequestField {
    /// The name in JSON and in a query.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Token(field) => field.name(),
            Self::Username => "user__username",
            Self::Search => "search",
        }
    }
}

impl From<TokenField> for RequestField {
    fn from(field: TokenField) -> Self {
        Self::Token(field)
    }
}

impl std::fmt::Display for RequestField {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// Every field that was refused, in the order of the JSON form, each with all of its errors.
///
/// ```
/// use tokenkeep::{FieldError, FieldErrors, TokenField};
///
/// let errors = FieldErrors::of(TokenField::Identifier, [FieldError::Required]);
/// assert_eq!(errors.get(TokenField::Identifier), [FieldError::Required]);
/// assert_eq!(errors.get(TokenField::Intent), []);
/// assert_eq!(errors.to_string(), "identifier: This field is required.");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FieldErrors(Vec<(RequestField, Vec<FieldError>)>);

impl FieldErrors {
    /// The errors of one field.
    pub fn of(
        field: impl Into<RequestField>,
        errors: impl IntoIterator<Item = FieldError>,
    ) -> Self {
        let mut all = Self::default();
        all.add(field, errors);
        all
    }

    /// The errors of `field`; none when it is fine.
    #[must_use]
    pub fn get(&self, field: impl Into<RequestField>) -> &[FieldError] {
        let field = field.into();
        self.0.iter().find(|(refused, _)| *refused == field).map_or(&[], |(_, errors)| errors)
    }

    /// The fields that were refused with their errors.
    pub fn iter(&self) -> impl Iterator<Item = (RequestField, &[FieldError])> {
        self.0.iter().map(|(field, errors)| (*field, errors.as_slice()))
    }

    /// Whether no field was refused.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds errors of a field behind those it has.
    pub(crate) fn add(
        &mut self,
        field: impl Into<RequestField>,
        errors: impl IntoIterator<Item = FieldError>,
    ) {
        let field = field.into();
        let mut errors: Vec<_> = errors.into_iter().collect();
        match self.0.binary_search_by_key(&field, |(refused, _)| *refused) {
            _ if errors.is_empty() => {}
            Ok(place) => self
                .0
                .get_mut(place)
                .into_iter()
                .for_each(|(_, of_field)| of_field.append(&mut errors)),
            Err(place) => self.0.insert(place, (field, errors)),
        }
    }

    /// Two results, or the errors of both.
    pub(crate) fn both<A, B>(a: Result<A, Self>, b: Result<B, Self>) -> Result<(A, B), Self> {
        match (a, b) {
            (Ok(a), Ok(b)) => Ok((a, b)),
            (Err(errors), Ok(_)) | (Ok(_), Err(errors)) => Err(errors),
            (Err(mut errors), Err(others)) => {
                for (field, others) in others.0 {
                    errors.add(field, others);
                }
                Err(errors)
            }
        }
    }

    /// `Ok` when no field was refused.
    pub(crate) fn into_result(self) -> Result<(), Self> {
        if self.is_empty() { Ok(()) } else { Err(self) }
    }
}

impl std::fmt::Display for FieldErrors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (place, (field, errors)) in self.iter().enumerate() {
            let separator = if place > 0 { "; " } else { "" };
            write!(f, "{separator}{field}: {}", FieldError::join(errors))?;
        }
        Ok(())
    }
}

impl std::error::Error for FieldErrors {}
