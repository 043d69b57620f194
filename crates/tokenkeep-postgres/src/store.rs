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

    /// Runs a call that may read many rows. However many of them there are, they leave one of
    /// several connections to the other calls.
    pub(crate) async fn scan<'a, T, F>(
        &'a self,
        call: impl FnOnce(&'a Connections) -> F,
    ) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let scan = async {
            let _permit = self.connections.scan_permit().await?;
            call(&self.connections).await
        };
        self.connections.on_runtime(scan).await
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
        self.scan(keys::usage).await
    }

    async fn record_key_check(&self, check: KeyCheck) -> Result<KeyCheck, StoreError> {
        self.run(|connections| keys::record(connections, check)).await
    }

    async fn list(&self, query: &TokenQuery) -> Result<TokenPage, StoreError> {
        let list = |connections| list::select(connections, query);
        if query.is_bounded() { self.run(list).await } else { self.scan(list).await }
    }

    async fn commit(&self, commit: Commit) -> Result<(), CommitError> {
        self.run(|connections| commit::commit(connections, &commit)).await
    }

    async fn touch(&self, touches: &[Touch]) -> Result<(), StoreError> {
        self.run(|connections| tokens::touch(connections, touches)).await
    }

    async fn events(&self, query: &EventQuery) -> Result<EventPage, StoreError> {
        let select = |connections| events::select(connections, self.id, query);
        if query.is_bounded() { self.run(select).await } else { self.scan(select).await }
    }

    async fn prune_events(&self, before: Timestamp) -> Result<u64, StoreError> {
        self.scan(|connections| events::prune(connections, before)).await
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
        self.scan(|connections| users::matching(connections, word)).await
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
        self.scan(|connections| user_list::users(connections, after, limit)).await
    }

    async fn groups(&self, after: Option<GroupId>, limit: u32) -> Result<Vec<Group>, StoreError> {
        self.scan(|connections| user_list::groups(connections, after, limit)).await
    }

    async fn grants(&self, after: Option<Grant>, limit: u32) -> Result<Vec<Grant>, StoreError> {
        self.scan(|connections| user_list::grants(connections, after, limit)).await
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::future::{join_all, select};
    use tokenkeep::{
        Filter, KeyDigest, OwnerMatch, SearchWord, SortField, SortKey, StoreErrorKind, TokenKey,
        Window,
    };
    use tokenkeep_test_server::{Database, Server, available};

    use super::*;

    const SLEEP: &str = "SELECT pg_sleep(600)";

    async fn store(database: &Database, connections: usize) -> PostgresStore {
        let options = PostgresOptions::new().max_connections(connections);
        options.statement_timeout(Duration::from_secs(900)).connect(&database.url()).await.unwrap()
    }

    /// How many statements sleep.
    fn sleeping(database: &Database) -> u32 {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' \
             AND query LIKE '%pg_sleep%' AND pid <> pg_backend_pid() \
             AND datname = current_database()";
        database.query(sql).unwrap()[0][0].parse().unwrap()
    }

    /// A list that may read every token.
    fn search() -> TokenQuery {
        let word = SearchWord { text: "a".into(), owners: OwnerMatch::Directory };
        TokenQuery { search: vec![word], ..TokenQuery::default() }
    }

    #[tokio::test]
    async fn bounded_call_while_every_scan_is_slow_succeeds() {
        if !available("bounded_call_while_every_scan_is_slow_succeeds") {
            return;
        }
        let database = Server::shared().unwrap().database().unwrap();
        let store = store(&database, 3).await;
        let scans = (0..8).map(|_| store.scan(|connections| connections.query(SLEEP, &[])));
        let look_ups = Box::pin(async {
            while sleeping(&database) < 2 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            let digest = KeyDigest::of(&TokenKey::from("key".to_owned()));
            let (user, token) = (UserId::new(1), TokenId::from_bytes([1; 16]));
            let of_owner = TokenQuery {
                filter: Filter { owner: Some(user), ..Filter::default() },
                order: vec![SortKey { field: SortField::Id, descending: false }],
                window: Window::After { cursor: None, limit: u32::MAX },
                ..TokenQuery::default()
            };
            let of_token = EventQuery { token: Some(token), ..EventQuery::default() };
            for _ in 0..20 {
                for query in [&TokenQuery::default(), &of_owner] {
                    assert_eq!(store.list(query).await.unwrap(), TokenPage::default());
                }
                assert!(store.events(&of_token).await.unwrap().events.is_empty());
                assert!(store.events(&EventQuery::default()).await.unwrap().events.is_empty());
                assert!(store.owners(&[token]).await.unwrap().is_empty());
                let granted = store.granted_tokens(user, Permission::ViewToken).await;
                assert!(granted.unwrap().is_empty());
                assert!(store.find(Lookup::KeyDigest(&digest)).await.unwrap().is_none());
                assert!(store.is_active(user).await.unwrap().is_none());
            }
        });
        // Scans that wait for a connection fail; two do not end while the look-ups are made.
        select(look_ups, Box::pin(join_all(scans))).await;
    }

    #[tokio::test]
    async fn scan_when_no_scan_ends_fails_as_busy() {
        if !available("scan_when_no_scan_ends_fails_as_busy") {
            return;
        }
        let database = Server::shared().unwrap().database().unwrap();
        let options = PostgresOptions::new().max_connections(2);
        let options = options.connect_timeout(Duration::from_millis(500));
        let store = options.connect(&database.url()).await.unwrap();
        let _permit = store.connections.scan_permit().await.unwrap();
        let error = store.list(&search()).await.unwrap_err();
        assert_eq!(*error.kind(), StoreErrorKind::Busy);
    }

    #[tokio::test]
    async fn scan_when_dropped_ends_at_the_server() {
        if !available("scan_when_dropped_ends_at_the_server") {
            return;
        }
        let database = Server::shared().unwrap().database().unwrap();
        let store = store(&database, 2).await;
        let scan = Box::pin(store.scan(|connections| connections.query(SLEEP, &[])));
        let started = Box::pin(async {
            while sleeping(&database) < 1 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        drop(select(scan, started).await);
        for _ in 0..600 {
            if sleeping(&database) == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("the statement goes on");
    }

    #[tokio::test]
    async fn scan_that_takes_too_long_fails_as_timeout() {
        if !available("scan_that_takes_too_long_fails_as_timeout") {
            return;
        }
        let database = Server::shared().unwrap().database().unwrap();
        let options = PostgresOptions::new().statement_timeout(Duration::from_secs(1));
        let store = options.connect(&database.url()).await.unwrap();
        let scan = store.scan(|connections| connections.query(SLEEP, &[])).await;
        assert_eq!(*scan.unwrap_err().kind(), StoreErrorKind::Timeout);
    }
}
