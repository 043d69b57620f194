//! How a copy fails.

use std::fmt;

use thiserror::Error;

use crate::event::EventId;
use crate::grant::Grant;
use crate::store::{SecretId, StoreError};
use crate::token::TokenId;
use crate::user::{GroupId, UserId};

/// Why a copy has ended before it was complete and compared. It names a row by its id, and never
/// holds a key or another value of it.
///
/// ```
/// # pollster::block_on(async {
/// use tokenkeep::{CopyError, Group, GroupId, RowId, UserStore, copy_users};
/// use tokenkeep_memory::MemoryStore;
///
/// let (old, new) = (MemoryStore::new(), MemoryStore::new());
/// let id = GroupId::from_bytes([1; 16]);
/// old.put_group(Group::new(id, "staff")).await?;
/// new.put_group(Group::new(id, "admins")).await?;
/// let refused = copy_users(&old, &new, &mut |_| {}).await;
/// assert!(matches!(refused, Err(CopyError::Differs(RowId::Group(group))) if group == id));
/// # Ok::<(), tokenkeep::UserStoreError>(())
/// # }).unwrap();
/// ```
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CopyError {
    /// The target has a row that the source does not have: it is the wrong one, or somebody writes
    /// it.
    #[error("the target has {0}, which the source does not have")]
    Foreign(RowId),
    /// A row is there on both sides and is not the same: somebody has changed it on one of them, or
    /// the target is the wrong one.
    #[error("{0} differs between source and target")]
    Differs(RowId),
    /// After everything was written, a row of the source is not in the target: somebody writes one
    /// of them.
    #[error("the target does not have {0}, although all that was missing was written")]
    Missing(RowId),
    /// The target cannot take a row of the source: somebody writes the target, or the source holds
    /// what no store would have accepted.
    #[error("the target refuses {0}")]
    Refused(RowId),
    /// The source cannot be read.
    #[error("the source failed")]
    Source(#[source] StoreError),
    /// The target cannot be read or written. When it can, the copy is started again, whatever
    /// became of the last page.
    #[error("the target failed")]
    Target(#[source] StoreError),
}

/// Which row.
///
/// ```
/// use tokenkeep::{RowId, UserId};
///
/// assert_eq!(RowId::User(UserId::new(2)).to_string(), "user 2");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RowId {
    /// A token.
    Token(TokenId),
    /// An event.
    Event(EventId),
    /// A group.
    Group(GroupId),
    /// A user.
    User(UserId),
    /// A permission that a user holds.
    Grant(Grant),
    /// The check value of a pepper or a sealing key.
    Secret(SecretId),
}

impl fmt::Display for RowId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token(id) => write!(f, "token {id}"),
            Self::Event(id) => write!(f, "event {id}"),
            Self::Group(id) => write!(f, "group {id}"),
            Self::User(id) => write!(f, "user {id}"),
            Self::Secret(secret) => write!(f, "the check value of {secret}"),
            Self::Grant(grant) => write!(f, "permission {grant}"),
        }
    }
}
