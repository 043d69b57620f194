//! What becomes of expired tokens.

use std::sync::Arc;

use crate::access::Caller;
use crate::error::TokenError;
use crate::event::EventKind;
use crate::key::TokenKey;
use crate::policy::{self, Conflicts};
use crate::service::TokenService;
use crate::service::session::Session;
use crate::store::{
    Change, Commit, CommitError, Cursor, EventQuery, Filter, SortField, SortKey, TokenQuery,
    UniqueField, Window,
};
use crate::timestamp::Timestamp;
use crate::token::{Intent, Token};

/// How many tokens a sweep commits at once. With 256 a sweep deletes 16,800 a second instead of 14,700, and
/// the updates of others wait for up to 18 ms at p99, instead of 8 (`cargo bench -p tokenkeep-benches
/// --bench sweep`).
const BATCH: u32 = 64;

/// What a sweep did.
///
/// See [`sweep`](TokenService::sweep) for an example.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct SweepReport {
    /// How many `api` tokens got a new key and a new expiry.
    pub rotated: u64,
    /// How many tokens were deleted.
    pub deleted: u64,
    /// How many tokens had expired when they were listed, and were changed by somebody else before
    /// they could be swept.
    pub left_alone: u64,
}

impl TokenService {
    /// Sweeps every token that has expired (SPEC "Sweep"): an `api` token gets a new key, and
    /// expires after the default duration; where keys are not retained, nobody could read that key,
    /// and the token is deleted, as all others are.
    ///
    /// It goes on in batches, each a commit of its own, so that others are not held up: call it
    /// now and then, from any number of processes. A token that somebody changes in between is left
    /// alone. Dropped or failed, it has swept some batches, and the next call does the others.
    ///
    /// ```
    /// # pollster::block_on(async {
    /// # use std::sync::Arc;
    /// # use tokenkeep::{Caller, Intent, Timestamp, TokenChange, TokenService, User, UserId, UserStore};
    /// # use tokenkeep_memory::MemoryStore;
    /// use std::time::Duration;
    /// use tokenkeep::{Clock, ManualClock};
    ///
    /// # let store = Arc::new(MemoryStore::new());
    /// # let alice = User::new(UserId::new(2), uuid::Uuid::from_u128(2), "alice", Timestamp::MIN);
    /// # store.put_user(alice).await?;
    /// let clock = Arc::new(ManualClock::at("2024-09-27T14:00Z".parse()?));
    /// let service = TokenService::builder(store.clone(), store).clock(clock.clone()).open().await?;
    /// # let alice = Caller::User(UserId::new(2));
    /// let mail = TokenChange::new().identifier("mail").intent(Intent::AppPassword);
    /// service.create(&alice, mail).await?;
    ///
    /// assert_eq!(service.sweep().await?.deleted, 0);
    /// clock.advance(Duration::from_secs(90_000));
    /// assert_eq!(service.sweep().await?.deleted, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// [`ClockAhead`](TokenError::ClockAhead) before anything is swept, where the policy limits the
    /// [lead of the clock](crate::Policy::maximum_clock_lead). At any time
    /// [`Random`](TokenError::Random) and [`Store`](TokenError::Store).
    pub async fn sweep(&self) -> Result<SweepReport, TokenError> {
        // What expires later is the next sweep's, which may be a token that this one renews.
        let before = self.parts.clock.now();
        self.check_clock(before).await?;
        let mut report = SweepReport::default();
        let mut cursor = None;
        loop {
            let (batch, next) = self.expired(before, cursor).await?;
            // A session for each batch: an event tells when it happened.
            let session = self.session(&Caller::System).await?;
            self.sweep_batch(&session, batch, &mut report).await?;
            match next {
                Some(next) => cursor = Some(next),
                None => return Ok(report),
            }
        }
    }

    /// Refuses a time that is far ahead of every event, as the clock of a machine shows it after a
    /// jump. A trail without any event says nothing.
    async fn check_clock(&self, now: Timestamp) -> Result<(), TokenError> {
        let Some(lead) = self.parts.policy.maximum_clock_lead else {
            return Ok(());
        };
        let from = Some(now.saturating_sub(lead));
        let recent =
            self.parts.events(&EventQuery { from, limit: 1, ..Default::default() }).await?;
        let oldest = self.parts.events(&EventQuery { limit: 1, ..Default::default() }).await?;
        if !recent.events.is_empty() || oldest.events.is_empty() {
            return Ok(());
        }
        Err(TokenError::ClockAhead)
    }

    /// The tokens behind `cursor` that had expired at that time.
    async fn expired(
        &self,
        before: Timestamp,
        cursor: Option<Cursor>,
    ) -> Result<(Vec<Arc<Token>>, Option<Cursor>), TokenError> {
        let query = TokenQuery {
            filter: Filter { expired_before: Some(before), ..Filter::default() },
            order: vec![SortKey { field: SortField::Expires, descending: false }],
            window: Window::After { cursor, limit: BATCH },
            ..TokenQuery::default()
        };
        let page = self.parts.list(&query).await?;
        Ok((page.tokens, page.next))
    }

    /// Sweeps these tokens in one commit, without those that others change in between.
    async fn sweep_batch(
        &self,
        session: &Session<'_>,
        mut tokens: Vec<Arc<Token>>,
        report: &mut SweepReport,
    ) -> Result<(), TokenError> {
        while !tokens.is_empty() {
            let commit = self.sweeping(session, &tokens)?;
            let rotated = commit.changes.iter().filter(|c| matches!(c, Change::Replace { .. }));
            let rotated = rotated.count() as u64;
            match self.commit(commit).await {
                Ok(()) => {
                    report.rotated += rotated;
                    report.deleted += tokens.len() as u64 - rotated;
                    return Ok(());
                }
                Err(CommitError::Stale { change, .. }) if change < tokens.len() => {
                    let listed = tokens.len();
                    tokens.remove(change);
                    let is_same = |then: &Token, now: &Token| then.revision == now.revision;
                    tokens = self.still_there(tokens, is_same).await?;
                    report.left_alone += (listed - tokens.len()) as u64;
                }
                // Another token has the new key: the randomness is poor.
                Err(CommitError::Taken { change, field: UniqueField::Key })
                    if change < tokens.len() =>
                {
                    tokens.remove(change);
                    report.left_alone += 1;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn sweeping(&self, session: &Session<'_>, tokens: &[Arc<Token>]) -> Result<Commit, TokenError> {
        let mut commit = Commit::default();
        for token in tokens {
            let swept = if token.intent == Intent::Api && self.parts.keys.retains_keys() {
                self.rotating(session, token)?
            } else {
                session.deleting(EventKind::Expired, std::slice::from_ref(token))?
            };
            commit.changes.extend(swept.changes);
            commit.events.extend(swept.events);
        }
        Ok(commit)
    }

    /// What gives an `api` token a new key that its holder can view.
    fn rotating(&self, session: &Session<'_>, token: &Token) -> Result<Commit, TokenError> {
        // The owner's maximum lifetime does not matter to `api` tokens.
        let around = session.circumstances(None, Conflicts::default());
        let expires = policy::rotate(token, &around)?;
        let key = TokenKey::generate(&*self.parts.random)?;
        let after = Token { expires: Some(expires), ..self.with_key(token, &key)? };
        session.replacing(EventKind::Rotated, token, after).map(|(commit, _)| commit)
    }
}
