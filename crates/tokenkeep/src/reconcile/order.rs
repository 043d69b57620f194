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
    pub(crate) identifiers: HashMap<Identifier, TokenId>,
    pub(crate) keys: HashMap<KeyDigest, TokenId>,
}

impl Holders {
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

    fn release(&mut self, token: &Token) {
        self.identifiers.remove(&token.identifier);
        self.keys.remove(&token.key_digest);
    }

    fn give(&mut self, token: &Token) {
        self.identifiers.insert(token.identifier.clone(), token.id);
        self.keys.insert(token.key_digest.clone(), token.id);
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
                holders.release(token);
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
    if let Outcome::Replace { before, .. } = outcome {
        holders.release(before);
    }
    holders.give(after);
    true
}
