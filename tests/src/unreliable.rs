//! A store whose writes stop, as those of a process that is killed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use tokenkeep::{
    Changes, Commit, CommitError, EventPage, EventQuery, Grant, Group, GroupId, KeyCheck, KeyUsage,
    Lookup, Permission, Permissions, Profile, StoreError, StoreErrorKind, StoreId, Timestamp,
    Token, TokenId, TokenPage, TokenQuery, TokenStore, Touch, User, UserDirectory, UserId,
    UserStore, UserStoreError,
};

use crate::backend::Backend;

/// Writes so many times, and then never again.
#[derive(Debug)]
pub struct UnreliableStore {
    tokens: Arc<dyn TokenStore>,
    users: Arc<dyn UserStore>,
    writes_left: AtomicU32,
    /// How the write after them fails. One whose outcome is unknown is done.
    failure: StoreErrorKind,
    /// A group that is not listed.
    hidden: Option<GroupId>,
}

impl UnreliableStore {
    pub fn new(backend: &Backend, writes: u32, failure: StoreErrorKind) -> Self {
        let (tokens, users) = (backend.tokens.clone(), backend.users.clone());
        Self { tokens, users, writes_left: AtomicU32::new(writes), failure, hidden: None }
    }

    /// One that does not list a group.
    pub fn hiding(backend: &Backend, group: GroupId) -> Self {
        Self { hidden: Some(group), ..Self::new(backend, 0, StoreErrorKind::Unavailable) }
    }

    /// Whether the write is done, and how it fails if it does.
    fn write(&self) -> (bool, Result<(), StoreError>) {
        let left = self.writes_left.load(Ordering::SeqCst);
        self.writes_left.store(left.saturating_sub(1), Ordering::SeqCst);
        if left > 0 {
            return (true, Ok(()));
        }
        let is_done = self.failure == StoreErrorKind::OutcomeUnknown;
        (is_done, Err(StoreError::new("unreliable", self.failure.clone())))
    }
}

#[async_trait]
impl TokenStore for UnreliableStore {
    async fn find(&self, lookup: Lookup<'_>) -> Result<Option<Arc<Token>>, StoreError> {
        self.tokens.find(lookup).await
    }

    async fn owners(&self, tokens: &[TokenId]) -> Result<Vec<UserId>, StoreError> {
        self.tokens.owners(tokens).await
    }

    async fn key_usage(&self) -> Result<KeyUsage, StoreError> {
        self.tokens.key_usage().await
    }

    async fn record_key_check(&self, check: KeyCheck) -> Result<KeyCheck, StoreError> {
        self.tokens.record_key_check(check).await
    }

    async fn list(&self, query: &TokenQuery) -> Result<TokenPage, StoreError> {
        self.tokens.list(query).await
    }

    async fn commit(&self, commit: Commit) -> Result<(), CommitError> {
        let (is_done, answer) = self.write();
        if is_done {
            self.tokens.commit(commit).await?;
        }
        Ok(answer?)
    }

    async fn touch(&self, touches: &[Touch]) -> Result<(), StoreError> {
        self.tokens.touch(touches).await
    }

    async fn events(&self, query: &EventQuery) -> Result<EventPage, StoreError> {
        self.tokens.events(query).await
    }

    async fn prune_events(&self, before: Timestamp) -> Result<u64, StoreError> {
        self.tokens.prune_events(before).await
    }

    fn changes(&self) -> Option<Arc<dyn Changes>> {
        None
    }

    fn store_id(&self) -> StoreId {
        self.tokens.store_id()
    }
}

#[async_trait]
impl UserDirectory for UnreliableStore {
    async fn is_active(&self, user: UserId) -> Result<Option<bool>, StoreError> {
        self.users.is_active(user).await
    }

    async fn profiles(&self, users: &[UserId]) -> Result<Vec<Profile>, StoreError> {
        self.users.profiles(users).await
    }

    async fn permissions(
        &self,
        user: UserId,
        on: Option<TokenId>,
    ) -> Result<Permissions, StoreError> {
        self.users.permissions(user, on).await
    }

    async fn granted_tokens(
        &self,
        user: UserId,
        permission: Permission,
    ) -> Result<Vec<TokenId>, StoreError> {
        self.users.granted_tokens(user, permission).await
    }

    async fn user_named(&self, username: &str) -> Result<Option<UserId>, StoreError> {
        self.users.user_named(username).await
    }

    async fn users_matching(&self, word: &str) -> Result<Vec<UserId>, StoreError> {
        self.users.users_matching(word).await
    }

    fn changes(&self) -> Option<Arc<dyn Changes>> {
        None
    }

    fn store_id(&self) -> Option<StoreId> {
        self.users.store_id()
    }
}

#[async_trait]
impl UserStore for UnreliableStore {
    async fn put_user(&self, user: User) -> Result<(), UserStoreError> {
        let (is_done, answer) = self.write();
        if is_done {
            self.users.put_user(user).await?;
        }
        Ok(answer?)
    }

    async fn remove_user(&self, user: UserId) -> Result<bool, UserStoreError> {
        self.users.remove_user(user).await
    }

    async fn put_group(&self, group: Group) -> Result<(), UserStoreError> {
        let (is_done, answer) = self.write();
        if is_done {
            self.users.put_group(group).await?;
        }
        Ok(answer?)
    }

    async fn remove_group(&self, group: GroupId) -> Result<bool, UserStoreError> {
        self.users.remove_group(group).await
    }

    async fn grant(
        &self,
        user: UserId,
        permission: Permission,
        on: Option<TokenId>,
    ) -> Result<(), UserStoreError> {
        let (is_done, answer) = self.write();
        if is_done {
            self.users.grant(user, permission, on).await?;
        }
        Ok(answer?)
    }

    async fn revoke(
        &self,
        user: UserId,
        permission: Permission,
        on: Option<TokenId>,
    ) -> Result<(), UserStoreError> {
        self.users.revoke(user, permission, on).await
    }

    async fn users(&self, after: Option<UserId>, limit: u32) -> Result<Vec<User>, StoreError> {
        self.users.users(after, limit).await
    }

    async fn groups(&self, after: Option<GroupId>, limit: u32) -> Result<Vec<Group>, StoreError> {
        let groups = self.users.groups(after, limit).await?;
        Ok(groups.into_iter().filter(|group| Some(group.id) != self.hidden).collect())
    }

    async fn grants(&self, after: Option<Grant>, limit: u32) -> Result<Vec<Grant>, StoreError> {
        self.users.grants(after, limit).await
    }
}
