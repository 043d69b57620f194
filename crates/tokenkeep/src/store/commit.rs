//! What is committed at once, and how a commit fails.

use std::sync::Arc;

use thiserror::Error;

use crate::event::Event;
use crate::fields::{TokenField, TokenFields};
use crate::store::StoreError;
use crate::token::{Revision, Token, TokenId};

/// Changes and the events that describe them, committed together or not at all.
///
/// See [`TokenStore`](crate::TokenStore) for an example.
#[derive(Debug, Clone, Default)]
pub struct Commit {
    /// The changes, in the order in which they are done.
    pub changes: Vec<Change>,
    /// What they mean, for the audit trail.
    pub events: Vec<Event>,
}

/// One change of one token. A kind that is added makes every backend fail to compile until it
/// knows it.
///
/// See [`TokenStore`](crate::TokenStore) for an example.
#[derive(Debug, Clone)]
pub enum Change {
    /// Adds a token.
    Insert(Arc<Token>),
    /// Changes fields of a token that is at an expected revision.
    Replace {
        /// The revision that it must be at.
        expected: Revision,
        /// The fields to write, beside revision and update time, which always are. A backend may
        /// write no other: an UPDATE that names an indexed column costs twice one that does not.
        fields: TokenFields,
        /// The token as it is afterwards.
        token: Arc<Token>,
    },
    /// Removes a token that is at an expected revision.
    Delete {
        /// The token.
        id: TokenId,
        /// The revision that it must be at.
        expected: Revision,
    },
    /// Changes nothing, and fails the commit unless the token is at this revision.
    Expect {
        /// The token.
        id: TokenId,
        /// The revision that it must be at.
        expected: Revision,
    },
    /// Deletes a token at any revision, so that no writer can delay the deletion. The store writes
    /// the identifier and the revision that it found into the event at the same place.
    Remove {
        /// The token.
        id: TokenId,
    },
    /// Gives up the identifier, the marker and the key digest of a token that is at an expected
    /// revision, for the later changes of the same commit. The revision stays. A later replace of
    /// the same commit must name all three fields: see [`Commit::releases_are_replaced`].
    Release {
        /// The token.
        id: TokenId,
        /// The revision that it must be at.
        expected: Revision,
    },
}

impl Commit {
    /// Returns whether every released token is replaced later in the commit, with its identifier,
    /// its marker and its key among the fields. A store refuses any other commit.
    #[must_use]
    pub fn releases_are_replaced(&self) -> bool {
        let unique = [TokenField::Identifier, TokenField::Managed, TokenField::Key];
        let replaces = |change: &Change, released: TokenId| match change {
            Change::Replace { token, fields, .. } => {
                token.id == released && unique.iter().all(|field| fields.contains(*field))
            }
            _ => false,
        };
        self.changes.iter().enumerate().all(|(place, change)| match change {
            Change::Release { id, .. } => {
                self.changes.iter().skip(place).any(|later| replaces(later, *id))
            }
            _ => true,
        })
    }
}

impl Change {
    /// The change that turns `before` into `after`, as one token at two revisions.
    ///
    /// ```
    /// # use tokenkeep::{KeyDigest, Timestamp, Token, TokenId, TokenKey, UserId, Intent};
    /// use tokenkeep::{Change, Revision, TokenField};
    ///
    /// # let before = Token {
    /// #     id: TokenId::from_bytes([1; 16]), identifier: "ci".parse()?, intent: Intent::Api,
    /// #     owner: UserId::new(2), description: "".into(), expires: None, expiring: false,
    /// #     managed: None, revision: Revision::FIRST, created: Timestamp::MIN,
    /// #     updated: Timestamp::MIN, last_used: None, owner_may_view_key: true,
    /// #     key_digest: KeyDigest::of(&TokenKey::from("k".to_owned())), sealed_key: None,
    /// # };
    /// let after = Token {
    ///     description: "deploys".into(),
    ///     revision: Revision::new(2).unwrap(),
    ///     ..before.clone()
    /// };
    /// let Change::Replace { expected, fields, .. } = Change::replace(&before, after) else {
    ///     unreachable!()
    /// };
    /// assert_eq!(expected, Revision::FIRST);
    /// assert!(fields.contains(TokenField::Description));
    /// # Ok::<(), tokenkeep::InvalidIdentifier>(())
    /// ```
    #[must_use]
    pub fn replace(before: &Token, after: impl Into<Arc<Token>>) -> Self {
        let token = after.into();
        Self::Replace { expected: before.revision, fields: before.changed_fields(&token), token }
    }

    /// The token that is changed.
    #[must_use]
    pub fn token_id(&self) -> TokenId {
        match self {
            Self::Insert(token) | Self::Replace { token, .. } => token.id,
            Self::Delete { id, .. }
            | Self::Expect { id, .. }
            | Self::Remove { id }
            | Self::Release { id, .. } => *id,
        }
    }
}

/// Why a commit was not done. `change` is the place of the change that failed, counted from 0.
///
/// See [`TokenStore`](crate::TokenStore) for an example.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CommitError {
    /// A token is not at the revision that was expected.
    #[error("change {change}: the token is not at the expected revision")]
    Stale {
        /// Which change failed.
        change: usize,
        /// What is there; `None` when the token is gone.
        current: Option<Arc<Token>>,
    },
    /// A value that must be unique belongs to another token.
    #[error("change {change}: another token has this {field}")]
    Taken {
        /// Which change failed.
        change: usize,
        /// What is taken.
        field: UniqueField,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What is unique among the tokens of a store, in the order in which a store looks.
///
/// ```
/// use tokenkeep::{TokenField, TokenFields, UniqueField};
///
/// let fields = TokenFields::from_iter([TokenField::Identifier, TokenField::Expires]);
/// assert!(UniqueField::Identifier.is_among(fields));
/// assert!(!UniqueField::Key.is_among(fields));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum UniqueField {
    /// The primary key.
    Id,
    /// The identifier.
    Identifier,
    /// The marker.
    Managed,
    /// The digest of the key.
    Key,
}

impl UniqueField {
    /// Every unique field.
    pub const ALL: [Self; 4] = [Self::Id, Self::Identifier, Self::Managed, Self::Key];

    /// Whether a replace that writes `fields` gives this one a new value.
    #[must_use]
    pub const fn is_among(self, fields: TokenFields) -> bool {
        match self {
            Self::Id => false,
            Self::Identifier => fields.contains(TokenField::Identifier),
            Self::Managed => fields.contains(TokenField::Managed),
            Self::Key => fields.contains(TokenField::Key),
        }
    }
}

impl std::fmt::Display for UniqueField {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Id => "id",
            Self::Identifier => "identifier",
            Self::Managed => "managed",
            Self::Key => "key",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unique_fields_are_shown_by_their_names() {
        let names = UniqueField::ALL.map(|field| field.to_string());
        assert_eq!(names, ["id", "identifier", "managed", "key"]);
    }
}
