//! What a caller wants of a token, through either of two doors.

use std::sync::Arc;

use crate::expected::Expected;
use crate::fields::{TokenField, TokenFields};
use crate::identifier::Identifier;
use crate::input::body::{self, BodyError, Fields};
use crate::input::error::{FieldError, FieldErrors};
use crate::input::json::Json;
use crate::input::{boolean, datetime, intent, owner, text};
use crate::managed::Marker;
use crate::timestamp::Timestamp;
use crate::token::Intent;
use crate::user::UserId;

/// What a change wants of one field. `T` converts into `Set(T)`.
///
/// ```
/// use tokenkeep::{Field, TokenChange};
///
/// let change = TokenChange::new().managed("goauthentik.io/outposts/embedded");
/// let back = TokenChange::new().managed(Field::Clear);
/// # drop((change, back));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Field<T> {
    /// Leave the field as it is.
    #[default]
    Keep,
    /// Take the value away: JSON's `null`.
    Clear,
    /// Give the field this value.
    Set(T),
}

impl<T> From<T> for Field<T> {
    fn from(value: T) -> Self {
        Self::Set(value)
    }
}

impl From<&str> for Field<String> {
    fn from(text: &str) -> Self {
        Self::Set(text.to_owned())
    }
}

/// A field as far as it could be judged without a store: what is wanted of it, or every reason to
/// refuse it.
pub(crate) type Checked<T> = Result<Field<T>, Vec<FieldError>>;

/// The value that a field is to be set to.
pub(crate) fn wanted<T>(field: &Checked<T>) -> Option<&T> {
    match field {
        Ok(Field::Set(value)) => Some(value),
        Ok(Field::Keep | Field::Clear) | Err(_) => None,
    }
}

/// What a caller wants of a token: the fields of a create, an update or a partial update, and the
/// revision that the caller expects.
///
/// It has two doors that end in the same checks. The typed one is for code:
///
/// ```
/// use tokenkeep::{Intent, TokenChange};
///
/// let change = TokenChange::new()
///     .identifier("ci")
///     .intent(Intent::Api)
///     .description("deploys from the pipeline");
/// # drop(change);
/// ```
///
/// The untrusted one, [`from_json`](Self::from_json), takes the bytes of a request. Neither
/// fails: what is wrong is reported by the operation, after it has judged access.
#[derive(Debug, Clone)]
pub struct TokenChange {
    pub(crate) managed: Checked<Marker>,
    pub(crate) identifier: Checked<Identifier>,
    pub(crate) intent: Checked<Intent>,
    pub(crate) owner: Checked<UserId>,
    pub(crate) description: Checked<Arc<str>>,
    pub(crate) expires: Checked<Timestamp>,
    pub(crate) expiring: Checked<bool>,
    /// Those of `expires` and `expiring` that were set in code: a policy that would ignore one of
    /// them refuses it instead.
    pub(crate) in_code: TokenFields,
    pub(crate) expected: Expected,
    pub(crate) unreadable: Option<BodyError>,
}

impl TokenChange {
    /// A change that wants nothing yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            managed: Ok(Field::Keep),
            identifier: Ok(Field::Keep),
            intent: Ok(Field::Keep),
            owner: Ok(Field::Keep),
            description: Ok(Field::Keep),
            expires: Ok(Field::Keep),
            expiring: Ok(Field::Keep),
            in_code: TokenFields::NONE,
            expected: Expected::Anything,
            unreadable: None,
        }
    }

    /// Reads the body of a request, with all checks, messages and odd values of SPEC "Reading a
    /// request body". Unknown and read-only fields are ignored, of a repeated key the last counts,
    /// and an empty body is an empty object.
    ///
    /// ```
    /// use tokenkeep::TokenChange;
    ///
    /// let change = TokenChange::from_json(br#"{"identifier": "ci", "expiring": "yes"}"#);
    /// assert!(change.refusals().is_empty());
    ///
    /// let change = TokenChange::from_json(br#"{"identifier": "c i", "expiring": "maybe"}"#);
    /// assert_eq!(change.refusals().iter().count(), 2);
    /// ```
    #[must_use]
    pub fn from_json(body: &[u8]) -> Self {
        body::read(body).unwrap_or_else(Self::unreadable)
    }

    /// The change of a request whose body could not be read at all, for adapters that find that
    /// out before they call: the operation reports `error` once it has judged access.
    #[must_use]
    pub fn unreadable(error: BodyError) -> Self {
        Self { unreadable: Some(error), ..Self::new() }
    }

    /// The identifier: trimmed, a slug of at most 255 characters, unique among the tokens of all
    /// users. Any user can take one, so that a token which the host creates should have one with a
    /// random part.
    #[must_use]
    pub fn identifier(mut self, identifier: impl AsRef<str>) -> Self {
        self.identifier = text::identifier(identifier.as_ref()).map(Field::Set);
        self
    }

    /// What the token may be used for.
    #[must_use]
    pub fn intent(mut self, intent: Intent) -> Self {
        self.intent = Ok(Field::Set(intent));
        self
    }

    /// The owner, `user` in JSON: of a new token; of an existing one it cannot be changed.
    #[must_use]
    pub fn owner(mut self, owner: UserId) -> Self {
        self.owner = Ok(Field::Set(owner));
        self
    }

    /// The free text: trimmed, may be empty.
    #[must_use]
    pub fn description(mut self, description: impl AsRef<str>) -> Self {
        self.description = text::description(description.as_ref()).map(Field::Set);
        self
    }

    /// When the token expires. The expiry of an `api` token cannot be chosen: the operation fails
    /// with [`FieldError::ExpiryNotChosen`], where JSON's `expires` is ignored (SPEC "Update").
    /// Only the system chooses it, when it creates the token.
    #[must_use]
    pub fn expires(mut self, expires: impl Into<Field<Timestamp>>) -> Self {
        let expires = expires.into();
        if expires != Field::Keep {
            self.in_code = self.in_code.with(TokenField::Expires);
        }
        self.expires = Ok(expires);
        self
    }

    /// Whether the expiry counts. A caller that creates a token and may not choose this gets
    /// [`FieldError::ExpiringForSuperusers`], where JSON's `expiring` is ignored (SPEC "Create").
    #[must_use]
    pub fn expiring(mut self, expiring: bool) -> Self {
        self.in_code = self.in_code.with(TokenField::Expiring);
        self.expiring = Ok(Field::Set(expiring));
        self
    }

    /// The marker of a managed token: trimmed, not blank, unique.
    #[must_use]
    pub fn managed(mut self, marker: impl Into<Field<String>>) -> Self {
        self.managed = match marker.into() {
            Field::Keep => Ok(Field::Keep),
            Field::Clear => Ok(Field::Clear),
            Field::Set(marker) => text::marker(&marker).map(Field::Set),
        };
        self
    }

    /// Makes an update fail with [`TokenError::Stale`](crate::TokenError::Stale) unless the token
    /// is at this revision, instead of being applied to whatever is there.
    #[must_use]
    pub fn expecting(mut self, expected: impl Into<Expected>) -> Self {
        self.expected = expected.into();
        self
    }

    /// What is known to be wrong before a store has been asked. An operation adds what it finds:
    /// a taken identifier, an unknown user, a rule on who may change what.
    #[must_use]
    pub fn refusals(&self) -> FieldErrors {
        let mut errors = FieldErrors::default();
        errors.add(TokenField::Managed, refused(&self.managed));
        errors.add(TokenField::Identifier, refused(&self.identifier));
        errors.add(TokenField::Intent, refused(&self.intent));
        errors.add(TokenField::User, refused(&self.owner));
        errors.add(TokenField::Description, refused(&self.description));
        errors.add(TokenField::Expires, refused(&self.expires));
        errors.add(TokenField::Expiring, refused(&self.expiring));
        errors
    }

    /// Why the body could not be read, if it could not.
    #[must_use]
    pub fn body_error(&self) -> Option<&BodyError> {
        self.unreadable.as_ref()
    }
}

impl Fields for TokenChange {
    type Name = TokenField;

    fn named(key: &str) -> Option<TokenField> {
        let field = TokenField::ALL.into_iter().find(|field| field.name() == key)?;
        // What JSON does not show, it does not change.
        (!matches!(field, TokenField::Key | TokenField::OwnerMayViewKey)).then_some(field)
    }

    fn set(&mut self, name: TokenField, value: &Json<'_>) {
        match name {
            TokenField::Managed => self.managed = text::nullable(value, text::marker),
            TokenField::Identifier => self.identifier = text::required(value, text::identifier),
            TokenField::Intent => self.intent = intent::read(value).map(Field::Set),
            TokenField::User => self.owner = owner::read(value).map(Field::Set),
            TokenField::Description => {
                self.description = text::required(value, text::description);
            }
            TokenField::Expires => self.expires = datetime::read(value),
            TokenField::Expiring => self.expiring = boolean::read(value).map(Field::Set),
            TokenField::Key | TokenField::OwnerMayViewKey => {}
        }
    }
}

impl Default for TokenChange {
    fn default() -> Self {
        Self::new()
    }
}

/// The reasons to refuse a field.
fn refused<T>(field: &Checked<T>) -> Vec<FieldError> {
    field.as_ref().err().cloned().unwrap_or_default()
}
