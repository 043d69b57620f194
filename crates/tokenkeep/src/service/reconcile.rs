//! What an automated process wants there to be is brought about.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::access::Caller;
use crate::error::TokenError;
use crate::event::EventKind;
use crate::fields::{TokenField, TokenFields};
use crate::identifier::Identifier;
use crate::input::{FieldError, FieldErrors, wanted};
use crate::key::TokenKey;
use crate::managed::Marker;
use crate::policy::{self, Conflicts};
use crate::random::uuid_v4;
use crate::reconcile::{
    Holders, ManagedToken, Outcome, Planned, Reconcile, ReconcileError, ReconcileReport,
    Reconciled, State, Step, bring_back, toposort,
};
use crate::service::session::Session;
use crate::service::{MAX_ATTEMPTS, TokenService};
use crate::store::{Change, Commit, CommitError, Filter, Lookup};
use crate::token::{Token, TokenId};

/// What is to be done, and in which order.
struct Plan {
    planned: Vec<Planned>,
    evictions: Vec<Eviction>,
    /// Who holds what before anything is done, apart from evicted tokens.
    holders: Holders,
    steps: Vec<Step>,
}

/// An unmanaged token that has to give up its identifier, and its new one.
struct Eviction {
    token: Arc<Token>,
    identifier: Identifier,
}

impl TokenService {
    /// Brings about what an automated process wants of its tokens (SPEC "Managed tokens"). What is as
    /// wanted is not touched: no new expiry, key or revision.
    ///
    /// First it deletes the tokens that are not to be there, at whatever revision they are, so that
    /// no revocation waits for another writer. All the rest is one commit, or nothing: a token that
    /// another caller changes meanwhile is planned again as it then is. Tokens can exchange
    /// identifiers and keys.
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
    /// [`ReconcileError`]; nothing but what it names as deleted has been changed, unless
    /// [its outcome is unknown](TokenError::is_outcome_unknown).
    pub async fn reconcile(&self, tokens: &Reconcile) -> Result<Reconciled, ReconcileError> {
        let mut deleted = Vec::new();
        match self.reconcile_all(tokens, &mut deleted).await {
            Err(ReconcileError::Failed { error, .. }) => {
                Err(ReconcileError::Failed { error, deleted })
            }
            reconciled => reconciled,
        }
    }

    async fn reconcile_all(
        &self,
        tokens: &Reconcile,
        deleted: &mut Vec<Marker>,
    ) -> Result<Reconciled, ReconcileError> {
        let mut plan: Option<Plan> = None;
        for attempt in 1.. {
            let session = self.session(&Caller::System).await?;
            let current = if let Some(plan) = plan.take() {
                plan
            } else {
                let Some(plan) = self.plan(&session, tokens).await? else {
                    if attempt >= MAX_ATTEMPTS {
                        break;
                    }
                    continue;
                };
                self.delete_unwanted(&plan, deleted).await?;
                plan
            };
            let report = current.report(deleted)?;
            let commit = current.commit(&session)?;
            if commit.changes.is_empty() {
                return Ok(Reconciled { report, keys: current.keys() });
            }
            // Each token may have been changed once since it was read.
            let may_fail =
                MAX_ATTEMPTS.saturating_add(commit.changes.len().try_into().unwrap_or(u32::MAX));
            plan = match self.commit(commit).await {
                Ok(()) => return Ok(Reconciled { report, keys: current.keys() }),
                Err(CommitError::Stale { change, current: Some(token) }) => {
                    self.replan(&session, tokens, current, change, token).await?
                }
                // A token is gone, or another one has taken a value: everything is read again.
                Err(CommitError::Stale { .. } | CommitError::Taken { .. }) => None,
                Err(error) => return Err(TokenError::from(error).into()),
            };
            if attempt >= may_fail {
                break;
            }
        }
        Err(TokenError::Contended.into())
    }

    /// Deletes the tokens that are not to be there, and adds their markers to `deleted`.
    async fn delete_unwanted(
        &self,
        plan: &Plan,
        deleted: &mut Vec<Marker>,
    ) -> Result<(), TokenError> {
        let unwanted = plan.planned.iter().filter_map(|planned| match &planned.outcome {
            Outcome::Delete(token) => Some(token.clone()),
            _ => None,
        });
        let mut removed = Vec::new();
        let result = self.remove(unwanted.collect(), &mut removed).await;
        deleted.extend(removed.iter().filter_map(|token| token.managed.clone()));
        result
    }

    /// Plans the token of one change again, which another caller has changed to `current`, and
    /// leaves the rest of the plan: reading everything again would give the caller time to change it
    /// once more. `None` when the token has another part in the plan by now.
    async fn replan(
        &self,
        session: &Session<'_>,
        tokens: &Reconcile,
        mut plan: Plan,
        change: usize,
        current: Arc<Token>,
    ) -> Result<Option<Plan>, TokenError> {
        if let Some(eviction) = plan.evictions.get_mut(change) {
            let is_same =
                current.managed.is_none() && current.identifier == eviction.token.identifier;
            eviction.token = current;
            return Ok(is_same.then_some(plan));
        }
        let Some(Step::Release(place) | Step::Write(place)) =
            plan.steps.get(change - plan.evictions.len()).copied()
        else {
            return Ok(None);
        };
        let (Some(wanted), Some(planned)) = (tokens.tokens.get(place), plan.planned.get_mut(place))
        else {
            return Ok(None);
        };
        match &planned.outcome {
            Outcome::Replace { before, .. } if is_still_meant(tokens, wanted, before, &current) => {
                plan.holders.replace(before, &current);
            }
            _ => return Ok(None),
        }
        planned.outcome = self.plan_update(session, wanted, current).await?;
        let steps = toposort(&mut plan.planned, plan.holders.clone());
        Ok(steps.map(|steps| Plan { steps, ..plan }))
    }

    /// Returns what [`reconcile`](Self::reconcile) would report now, and changes nothing.
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
        let mut plan = None;
        for _ in 0..MAX_ATTEMPTS {
            plan = self.plan(&session, tokens).await?;
            if plan.is_some() {
                break;
            }
        }
        let plan = plan.ok_or(TokenError::Contended)?;
        let deleted = plan.planned.iter().filter_map(|planned| match &planned.outcome {
            Outcome::Delete(_) => Some(planned.marker.clone()),
            _ => None,
        });
        plan.report(&deleted.collect::<Vec<_>>())
    }

    /// `None` when other callers have changed tokens meanwhile, so that what was read does not fit
    /// together.
    async fn plan(
        &self,
        session: &Session<'_>,
        tokens: &Reconcile,
    ) -> Result<Option<Plan>, ReconcileError> {
        for wanted in &tokens.tokens {
            if let Some(error) = wanted.change.body_error() {
                return Err(TokenError::Body(error.clone()).into());
            }
        }
        let mut planned = Vec::with_capacity(tokens.tokens.len());
        let mut evictions = Vec::new();
        let mut holders = Holders::default();
        let mut seen = Seen::default();
        for wanted in &tokens.tokens {
            let outcome = if seen.markers.insert(&wanted.marker) {
                let named = self.look_up_holders(wanted, &mut holders).await?;
                let named = named.filter(|token| token.managed.is_none());
                let free = named.clone().filter(|token| tokens.may_take_over(wanted, token));
                let outcome = self.plan_one(session, wanted, free, &mut seen, &mut holders).await?;
                let squatter = named.filter(|token| tokens.evicts && outcome.needs_gone(token));
                if let Some(token) = squatter {
                    let identifier = self.free_identifier(&token)?;
                    holders.release_identifier(token.id);
                    evictions.push(Eviction { token, identifier });
                }
                outcome
            } else {
                let twice = FieldErrors::of(TokenField::Managed, [FieldError::MarkerTaken]);
                Outcome::Refused(twice)
            };
            planned.push(Planned { marker: wanted.marker.clone(), outcome });
        }
        planned.extend(self.plan_pruning(tokens).await?);
        let steps = toposort(&mut planned, holders.clone());
        Ok(steps.map(|steps| Plan { planned, evictions, holders, steps }))
    }

    /// A new identifier for a token that gives up its own: that one with a random part.
    fn free_identifier(&self, token: &Token) -> Result<Identifier, TokenError> {
        let random = uuid_v4(&*self.parts.random)?.simple().to_string();
        let suffix = format!("-evicted-{random}");
        let kept = Identifier::MAX_CHARS - suffix.len();
        let old = token.identifier.as_str();
        let name = format!("{}{suffix}", old.get(..kept).unwrap_or(old));
        // Parts of slugs are slugs.
        name.parse().map_err(|_| TokenError::Contended)
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
                holders.hold_identifier(identifier, found.id);
            }
        }
        if let Some(Ok(key)) = token.key.as_ref().map(|key| key.checked(0))
            && let Some(found) = self.token_with_key(key.expose()).await?
        {
            holders.hold_key(&self.parts.keys.digest(key), found.id);
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
        holders: &mut Holders,
    ) -> Result<Outcome, TokenError> {
        let there = self.parts.find(Lookup::Marker(&wanted.marker)).await?;
        if let Some(token) = &there {
            // It may have had another one when that was looked up.
            holders.hold_identifier(&token.identifier, token.id);
        }
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
    fn report(&self, deleted: &[Marker]) -> Result<ReconcileReport, ReconcileError> {
        let mut report = ReconcileReport { deleted: deleted.to_vec(), ..Default::default() };
        for Eviction { token, identifier } in &self.evictions {
            report.evicted.push((token.identifier.clone(), identifier.clone()));
        }
        for Planned { marker, outcome } in &self.planned {
            let marker = marker.clone();
            match outcome {
                Outcome::Unchanged => report.unchanged.push(marker),
                Outcome::Delete(_) => {}
                Outcome::Replace { before, after } => {
                    report.updated.push((marker, before.changed_fields(after)));
                }
                Outcome::Insert { .. } => report.created.push(marker),
                Outcome::Refused(errors) => report.refused.push((marker, errors.clone())),
            }
        }
        if report.refused.is_empty() {
            Ok(report)
        } else {
            Err(ReconcileError::Refused(report.into()))
        }
    }

    /// All changes but the deletions, with their events: one change for each eviction, then one for
    /// each step.
    fn commit(&self, session: &Session<'_>) -> Result<Commit, TokenError> {
        let mut commit = Commit::default();
        for Eviction { token, identifier } in &self.evictions {
            let after = Token { identifier: identifier.clone(), ..Token::clone(token) };
            commit.add(session.replacing(EventKind::Updated, token, after)?.0);
        }
        let released: BTreeSet<_> = self.steps.iter().collect();
        for step in &self.steps {
            let (Step::Release(place) | Step::Write(place)) = step;
            let outcome = self.planned.get(*place).map(|planned| &planned.outcome);
            match (step, outcome) {
                (Step::Release(_), Some(Outcome::Replace { before, .. })) => {
                    let release = Change::Release { id: before.id, expected: before.revision };
                    commit.changes.push(release);
                }
                (Step::Write(place), Some(Outcome::Replace { before, after })) => {
                    let after = Token::clone(after);
                    let (mut part, _) = session.replacing(EventKind::Updated, before, after)?;
                    if released.contains(&Step::Release(*place)) {
                        part.changes.iter_mut().for_each(take_back);
                    }
                    commit.add(part);
                }
                (Step::Write(_), Some(Outcome::Insert { token, .. })) => {
                    let event = session.event(EventKind::Created, token, TokenFields::NONE)?;
                    let changes = vec![Change::Insert(Arc::new(Token::clone(token)))];
                    commit.add(Commit { changes, events: vec![event] });
                }
                _ => {}
            }
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

/// Whether the planned change of `before` is also meant for what another caller has made of it: it has the
/// same marker, or none and still the identifier for which it is taken over.
fn is_still_meant(
    tokens: &Reconcile,
    wanted: &ManagedToken,
    before: &Token,
    current: &Token,
) -> bool {
    before.managed == current.managed
        && (before.managed.is_some()
            || before.identifier == current.identifier && tokens.may_take_over(wanted, current))
}

/// Has a replace write the values that were released before it, changed or not.
fn take_back(change: &mut Change) {
    if let Change::Replace { fields, .. } = change {
        *fields =
            fields.with(TokenField::Identifier).with(TokenField::Managed).with(TokenField::Key);
    }
}

impl Commit {
    fn add(&mut self, part: Self) {
        self.changes.extend(part.changes);
        self.events.extend(part.events);
    }
}
