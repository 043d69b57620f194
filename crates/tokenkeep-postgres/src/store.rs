//! The store: what the traits ask for, sent to one of the connections.

use std::sync::Arc;

use async_trait::async_trait;
use tokenkeep::{
    Changes, Commit, CommitError, EventPage, EventQuery, Grant, Group, GroupId, KeyCheck, KeyUsage,
    Lookup, Permission, Permissions, Profile, StoreError, StoreId, Timestamp, Token, TokenId,
    TokenPage, TokenQuery, TokenStore, Touch, User, UserDirectory, UserId, UserStore,
    UserStoreError,
};

use crate::error::OpenError;
use crate::options::PostgresOptions;
use crate::pool::Connections;
use crate::{commit, events, keys, list, tokens, user_list, users};

/// Keeps tokens, events and users in a PostgreSQL database, which any number of instances may share.
///
/// See the [crate's page](crate) for an example.
#[derive(Debug)]
pub struct PostgresStore {
    id: StoreId,
    pub(crate) connections: Connections,
}

impl PostgresStore {
    /// Connects to the database that a URL names, with the default [`PostgresOptions`].
    ///
    /// # Errors
    ///
    /// [`OpenError`], as [`PostgresOptions::connect`].
    pub async fn connect(url: &str) -> Result<Self, OpenError> {
        PostgresOptions::new().connect(url).await
    }

    /// A store on a database that has the schema.
    pub(crate) async fn new(connections: Connections) -> Result<Self, StoreError> {
        Ok(Self { id: events::store_id(&connections).await?, connections })
    }

    /// Runs a call on the runtime that the connections live on.
    async fn run<'a, F: Future>(&'a self, call: impl FnOnce(&'a Connections) -> F) -> F::Output {
        self.connections.on_runtime(call(&self.connections)).await
    }
}

#[async_trait]
impl TokenStore for PostgresStore {
    async fn find(&self, lookup: Lookup<'_>) -> Result<Option<Arc<Token>>, StoreError> {
        self.run(|connections| tokens::find(connections, lookup)).await
    }

    async fn owners(&self, tokens: &[TokenId]) -> Result<Vec<UserId>, StoreError> {
        self.run(|connections| tokens::owners(connections, tokens)).await
    }

    async fn key_usage(&self) -> Result<KeyUsage, StoreError> {
        self.run(keys::usage).await
    }

    async fn record_key_check(&self, check: KeyCheck) -> Result<KeyCheck, StoreError> {
        self.run(|connections| keys::record(connections, check)).await
    }

    async fn list(&self, query: &TokenQuery) -> Result<TokenPage, StoreError> {
        self.run(|connections| list::select(connections, query)).await
    }

    async fn commit(&self, commit: Commit) -> Result<(), CommitError> {
        self.run(|connections| commit::commit(connections, &commit)).await
    }

    async fn touch(&self, touches: &[Touch]) -> Result<(), StoreError> {
        self.run(|connections| tokens::touch(connections, touches)).await
    }

    async fn events(&self, query: &EventQuery) -> Result<EventPage, StoreError> {
        self.run(|connections| events::select(connections, self.id, query)).await
    }

    async fn prune_events(&self, before: Timestamp) -> Result<u64, StoreError> {
        self.run(|connections| events::prune(connections, before)).await
    }

    fn changes(&self) -> Option<Arc<dyn Changes>> {
        None
    }

    fn store_id(&self) -> StoreId {
        self.id
    }
}

#[async_trait]
impl UserDirectory for PostgresStore {
    async fn is_active(&self, user: UserId) -> Result<Option<bool>, StoreError> {
        self.run(|connections| users::is_active(connections, user)).await
    }

    async fn profiles(&self, users: &[UserId]) -> Result<Vec<Profile>, StoreError> {
        self.run(|connections| users::profiles(connections, users)).await
    }

    async fn permissions(
        &self,
        user: UserId,
        on: Option<TokenId>,
    ) -> Result<Permissions, StoreError> {
        self.run(|connections| users::permissions(connections, user, on)).await
    }

    async fn granted_tokens(
        &self,
        user: UserId,
        permission: Permission,
    ) -> Result<Vec<TokenId>, StoreError> {
        self.run(|connections| users::granted_tokens(connections, user, permission)).await
    }

    async fn user_named(&self, username: &str) -> Result<Option<UserId>, StoreError> {
        self.run(|connections| users::named(connections, username)).await
    }

    async fn users_matching(&self, word: &str) -> Result<Vec<UserId>, StoreError> {
        self.run(|connections| users::matching(connections, word)).await
    }

    fn changes(&self) -> Option<Arc<dyn Changes>> {
        None
    }

    fn store_id(&self) -> Option<StoreId> {
        Some(self.id)
    }
}

#[async_trait]
impl UserStore for PostgresStore {
    async fn put_user(&self, user: User) -> Result<(), UserStoreError> {
        self.run(|connections| users::put_user(connections, &user)).await
    }

    async fn remove_user(&self, user: UserId) -> Result<bool, UserStoreError> {
        Ok(self.run(|connections| users::remove_user(connections, user)).await?)
    }

    async fn put_group(&self, group: Group) -> Result<(), UserStoreError> {
        self.run(|connections| users::put_group(connections, &group)).await
    }

    async fn remove_group(&self, group: GroupId) -> Result<bool, UserStoreError> {
        Ok(self.run(|connections| users::remove_group(connections, group)).await?)
    }

    async fn grant(
        &self,
        user: UserId,
        permission: Permission,
        on: Option<TokenId>,
    ) -> Result<(), UserStoreError> {
        self.run(|connections| users::grant(connections, user, permission, on)).await
    }

    async fn revoke(
        &self,
        user: UserId,
        permission: Permission,
        on: Option<TokenId>,
    ) -> Result<(), UserStoreError> {
        Ok(self.run(|connections| users::revoke(connections, user, permission, on)).await?)
    }

    async fn users(&self, after: Option<UserId>, limit: u32) -> Result<Vec<User>, StoreError> {
        self.run(|connections| user_list::users(connections, after, limit)).await
    }

    async fn groups(&self, after: Option<GroupId>, limit: u32) -> Result<Vec<Group>, StoreError> {
        self.run(|connections| user_list::groups(connections, after, limit)).await
    }

    async fn grants(&self, after: Option<Grant>, limit: u32) -> Result<Vec<Grant>, StoreError> {
        self.run(|connections| user_list::grants(connections, after, limit)).await
    }
}
