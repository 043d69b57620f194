//! `core_tokens_create`.

use std::sync::Arc;

use crate::access::Caller;
use crate::error::TokenError;
use crate::event::EventKind;
use crate::fields::TokenFields;
use crate::input::{TokenChange, wanted};
use crate::key::TokenKey;
use crate::policy::{self, Conflicts, NewToken};
use crate::random::{RandomError, uuid_v4};
use crate::service::session::Session;
use crate::service::{MAX_ATTEMPTS, TokenService};
use crate::store::{
    Change, Commit, CommitError, Filter, StoreError, TokenQuery, UniqueField, Window,
};
use crate::token::{Revision, Token, TokenId};
use crate::user::{Profile, UserId};
use crate::view::TokenView;

/// A token that has just been created, with its key.
///
/// See [`create`](TokenService::create) for an example.
#[derive(Debug)]
#[non_exhaustive]
pub struct Created {
    /// The token with its owner.
    pub view: TokenView,
    /// The plain key, for its holder.
    pub key: TokenKey,
}

impl Created {
    /// Whether the key can be viewed later. If not, this is the only time that it is there.
    #[must_use]
    pub fn is_key_retained(&self) -> bool {
        self.view.token.sealed_key.is_some()
    }
}

impl TokenService {
    /// Creates a token with a new key (SPEC "Create"). The identifier must be given. A user creates
    /// for itself, a superuser for anybody, and the system, which has to name the owner, creates
    /// any intent with any expiry.
    ///
    /// ```
    /// # pollster::block_on(async {
    /// # use std::sync::Arc;
    /// # use tokenkeep::{Caller, Timestamp, TokenService, User, UserId, UserStore};
    /// # use tokenkeep_memory::MemoryStore;
    /// use tokenkeep::{Intent, Random, SystemRandom, TokenChange};
    ///
    /// # let store = Arc::new(MemoryStore::new());
    /// # let alice = User::new(UserId::new(2), uuid::Uuid::from_u128(2), "alice", Timestamp::MIN);
    /// # store.put_user(alice).await?;
    /// # let service = TokenService::builder(store.clone(), store).open().await?;
    /// // Any user can take an identifier that can be guessed.
    /// let mut random = [0; 8];
    /// SystemRandom.fill(&mut random)?;
    /// let recovery = TokenChange::new()
    ///     .identifier(format!("recovery-{:016x}", u64::from_ne_bytes(random)))
    ///     .intent(Intent::Recovery)
    ///     .owner(UserId::new(2));
    /// let created = service.create(&Caller::System, recovery).await?;
    /// assert_eq!(created.key.expose().len(), 60);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// In this order: [`InactiveCaller`](TokenError::InactiveCaller), [`Body`](TokenError::Body),
    /// [`Invalid`](TokenError::Invalid). At any time [`Random`](TokenError::Random) and
    /// [`Store`](TokenError::Store).
    pub async fn create(
        &self,
        caller: &Caller,
        change: TokenChange,
    ) -> Result<Created, TokenError> {
        let session = self.session(caller).await?;
        if let Some(error) = change.body_error() {
            return Err(TokenError::Body(error.clone()));
        }
        let caller_id = match caller {
            Caller::System => None,
            Caller::User(id) => Some(*id),
        };
        let owner = match wanted(&change.owner).copied().or(caller_id) {
            // Another user is not looked up for a caller that may not create for it.
            Some(id) if session.standing.is_superuser || Some(id) == caller_id => {
                session.profile(id).await?
            }
            _ => None,
        };
        let conflicts = self.create_conflicts(&session, &change, owner.as_deref()).await?;
        let around = session.circumstances(owner.as_deref(), conflicts);
        let new = policy::create(&change, caller_id, &around)?;

        for _ in 0..MAX_ATTEMPTS {
            let (commit, token, key) = self.creating(&new, &session)?;
            match self.commit(commit).await {
                Ok(()) => return Ok(Created { view: session.view(token, owner), key }),
                // Somebody has this id or key: the randomness is poor, or not random at all.
                Err(CommitError::Taken { field: UniqueField::Id | UniqueField::Key, .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(TokenError::Random(RandomError("the same values again and again".into())))
    }

    /// What creates the token, with a new id and a new key.
    fn creating(
        &self,
        new: &NewToken,
        session: &Session<'_>,
    ) -> Result<(Commit, Arc<Token>, TokenKey), TokenError> {
        let key = TokenKey::generate(&*self.parts.random)?;
        let token = Arc::new(self.new_token(new, &key, session)?);
        let event = session.event(EventKind::Created, &token, TokenFields::NONE)?;
        let commit = Commit { changes: vec![Change::Insert(token.clone())], events: vec![event] };
        Ok((commit, token, key))
    }

    /// Looks up whose the wanted values are.
    async fn create_conflicts(
        &self,
        session: &Session<'_>,
        change: &TokenChange,
        owner: Option<&Profile>,
    ) -> Result<Conflicts, StoreError> {
        let marker = wanted(&change.managed).filter(|_| session.standing.is_superuser);
        let conflicts = self.conflicts(wanted(&change.identifier), marker, None).await?;
        let owner_is_full = match owner {
            Some(owner) if !session.standing.is_superuser => self.is_full(owner.user.id).await?,
            _ => false,
        };
        Ok(Conflicts { unknown_owner: owner.is_none(), owner_is_full, ..conflicts })
    }

    /// Returns whether a user has as many tokens as the policy allows.
    async fn is_full(&self, owner: UserId) -> Result<bool, StoreError> {
        let Some(maximum) = self.parts.policy.maximum_tokens_per_owner else {
            return Ok(false);
        };
        let Some(before_last) = maximum.checked_sub(1) else {
            return Ok(true);
        };
        let query = TokenQuery {
            filter: Filter { owner: Some(owner), ..Filter::default() },
            window: Window::Offset { offset: before_last.into(), limit: 1 },
            ..TokenQuery::default()
        };
        Ok(!self.parts.list(&query).await?.tokens.is_empty())
    }

    /// The row of a new token.
    pub(super) fn new_token(
        &self,
        new: &NewToken,
        key: &TokenKey,
        session: &Session<'_>,
    ) -> Result<Token, TokenError> {
        let id = TokenId::from(uuid_v4(&*self.parts.random)?);
        Ok(Token {
            id,
            identifier: new.identifier.clone(),
            intent: new.intent,
            owner: new.owner,
            description: new.description.clone(),
            expires: new.expires,
            expiring: new.expiring,
            managed: new.managed.clone(),
            revision: Revision::FIRST,
            created: session.now,
            updated: session.now,
            last_used: None,
            owner_may_view_key: new.owner_may_view_key,
            key_digest: self.parts.keys.digest(key),
            sealed_key: self.parts.keys.seal(key, id, &*self.parts.random)?,
        })
    }
}
