//! The store: what the traits ask for, sent to a reading or to the writing connection.

use std::num::NonZeroU8;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use rusqlite::Connection;
use tokenkeep::{
    Changes, Commit, CommitError, Event, EventQuery, Grant, Group, GroupId, Lookup, Permission,
    Permissions, Profile, StoreError, Subject, Timestamp, Token, TokenId, TokenPage, TokenQuery,
    TokenStore, Touch, User, UserDirectory, UserId, UserStore, UserStoreError,
};

use crate::error::OpenError;
use crate::open::SqliteOptions;
use crate::reader::Readers;
use crate::sharing::{Alone, Sharing};
use crate::watch::OpenFiles;
use crate::writer::{Effort, Writer};
use crate::{commit, events, list, tokens, user_list, users};

/// Keeps tokens, events and users in one SQLite file, which several processes may share.
///
/// Reads run on the caller's thread. Writes of many callers are committed together. See the
/// [crate's page](crate) for an example.
#[derive(Debug)]
pub struct SqliteStore {
    pub(crate) path: PathBuf,
    pub(crate) files: Arc<OpenFiles>,
    readers: Arc<Readers>,
    changes: Arc<dyn Changes>,
    /// Behind whatever has readers, so that it is closed last: only a connection that writes can
    /// take the log away.
    pub(crate) writer: Writer,
    /// Behind every connection, so that the next to open the file meets none.
    alone: Option<Alone>,
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

    pub(crate) fn new(
        path: PathBuf,
        files: Arc<OpenFiles>,
        readers: Arc<Readers>,
        changes: Arc<dyn Changes>,
        writer: Writer,
        alone: Option<Alone>,
    ) -> Self {
        Self { path, files, readers, changes, writer, alone }
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

    async fn pepper_ids(&self) -> Result<Vec<NonZeroU8>, StoreError> {
        self.readers.read_at_once(tokens::pepper_ids)
    }

    async fn list(&self, query: &TokenQuery) -> Result<TokenPage, StoreError> {
        self.readers.read_at_once(|connection| list::select(connection, query))
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

    async fn events(&self, query: &EventQuery) -> Result<Vec<Event>, StoreError> {
        self.readers.read(|connection| events::select(connection, query))
    }

    async fn prune_events(&self, before: Timestamp) -> Result<u64, StoreError> {
        let mut pruned = 0;
        loop {
            // Part by part, so that others can write in between.
            let part = move |connection: &Connection| Ok(events::prune(connection, before)?);
            match self.writer.run::<u64, StoreError>(Effort::Long, Vec::new(), part).await? {
                0 => return Ok(pruned),
                part => pruned += part,
            }
        }
    }

    fn changes(&self) -> Option<Arc<dyn Changes>> {
        Some(self.changes.clone())
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
        self.readers.read(|connection| users::granted_tokens(connection, user, permission))
    }

    async fn user_named(&self, username: &str) -> Result<Option<UserId>, StoreError> {
        self.readers.read(|connection| users::named(connection, username))
    }

    async fn users_matching(&self, word: &str) -> Result<Vec<UserId>, StoreError> {
        self.readers.read(|connection| users::matching(connection, word))
    }

    fn changes(&self) -> Option<Arc<dyn Changes>> {
        Some(self.changes.clone())
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
        self.readers.read_at_once(|connection| user_list::users(connection, after, limit))
    }

    async fn groups(&self, after: Option<GroupId>, limit: u32) -> Result<Vec<Group>, StoreError> {
        self.readers.read(|connection| user_list::groups(connection, after, limit))
    }

    async fn grants(&self, after: Option<Grant>, limit: u32) -> Result<Vec<Grant>, StoreError> {
        self.readers.read(|connection| user_list::grants(connection, after, limit))
    }
}
