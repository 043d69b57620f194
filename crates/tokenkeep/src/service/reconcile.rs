//! What an automated process wants there to be is brought about.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::access::Caller;
use crate::error::TokenError;
use crate::event::EventKind;
use crate::fields::{TokenField, TokenFields};
use crate::input::{FieldError, FieldErrors, wanted};
use crate::key::TokenKey;
use crate::managed::Marker;
use crate::policy::{self, Conflicts};
use crate::reconcile::{
    Holders, ManagedToken, Outcome, Planned, Reconcile, ReconcileError, ReconcileReport,
    Reconciled, State, bring_back, settle,
};
use crate::service::session::Session;
use crate::service::{MAX_ATTEMPTS, TokenService};
use crate::store::{Change, Commit, CommitError, Filter, Lookup};
use crate::token::{Token, TokenId};

/// What is to be done, and in which order.
struct Plan {
    planned: Vec<Planned>,
    order: Vec<usize>,
}

impl TokenService {
    /// Brings about what an automated process wants of its tokens (SPEC "Managed tokens"), all of
    /// it in one commit, or nothing. What is as wanted is not touched: no new expiry, key or
    /// revision.
    ///
    /// ```
    /// # pollster::block_on(async {
    /// # use std::sync::Arc;
    /// # use tokenkeep::{Caller, Timestamp, TokenService, User, UserId, UserStore};
    /// # use tokenkeep_memory::MemoryStore;
    /// use tokenkeep::{ManagedToken, Marker, Reconcile, ReconcileError, TokenChange};
    ///
    /// # let store = Arc::new(MemoryStore::new());
    /// # let alice = User::new(UserId::new(2), uuid::Uuid::from_u128(2), "alice", Timestamp::MIN);
    /// # store.put_user(alice).await?;
    /// # let service = TokenService::builder(store.clone(), store).open().await?;
    /// let marker: Marker = "example.org/outposts/mail".parse()?;
    /// let wanted = TokenChange::new().identifier("mail").owner(UserId::new(2));
    /// let tokens = Reconcile::new([ManagedToken::present(marker.clone(), wanted)])
    ///     .pruning("example.org/outposts/");
    ///
    /// let first = service.reconcile(&tokens).await?;
    /// assert_eq!(first.report.created, [marker.clone()]);
    /// assert_eq!(first.keys.len(), 1);
    /// let again = service.reconcile(&tokens).await?;
    /// assert_eq!(again.report.unchanged, [marker.clone()]);
    ///
    /// let stranger = TokenChange::new().identifier("mail").owner(UserId::new(99));
    /// let impossible = Reconcile::new([ManagedToken::present(marker, stranger)]);
    /// let refused = service.reconcile(&impossible).await.unwrap_err();
    /// assert!(matches!(refused, ReconcileError::Refused(report) if report.refused.len() == 1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// [`ReconcileError`]; nothing has been changed, unless
    /// [its outcome is unknown](TokenError::is_outcome_unknown).
    pub async fn reconcile(&self, tokens: &Reconcile) -> Result<Reconciled, ReconcileError> {
        for _ in 0..MAX_ATTEMPTS {
            let session = self.session(&Caller::System).await?;
            let plan = self.plan(&session, tokens).await?;
            let report = plan.report()?;
            let commit = plan.commit(&session)?;
            if commit.changes.is_empty() || self.commit_or_replan(commit).await? {
                return Ok(Reconciled { report, keys: plan.keys() });
            }
        }
        Err(TokenError::Contended.into())
    }

    /// Tells what [`reconcile`](Self::reconcile) would report now, and changes nothing.
    ///
    /// ```
    /// # pollster::block_on(async {
    /// # use std::sync::Arc;
    /// # use tokenkeep::TokenService;
    /// # use tokenkeep_memory::MemoryStore;
    /// use tokenkeep::Reconcile;
    ///
    /// # let store = Arc::new(MemoryStore::new());
    /// # let service = TokenService::builder(store.clone(), store).open().await?;
    /// let nothing = Reconcile::new([]).pruning("example.org/outposts/");
    /// let report = service.reconcile_dry_run(&nothing).await?;
    /// assert!(report.deleted.is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// As [`reconcile`](Self::reconcile).
    pub async fn reconcile_dry_run(
        &self,
        tokens: &Reconcile,
    ) -> Result<ReconcileReport, ReconcileError> {
        let session = self.session(&Caller::System).await?;
        self.plan(&session, tokens).await?.report()
    }

    /// `false` when somebody else was faster, and all has to be planned anew.
    async fn commit_or_replan(&self, commit: Commit) -> Result<bool, TokenError> {
        match self.commit(commit).await {
            Ok(()) => Ok(true),
            Err(CommitError::Stale { .. } | CommitError::Taken { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    async fn plan(
        &self,
        session: &Session<'_>,
        tokens: &Reconcile,
    ) -> Result<Plan, ReconcileError> {
        let mut planned = Vec::with_capacity(tokens.tokens.len());
        let mut holders = Holders::default();
        let mut seen = Seen::default();
        for wanted in &tokens.tokens {
            if let Some(error) = wanted.change.body_error() {
                return Err(TokenError::Body(error.clone()).into());
            }
            let outcome = if seen.markers.insert(&wanted.marker) {
                let named = self.look_up_holders(wanted, &mut holders).await?;
                let free = named.filter(|token| tokens.takes_over && token.managed.is_none());
                self.plan_one(session, wanted, free, &mut seen).await?
            } else {
                let twice = FieldErrors::of(TokenField::Managed, [FieldError::MarkerTaken]);
                Outcome::Refused(twice)
            };
            planned.push(Planned { marker: wanted.marker.clone(), outcome });
        }
        planned.extend(self.plan_pruning(tokens).await?);
        let order = settle(&mut planned, holders);
        Ok(Plan { planned, order })
    }

    /// Who holds the identifier and the key that are wanted; the token that has the identifier.
    async fn look_up_holders(
        &self,
        token: &ManagedToken,
        holders: &mut Holders,
    ) -> Result<Option<Arc<Token>>, TokenError> {
        let mut named = None;
        if let Some(identifier) = wanted(&token.change.identifier) {
            named = self.parts.find(Lookup::Identifier(identifier)).await?;
            if let Some(found) = &named {
                holders.hold_identifier(identifier.clone(), found.id);
            }
        }
        if let Some(Ok(key)) = token.key.as_ref().map(|key| key.checked(0))
            && let Some(found) = self.token_with_key(key.expose()).await?
        {
            holders.hold_key(self.parts.keys.digest(key), found.id);
        }
        Ok(named)
    }

    /// What becomes of one token; `free` is an unmanaged one that may be taken over, once.
    async fn plan_one(
        &self,
        session: &Session<'_>,
        wanted: &ManagedToken,
        free: Option<Arc<Token>>,
        seen: &mut Seen<'_>,
    ) -> Result<Outcome, TokenError> {
        let there = self.parts.find(Lookup::Marker(&wanted.marker)).await?;
        match (wanted.state, there) {
            (State::Absent, Some(token)) => Ok(Outcome::Delete(token)),
            (State::Absent, None) | (State::Created, Some(_)) => Ok(Outcome::Unchanged),
            (State::Present, Some(token)) => self.plan_update(session, wanted, token).await,
            (State::Present | State::Created, None) => {
                match free.filter(|token| seen.taken_over.insert(token.id)) {
                    Some(token) => self.plan_update(session, wanted, token).await,
                    None => self.plan_insert(session, wanted).await,
                }
            }
        }
    }

    async fn plan_update(
        &self,
        session: &Session<'_>,
        wanted: &ManagedToken,
        before: Arc<Token>,
    ) -> Result<Outcome, TokenError> {
        let key = self.wanted_key(wanted);
        let new_key =
            key.map(|key| key.filter(|key| !self.parts.keys.matches(key, &before.key_digest)));
        let owner = session.profile(before.owner).await?;
        let around = session.circumstances(owner.as_deref(), Conflicts::default());
        let gets_new_key = matches!(new_key, Ok(Some(_)));
        let after = bring_back(&before, &wanted.change, gets_new_key, &around);
        let after = match FieldErrors::both(after, new_key) {
            Ok((after, Some(key))) => self.with_key(&after, key)?,
            Ok((after, None)) if after == *before => return Ok(Outcome::Unchanged),
            Ok((after, None)) => after,
            Err(errors) => return Ok(Outcome::Refused(errors)),
        };
        Ok(Outcome::Replace { before, after: Box::new(after) })
    }

    async fn plan_insert(
        &self,
        session: &Session<'_>,
        token: &ManagedToken,
    ) -> Result<Outcome, TokenError> {
        let owner = match wanted(&token.change.owner) {
            Some(owner) => session.profile(*owner).await?,
            None => None,
        };
        let conflicts = Conflicts { unknown_owner: owner.is_none(), ..Conflicts::default() };
        let around = session.circumstances(owner.as_deref(), conflicts);
        let new = policy::create(&token.change, None, &around).and_then(|new| {
            // What the next reconcile would refuse.
            if token.state == State::Present {
                policy::check_expiry_chosen(&token.change, new.intent)
                    .map_err(policy::on(TokenField::Expires))?;
            }
            Ok(new)
        });
        let (new, key) = match FieldErrors::both(new, self.wanted_key(token)) {
            Ok(new) => new,
            Err(errors) => return Ok(Outcome::Refused(errors)),
        };
        if let Some(key) = key {
            let token = Box::new(self.new_token(&new, key, session)?);
            return Ok(Outcome::Insert { token, key: None });
        }
        let key = TokenKey::generate(&*self.parts.random)?;
        let token = Box::new(self.new_token(&new, &key, session)?);
        Ok(Outcome::Insert { token, key: Some(key) })
    }

    /// The key that is wanted, if one is.
    fn wanted_key<'a>(&self, token: &'a ManagedToken) -> Result<Option<&'a TokenKey>, FieldErrors> {
        let min = self.parts.policy.minimum_key_length;
        let key = token.key.as_ref().map(|key| key.checked(min)).transpose();
        key.map_err(|errors| FieldErrors::of(TokenField::Key, errors))
    }

    /// The managed tokens under the prefix that nobody wants.
    async fn plan_pruning(&self, tokens: &Reconcile) -> Result<Vec<Planned>, ReconcileError> {
        let Some(prefix) = &tokens.prefix else {
            return Ok(Vec::new());
        };
        if prefix.is_empty() {
            return Err(ReconcileError::EmptyPrefix);
        }
        let wanted = tokens.markers();
        let filter = Filter { managed_prefix: Some(prefix.clone()), ..Filter::default() };
        let found = self.all(filter).await.map_err(TokenError::from)?;
        let unwanted = found.into_iter().filter_map(|token| {
            let marker = token.managed.clone().filter(|marker| !wanted.contains(marker))?;
            Some(Planned { marker, outcome: Outcome::Delete(token) })
        });
        Ok(unwanted.collect())
    }
}

/// What was met among the wanted tokens.
#[derive(Default)]
struct Seen<'a> {
    markers: BTreeSet<&'a Marker>,
    taken_over: BTreeSet<TokenId>,
}

impl Plan {
    /// What will be done, unless something is refused.
    fn report(&self) -> Result<ReconcileReport, ReconcileError> {
        let mut report = ReconcileReport::default();
        for Planned { marker, outcome } in &self.planned {
            let marker = marker.clone();
            match outcome {
                Outcome::Unchanged => report.unchanged.push(marker),
                Outcome::Delete(_) => report.deleted.push(marker),
                Outcome::Replace { before, after } => {
                    report.updated.push((marker, before.changed_fields(after)));
                }
                Outcome::Insert { .. } => report.created.push(marker),
                Outcome::Refused(errors) => report.refused.push((marker, errors.clone())),
            }
        }
        if report.refused.is_empty() { Ok(report) } else { Err(ReconcileError::Refused(report)) }
    }

    /// All changes with their events, in an order in which they can be done.
    fn commit(&self, session: &Session<'_>) -> Result<Commit, TokenError> {
        let mut commit = Commit::default();
        for planned in self.order.iter().filter_map(|place| self.planned.get(*place)) {
            let part = match &planned.outcome {
                Outcome::Delete(token) => {
                    session.deleting(EventKind::Deleted, std::slice::from_ref(token))?
                }
                Outcome::Replace { before, after } => {
                    session.replacing(EventKind::Updated, before, Token::clone(after))?.0
                }
                Outcome::Insert { token, .. } => {
                    let event = session.event(EventKind::Created, token, TokenFields::NONE)?;
                    let changes = vec![Change::Insert(Arc::new(Token::clone(token)))];
                    Commit { changes, events: vec![event] }
                }
                Outcome::Unchanged | Outcome::Refused(_) => continue,
            };
            commit.changes.extend(part.changes);
            commit.events.extend(part.events);
        }
        Ok(commit)
    }

    /// The keys that were generated.
    fn keys(self) -> Vec<(Marker, TokenKey)> {
        let keys = self.planned.into_iter().filter_map(|planned| match planned.outcome {
            Outcome::Insert { key: Some(key), .. } => Some((planned.marker, key)),
            _ => None,
        });
        keys.collect()
    }
}
