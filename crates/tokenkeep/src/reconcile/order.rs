//! In which order changes of several tokens can be done, and which cannot.

use std::collections::HashMap;
use std::sync::Arc;

use crate::fields::TokenField;
use crate::identifier::Identifier;
use crate::input::{FieldError, FieldErrors};
use crate::key::{KeyDigest, TokenKey};
use crate::managed::Marker;
use crate::token::{Token, TokenId};

/// What is to become of one managed token.
#[derive(Debug)]
pub(crate) struct Planned {
    pub(crate) marker: Marker,
    pub(crate) outcome: Outcome,
}

/// What is to become of one managed token.
#[derive(Debug)]
pub(crate) enum Outcome {
    Unchanged,
    Delete(Arc<Token>),
    Replace {
        before: Arc<Token>,
        after: Box<Token>,
    },
    Insert {
        token: Box<Token>,
        /// The key, if it was generated.
        key: Option<TokenKey>,
    },
    Refused(FieldErrors),
}

impl Outcome {
    /// The token as it will be, if it is written.
    pub(crate) fn after(&self) -> Option<&Token> {
        match self {
            Self::Replace { after, .. } => Some(after),
            Self::Insert { token, .. } => Some(token),
            Self::Unchanged | Self::Delete(_) | Self::Refused(_) => None,
        }
    }

    /// Whether the identifier of another token is needed.
    pub(crate) fn needs_gone(&self, other: &Token) -> bool {
        self.after()
            .is_some_and(|after| after.id != other.id && after.identifier == other.identifier)
    }

    /// The token as it is, if it is replaced.
    fn replaced(&self) -> Option<&Token> {
        match self {
            Self::Replace { before, .. } => Some(before),
            _ => None,
        }
    }
}

/// One change of a commit, for the planned token at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Gives up the identifier and the key of a token, which others in a cycle wait for.
    Release(usize),
    /// Writes the token.
    Write(usize),
}

/// Who holds what must be unique, as far as some planned token wants it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Holders {
    identifiers: HashMap<Identifier, TokenId>,
    /// By the digest that the wanted key gets: the holder may be stored with that of an older pepper.
    keys: HashMap<KeyDigest, TokenId>,
    /// The other way round.
    digests: HashMap<TokenId, KeyDigest>,
}

impl Holders {
    pub(crate) fn hold_identifier(&mut self, identifier: Identifier, id: TokenId) {
        self.identifiers.insert(identifier, id);
    }

    pub(crate) fn hold_key(&mut self, digest: KeyDigest, id: TokenId) {
        self.keys.insert(digest.clone(), id);
        self.digests.insert(id, digest);
    }

    /// The token gives up its identifier and its key.
    pub(crate) fn release(&mut self, token: &Token) {
        self.release_identifier(token);
        self.release_key(token.id);
    }

    /// The token gives up its identifier.
    pub(crate) fn release_identifier(&mut self, token: &Token) {
        // Another token may have taken it since.
        if self.identifiers.get(&token.identifier) == Some(&token.id) {
            self.identifiers.remove(&token.identifier);
        }
    }

    fn release_key(&mut self, id: TokenId) {
        if let Some(digest) = self.digests.remove(&id)
            && self.keys.get(&digest) == Some(&id)
        {
            self.keys.remove(&digest);
        }
    }

    /// The other token that holds the identifier that `token` wants.
    fn identifier_holder(&self, token: &Token) -> Option<TokenId> {
        self.identifiers.get(&token.identifier).copied().filter(|holder| *holder != token.id)
    }

    /// The other token that holds the key that `token` wants.
    fn key_holder(&self, token: &Token) -> Option<TokenId> {
        self.keys.get(&token.key_digest).copied().filter(|holder| *holder != token.id)
    }

    /// What stands in the way of `token`.
    fn against(&self, token: &Token) -> FieldErrors {
        let mut errors = FieldErrors::default();
        if self.identifier_holder(token).is_some() {
            errors.add(TokenField::Identifier, [FieldError::IdentifierTaken]);
        }
        if self.key_holder(token).is_some() {
            errors.add(TokenField::Key, [FieldError::KeyTaken]);
        }
        errors
    }

    /// The token is now another version of itself.
    pub(crate) fn replace(&mut self, before: &Token, after: &Token) {
        self.release_identifier(before);
        self.hold_identifier(after.identifier.clone(), after.id);
        if before.key_digest != after.key_digest {
            self.release_key(before.id);
            self.hold_key(after.key_digest.clone(), after.id);
        }
    }

    fn insert(&mut self, token: &Token) {
        self.hold_identifier(token.identifier.clone(), token.id);
        self.hold_key(token.key_digest.clone(), token.id);
    }
}

/// Orders what is to be written so that each change finds free what it needs. Deletions come before
/// it. A token that gives up an identifier or a key comes before the one that takes it; where tokens
/// exchange them in a cycle, one of them releases its own first. A token that needs what another one
/// keeps is refused.
pub(crate) fn toposort(planned: &mut [Planned], mut holders: Holders) -> Vec<Step> {
    let mut steps = Vec::with_capacity(planned.len());
    let mut waiting = Vec::new();
    for (place, one) in planned.iter().enumerate() {
        match &one.outcome {
            Outcome::Delete(token) => holders.release(token),
            Outcome::Replace { .. } | Outcome::Insert { .. } => waiting.push(place),
            Outcome::Unchanged | Outcome::Refused(_) => {}
        }
    }
    loop {
        let before = waiting.len();
        waiting.retain(|place| {
            let done = planned.get(*place).is_some_and(|one| try_write(&one.outcome, &mut holders));
            if done {
                steps.push(Step::Write(*place));
            }
            !done
        });
        if waiting.is_empty() {
            return steps;
        }
        if waiting.len() < before {
            continue;
        }
        if let Some(place) = blocked(planned, &waiting, &holders) {
            waiting.retain(|waiting| *waiting != place);
            if let Some(one) = planned.get_mut(place)
                && let Some(after) = one.outcome.after()
            {
                one.outcome = Outcome::Refused(holders.against(after));
            }
            continue;
        }
        // Each waits for another that waits.
        let holds = |place: &usize| {
            let token = planned.get(*place)?.outcome.replaced()?;
            let holds_any = holders.identifiers.get(&token.identifier) == Some(&token.id)
                || holders.digests.contains_key(&token.id);
            (holds_any && !steps.contains(&Step::Release(*place))).then_some((*place, token))
        };
        let Some((place, token)) = waiting.iter().find_map(holds) else {
            return steps;
        };
        holders.release(token);
        steps.push(Step::Release(place));
    }
}

/// The first waiting token that needs what another token keeps.
fn blocked(planned: &[Planned], waiting: &[usize], holders: &Holders) -> Option<usize> {
    let waiting_outcomes = || waiting.iter().filter_map(|place| planned.get(*place));
    let gives_up = |holder: TokenId, gives: fn(&Token, &Token) -> bool| {
        waiting_outcomes().any(|one| match (&one.outcome, one.outcome.after()) {
            (Outcome::Replace { before, .. }, Some(after)) => {
                before.id == holder && gives(before, after)
            }
            _ => false,
        })
    };
    let is_blocked = |token: &Token| {
        let renames = |before: &Token, after: &Token| before.identifier != after.identifier;
        let rekeys = |before: &Token, after: &Token| before.key_digest != after.key_digest;
        holders.identifier_holder(token).is_some_and(|holder| !gives_up(holder, renames))
            || holders.key_holder(token).is_some_and(|holder| !gives_up(holder, rekeys))
    };
    let after = |place: &usize| planned.get(*place).and_then(|one| one.outcome.after());
    waiting.iter().copied().find(|place| after(place).is_some_and(is_blocked))
}

/// Whether it can be written now; then it holds what it needs.
fn try_write(outcome: &Outcome, holders: &mut Holders) -> bool {
    let Some(after) = outcome.after() else {
        return false;
    };
    if !holders.against(after).is_empty() {
        return false;
    }
    match outcome {
        Outcome::Replace { before, .. } => holders.replace(before, after),
        _ => holders.insert(after),
    }
    true
}
