//! Where users come from, and where those without a user table of their own keep them.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use thiserror::Error;

use crate::access::{Permission, Permissions};
use crate::grant::Grant;
use crate::store::{Changes, StoreError, StoreId};
use crate::token::TokenId;
use crate::user::{Group, GroupId, Profile, User, UserId};

/// What a service reads about users. A host with a user table implements it on that table; one
/// without uses the directory that comes with its backend, which is a [`UserStore`] too.
///
/// # Contract
///
/// A call sees every change that was acknowledged before it began: a deactivation binds the next
/// authentication. Nothing may be cached beyond that.
///
/// # Reused ids
///
/// A user id must never belong to a second user: tokens are found by it. A host that gives the id of a
/// deleted user to another hands over the old user's tokens, and their keys work again. Nothing
/// compares the two users. Where ids can be reused, call
/// [`owner_deleted`](crate::TokenService::owner_deleted) after each deletion of a user, and again
/// before its id is reused.
///
/// ```
/// use std::sync::Arc;
///
/// use async_trait::async_trait;
/// use tokenkeep::{
///     Changes, Permission, Permissions, Profile, StoreError, StoreId, TokenId, UserDirectory,
///     UserId,
/// };
///
/// /// A host where nobody exists.
/// #[derive(Debug)]
/// struct Nobody;
///
/// #[async_trait]
/// impl UserDirectory for Nobody {
///     async fn is_active(&self, _: UserId) -> Result<Option<bool>, StoreError> {
///         Ok(None)
///     }
///     async fn profiles(&self, _: &[UserId]) -> Result<Vec<Profile>, StoreError> {
///         Ok(Vec::new())
///     }
///     async fn permissions(
///         &self,
///         _: UserId,
///         _: Option<TokenId>,
///     ) -> Result<Permissions, StoreError> {
///         Ok(Permissions::NONE)
///     }
///     async fn granted_tokens(
///         &self,
///         _: UserId,
///         _: Permission,
///     ) -> Result<Vec<TokenId>, StoreError> {
///         Ok(Vec::new())
///     }
///     async fn user_named(&self, _: &str) -> Result<Option<UserId>, StoreError> {
///         Ok(None)
///     }
///     async fn users_matching(&self, _: &str) -> Result<Vec<UserId>, StoreError> {
///         Ok(Vec::new())
///     }
///     fn changes(&self) -> Option<Arc<dyn Changes>> {
///         None
///     }
///     fn store_id(&self) -> Option<StoreId> {
///         None
///     }
/// }
/// ```
#[async_trait]
pub trait UserDirectory: Debug + Send + Sync + 'static {
    /// Whether the user is active. Called at every authentication: it should cost one look-up.
    ///
    /// # Behavior
    ///
    /// - **active.1** The answer is the user's own state; `None` when there is no such user.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the directory cannot be read.
    async fn is_active(&self, user: UserId) -> Result<Option<bool>, StoreError>;

    /// The users of these ids with all groups that count for them, in any order.
    ///
    /// # Behavior
    ///
    /// - **profiles.1** Every field of a user comes back as it was written, ids of nobody are left
    ///   out.
    /// - **profiles.2** The groups are those that the user is in and their ancestors, each once,
    ///   every field as it was written.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the directory cannot be read.
    async fn profiles(&self, users: &[UserId]) -> Result<Vec<Profile>, StoreError>;

    /// The permissions that a user holds, in one set. Superusers need none listed.
    ///
    /// # Behavior
    ///
    /// - **permissions.1** They are those held globally and, where a token is given, those held on
    ///   that token; none for nobody.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the directory cannot be read.
    async fn permissions(
        &self,
        user: UserId,
        on: Option<TokenId>,
    ) -> Result<Permissions, StoreError>;

    /// The tokens on which a user holds a permission, in any order.
    ///
    /// # Behavior
    ///
    /// - **granted.1** They are those on which it is held singly: holding it globally adds none.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the directory cannot be read.
    async fn granted_tokens(
        &self,
        user: UserId,
        permission: Permission,
    ) -> Result<Vec<TokenId>, StoreError>;

    /// The user of that username.
    ///
    /// # Behavior
    ///
    /// - **named.1** Usernames are compared exactly, case included.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the directory cannot be read.
    async fn user_named(&self, username: &str) -> Result<Option<UserId>, StoreError>;

    /// The users whose username contains a word, in any order. A service asks this for callers who
    /// see every token, where the directory is not part of the store.
    ///
    /// # Behavior
    ///
    /// - **matching.1** The case of ASCII letters is ignored, no character is special.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the directory cannot be read.
    async fn users_matching(&self, word: &str) -> Result<Vec<UserId>, StoreError>;

    /// How a cache learns that a user has changed: the same one that the
    /// [store](crate::TokenStore::changes) has, where both keep their rows together. `None`
    /// has the state of a token's owner read at each call.
    ///
    /// # Behavior
    ///
    /// - **user-changes.1** When a user has been put or removed, that is counted from the
    ///   acknowledgement on, whichever handle and whichever process did it.
    fn changes(&self) -> Option<Arc<dyn Changes>>;

    /// The [store](crate::TokenStore::store_id) that these users are part of: a search then compares
    /// usernames there, of visible tokens only. `None` for a directory of the host's own.
    fn store_id(&self) -> Option<StoreId>;
}

/// A directory that can be written: what backends offer to hosts that have no user table. Each
/// call is atomic, and durable when it returns.
///
/// ```
/// # pollster::block_on(async {
/// use tokenkeep::{Timestamp, User, UserDirectory, UserId, UserStore};
/// use tokenkeep_memory::MemoryStore;
///
/// let users = MemoryStore::new();
/// let alice = User::new(UserId::new(2), uuid::Uuid::from_u128(2), "alice", Timestamp::MIN);
/// users.put_user(alice.clone()).await?;
/// assert_eq!(users.is_active(UserId::new(2)).await?, Some(true));
/// assert_eq!(users.users(None, 100).await?, [alice]);
/// assert_eq!(users.users(Some(UserId::new(2)), 100).await?, []);
/// # Ok::<(), tokenkeep::UserStoreError>(())
/// # }).unwrap();
/// ```
#[async_trait]
pub trait UserStore: UserDirectory {
    /// Writes a user.
    ///
    /// # Behavior
    ///
    /// - **put-user.1** It is a new one, or takes the place of the one with the same id, whose
    ///   permissions it keeps and whose username it frees.
    /// - **put-user.2** One that [cannot be kept](User::check_storable) is refused.
    /// - **put-user.3** A username that another user has is refused.
    /// - **put-user.4** A group that does not exist is refused.
    /// - **put-user.5** Of several reasons the first in this order is told, and nothing is changed.
    ///
    /// # Errors
    ///
    /// [`UserStoreError`] in that order; or the store's own.
    async fn put_user(&self, user: User) -> Result<(), UserStoreError>;

    /// Removes a user, and returns whether there was one. Its tokens stay, and authenticate nobody
    /// until a user gets [the same id](UserDirectory#reused-ids).
    ///
    /// # Behavior
    ///
    /// - **remove-user.1** Its memberships and permissions go with it: a user who gets the same id
    ///   later has none of them.
    ///
    /// # Errors
    ///
    /// [`UserStoreError::Store`].
    async fn remove_user(&self, user: UserId) -> Result<bool, UserStoreError>;

    /// Writes a group.
    ///
    /// # Behavior
    ///
    /// - **put-group.1** It is a new one, or takes the place of the one with the same id, whose
    ///   members and children it keeps.
    /// - **put-group.2** One that [cannot be kept](Group::check_storable) is refused.
    /// - **put-group.3** A parent that makes the group its own ancestor is refused.
    /// - **put-group.4** A parent that does not exist is refused.
    ///
    /// # Errors
    ///
    /// [`UserStoreError`] in that order; or the store's own.
    async fn put_group(&self, group: Group) -> Result<(), UserStoreError>;

    /// Removes a group, and tells whether there was one.
    ///
    /// # Behavior
    ///
    /// - **remove-group.1** Its members leave it, and its children lose their parent.
    ///
    /// # Errors
    ///
    /// [`UserStoreError::Store`].
    async fn remove_group(&self, group: GroupId) -> Result<bool, UserStoreError>;

    /// Gives a user a permission, globally or on one token.
    ///
    /// # Behavior
    ///
    /// - **grant.1** Giving it twice is giving it once.
    /// - **grant.2** A user who does not exist is refused.
    ///
    /// # Errors
    ///
    /// [`UserStoreError::UnknownUser`]; or the store's own.
    async fn grant(
        &self,
        user: UserId,
        permission: Permission,
        on: Option<TokenId>,
    ) -> Result<(), UserStoreError>;

    /// Takes back what [`grant`](Self::grant) gave.
    ///
    /// # Behavior
    ///
    /// - **revoke.1** Only this permission in this place is taken back; what was not given stays so.
    ///
    /// # Errors
    ///
    /// [`UserStoreError::Store`].
    async fn revoke(
        &self,
        user: UserId,
        permission: Permission,
        on: Option<TokenId>,
    ) -> Result<(), UserStoreError>;

    /// Lists the users behind one, or from the first on.
    ///
    /// # Behavior
    ///
    /// - **users.1** Each user is there once, in the order of the ids' numbers.
    /// - **users.2** Every field is as it was written; the groups are those that the user is in
    ///   directly.
    /// - **users.3** After an id come the users behind it, whether or not there is one of that id,
    ///   at most as many as the limit.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the store cannot be read.
    async fn users(&self, after: Option<UserId>, limit: u32) -> Result<Vec<User>, StoreError>;

    /// Lists the groups behind one, or from the first on.
    ///
    /// # Behavior
    ///
    /// - **groups.1** Each group is there once, every field as it was written, in the order of the
    ///   ids' bytes.
    /// - **groups.2** After an id come the groups behind it, whether or not there is one of that
    ///   id, at most as many as the limit.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the store cannot be read.
    async fn groups(&self, after: Option<GroupId>, limit: u32) -> Result<Vec<Group>, StoreError>;

    /// Lists the permissions of all users behind one, or from the first on.
    ///
    /// # Behavior
    ///
    /// - **grants.1** Each permission that is held is there once, in [the order](Grant) of user,
    ///   token and name, those on all tokens first.
    /// - **grants.2** After a grant come those behind it, whether or not it is held, at most as
    ///   many as the limit.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the store cannot be read.
    async fn grants(&self, after: Option<Grant>, limit: u32) -> Result<Vec<Grant>, StoreError>;
}

/// Why a user or group was not written. Nothing has been changed, unless the kind of a store's error is
/// [`OutcomeUnknown`](crate::StoreErrorKind::OutcomeUnknown).
///
/// ```
/// # pollster::block_on(async {
/// use tokenkeep::{Timestamp, User, UserId, UserStore, UserStoreError};
/// use tokenkeep_memory::MemoryStore;
///
/// let users = MemoryStore::new();
/// let user = |id| User::new(UserId::new(id), uuid::Uuid::from_u128(1), "alice", Timestamp::MIN);
/// users.put_user(user(1)).await?;
/// let refused = users.put_user(user(2)).await;
/// assert!(matches!(refused, Err(UserStoreError::UsernameTaken(name)) if name == "alice"));
/// # Ok::<(), UserStoreError>(())
/// # }).unwrap();
/// ```
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum UserStoreError {
    /// Another user has this username.
    #[error("another user has the username {0:?}")]
    UsernameTaken(String),
    /// There is no such user.
    #[error("there is no user {0}")]
    UnknownUser(UserId),
    /// There is no such group.
    #[error("there is no group {0}")]
    UnknownGroup(GroupId),
    /// A text contains U+0000, which PostgreSQL cannot store.
    #[error("{field} contains a null character")]
    NullCharacter {
        /// Which.
        field: &'static str,
    },
    /// The attributes are nested more than [`MAX_ATTRIBUTE_DEPTH`](crate::MAX_ATTRIBUTE_DEPTH)
    /// levels deep.
    #[error("the attributes are nested too deeply")]
    AttributesTooDeep,
    /// The group would be its own ancestor.
    #[error("group {0} would be its own ancestor")]
    Cycle(GroupId),
    /// The storage failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
