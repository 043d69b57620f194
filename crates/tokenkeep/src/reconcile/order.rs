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
    fn after(&self) -> Option<&Token> {
        match self {
            Self::Replace { after, .. } => Some(after),
            Self::Insert { token, .. } => Some(token),
            Self::Unchanged | Self::Delete(_) | Self::Refused(_) => None,
        }
    }
}

/// Who holds what must be unique, as far as it is wanted by somebody.
#[derive(Debug, Default)]
pub(crate) struct Holders {
    identifiers: HashMap<Identifier, TokenId>,
    /// By the digest that the wanted key gets: who has it may be stored with that of an older pepper.
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

    fn release_key(&mut self, id: TokenId) {
        if let Some(digest) = self.digests.remove(&id) {
            self.keys.remove(&digest);
        }
    }

    /// What stands in the way of `token`.
    fn against(&self, token: &Token) -> FieldErrors {
        let is_other = |holder: Option<&TokenId>| holder.is_some_and(|holder| *holder != token.id);
        let mut errors = FieldErrors::default();
        if is_other(self.identifiers.get(&token.identifier)) {
            errors.add(TokenField::Identifier, [FieldError::IdentifierTaken]);
        }
        if is_other(self.keys.get(&token.key_digest)) {
            errors.add(TokenField::Key, [FieldError::KeyTaken]);
        }
        errors
    }

    fn delete(&mut self, token: &Token) {
        self.identifiers.remove(&token.identifier);
        self.release_key(token.id);
    }

    fn replace(&mut self, before: &Token, after: &Token) {
        self.identifiers.remove(&before.identifier);
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

/// The places of what is to be written, in an order in which each finds free what it needs: what
/// goes goes first, what gives up an identifier or a key comes before what takes it. What can come
/// at no place, since somebody keeps what it needs or two want to swap, is refused.
pub(crate) fn settle(planned: &mut [Planned], mut holders: Holders) -> Vec<usize> {
    let mut order = Vec::with_capacity(planned.len());
    let mut waiting = Vec::new();
    for (place, one) in planned.iter().enumerate() {
        match &one.outcome {
            Outcome::Delete(token) => {
                holders.delete(token);
                order.push(place);
            }
            Outcome::Replace { .. } | Outcome::Insert { .. } => waiting.push(place),
            Outcome::Unchanged | Outcome::Refused(_) => {}
        }
    }
    loop {
        let before = waiting.len();
        waiting.retain(|place| {
            let done = planned.get(*place).is_some_and(|one| try_write(&one.outcome, &mut holders));
            if done {
                order.push(*place);
            }
            !done
        });
        if waiting.len() == before {
            break;
        }
    }
    for place in waiting {
        if let Some(one) = planned.get_mut(place)
            && let Some(after) = one.outcome.after()
        {
            one.outcome = Outcome::Refused(holders.against(after));
        }
    }
    order
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
