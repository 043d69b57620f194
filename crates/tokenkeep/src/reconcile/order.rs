//! In which order changes of several tokens can be done, and which cannot.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::hash::Hash;
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    /// Gives up the identifier and the key of a token, which others in a cycle wait for.
    Release(usize),
    /// Writes the token.
    Write(usize),
}

/// Who holds what must be unique, as far as some planned token wants it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Holders {
    identifiers: Held<Identifier>,
    /// By the digest that the wanted key gets: the holder may be stored with that of an older pepper.
    keys: Held<KeyDigest>,
}

/// Who holds values of one kind. A token holds one of them at most.
#[derive(Debug, Clone)]
struct Held<T> {
    holders: HashMap<T, TokenId>,
    values: HashMap<TokenId, T>,
}

impl<T> Default for Held<T> {
    fn default() -> Self {
        Self { holders: HashMap::new(), values: HashMap::new() }
    }
}

impl<T: Clone + Eq + Hash> Held<T> {
    fn hold(&mut self, value: &T, id: TokenId) {
        self.release(id);
        self.holders.insert(value.clone(), id);
        self.values.insert(id, value.clone());
    }

    fn release(&mut self, id: TokenId) {
        // Another token may have taken it since.
        if let Some(value) = self.values.remove(&id)
            && self.holders.get(&value) == Some(&id)
        {
            self.holders.remove(&value);
        }
    }

    /// The token other than `id` that holds a value.
    fn other_holder(&self, value: &T, id: TokenId) -> Option<TokenId> {
        self.holders.get(value).copied().filter(|holder| *holder != id)
    }
}

impl Holders {
    /// The token holds this identifier, and no other that was seen before.
    pub(crate) fn hold_identifier(&mut self, identifier: &Identifier, id: TokenId) {
        self.identifiers.hold(identifier, id);
    }

    /// The token holds this key, and no other that was seen before.
    pub(crate) fn hold_key(&mut self, digest: &KeyDigest, id: TokenId) {
        self.keys.hold(digest, id);
    }

    /// The token gives up its identifier.
    pub(crate) fn release_identifier(&mut self, id: TokenId) {
        self.identifiers.release(id);
    }

    fn release(&mut self, id: TokenId) {
        self.identifiers.release(id);
        self.keys.release(id);
    }

    fn holds_any(&self, id: TokenId) -> bool {
        self.identifiers.values.contains_key(&id) || self.keys.values.contains_key(&id)
    }

    /// The other token that holds the identifier that `token` wants.
    fn identifier_holder(&self, token: &Token) -> Option<TokenId> {
        self.identifiers.other_holder(&token.identifier, token.id)
    }

    /// The other token that holds the key that `token` wants.
    fn key_holder(&self, token: &Token) -> Option<TokenId> {
        self.keys.other_holder(&token.key_digest, token.id)
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
        self.identifiers.hold(&after.identifier, after.id);
        if before.key_digest != after.key_digest {
            self.keys.hold(&after.key_digest, after.id);
        }
    }
}

/// Orders what is to be written so that each change finds free what it needs. Deletions come before
/// it. A token that gives up an identifier or a key comes before the one that takes it; where tokens
/// exchange them in a cycle, one of them releases its own first. A token that needs what another one
/// keeps is refused. `None` when what was read at different moments does not fit together.
pub(crate) fn toposort(planned: &mut [Planned], mut holders: Holders) -> Option<Vec<Step>> {
    let mut waiting = Waiting::default();
    for (place, one) in planned.iter().enumerate() {
        match &one.outcome {
            Outcome::Delete(token) => holders.release(token.id),
            Outcome::Replace { .. } | Outcome::Insert { .. } => waiting.add(place, &one.outcome),
            Outcome::Unchanged | Outcome::Refused(_) => {}
        }
    }
    let mut steps = Vec::with_capacity(planned.len());
    let mut released = BTreeSet::new();
    let mut queue: VecDeque<usize> = waiting.places.iter().copied().collect();
    loop {
        while let Some(place) = queue.pop_front() {
            let Some(one) = planned.get_mut(place) else { continue };
            let Some(after) = one.outcome.after().filter(|_| waiting.places.contains(&place))
            else {
                continue;
            };
            let against = holders.against(after);
            let is_free = against.is_empty();
            if !is_free && !waiting.is_blocked(after, &holders) {
                continue;
            }
            waiting.remove(place, &one.outcome);
            if let Some(before) = one.outcome.replaced() {
                queue.extend(waiting.for_values_of(before.id, &holders));
            }
            if is_free {
                if let Some(before) = one.outcome.replaced() {
                    holders.replace(before, after);
                } else {
                    holders.hold_identifier(&after.identifier, after.id);
                    holders.hold_key(&after.key_digest, after.id);
                }
                steps.push(Step::Write(place));
                queue.extend(waiting.for_values_of(after.id, &holders));
            } else {
                one.outcome = Outcome::Refused(against);
            }
        }
        if waiting.places.is_empty() {
            return Some(steps);
        }
        // Each waits for another that waits.
        let (place, token) = waiting.places.iter().find_map(|place| {
            let token = planned.get(*place)?.outcome.replaced()?;
            let holds = !released.contains(place) && holders.holds_any(token.id);
            holds.then_some((*place, token))
        })?;
        queue.extend(waiting.for_values_of(token.id, &holders));
        holders.release(token.id);
        released.insert(place);
        steps.push(Step::Release(place));
    }
}

/// The places of tokens that wait to be written.
#[derive(Default)]
struct Waiting {
    places: BTreeSet<usize>,
    /// Whether a token gives up its identifier and its key.
    gives_up: HashMap<TokenId, (bool, bool)>,
    by_identifier: HashMap<Identifier, Vec<usize>>,
    by_key: HashMap<KeyDigest, Vec<usize>>,
}

impl Waiting {
    fn add(&mut self, place: usize, outcome: &Outcome) {
        let Some(after) = outcome.after() else { return };
        self.places.insert(place);
        self.by_identifier.entry(after.identifier.clone()).or_default().push(place);
        self.by_key.entry(after.key_digest.clone()).or_default().push(place);
        if let Some(before) = outcome.replaced() {
            let renamed = before.identifier != after.identifier;
            self.gives_up.insert(before.id, (renamed, before.key_digest != after.key_digest));
        }
    }

    fn remove(&mut self, place: usize, outcome: &Outcome) {
        self.places.remove(&place);
        if let Some(before) = outcome.replaced() {
            self.gives_up.remove(&before.id);
        }
    }

    /// Whether `token` needs what another token keeps.
    fn is_blocked(&self, token: &Token, holders: &Holders) -> bool {
        let gives_up = |holder| self.gives_up.get(&holder).copied().unwrap_or_default();
        holders.identifier_holder(token).is_some_and(|holder| !gives_up(holder).0)
            || holders.key_holder(token).is_some_and(|holder| !gives_up(holder).1)
    }

    /// Those that want a value that the token holds.
    fn for_values_of<'a>(
        &'a self,
        id: TokenId,
        holders: &Holders,
    ) -> impl Iterator<Item = usize> + use<'a> {
        let identifier = holders.identifiers.values.get(&id);
        let key = holders.keys.values.get(&id);
        let by_identifier = identifier.and_then(|identifier| self.by_identifier.get(identifier));
        let by_key = key.and_then(|key| self.by_key.get(key));
        by_identifier.into_iter().chain(by_key).flatten().copied()
    }
}
