//! Moving tokens, events and users from one store to another.

mod error;
mod report;
mod rows;
mod sides;
mod tokens;
mod users;
mod walk;

pub use error::{CopyError, RowId};
pub use report::{Copied, CopyReport};

use crate::copy::report::Told;
use crate::copy::sides::Sides;
use crate::copy::tokens::{Events, Tokens, compare_checks, copy_checks};
use crate::copy::users::{Grants, Groups, Users};
use crate::directory::UserStore;
use crate::store::TokenStore;

/// Copies all tokens, as they are, and all events from one store to another, then compares both
/// stores row by row.
///
/// - **Safe.** Nothing is overwritten or deleted, on either side. A target that has a row which the
///   source does not have, or has otherwise, is refused before anything is written.
/// - **Resumable.** Rows that are in the target already are passed over: a copy that was stopped or
///   has failed, also with an unknown outcome, is started again, and a complete one is only
///   compared.
/// - **Verified.** When it returns, every field of every row has been read from both stores, and
///   found equal.
///
/// Some thousand rows are in memory at a time. `progress` is told what has been done after every
/// page; without use for it, `&mut |_| {}` will do.
///
/// # What the host has to see to
///
/// - Nobody else may write either store meanwhile: stop the services. The comparison tells of what
///   was changed under the copy, but of nothing that is changed behind it; and a target with rows
///   that have changed in the source since is refused, so that a new one is needed.
/// - Last-used times that a service still holds back are not in the store:
///   [flush](crate::TokenService::flush) it first.
/// - Digests and sealed keys are copied as they are, and so are the check values of peppers and
///   sealing keys. They stay valid in a service with the same secrets as the source's.
/// - The trail keeps its order. A follower of the source reads the target from its start, since a
///   cursor belongs to one store.
/// - Owners are users: [`copy_users`] copies them, where the directory is a [`UserStore`].
///
/// ```
/// # pollster::block_on(async {
/// # use std::sync::Arc;
/// # use tokenkeep::{Caller, Timestamp, TokenChange, TokenService, User, UserId};
/// use tokenkeep::{UserStore, copy_tokens, copy_users};
/// use tokenkeep_memory::MemoryStore;
///
/// # let alice = User::new(UserId::new(2), uuid::Uuid::from_u128(2), "alice", Timestamp::MIN);
/// let old = Arc::new(MemoryStore::new());
/// old.put_user(alice).await?;
/// let tokens = TokenService::builder(old.clone(), old.clone()).open().await?;
/// let caller = Caller::User(UserId::new(2));
/// let key = tokens.create(&caller, TokenChange::new().identifier("ci")).await?.key;
/// tokens.flush().await?;
/// drop(tokens);
///
/// let new = Arc::new(MemoryStore::new());
/// copy_users(&*old, &*new, &mut |_| {}).await?;
/// let report = copy_tokens(&*old, &*new, &mut |_| {}).await?;
/// assert_eq!((report.tokens.written, report.tokens.verified), (1, 1));
/// let again = copy_tokens(&*old, &*new, &mut |_| {}).await?;
/// assert_eq!((again.tokens.written, again.tokens.verified), (0, 1));
///
/// let tokens = TokenService::builder(new.clone(), new).open().await?;
/// let header = format!("Bearer {}", key.expose());
/// assert_eq!(tokens.authenticate(Some(header.as_bytes())).await?.caller(), caller);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
///
/// # Errors
///
/// [`CopyError`]. What was written before it stays, and is passed over the next time.
pub async fn copy_tokens(
    from: &dyn TokenStore,
    to: &dyn TokenStore,
    progress: &mut (dyn FnMut(&CopyReport) + Send),
) -> Result<CopyReport, CopyError> {
    let tokens = Sides { from: Tokens(from), to: Tokens(to) };
    let events = Sides { from: Events(from), to: Events(to) };
    compare_checks(from, to).await?;
    tokens.check().await?;
    events.check().await?;
    copy_checks(from, to).await?;
    let mut told = Told::to(progress);
    tokens.fill(&mut told).await?;
    events.fill(&mut told).await?;
    tokens.verify(&mut told).await?;
    events.verify(&mut told).await?;
    Ok(told.report)
}

/// Copies all groups, users and permissions from one directory to another, then compares both row
/// by row: as safe, as resumable and as thoroughly as [`copy_tokens`], where there is an example.
///
/// A [`UserStore`] writes row by row: where each waits for a disk or a network, many users take
/// their time.
///
/// # Errors
///
/// [`CopyError`]. What was written before it stays, and is passed over the next time.
pub async fn copy_users(
    from: &dyn UserStore,
    to: &dyn UserStore,
    progress: &mut (dyn FnMut(&CopyReport) + Send),
) -> Result<CopyReport, CopyError> {
    let groups = Sides { from: Groups(from), to: Groups(to) };
    let users = Sides { from: Users(from), to: Users(to) };
    let grants = Sides { from: Grants(from), to: Grants(to) };
    groups.check().await?;
    users.check().await?;
    grants.check().await?;
    let mut told = Told::to(progress);
    groups.fill(&mut told).await?;
    users.fill(&mut told).await?;
    grants.fill(&mut told).await?;
    groups.verify(&mut told).await?;
    users.verify(&mut told).await?;
    grants.verify(&mut told).await?;
    Ok(told.report)
}

/// Whether [`copy_tokens`] would accept the target: it has no token and no event that the source
/// does not have, just so. For hosts that copy both tokens and users, and want to know before they
/// begin with either.
///
/// ```
/// # pollster::block_on(async {
/// use tokenkeep::{CopyError, UserStore, check_tokens_target, check_users_target};
/// # use tokenkeep::{Timestamp, User, UserId};
/// use tokenkeep_memory::MemoryStore;
///
/// # let alice = User::new(UserId::new(2), uuid::Uuid::from_u128(2), "alice", Timestamp::MIN);
/// let (old, new) = (MemoryStore::new(), MemoryStore::new());
/// old.put_user(alice).await?;
/// check_tokens_target(&old, &new).await?;
/// check_users_target(&old, &new).await?;
///
/// let wrong_way_round = check_users_target(&new, &old).await.unwrap_err();
/// assert_eq!(
///     wrong_way_round.to_string(),
///     "the target has user 2, which the source does not have",
/// );
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
///
/// # Errors
///
/// [`CopyError`]. Nothing has been written.
pub async fn check_tokens_target(
    from: &dyn TokenStore,
    to: &dyn TokenStore,
) -> Result<(), CopyError> {
    compare_checks(from, to).await?;
    Sides { from: Tokens(from), to: Tokens(to) }.check().await?;
    Sides { from: Events(from), to: Events(to) }.check().await
}

/// Whether [`copy_users`] would accept the target: see [`check_tokens_target`].
///
/// # Errors
///
/// [`CopyError`]. Nothing has been written.
pub async fn check_users_target(from: &dyn UserStore, to: &dyn UserStore) -> Result<(), CopyError> {
    Sides { from: Groups(from), to: Groups(to) }.check().await?;
    Sides { from: Users(from), to: Users(to) }.check().await?;
    Sides { from: Grants(from), to: Grants(to) }.check().await
}
