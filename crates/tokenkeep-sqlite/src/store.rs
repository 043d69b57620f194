//! The store: what the traits ask for, sent to a reading or to the writing connection.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use rusqlite::Connection;
use tokenkeep::{
    Changes, Commit, CommitError, EventPage, EventQuery, Grant, Group, GroupId, KeyCheck, KeyUsage,
    Lookup, Permission, Permissions, Profile, StoreError, StoreId, Subject, Timestamp, Token,
    TokenId, TokenPage, TokenQuery, TokenStore, Touch, User, UserDirectory, UserId, UserStore,
    UserStoreError,
};

use crate::error::OpenError;
use crate::open::SqliteOptions;
use crate::reader::{Readers, at_once};
use crate::scan::{Cost, Scanners};
use crate::sharing::{Alone, Sharing};
use crate::watch::OpenFiles;
use crate::writer::{Effort, Writer};
use crate::{commit, events, keys, list, tokens, user_list, users};

/// Keeps tokens, events and users in one SQLite file, which several processes may share.
///
/// Writes of many callers are committed together. See the [crate's page](crate) for an example.
///
/// # Blocking
///
/// A look-up (of a token by one of its names, of a user) runs on the caller's
/// thread and takes microseconds. So does a small commit while the disk is fast: it holds the caller's
/// thread for a flush, about a millisecond at most, and moves to the store's writing thread when groups
/// take longer. Lists, searches and events are read on threads of the store, with connections of their
/// own. One less than there are processors, and at least one, run every such read. One more runs only those
/// that an index bounds ([`TokenQuery::is_bounded`], [`EventQuery::is_bounded`], the owners of a page, the
/// permissions of a user), so that these wait for each other only. All of them end when their future is
/// dropped, and as
/// [`Timeout`](tokenkeep::StoreErrorKind::Timeout) after
/// [`scan_timeout`](crate::SqliteOptions::scan_timeout). Opening, checks and backups hold the caller's
/// thread until they are done.
#[derive(Debug)]
pub struct SqliteStore {
    pub(crate) path: PathBuf,
    pub(crate) id: StoreId,
    pub(crate) files: Arc<OpenFiles>,
    pub(crate) readers: Arc<Readers>,
    pub(crate) scanners: Scanners,
    pub(crate) changes: Arc<dyn Changes>,
    /// Behind whatever has readers, so that it is closed last: only a connection that writes can
    /// take the log away.
    pub(crate) writer: Writer,
    /// Behind every connection, so that the next to open the file meets none.
    pub(crate) alone: Option<Alone>,
}

impl SqliteStore {
    /// Opens the file at `path`, or creates it, with the default [`SqliteOptions`].
    ///
    /// # Errors
    ///
    /// [`OpenError`]; a file that is there is as it was.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        SqliteOptions::new().open(path)
    }

    pub(crate) const fn sharing(&self) -> Sharing {
        if self.alone.is_some() { Sharing::SingleProcess } else { Sharing::Shared }
    }
}

/// How long it takes to write so many rows.
fn effort_of(rows: usize) -> Effort {
    if rows > 32 { Effort::Long } else { Effort::Short }
}

#[async_trait]
impl TokenStore for SqliteStore {
    async fn find(&self, lookup: Lookup<'_>) -> Result<Option<Arc<Token>>, StoreError> {
        self.readers.read(|connection| tokens::find(connection, lookup))
    }

    async fn owners(&self, tokens: &[TokenId]) -> Result<Vec<UserId>, StoreError> {
        let ids = tokens.to_vec();
        self.scanners.run(Cost::Bounded, move |connection| tokens::owners(connection, &ids)).await
    }

    async fn key_usage(&self) -> Result<KeyUsage, StoreError> {
        self.scanners.run(Cost::Unbounded, |connection| at_once(connection, keys::usage)).await
    }

    async fn record_key_check(&self, check: KeyCheck) -> Result<KeyCheck, StoreError> {
        let record = move |connection: &Connection| Ok(keys::record(connection, check)?);
        self.writer.run(Effort::Short, Vec::new(), record).await
    }

    async fn list(&self, query: &TokenQuery) -> Result<TokenPage, StoreError> {
        let (cost, query) = (Cost::of(query.is_bounded()), query.clone());
        let list = move |connection: &Connection| {
            at_once(connection, |connection| list::select(connection, &query))
        };
        self.scanners.run(cost, list).await
    }

    async fn commit(&self, commit: Commit) -> Result<(), CommitError> {
        let effort = effort_of(commit.changes.len() + commit.events.len());
        let about = commit.changes.iter().map(|change| Subject::Token(change.token_id())).collect();
        self.writer.run(effort, about, move |connection| commit::apply(connection, &commit)).await
    }

    async fn touch(&self, touches: &[Touch]) -> Result<(), StoreError> {
        let touches = touches.to_vec();
        let effort = effort_of(touches.len());
        let about = touches.iter().map(|touch| Subject::Token(touch.token)).collect();
        let touch = move |connection: &Connection| Ok(tokens::touch(connection, &touches)?);
        self.writer.run(effort, about, touch).await
    }

    async fn events(&self, query: &EventQuery) -> Result<EventPage, StoreError> {
        let cost = Cost::of(query.is_bounded());
        let (id, query) = (self.id, query.clone());
        let select = move |connection: &Connection| {
            at_once(connection, |connection| events::select(connection, id, &query))
        };
        self.scanners.run(cost, select).await
    }

    async fn prune_events(&self, before: Timestamp) -> Result<u64, StoreError> {
        let (mut pruned, mut start) = (0, (i64::MIN, i64::MIN));
        loop {
            // Part by part, so that others can write in between.
            let part = move |connection: &Connection| Ok(events::prune(connection, before, start)?);
            let part = self.writer.run::<_, StoreError>(Effort::Long, Vec::new(), part).await?;
            pruned += part.count;
            match part.next {
                Some(next) => start = next,
                None => return Ok(pruned),
            }
        }
    }

    fn changes(&self) -> Option<Arc<dyn Changes>> {
        Some(self.changes.clone())
    }

    fn store_id(&self) -> StoreId {
        self.id
    }
}

#[async_trait]
impl UserDirectory for SqliteStore {
    async fn is_active(&self, user: UserId) -> Result<Option<bool>, StoreError> {
        self.readers.read(|connection| users::is_active(connection, user))
    }

    async fn profiles(&self, users: &[UserId]) -> Result<Vec<Profile>, StoreError> {
        self.readers.read_at_once(|connection| {
            let found = users.iter().map(|user| users::profile(connection, *user));
            found.filter_map(Result::transpose).collect()
        })
    }

    async fn permissions(
        &self,
        user: UserId,
        on: Option<TokenId>,
    ) -> Result<Permissions, StoreError> {
        self.readers.read(|connection| users::permissions(connection, user, on))
    }

    async fn granted_tokens(
        &self,
        user: UserId,
        permission: Permission,
    ) -> Result<Vec<TokenId>, StoreError> {
        let granted =
            move |connection: &Connection| users::granted_tokens(connection, user, permission);
        self.scanners.run(Cost::Bounded, granted).await
    }

    async fn user_named(&self, username: &str) -> Result<Option<UserId>, StoreError> {
        self.readers.read(|connection| users::named(connection, username))
    }

    async fn users_matching(&self, word: &str) -> Result<Vec<UserId>, StoreError> {
        let word = word.to_owned();
        self.scanners
            .run(Cost::Unbounded, move |connection| users::matching(connection, &word))
            .await
    }

    fn changes(&self) -> Option<Arc<dyn Changes>> {
        Some(self.changes.clone())
    }

    fn store_id(&self) -> Option<StoreId> {
        Some(self.id)
    }
}

#[async_trait]
impl UserStore for SqliteStore {
    async fn put_user(&self, user: User) -> Result<(), UserStoreError> {
        let about = vec![Subject::User(user.id)];
        self.writer
            .run(Effort::Short, about, move |connection| users::put_user(connection, &user))
            .await
    }

    async fn remove_user(&self, user: UserId) -> Result<bool, UserStoreError> {
        let about = vec![Subject::User(user)];
        self.writer
            .run(Effort::Short, about, move |connection| users::remove_user(connection, user))
            .await
    }

    async fn put_group(&self, group: Group) -> Result<(), UserStoreError> {
        self.writer
            .run(Effort::Short, Vec::new(), move |connection| users::put_group(connection, &group))
            .await
    }

    async fn remove_group(&self, group: GroupId) -> Result<bool, UserStoreError> {
        self.writer
            .run(Effort::Short, Vec::new(), move |connection| {
                users::remove_group(connection, group)
            })
            .await
    }

    async fn grant(
        &self,
        user: UserId,
        permission: Permission,
        on: Option<TokenId>,
    ) -> Result<(), UserStoreError> {
        self.writer
            .run(Effort::Short, Vec::new(), move |connection| {
                users::grant(connection, user, permission, on)
            })
            .await
    }

    async fn revoke(
        &self,
        user: UserId,
        permission: Permission,
        on: Option<TokenId>,
    ) -> Result<(), UserStoreError> {
        self.writer
            .run(Effort::Short, Vec::new(), move |connection| {
                users::revoke(connection, user, permission, on)
            })
            .await
    }

    async fn users(&self, after: Option<UserId>, limit: u32) -> Result<Vec<User>, StoreError> {
        let users = move |connection: &Connection| {
            at_once(connection, |connection| user_list::users(connection, after, limit))
        };
        self.scanners.run(Cost::Unbounded, users).await
    }

    async fn groups(&self, after: Option<GroupId>, limit: u32) -> Result<Vec<Group>, StoreError> {
        self.scanners
            .run(Cost::Unbounded, move |connection| user_list::groups(connection, after, limit))
            .await
    }

    async fn grants(&self, after: Option<Grant>, limit: u32) -> Result<Vec<Grant>, StoreError> {
        self.scanners
            .run(Cost::Unbounded, move |connection| user_list::grants(connection, after, limit))
            .await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::task::{Context, Waker};
    use std::time::Duration;

    use tokenkeep::{Caller, Filter, SortField, SortKey, TokenChange, TokenService, Window};

    use super::*;

    const ALICE: UserId = UserId::new(2);

    /// Queries that no unbounded scan may delay.
    fn bounded_lists() -> [TokenQuery; 4] {
        let of = |filter| TokenQuery { filter, ..TokenQuery::default() };
        let by = |field| vec![SortKey { field, descending: false }];
        let all = Window::After { cursor: None, limit: u32::MAX };
        let owner = Filter { owner: Some(ALICE), ..Filter::default() };
        let managed_prefix = Some("m/".into());
        let expired_before = Some(Timestamp::MAX);
        [
            TokenQuery::default(),
            // What `owner_deleted`, a reconcile that prunes, and a sweep read.
            TokenQuery { order: by(SortField::Id), window: all.clone(), ..of(owner) },
            TokenQuery {
                order: by(SortField::Id),
                window: all,
                ..of(Filter { managed_prefix, ..Filter::default() })
            },
            TokenQuery {
                order: by(SortField::Expires),
                ..of(Filter { expired_before, ..Filter::default() })
            },
        ]
    }

    #[test]
    fn bounded_calls_while_every_unbounded_scan_is_slow_succeed() {
        pollster::block_on(async {
            let directory = tempfile::tempdir().unwrap();
            let options = SqliteOptions::new().scan_timeout(Duration::from_secs(5));
            let store = Arc::new(options.open(directory.path().join("tokens.db")).unwrap());
            let alice = User::new(ALICE, uuid::Uuid::from_u128(2), "alice", Timestamp::MIN);
            store.put_user(alice).await.unwrap();
            let service = TokenService::builder(store.clone(), store.clone()).open().await.unwrap();
            let ci = TokenChange::new().identifier("ci");
            let created = service.create(&Caller::User(ALICE), ci).await.unwrap();
            let id = created.view.token.id;

            let threads = store.scanners.unbounded_threads();
            let (begun, has_begun) = mpsc::channel();
            let mut ends = Vec::new();
            let mut scans = Vec::new();
            for _ in 0..2 * threads {
                let (end, has_ended) = mpsc::channel::<()>();
                let begun = begun.clone();
                let mut scan = Box::pin(store.scanners.run(Cost::Unbounded, move |_| {
                    begun.send(()).unwrap();
                    // Longer than the scan timeout, so that calls that wait fail.
                    let _ = has_ended.recv_timeout(Duration::from_secs(10));
                    Ok(())
                }));
                let poll = scan.as_mut().poll(&mut Context::from_waker(Waker::noop()));
                assert!(poll.is_pending());
                scans.push(scan);
                ends.push(end);
            }
            for _ in 0..threads {
                has_begun.recv().unwrap();
            }

            for query in bounded_lists() {
                store.list(&query).await.unwrap();
            }
            assert_eq!(store.owners(&[id]).await.unwrap(), [ALICE]);
            let query = EventQuery { token: Some(id), ..EventQuery::default() };
            assert_eq!(store.events(&query).await.unwrap().events.len(), 1);
            assert_eq!(store.events(&EventQuery::default()).await.unwrap().events.len(), 1);
            let granted = store.granted_tokens(ALICE, Permission::ViewToken).await;
            assert!(granted.unwrap().is_empty());
            assert!(store.find(Lookup::Id(id)).await.unwrap().is_some());
            let bearer = format!("Bearer {}", created.key.expose());
            service.authenticate(Some(bearer.as_bytes())).await.unwrap();
            assert_eq!(service.owner_deleted(ALICE).await.unwrap().len(), 1);
            assert!(has_begun.try_recv().is_err(), "another unbounded scan has begun");
            drop(ends);
        });
    }
}
