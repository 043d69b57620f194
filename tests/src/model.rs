//! The simplest thing that could be a store: what every backend is compared with.

use tokenkeep::{
    Change, Commit, Event, EventQuery, Lookup, Revision, Timestamp, Token, TokenId, TokenQuery,
    Touch, UniqueField, Window,
};

/// Tokens and events in two lists, searched from the start.
#[derive(Debug, Clone, Default)]
pub struct Model {
    pub tokens: Vec<Token>,
    /// In the order of commits.
    events: Vec<Event>,
    /// The tokens whose unique values are released in the commit that is going on.
    released: Vec<TokenId>,
}

/// Why the model refuses a commit.
#[derive(Debug, PartialEq)]
pub enum Refusal {
    Stale {
        change: usize,
        current: Option<Box<Token>>,
    },
    Taken {
        change: usize,
        field: UniqueField,
    },
    /// A release is not replaced.
    Release,
}

/// A page of the model.
#[derive(Debug, PartialEq)]
pub struct Page {
    pub tokens: Vec<Token>,
    pub total: Option<u64>,
    pub goes_on: bool,
}

impl Model {
    pub fn find(&self, lookup: Lookup<'_>) -> Option<&Token> {
        self.tokens.iter().find(|token| match lookup {
            Lookup::Id(id) => token.id == id,
            Lookup::Identifier(identifier) => token.identifier == *identifier,
            Lookup::Marker(marker) => token.managed.as_ref() == Some(marker),
            Lookup::KeyDigest(digest) => token.key_digest == *digest,
        })
    }

    pub fn list(&self, query: &TokenQuery) -> Page {
        let order = query.token_order();
        let mut tokens: Vec<_> = self
            .tokens
            .iter()
            .filter(|token| query.matches(token, |_, _| false))
            .cloned()
            .collect();
        tokens.sort_by(|a, b| order.compare(a, b));
        let total = query.count.then_some(tokens.len() as u64);
        let mut shown: Vec<_> = match &query.window {
            Window::Offset { offset, .. } => {
                tokens.into_iter().skip(usize::try_from(*offset).unwrap()).collect()
            }
            Window::After { cursor: None, .. } => tokens,
            Window::After { cursor: Some(cursor), .. } => {
                tokens.into_iter().filter(|token| order.is_behind(token, cursor)).collect()
            }
        };
        let limit = query.window.limit() as usize;
        let goes_on = shown.len() > limit && limit > 0;
        shown.truncate(limit);
        Page { tokens: shown, total, goes_on }
    }

    pub fn commit(&mut self, commit: &Commit) -> Result<(), Refusal> {
        if !commit.releases_are_replaced() {
            return Err(Refusal::Release);
        }
        let mut after = self.clone();
        let mut events = commit.events.clone();
        for (place, change) in commit.changes.iter().enumerate() {
            if let (Change::Remove { id }, Some(event)) = (change, events.get_mut(place))
                && let Some(token) = after.find(Lookup::Id(*id)).filter(|_| event.token == *id)
            {
                event.identifier = token.identifier.clone();
                event.revision = token.revision;
            }
            after.apply(place, change)?;
        }
        after.events.append(&mut events);
        after.released.clear();
        *self = after;
        Ok(())
    }

    fn apply(&mut self, place: usize, change: &Change) -> Result<(), Refusal> {
        match change {
            Change::Insert(token) => {
                self.check_free(place, token, None)?;
                self.tokens.push(Token::clone(token));
            }
            Change::Replace { expected, fields, token } => {
                let index = self.at(place, token.id, *expected)?;
                let after = self.tokens[index].with_fields_of(token, *fields);
                self.check_free(place, &after, Some(token.id))?;
                self.tokens[index] = after;
                self.released.retain(|released| *released != token.id);
            }
            Change::Delete { id, expected } => {
                let index = self.at(place, *id, *expected)?;
                self.tokens.remove(index);
            }
            Change::Expect { id, expected } => {
                self.at(place, *id, *expected)?;
            }
            Change::Remove { id } => {
                let index = self.tokens.iter().position(|token| token.id == *id);
                let stale = Refusal::Stale { change: place, current: None };
                self.tokens.remove(index.ok_or(stale)?);
            }
            Change::Release { id, expected } => {
                self.at(place, *id, *expected)?;
                self.released.push(*id);
            }
        }
        Ok(())
    }

    fn at(&self, change: usize, id: TokenId, expected: Revision) -> Result<usize, Refusal> {
        let there = self.tokens.iter().position(|token| token.id == id);
        match there {
            Some(index) if self.tokens[index].revision == expected => Ok(index),
            _ => Err(Refusal::Stale {
                change,
                current: there.map(|i| Box::new(self.tokens[i].clone())),
            }),
        }
    }

    fn check_free(
        &self,
        change: usize,
        token: &Token,
        own: Option<TokenId>,
    ) -> Result<(), Refusal> {
        let others = || self.tokens.iter().filter(|other| Some(other.id) != own);
        let taken = UniqueField::ALL.into_iter().find(|field| {
            others().any(|other| match field {
                UniqueField::Id => other.id == token.id,
                _ if self.released.contains(&other.id) => false,
                UniqueField::Identifier => other.identifier == token.identifier,
                UniqueField::Managed => token.managed.is_some() && other.managed == token.managed,
                UniqueField::Key => other.key_digest == token.key_digest,
            })
        });
        taken.map_or(Ok(()), |field| Err(Refusal::Taken { change, field }))
    }

    pub fn touch(&mut self, touches: &[Touch]) {
        for touch in touches {
            for token in self.tokens.iter_mut().filter(|token| token.id == touch.token) {
                token.last_used = token.last_used.max(Some(touch.at));
            }
        }
    }

    pub fn events(&self, query: &EventQuery) -> Vec<Event> {
        let mut events: Vec<_> =
            self.events.iter().filter(|event| query.matches(event)).cloned().collect();
        if query.token.is_some() {
            events.reverse();
        }
        events.truncate(query.limit as usize);
        events
    }

    pub fn prune(&mut self, before: Timestamp) -> u64 {
        let count = self.events.len();
        self.events.retain(|event| event.at >= before);
        (count - self.events.len()) as u64
    }
}
