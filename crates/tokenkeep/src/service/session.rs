//! The caller of one attempt: what the directory says of it at this moment.

use std::sync::Arc;

use crate::access::{Action, Caller, Standing, Verdict, judge};
use crate::error::TokenError;
use crate::identifier::Identifier;
use crate::policy::{Circumstances, Conflicts, OwnerPolicy};
use crate::service::TokenService;
use crate::store::{Lookup, StoreError};
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
        let found = self.service.parts.store.find(Lookup::Identifier(&identifier)).await?;
        let token = found.ok_or(TokenError::NotFound)?;
        match self.judge(action, &token).await? {
            Verdict::Allowed => Ok(token),
            Verdict::Forbidden => Err(TokenError::Forbidden),
            Verdict::Hidden | Verdict::AskPermissions => Err(TokenError::NotFound),
        }
    }

    /// Judges the caller, with its permissions where they matter.
    async fn judge(&self, action: Action, token: &Token) -> Result<Verdict, StoreError> {
        let verdict = judge(action, self.standing, token, None);
        match (verdict, self.standing.caller) {
            (Verdict::AskPermissions, Caller::User(id)) => {
                let directory = &self.service.parts.directory;
                let held = directory.permissions(id, Some(token.id)).await?;
                Ok(judge(action, self.standing, token, Some(held)))
            }
            _ => Ok(verdict),
        }
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

    /// A token as it is shown.
    pub(super) fn view(&self, token: Arc<Token>, owner: Option<Arc<Profile>>) -> TokenView {
        TokenView::new(token, owner, self.service.parts.installation_id.clone())
    }
}
