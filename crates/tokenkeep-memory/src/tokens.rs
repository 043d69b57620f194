//! Tokens and the maps by which they are found.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;
use std::num::NonZeroU8;
use std::sync::Arc;

use tokenkeep::{
    Change, CommitError, Identifier, KeyDigest, Lookup, Marker, Revision, Token, TokenId,
    TokenPage, TokenQuery, Touch, UniqueField, Window,
};

/// Tokens, each shared by every map that finds it.
#[derive(Debug, Default)]
pub(crate) struct Tokens {
    by_id: HashMap<TokenId, Arc<Token>>,
    by_identifier: HashMap<Identifier, Arc<Token>>,
    by_marker: HashMap<Marker, Arc<Token>>,
    by_digest: HashMap<KeyDigest, Arc<Token>>,
}

/// What was there before each of some changes.
pub(crate) struct Undo(Vec<(TokenId, Option<Arc<Token>>)>);

impl Tokens {
    pub(crate) fn find(&self, lookup: Lookup<'_>) -> Option<&Arc<Token>> {
        match lookup {
            Lookup::Id(id) => self.by_id.get(&id),
            Lookup::Identifier(identifier) => self.by_identifier.get(identifier),
            Lookup::Marker(marker) => self.by_marker.get(marker),
            Lookup::KeyDigest(digest) => self.by_digest.get(digest),
        }
    }

    pub(crate) fn pepper_ids(&self) -> Vec<NonZeroU8> {
        let ids: BTreeSet<_> = self.by_digest.keys().filter_map(KeyDigest::pepper_id).collect();
        ids.into_iter().collect()
    }

    pub(crate) fn list(&self, query: &TokenQuery) -> TokenPage {
        let order = query.token_order();
        let mut tokens: Vec<_> = self.by_id.values().filter(|token| query.matches(token)).collect();
        let total = query.count.then_some(tokens.len() as u64);
        let offset = match &query.window {
            Window::Offset { offset, .. } => usize::try_from(*offset).unwrap_or(usize::MAX),
            Window::After { cursor: Some(cursor), .. } => {
                tokens.retain(|token| order.is_behind(token, cursor));
                0
            }
            Window::After { cursor: None, .. } => 0,
        };
        tokens.sort_unstable_by(|a, b| order.compare(a, b));
        let limit = query.window.limit() as usize;
        let shown = || tokens.iter().skip(offset);
        let page: Vec<_> = shown().take(limit).map(|token| Arc::clone(token)).collect();
        let more = shown().nth(limit).is_some();
        let next = page.last().filter(|_| more).map(|token| order.behind(token));
        TokenPage { tokens: page, total, next }
    }

    /// Does all changes, or none.
    pub(crate) fn apply(&mut self, changes: &[Change]) -> Result<Undo, CommitError> {
        let mut undo = Undo(Vec::with_capacity(changes.len()));
        for (place, change) in changes.iter().enumerate() {
            match self.apply_one(place, change) {
                Ok(before) => undo.0.push((change.token_id(), before)),
                Err(error) => {
                    self.undo(undo);
                    return Err(error);
                }
            }
        }
        Ok(undo)
    }

    /// Takes changes back.
    pub(crate) fn undo(&mut self, undo: Undo) {
        for (id, before) in undo.0.into_iter().rev() {
            self.set(id, before.as_ref());
        }
    }

    /// Does one change, and returns what was there before.
    fn apply_one(
        &mut self,
        place: usize,
        change: &Change,
    ) -> Result<Option<Arc<Token>>, CommitError> {
        let after = match change {
            Change::Insert(token) => {
                self.check_unique(place, token, |_| true)?;
                Some(token.clone())
            }
            Change::Replace { expected, fields, token } => {
                let before = self.at_revision(place, token.id, *expected)?;
                let after = before.with_fields_of(token, *fields);
                self.check_unique(place, &after, |field| field.is_among(*fields))?;
                Some(Arc::new(after))
            }
            Change::Delete { id, expected } => {
                self.at_revision(place, *id, *expected)?;
                None
            }
            Change::Expect { id, expected } => {
                return self.at_revision(place, *id, *expected).map(Some);
            }
        };
        Ok(self.set(change.token_id(), after.as_ref()))
    }

    fn at_revision(
        &self,
        place: usize,
        id: TokenId,
        expected: Revision,
    ) -> Result<Arc<Token>, CommitError> {
        match self.by_id.get(&id) {
            Some(token) if token.revision == expected => Ok(token.clone()),
            current => Err(CommitError::Stale { change: place, current: current.cloned() }),
        }
    }

    /// The first of the fields to look at that another token has.
    fn check_unique(
        &self,
        place: usize,
        token: &Token,
        look_at: impl Fn(UniqueField) -> bool,
    ) -> Result<(), CommitError> {
        let holder = |field| match field {
            UniqueField::Id => self.by_id.get(&token.id),
            UniqueField::Identifier => self.by_identifier.get(&token.identifier),
            UniqueField::Managed => self.by_marker.get(token.managed.as_ref()?),
            UniqueField::Key => self.by_digest.get(&token.key_digest),
        };
        // A token that is inserted is not there yet: whoever has its id is another.
        let is_taken = |field: &UniqueField| {
            let is_other = |holder: &Arc<Token>| *field == UniqueField::Id || holder.id != token.id;
            look_at(*field) && holder(*field).is_some_and(is_other)
        };
        match UniqueField::ALL.into_iter().find(is_taken) {
            Some(field) => Err(CommitError::Taken { change: place, field }),
            None => Ok(()),
        }
    }

    /// Puts `after` where the token `id` was, and returns what was there.
    fn set(&mut self, id: TokenId, after: Option<&Arc<Token>>) -> Option<Arc<Token>> {
        let before = match after {
            Some(after) => self.by_id.insert(id, after.clone()),
            None => self.by_id.remove(&id),
        };
        let (old, new) = (before.as_ref(), after);
        reindex(&mut self.by_identifier, old, new, |token| Some(&token.identifier));
        reindex(&mut self.by_marker, old, new, |token| token.managed.as_ref());
        reindex(&mut self.by_digest, old, new, |token| Some(&token.key_digest));
        before
    }

    pub(crate) fn touch(&mut self, touch: &Touch) {
        let Some(token) = self.by_id.get(&touch.token) else {
            return;
        };
        if token.last_used < Some(touch.at) {
            let touched = Token { last_used: Some(touch.at), ..Token::clone(token) };
            self.set(touch.token, Some(&Arc::new(touched)));
        }
    }
}

/// Makes an index find `new` by its key instead of `old` by its own.
fn reindex<K: Clone + Eq + Hash>(
    index: &mut HashMap<K, Arc<Token>>,
    old: Option<&Arc<Token>>,
    new: Option<&Arc<Token>>,
    key: impl Fn(&Token) -> Option<&K>,
) {
    let new_key = new.and_then(|token| key(token));
    if let Some(old_key) = old.and_then(|token| key(token)).filter(|old| Some(*old) != new_key) {
        index.remove(old_key);
    }
    if let (Some(key), Some(token)) = (new_key, new) {
        index.insert(key.clone(), token.clone());
    }
}
