//! What is committed at once, and how a commit fails.

use std::collections::HashMap;
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
    /// revision, for the later changes of the same commit. The revision stays. The next change of the
    /// token in the same commit must be a replace that expects the same revision and names all three
    /// fields: see [`Commit::releases_are_replaced`].
    Release {
        /// The token.
        id: TokenId,
        /// The revision that it must be at.
        expected: Revision,
    },
}

impl Commit {
    /// Returns whether the next change of every released token is a replace that expects the revision of
    /// the release, with the identifier, the marker and the key among its fields. A store refuses any
    /// other commit.
    #[must_use]
    pub fn releases_are_replaced(&self) -> bool {
        let unique = [TokenField::Identifier, TokenField::Managed, TokenField::Key];
        let mut released = HashMap::new();
        for change in &self.changes {
            let before = released.remove(&change.token_id());
            let is_replaced = match (before, change) {
                (None, Change::Release { id, expected }) => {
                    released.insert(*id, *expected);
                    true
                }
                (None, _) => true,
                (Some(revision), Change::Replace { expected, fields, .. }) => {
                    revision == *expected && unique.iter().all(|field| fields.contains(*field))
                }
                (Some(_), _) => false,
            };
            if !is_replaced {
                return false;
            }
        }
        released.is_empty()
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
    use crate::identifier::Identifier;
    use crate::key::{KeyDigest, TokenKey};
    use crate::timestamp::Timestamp;
    use crate::token::Intent;
    use crate::user::UserId;

    fn token(number: u128) -> Token {
        let identifier: Identifier = format!("t{number}").parse().unwrap();
        Token {
            id: TokenId::from_bytes(number.to_be_bytes()),
            identifier,
            intent: Intent::Api,
            owner: UserId::new(1),
            description: "".into(),
            expires: None,
            expiring: false,
            managed: None,
            revision: Revision::FIRST,
            created: Timestamp::MIN,
            updated: Timestamp::MIN,
            last_used: None,
            owner_may_view_key: false,
            key_digest: KeyDigest::of(&TokenKey::from(number.to_string())),
            sealed_key: None,
        }
    }

    fn release(number: u128) -> Change {
        Change::Release { id: token(number).id, expected: Revision::FIRST }
    }

    fn replace(number: u128, expected: Revision, fields: &[TokenField]) -> Change {
        let fields = fields.iter().copied().collect();
        Change::Replace { expected, fields, token: Arc::new(token(number)) }
    }

    fn is_accepted(changes: Vec<Change>) -> bool {
        Commit { changes, events: Vec::new() }.releases_are_replaced()
    }

    const UNIQUE: [TokenField; 3] = [TokenField::Identifier, TokenField::Managed, TokenField::Key];

    #[test]
    fn release_that_the_next_change_of_the_token_replaces_is_accepted() {
        let replace = |number| replace(number, Revision::FIRST, &UNIQUE);
        assert!(is_accepted(Vec::new()));
        assert!(is_accepted(vec![replace(1), replace(1)]));
        assert!(is_accepted(vec![release(1), release(2), replace(2), replace(1)]));
        assert!(is_accepted(vec![release(1), replace(1), Change::Remove { id: token(1).id }]));
        assert!(is_accepted(vec![release(1), replace(1), release(1), replace(1)]));
    }

    #[test]
    fn release_that_is_not_replaced_next_is_refused() {
        let (id, first) = (token(1).id, Revision::FIRST);
        let complete = || replace(1, first, &UNIQUE);
        let later = replace(1, first.next().unwrap(), &UNIQUE);
        for changes in [
            vec![release(1)],
            vec![complete(), release(1)],
            vec![release(1), replace(2, first, &UNIQUE)],
            vec![release(1), replace(1, first, &UNIQUE[..2])],
            vec![release(1), later],
            vec![release(1), release(1), complete()],
            vec![release(1), Change::Expect { id, expected: first }, complete()],
            vec![release(1), Change::Remove { id }, complete()],
            vec![release(1), Change::Delete { id, expected: first }, complete()],
            vec![release(1), Change::Insert(Arc::new(token(1))), complete()],
        ] {
            assert!(!is_accepted(changes.clone()), "{changes:?}");
        }
    }

    #[test]
    fn unique_fields_are_shown_by_their_names() {
        let names = UniqueField::ALL.map(|field| field.to_string());
        assert_eq!(names, ["id", "identifier", "managed", "key"]);
    }
}
