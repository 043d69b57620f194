//! The caller of one attempt: what the directory says of it at this moment.

use std::sync::Arc;

use crate::access::{Action, Caller, Knowledge, Standing, Verdict, judge};
use crate::directory::UserDirectory;
use crate::error::TokenError;
use crate::event::{Event, EventKind};
use crate::fields::TokenFields;
use crate::identifier::Identifier;
use crate::policy::{Circumstances, Conflicts, OwnerPolicy};
use crate::random::RandomError;
use crate::service::TokenService;
use crate::store::{Change, Commit, Lookup, StoreError, StoreErrorKind};
use crate::timestamp::Timestamp;
use crate::token::Token;
use crate::user::{Profile, UserId};
use crate::view::TokenView;

/// One attempt of one operation: its time and its caller.
pub(super) struct Session<'a> {
    service: &'a TokenService,
    pub(super) now: Timestamp,
    pub(super) standing: Standing,
    /// The caller's profile; the system has none.
    profile: Option<Arc<Profile>>,
}

impl TokenService {
    /// Begins an attempt: reads the clock, and the caller's state from the directory.
    pub(super) async fn session(&self, caller: &Caller) -> Result<Session<'_>, TokenError> {
        let now = self.parts.clock.now();
        let profile = match caller {
            Caller::System => None,
            Caller::User(id) => Some(self.active_profile(*id).await?),
        };
        let is_superuser = profile.as_ref().is_none_or(|profile| profile.is_superuser());
        let standing = Standing { caller: *caller, is_superuser };
        Ok(Session { service: self, now, standing, profile })
    }

    /// An attempt by somebody who has just shown a key.
    pub(super) fn session_of(&self, standing: Standing, now: Timestamp) -> Session<'_> {
        Session { service: self, now, standing, profile: None }
    }

    async fn active_profile(&self, id: UserId) -> Result<Arc<Profile>, TokenError> {
        let profile = self.profile(id).await?;
        profile.filter(|profile| profile.user.is_active).ok_or(TokenError::InactiveCaller)
    }

    async fn profile(&self, id: UserId) -> Result<Option<Arc<Profile>>, StoreError> {
        let profiles = self.parts.directory.profiles(&[id]).await?;
        Ok(profiles.into_iter().find(|profile| profile.user.id == id).map(Arc::new))
    }
}

impl Session<'_> {
    /// The token of that identifier, if the caller may do `action` to it.
    pub(super) async fn token(
        &self,
        identifier: &str,
        action: Action,
    ) -> Result<Arc<Token>, TokenError> {
        // What is no identifier names no token.
        let identifier: Identifier = identifier.parse().map_err(|_| TokenError::NotFound)?;
        let found = self.service.parts.find(Lookup::Identifier(&identifier)).await?;
        let token = found.ok_or(TokenError::NotFound)?;
        match self.judge(action, &token).await? {
            Verdict::Allowed => Ok(token),
            Verdict::Forbidden => Err(TokenError::Forbidden),
            Verdict::Hidden | Verdict::AskKnowledge => Err(TokenError::NotFound),
        }
    }

    /// Judges the caller, with what costs a read where that matters.
    async fn judge(&self, action: Action, token: &Token) -> Result<Verdict, StoreError> {
        let verdict = judge(action, self.standing, token, None);
        match (verdict, self.standing.caller) {
            (Verdict::AskKnowledge, Caller::User(id)) => {
                let known = self.knowledge(id, action, token).await?;
                Ok(judge(action, self.standing, token, Some(known)))
            }
            _ => Ok(verdict),
        }
    }

    async fn knowledge(
        &self,
        caller: UserId,
        action: Action,
        token: &Token,
    ) -> Result<Knowledge, StoreError> {
        let permissions = self.directory().permissions(caller, Some(token.id)).await?;
        let owner_may_be_superuser = action.concerns_key() && {
            // An owner who is missing may come back as anybody.
            let owner = self.profile(token.owner).await?;
            owner.is_none_or(|owner| owner.is_superuser())
        };
        Ok(Knowledge { permissions, owner_may_be_superuser })
    }

    /// Where users come from.
    pub(super) fn directory(&self) -> &dyn UserDirectory {
        &*self.service.parts.directory
    }

    /// A user's profile, which is at hand when the user is the caller.
    pub(super) async fn profile(&self, id: UserId) -> Result<Option<Arc<Profile>>, StoreError> {
        match &self.profile {
            Some(profile) if profile.user.id == id => Ok(Some(profile.clone())),
            _ => self.service.profile(id).await,
        }
    }

    /// What the rules need to know.
    pub(super) fn circumstances(
        &self,
        owner: Option<&Profile>,
        conflicts: Conflicts,
    ) -> Circumstances {
        let default_duration = self.service.parts.policy.default_duration;
        Circumstances {
            now: self.now,
            default_duration,
            by_system: self.standing.caller == Caller::System,
            by_superuser: self.standing.is_superuser,
            owner: OwnerPolicy::of(owner, default_duration),
            conflicts,
        }
    }

    /// The event that the caller did `kind` to `token`, which is given as it is afterwards.
    pub(super) fn event(
        &self,
        kind: EventKind,
        token: &Token,
        changed: TokenFields,
    ) -> Result<Event, RandomError> {
        let parts = &self.service.parts;
        parts.events.make(kind, token, changed, self.standing.caller, self.now, &*parts.random)
    }

    /// What turns `before` into `after`, at the next revision and at this time, with its event;
    /// `after` as it then is.
    pub(super) fn replacing(
        &self,
        kind: EventKind,
        before: &Token,
        after: Token,
    ) -> Result<(Commit, Arc<Token>), TokenError> {
        let revision = before.revision.next().ok_or_else(|| worn_out(before))?;
        let changed = before.changed_fields(&after);
        let after = Arc::new(Token { revision, updated: self.now, ..after });
        let event = self.event(kind, &after, changed)?;
        let changes = vec![Change::replace(before, after.clone())];
        Ok((Commit { changes, events: vec![event] }, after))
    }

    /// A token as it is shown.
    pub(super) fn view(&self, token: Arc<Token>, owner: Option<Arc<Profile>>) -> TokenView {
        TokenView::new(token, owner, self.service.parts.installation_id.clone())
    }
}

/// A row whose revision cannot be raised is not one that was written.
fn worn_out(token: &Token) -> StoreError {
    let id = token.id.to_string();
    StoreError::new("service", StoreErrorKind::Corrupt { table: "token", column: "revision", id })
}
