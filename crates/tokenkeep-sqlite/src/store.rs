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
use crate::scan::Scanners;
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
/// A look-up (of a token by one of its names, of a user, of the owners of a page) runs on the caller's
/// thread and takes microseconds. So does a small commit while the disk is fast: it holds the caller's
/// thread for a flush, about a millisecond at most, and moves to the store's writing thread when groups
/// take longer. All reads whose cost grows with the rows (lists, searches, events) run on threads of the
/// store, one less than there are processors, with connections of their own, and wait for each other.
/// They end when their future is dropped, and as
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
        self.scanners.run(move |connection| tokens::owners(connection, &ids)).await
    }

    async fn key_usage(&self) -> Result<KeyUsage, StoreError> {
        self.scanners.run(|connection| at_once(connection, keys::usage)).await
    }

    async fn record_key_check(&self, check: KeyCheck) -> Result<KeyCheck, StoreError> {
        let record = move |connection: &Connection| Ok(keys::record(connection, check)?);
        self.writer.run(Effort::Short, Vec::new(), record).await
    }

    async fn list(&self, query: &TokenQuery) -> Result<TokenPage, StoreError> {
        let query = query.clone();
        let list = move |connection: &Connection| {
            at_once(connection, |connection| list::select(connection, &query))
        };
        self.scanners.run(list).await
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
        let (id, query) = (self.id, query.clone());
        let select = move |connection: &Connection| {
            at_once(connection, |connection| events::select(connection, id, &query))
        };
        self.scanners.run(select).await
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
        self.scanners.run(granted).await
    }

    async fn user_named(&self, username: &str) -> Result<Option<UserId>, StoreError> {
        self.readers.read(|connection| users::named(connection, username))
    }

    async fn users_matching(&self, word: &str) -> Result<Vec<UserId>, StoreError> {
        let word = word.to_owned();
        self.scanners.run(move |connection| users::matching(connection, &word)).await
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
        self.scanners.run(users).await
    }

    async fn groups(&self, after: Option<GroupId>, limit: u32) -> Result<Vec<Group>, StoreError> {
        self.scanners.run(move |connection| user_list::groups(connection, after, limit)).await
    }

    async fn grants(&self, after: Option<Grant>, limit: u32) -> Result<Vec<Grant>, StoreError> {
        self.scanners.run(move |connection| user_list::grants(connection, after, limit)).await
    }
}
