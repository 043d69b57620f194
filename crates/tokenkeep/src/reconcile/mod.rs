//! Managed tokens: what an automated process wants there to be (SPEC "Managed tokens").

mod order;
mod rule;

use std::collections::BTreeSet;
use std::fmt;

use thiserror::Error;

pub(crate) use order::{Holders, Outcome, Planned, Step, toposort};
pub(crate) use rule::bring_back;

use crate::error::TokenError;
use crate::fields::TokenFields;
use crate::identifier::Identifier;
use crate::input::{FieldErrors, KeyChange, TokenChange};
use crate::key::TokenKey;
use crate::managed::Marker;
use crate::token::Token;

/// One token that an automated process owns, as it is to be.
///
/// See [`TokenService::reconcile`](crate::TokenService::reconcile) for an example.
#[derive(Debug, Clone)]
pub struct ManagedToken {
    pub(crate) marker: Marker,
    pub(crate) state: State,
    pub(crate) change: TokenChange,
    pub(crate) key: Option<KeyChange>,
}

/// Whether a managed token is to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Present,
    Created,
    Absent,
}

impl ManagedToken {
    /// A token that is to be there, with the fields that `wanted` sets: a missing one is created,
    /// one that differs in such a field is brought back, and fields that `wanted` leaves alone are
    /// left alone. The expiry of an `api` token is not compared: one that was set in code is refused.
    /// An expected version in `wanted` is ignored. A new token needs an identifier and an owner. A
    /// `wanted` whose JSON cannot be read fails the whole reconcile, with [`TokenError::Body`].
    #[must_use]
    pub fn present(marker: Marker, wanted: TokenChange) -> Self {
        Self::new(marker, State::Present, wanted)
    }

    /// A token that is to be created if it is missing, and left as it is otherwise. The expiry of a
    /// new `api` token may be set.
    #[must_use]
    pub fn created(marker: Marker, wanted: TokenChange) -> Self {
        Self::new(marker, State::Created, wanted)
    }

    /// A token that is not to be there.
    #[must_use]
    pub fn absent(marker: Marker) -> Self {
        Self::new(marker, State::Absent, TokenChange::new())
    }

    /// Wants the token to have this key, which must be as long as one that is set by hand. Without
    /// it a new token gets a generated key, and an existing one keeps what it has.
    #[must_use]
    pub fn key(mut self, key: impl AsRef<str>) -> Self {
        self.key = Some(KeyChange::new(key));
        self
    }

    fn new(marker: Marker, state: State, wanted: TokenChange) -> Self {
        let change = wanted.managed(marker.as_str().to_owned());
        Self { marker, state, change, key: None }
    }
}

/// What is to be reconciled: the wanted tokens, and what is to happen to others.
///
/// See [`TokenService::reconcile`](crate::TokenService::reconcile) for an example.
#[derive(Debug, Clone, Default)]
pub struct Reconcile {
    pub(crate) tokens: Vec<ManagedToken>,
    pub(crate) prefix: Option<String>,
    pub(crate) takes_over: bool,
    pub(crate) evicts: bool,
}

impl Reconcile {
    /// Sees to these tokens, and leaves all others alone.
    #[must_use]
    pub fn new(tokens: impl IntoIterator<Item = ManagedToken>) -> Self {
        Self {
            tokens: tokens.into_iter().collect(),
            prefix: None,
            takes_over: false,
            evicts: false,
        }
    }

    /// Deletes the managed tokens whose marker starts with `prefix`, compared byte by byte, and is
    /// not among the wanted ones. It must not be empty. A token that gets another marker after it was
    /// listed is deleted, too.
    #[must_use]
    pub fn pruning(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = Some(prefix.into());
        self
    }

    /// Takes over an unmanaged token that has the identifier of a wanted one, instead of refusing
    /// to create that one.
    #[must_use]
    pub fn taking_over(mut self) -> Self {
        self.takes_over = true;
        self
    }

    /// Renames an unmanaged token that has the identifier of a wanted one, instead of refusing that
    /// one. The renamed token stays valid under its key; its new identifier is the old one with a
    /// random part. A token of the wanted owner is taken over instead, where that is asked for too.
    #[must_use]
    pub fn evicting(mut self) -> Self {
        self.evicts = true;
        self
    }

    /// Whether a wanted token may take the place of an unmanaged one that has its identifier.
    pub(crate) fn may_take_over(&self, wanted: &ManagedToken, token: &Token) -> bool {
        let is_foreign =
            crate::input::wanted(&wanted.change.owner).is_some_and(|owner| *owner != token.owner);
        self.takes_over && !(self.evicts && is_foreign)
    }

    /// The markers of the wanted tokens.
    pub(crate) fn markers(&self) -> BTreeSet<&Marker> {
        self.tokens.iter().map(|wanted| &wanted.marker).collect()
    }
}

/// What a reconcile did, or would do. Each list is in the order of the wanted tokens, with what was
/// pruned behind what was wanted absent.
///
/// See [`TokenService::reconcile`](crate::TokenService::reconcile) for an example.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ReconcileReport {
    /// Tokens that were missing.
    pub created: Vec<Marker>,
    /// Tokens that were not as wanted, with the fields that were changed.
    pub updated: Vec<(Marker, TokenFields)>,
    /// Tokens that were as wanted, and were not touched.
    pub unchanged: Vec<Marker>,
    /// Tokens that were not to be there. They are deleted first, and stay deleted when the rest is
    /// refused or fails.
    pub deleted: Vec<Marker>,
    /// Unmanaged tokens that were renamed, with their old and new identifiers.
    pub evicted: Vec<(Identifier, Identifier)>,
    /// Wanted tokens that cannot be, and why. When there is one, nothing is created or updated.
    pub refused: Vec<(Marker, FieldErrors)>,
}

/// What a reconcile did, and the keys that it made.
///
/// See [`TokenService::reconcile`](crate::TokenService::reconcile) for an example.
#[derive(Debug)]
#[non_exhaustive]
pub struct Reconciled {
    /// What was done.
    pub report: ReconcileReport,
    /// The keys that were generated for tokens that were created.
    pub keys: Vec<(Marker, TokenKey)>,
}

/// Why a reconcile created and updated nothing, or failed in such a way that its
/// [outcome is unknown](TokenError::is_outcome_unknown). Tokens that were not to be there are deleted
/// first: each variant says which are.
///
/// See [`TokenService::reconcile`](crate::TokenService::reconcile) for an example.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ReconcileError {
    /// Some of the wanted tokens cannot be: see [`refused`](ReconcileReport::refused). Of the other
    /// lists, [`deleted`](ReconcileReport::deleted) says what was done, and the others what would
    /// have been done.
    #[error("{}", Refusals(.0))]
    Refused(Box<ReconcileReport>),
    /// An empty prefix would prune every managed token there is.
    #[error("the prefix to prune must not be empty")]
    EmptyPrefix,
    /// The reconcile failed.
    #[error("{error}")]
    Failed {
        /// Why.
        #[source]
        error: TokenError,
        /// The tokens that were deleted before.
        deleted: Vec<Marker>,
    },
}

impl From<TokenError> for ReconcileError {
    fn from(error: TokenError) -> Self {
        Self::Failed { error, deleted: Vec::new() }
    }
}

/// The refusals of a report in one line.
struct Refusals<'a>(&'a ReconcileReport);

impl fmt::Display for Refusals<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not reconciled")?;
        for (place, (marker, errors)) in self.0.refused.iter().enumerate() {
            let separator = if place == 0 { ": " } else { "; " };
            write!(f, "{separator}{marker} ({errors})")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fields::TokenField;
    use crate::input::FieldError;

    #[test]
    fn a_refusal_names_every_marker_with_what_is_wrong() {
        let refused = |marker: &str, error| {
            (marker.parse().unwrap(), FieldErrors::of(TokenField::Identifier, [error]))
        };
        let report = ReconcileReport {
            refused: vec![
                refused("m/a", FieldError::Required),
                refused("m/b", FieldError::NotASlug),
            ],
            ..ReconcileReport::default()
        };
        let [required, slug] = [FieldError::Required, FieldError::NotASlug];
        assert_eq!(
            ReconcileError::Refused(report.into()).to_string(),
            format!("not reconciled: m/a (identifier: {required}); m/b (identifier: {slug})")
        );
    }
}
