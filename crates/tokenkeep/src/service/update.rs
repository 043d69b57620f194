//! `core_tokens_update` and `core_tokens_partial_update`.

use crate::access::{Action, Caller};
use crate::error::TokenError;
use crate::event::EventKind;
use crate::fields::TokenFields;
use crate::input::{TokenChange, wanted};
use crate::managed::Marker;
use crate::policy::{self, Conflicts};
use crate::service::session::Session;
use crate::service::{MAX_ATTEMPTS, TokenService};
use crate::store::StoreError;
use crate::token::Token;
use crate::user::Profile;
use crate::view::TokenView;

/// What an update did.
///
/// See [`update`](TokenService::update) for an example.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Updated {
    /// The token as it is now, with its owner.
    pub view: TokenView,
    /// The fields that changed. When there are none, nothing was committed, and the revision is
    /// what it was.
    pub changed: TokenFields,
}

impl Updated {
    /// The marker of the process that owns the token: its next reconcile may overwrite this
    /// change. `None` when the token is not managed.
    #[must_use]
    pub fn managed_by(&self) -> Option<&Marker> {
        self.view.token.managed.as_ref()
    }
}

/// Whether an update must name the identifier.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Full,
    Partial,
}

impl TokenService {
    /// Updates a token as PUT does: the identifier must be given, and any other field that is not
    /// keeps its value (SPEC "Update").
    ///
    /// The change is committed with its event, only if the token is still as it was when it was
    /// judged; on a lost race all is read and judged anew. A dropped future may leave the update
    /// done but unseen: to make sure that it is not done twice, say which revision it is
    /// [based on](TokenChange::expecting).
    ///
    /// ```
    /// # pollster::block_on(async {
    /// # use std::sync::Arc;
    /// # use tokenkeep::{Caller, Timestamp, TokenService, User, UserId, UserStore};
    /// # use tokenkeep_memory::MemoryStore;
    /// use tokenkeep::{TokenChange, TokenError, TokenField};
    ///
    /// # let store = Arc::new(MemoryStore::new());
    /// # let alice = User::new(UserId::new(2), uuid::Uuid::from_u128(2), "alice", Timestamp::MIN);
    /// # store.put_user(alice).await?;
    /// # let service = TokenService::builder(store.clone(), store).open().await?;
    /// # let caller = Caller::User(UserId::new(2));
    /// # service.create(&caller, TokenChange::new().identifier("ci")).await?;
    /// let body = br#"{"identifier": "deploy", "description": "from the pipeline"}"#;
    /// let updated = service.update(&caller, "ci", TokenChange::from_json(body)).await?;
    /// assert!(updated.changed.contains(TokenField::Identifier));
    /// assert_eq!(updated.managed_by(), None);
    ///
    /// let body = br#"{"description": null}"#;
    /// let refused = service.update(&caller, "deploy", TokenChange::from_json(body)).await;
    /// let TokenError::Invalid(errors) = refused.unwrap_err() else { unreachable!() };
    /// assert_eq!(errors.iter().count(), 2, "no identifier, no description");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// In this order: [`InactiveCaller`](TokenError::InactiveCaller),
    /// [`NotFound`](TokenError::NotFound), [`Forbidden`](TokenError::Forbidden),
    /// [`Stale`](TokenError::Stale), [`Body`](TokenError::Body),
    /// [`Invalid`](TokenError::Invalid); then [`Contended`](TokenError::Contended). At any time
    /// [`Random`](TokenError::Random) and [`Store`](TokenError::Store).
    pub async fn update(
        &self,
        caller: &Caller,
        identifier: &str,
        change: TokenChange,
    ) -> Result<Updated, TokenError> {
        self.update_until_settled(caller, identifier, &change, Kind::Full).await
    }

    /// Updates a token as PATCH does: like [`update`](Self::update), with no field required.
    ///
    /// An update of an `api` token renews its expiry, whatever it changes (SPEC "Update"). So an `api`
    /// token that has expired is valid again after its description was edited, until a sweep has
    /// rotated or deleted it. Sweep often, or delete what must stay dead.
    ///
    /// ```
    /// # pollster::block_on(async {
    /// # use std::sync::Arc;
    /// # use tokenkeep::{Caller, Timestamp, TokenService, User, UserId, UserStore};
    /// # use tokenkeep_memory::MemoryStore;
    /// use tokenkeep::{TokenChange, TokenError};
    ///
    /// # let store = Arc::new(MemoryStore::new());
    /// # let alice = User::new(UserId::new(2), uuid::Uuid::from_u128(2), "alice", Timestamp::MIN);
    /// # store.put_user(alice).await?;
    /// # let service = TokenService::builder(store.clone(), store).open().await?;
    /// # let caller = Caller::User(UserId::new(2));
    /// # service.create(&caller, TokenChange::new().identifier("ci")).await?;
    /// let seen = service.retrieve(&caller, "ci").await?.version();
    /// let change = TokenChange::new().description("deploys").expecting(seen);
    /// service.partial_update(&caller, "ci", change.clone()).await?;
    ///
    /// let again = service.partial_update(&caller, "ci", change).await;
    /// assert!(matches!(again, Err(TokenError::Stale { current }) if current > seen.1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// As [`update`](Self::update).
    pub async fn partial_update(
        &self,
        caller: &Caller,
        identifier: &str,
        change: TokenChange,
    ) -> Result<Updated, TokenError> {
        self.update_until_settled(caller, identifier, &change, Kind::Partial).await
    }

    async fn update_until_settled(
        &self,
        caller: &Caller,
        identifier: &str,
        change: &TokenChange,
        kind: Kind,
    ) -> Result<Updated, TokenError> {
        for _ in 0..MAX_ATTEMPTS {
            if let Some(updated) = self.try_update(caller, identifier, change, kind).await? {
                return Ok(updated);
            }
        }
        Err(TokenError::Contended)
    }

    /// One attempt; `None` when somebody else changed the token in between.
    async fn try_update(
        &self,
        caller: &Caller,
        identifier: &str,
        change: &TokenChange,
        kind: Kind,
    ) -> Result<Option<Updated>, TokenError> {
        let session = self.session(caller).await?;
        let token = session.token(identifier, Action::Change).await?;
        change.expected.check(&token)?;
        if let Some(error) = change.body_error() {
            return Err(TokenError::Body(error.clone()));
        }
        let owner = session.profile(token.owner).await?;
        let conflicts = self.update_conflicts(&session, change, &token, owner.as_deref()).await?;
        let around = session.circumstances(owner.as_deref(), conflicts);
        let after = policy::update(&token, change, kind == Kind::Full, &around)?;

        let changed = token.changed_fields(&after);
        if changed.is_empty() {
            return Ok(Some(Updated { view: session.view(token, owner), changed }));
        }
        let (commit, after) = session.replacing(EventKind::Updated, &token, after)?;
        let done = self.commit_or_lose(commit, &change.expected).await?;
        Ok(done.then(|| Updated { view: session.view(after, owner), changed }))
    }

    /// Looks up whose the wanted values are, as far as it can matter: a value that stays is the
    /// token's own, and only a superuser may learn about markers.
    async fn update_conflicts(
        &self,
        session: &Session<'_>,
        change: &TokenChange,
        token: &Token,
        owner: Option<&Profile>,
    ) -> Result<Conflicts, StoreError> {
        let identifier = wanted(&change.identifier).filter(|wanted| **wanted != token.identifier);
        let marker =
            wanted(&change.managed).filter(|wanted| Some(*wanted) != token.managed.as_ref());
        let marker = marker.filter(|_| session.standing.is_superuser);
        let mut conflicts = self.conflicts(identifier, marker, Some(token.id)).await?;
        conflicts.unknown_owner = match wanted(&change.owner).copied() {
            Some(wanted) if wanted == token.owner => owner.is_none(),
            Some(wanted) => session.profile(wanted).await?.is_none(),
            None => false,
        };
        Ok(conflicts)
    }
}
