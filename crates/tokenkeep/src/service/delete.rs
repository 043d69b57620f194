//! `core_tokens_destroy`.

use std::sync::Arc;

use crate::access::{Action, Caller};
use crate::error::TokenError;
use crate::event::EventKind;
use crate::expected::Expected;
use crate::fields::TokenFields;
use crate::service::session::Session;
use crate::service::{MAX_ATTEMPTS, TokenService};
use crate::store::{Change, Commit, CommitError, Lookup};
use crate::token::Token;

/// The number of races that a deletion loses before it is done at any revision.
const MAX_LOST_RACES: u32 = 8;

impl TokenService {
    /// Deletes a token, and returns it as it was. Its key is valid no more as soon as this returns.
    ///
    /// Without an expected version no writer can delay the deletion: after eight lost races the token is
    /// deleted at whatever revision it then is. The caller's rights are those on the token as it was read
    /// just before. What is returned may lack a change that was committed in between. The event has the
    /// last revision.
    ///
    /// ```
    /// # pollster::block_on(async {
    /// # use std::sync::Arc;
    /// # use tokenkeep::{Caller, Timestamp, TokenChange, TokenService, User, UserId, UserStore};
    /// # use tokenkeep_memory::MemoryStore;
    /// use tokenkeep::{Expected, TokenError};
    ///
    /// # let store = Arc::new(MemoryStore::new());
    /// # let alice = User::new(UserId::new(2), uuid::Uuid::from_u128(2), "alice", Timestamp::MIN);
    /// # store.put_user(alice).await?;
    /// # let service = TokenService::builder(store.clone(), store).open().await?;
    /// # let caller = Caller::User(UserId::new(2));
    /// # service.create(&caller, TokenChange::new().identifier("ci")).await?;
    /// service.delete(&caller, "ci", Expected::Anything).await?;
    /// let again = service.delete(&caller, "ci", Expected::Anything).await;
    /// assert!(matches!(again, Err(TokenError::NotFound)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// In this order: [`InactiveCaller`](TokenError::InactiveCaller),
    /// [`NotFound`](TokenError::NotFound), [`Forbidden`](TokenError::Forbidden),
    /// [`Stale`](TokenError::Stale); then [`Contended`](TokenError::Contended). At any time
    /// [`Random`](TokenError::Random) and [`Store`](TokenError::Store).
    pub async fn delete(
        &self,
        caller: &Caller,
        identifier: &str,
        expected: impl Into<Expected>,
    ) -> Result<Arc<Token>, TokenError> {
        let expected = expected.into();
        for lost_races in 0..MAX_ATTEMPTS {
            let session = self.session(caller).await?;
            let token = session.token(identifier, Action::Delete).await?;
            expected.check(&token)?;
            let mut commit = session.deleting(EventKind::Deleted, std::slice::from_ref(&token))?;
            if lost_races >= MAX_LOST_RACES && expected.is_anything() {
                commit.changes = vec![Change::Remove { id: token.id }];
            }
            if self.commit_or_lose(commit, &expected).await? {
                return Ok(token);
            }
        }
        Err(TokenError::Contended)
    }
}

/// How many tokens are removed by one commit.
const BATCH: usize = 256;

impl TokenService {
    /// Deletes tokens whatever others change in between, a batch by each commit, and adds those that
    /// it deleted to `removed`. A token that is gone already is left out.
    pub(super) async fn remove(
        &self,
        tokens: Vec<Arc<Token>>,
        removed: &mut Vec<Arc<Token>>,
    ) -> Result<(), TokenError> {
        for batch in tokens.chunks(BATCH) {
            let mut batch = batch.to_vec();
            while !batch.is_empty() {
                let session = self.session(&Caller::System).await?;
                let changes = batch.iter().map(|token| Change::Remove { id: token.id }).collect();
                let Commit { events, .. } = session.deleting(EventKind::Deleted, &batch)?;
                match self.commit(Commit { changes, events }).await {
                    Ok(()) => removed.append(&mut batch),
                    Err(CommitError::Stale { change, .. }) if change < batch.len() => {
                        batch.remove(change);
                        batch = self.still_there(batch, |_, _| true).await?;
                    }
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }

    /// Looks up the tokens of a commit that was stale, and returns those that are still there and that
    /// `keep` accepts. It gets each token as it was and as it is now. One more commit for each stale
    /// token would cost far more.
    pub(super) async fn still_there(
        &self,
        tokens: Vec<Arc<Token>>,
        keep: impl Fn(&Token, &Token) -> bool,
    ) -> Result<Vec<Arc<Token>>, TokenError> {
        let mut kept = Vec::with_capacity(tokens.len());
        for token in tokens {
            let found = self.parts.find(Lookup::Id(token.id)).await?;
            if found.is_some_and(|found| keep(&token, &found)) {
                kept.push(token);
            }
        }
        Ok(kept)
    }
}

impl Session<'_> {
    /// What removes tokens that are as they were read, each with its event.
    pub(super) fn deleting(
        &self,
        kind: EventKind,
        tokens: &[Arc<Token>],
    ) -> Result<Commit, TokenError> {
        let delete = |token: &Arc<Token>| Change::Delete { id: token.id, expected: token.revision };
        let changes = tokens.iter().map(delete).collect();
        let event = |token: &Arc<Token>| self.event(kind, token, TokenFields::NONE);
        let events = tokens.iter().map(event).collect::<Result<_, _>>()?;
        Ok(Commit { changes, events })
    }
}
