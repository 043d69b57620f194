//! The token itself.

use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer};
use uuid::Uuid;

use crate::fields::{TokenField, TokenFields};
use crate::identifier::Identifier;
use crate::key::{KeyDigest, SealedKey};
use crate::managed::Marker;
use crate::timestamp::Timestamp;
use crate::user::UserId;

/// A token's primary key, a version 4 UUID, set at creation and never reused.
///
/// ```
/// use tokenkeep::TokenId;
///
/// let id = TokenId::from_bytes([7; 16]);
/// assert_eq!(id.to_string(), "07070707-0707-0707-0707-070707070707");
/// assert_eq!(id.as_bytes(), &[7; 16]);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenId(Uuid);

impl TokenId {
    /// The id with these 16 bytes, as a backend reads them from a row.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }

    /// The id's 16 bytes, as a backend writes them into a row.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }
}

impl From<Uuid> for TokenId {
    fn from(id: Uuid) -> Self {
        Self(id)
    }
}

impl From<TokenId> for Uuid {
    fn from(id: TokenId) -> Self {
        id.0
    }
}

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl Serialize for TokenId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// How often a token has been changed: 1 at creation, one more with every committed change. Reads
/// and last-used times do not raise it. What compare-and-swap compares.
///
/// ```
/// use tokenkeep::Revision;
///
/// assert_eq!(Revision::FIRST.next(), Revision::new(2));
/// assert_eq!(Revision::new(0), None);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(i64);

impl Revision {
    /// The revision of a token that has just been created.
    pub const FIRST: Self = Self(1);

    /// The revision with this number; `None` below 1.
    #[must_use]
    pub const fn new(number: i64) -> Option<Self> {
        if number < 1 { None } else { Some(Self(number)) }
    }

    /// The number, at least 1.
    #[must_use]
    pub const fn get(self) -> i64 {
        self.0
    }

    /// The revision after this one; `None` behind the last one that there is, which no row has
    /// that was not tampered with.
    #[must_use]
    pub const fn next(self) -> Option<Self> {
        match self.0.checked_add(1) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// What a token may be used for.
///
/// ```
/// use tokenkeep::Intent;
///
/// assert_eq!(Intent::AppPassword.as_str(), "app_password");
/// assert_eq!(Intent::from_name("api"), Some(Intent::Api));
/// assert_eq!(Intent::from_name("API"), None);
/// assert!(Intent::Recovery.is_single_use());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Intent {
    /// Proves once that an address is its owner's.
    Verification,
    /// Authenticates calls of an API as `Bearer`.
    Api,
    /// Lets its owner in once who lost every other way.
    Recovery,
    /// Stands in for the password in one application.
    AppPassword,
}

impl Intent {
    /// Every intent.
    pub const ALL: [Self; 4] = [Self::Verification, Self::Api, Self::Recovery, Self::AppPassword];

    /// The name in JSON and in storage.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Verification => "verification",
            Self::Api => "api",
            Self::Recovery => "recovery",
            Self::AppPassword => "app_password",
        }
    }

    /// The intent of that name, compared exactly.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|intent| intent.as_str() == name)
    }

    /// Whether a token of this intent is consumed by its use: such a token keeps its intent, and
    /// its life is a superuser's matter (SPEC "Update").
    #[must_use]
    pub const fn is_single_use(self) -> bool {
        matches!(self, Self::Recovery | Self::Verification)
    }
}

impl fmt::Display for Intent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Intent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// A token as a store keeps it: one row.
///
/// ```
/// # use tokenkeep::{Intent, KeyDigest, Revision, TokenId, TokenKey, UserId};
/// use tokenkeep::{Timestamp, Token, TokenField};
///
/// # let (created, expires): (Timestamp, Timestamp) = ("2024-09-27T00:00Z".parse()?, "2024-09-28T00:00Z".parse()?);
/// # let token = Token {
/// #     id: TokenId::from_bytes([1; 16]), identifier: "ci".parse().unwrap(), intent: Intent::Api,
/// #     owner: UserId::new(2), description: "".into(), expires: Some(expires), expiring: true,
/// #     managed: None, revision: Revision::FIRST, created, updated: created, last_used: None,
/// #     owner_may_view_key: true, key_digest: KeyDigest::of(&TokenKey::from("k".to_owned())),
/// #     sealed_key: None,
/// # };
/// assert!(!token.is_expired("2024-09-28T00:00:00Z".parse()?));
/// assert!(token.is_expired("2024-09-28T00:00:00.000001Z".parse()?));
///
/// let after = Token { expiring: false, ..token.clone() };
/// assert!(token.changed_fields(&after).contains(TokenField::Expiring));
/// # Ok::<(), tokenkeep::FieldError>(())
/// ```
///
/// All fields are public, since every backend builds it from
/// its rows; a field that is added makes every backend fail to compile until it stores it.
///
/// It holds no plain key. See [`KeyDigest`] and [`SealedKey`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// The primary key, `pk` in JSON.
    pub id: TokenId,
    /// The name by which the token is addressed, unique.
    pub identifier: Identifier,
    /// What the token may be used for.
    pub intent: Intent,
    /// The owner, `user` in JSON. Never changes.
    pub owner: UserId,
    /// Free text without NUL.
    pub description: Arc<str>,
    /// When the token expires, if [`expiring`](Self::expiring).
    pub expires: Option<Timestamp>,
    /// Whether the expiry counts.
    pub expiring: bool,
    /// Set when an automated process owns the token, unique.
    pub managed: Option<Marker>,
    /// Raised by every committed change.
    pub revision: Revision,
    /// When the token was created.
    pub created: Timestamp,
    /// When the token was last changed.
    pub updated: Timestamp,
    /// When the token last authenticated somebody, as far as a touch has recorded it.
    pub last_used: Option<Timestamp>,
    /// Whether the owner may view the key without a permission for it.
    pub owner_may_view_key: bool,
    /// What the key is looked up by, unique.
    pub key_digest: KeyDigest,
    /// The key itself, encrypted, where the host keeps it for viewing.
    pub sealed_key: Option<SealedKey>,
}

impl Token {
    /// Whether the token has expired at `now`: it expires, and its expiry is before `now`
    /// (SPEC "Authenticate").
    #[must_use]
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expiring && self.expires.is_some_and(|expires| expires < now)
    }

    /// The fields in which `self` and `after` differ. Revision and times are not fields.
    #[must_use]
    pub fn changed_fields(&self, after: &Self) -> TokenFields {
        let key_differs =
            self.key_digest != after.key_digest || self.sealed_key != after.sealed_key;
        let differs = [
            (TokenField::Managed, self.managed != after.managed),
            (TokenField::Identifier, self.identifier != after.identifier),
            (TokenField::Intent, self.intent != after.intent),
            (TokenField::User, self.owner != after.owner),
            (TokenField::Description, self.description != after.description),
            (TokenField::Expires, self.expires != after.expires),
            (TokenField::Expiring, self.expiring != after.expiring),
            (TokenField::Key, key_differs),
            (TokenField::OwnerMayViewKey, self.owner_may_view_key != after.owner_may_view_key),
        ];
        differs.into_iter().filter_map(|(field, differs)| differs.then_some(field)).collect()
    }

    /// This token with `fields`, revision and update time of `after`: what a
    /// [`Change::Replace`](crate::Change::Replace) leaves, for stores that keep tokens whole.
    #[must_use]
    pub fn with_fields_of(&self, after: &Self, fields: TokenFields) -> Self {
        let mut token = self.clone();
        token.revision = after.revision;
        token.updated = after.updated;
        for field in fields.iter() {
            token.take_field(after, field);
        }
        token
    }

    fn take_field(&mut self, after: &Self, field: TokenField) {
        match field {
            TokenField::Managed => self.managed.clone_from(&after.managed),
            TokenField::Identifier => self.identifier = after.identifier.clone(),
            TokenField::Intent => self.intent = after.intent,
            TokenField::User => self.owner = after.owner,
            TokenField::Description => self.description = after.description.clone(),
            TokenField::Expires => self.expires = after.expires,
            TokenField::Expiring => self.expiring = after.expiring,
            TokenField::Key => {
                self.key_digest = after.key_digest.clone();
                self.sealed_key.clone_from(&after.sealed_key);
            }
            TokenField::OwnerMayViewKey => self.owner_may_view_key = after.owner_may_view_key,
        }
    }
}
