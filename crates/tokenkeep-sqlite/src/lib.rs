//! A [`tokenkeep`] backend that keeps tokens, events and users in one SQLite file.
//!
//! ```
//! # pollster::block_on(async {
//! use std::sync::Arc;
//! use tokenkeep::{Caller, Timestamp, TokenChange, TokenService, User, UserId, UserStore};
//! use tokenkeep_sqlite::SqliteStore;
//!
//! # let directory = tempfile::tempdir()?;
//! # let path = directory.path().join("tokens.db");
//! let store = Arc::new(SqliteStore::open(&path)?);
//! let alice = User::new(UserId::new(2), uuid::Uuid::from_u128(2), "alice", Timestamp::MIN);
//! store.put_user(alice).await?;
//!
//! let tokens = TokenService::builder(store.clone(), store).open().await?;
//! let alice = Caller::User(UserId::new(2));
//! tokens.create(&alice, TokenChange::new().identifier("ci")).await?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # }).unwrap();
//! ```
//!
//! # What it promises
//!
//! - **Durable.** With [`Durability::Full`], the default, the disk has been flushed when a commit
//!   returns: it survives the death of the process and a power cut. With [`Durability::Normal`] a
//!   power cut can lose the last commits.
//! - **Shared.** Several processes on one machine may open the file. Not on a network file system:
//!   locks and shared memory do not work there. Do not fork with an open store. A process that has
//!   the file for itself reads it in three quarters of the time ([`Sharing::SingleProcess`]).
//! - **Private.** A new file is created with mode 0600. A file that others may read is refused, and so
//!   are its `-wal` and `-shm`.
//! - **One name.** A file with a second hard link is refused, and so is a file that is mounted without
//!   its directory: two names would have two WALs. Symbolic links are followed to the one file.
//! - **Untouched.** A file that is another program's, or that a newer version has written, is
//!   refused and left as it is. An older one is migrated in one transaction. A new one appears
//!   under its name when it is complete.
//! - **Checked.** A file that was not closed, or is open elsewhere, is read through before it is
//!   used ([`CheckOnOpen`]), and refused when it is damaged.
//! - **Bounded.** The log beside the file is moved into it every few hundred pages. Readers that take
//!   long can hold that up; from 64 MiB on the writer waits up to a second for them, again whenever
//!   the log has grown by a quarter.
//!
//! # How it runs
//!
//! Look-ups run on the caller's thread, on a few connections of their own, which keep 64 MiB of the file in
//! memory together ([`SqliteOptions::page_cache`]): they take microseconds. Lists, searches and events are
//! read on threads of the store. One of these runs only what an index bounds, which so never waits for a
//! search ([Blocking](SqliteStore#blocking)).
//! Writes wait in a queue and are committed together, so that one flush of the disk serves all who
//! wait. A caller who finds nobody writing commits on its own thread, and holds it for the time of
//! a flush; once commits take longer than a millisecond, or another process is in the way, or there
//! are many rows to write, or the log is to be moved, a thread of the store's own does it. It works
//! under any executor and needs none.
//!
//! # The files
//!
//! The store keeps three files open: the database, its WAL (`-wal`) and the index of the WAL (`-shm`).
//! They belong together. No program but SQLite may touch them while a store is open, and neither may
//! the host itself: POSIX drops all locks of a process on a file when the process closes that file, so
//! `std::fs::read` of the database or its `-shm` unlocks them, and the next program that closes the
//! database deletes the WAL. Use [`SqliteStore::backup`] to copy a store.
//!
//! The store checks before each commit, after it, and every 20 ms while it is read that each file is
//! still found under its name, that the database has no second name, and that the WAL was not cut short.
//! After such a change every call is [`Unavailable`](tokenkeep::StoreErrorKind::Unavailable), until all
//! processes have closed the store and opened it again. A commit during which the change happened is
//! [`OutcomeUnknown`](tokenkeep::StoreErrorKind::OutcomeUnknown). Where only the WAL was deleted, the
//! store first moves what it has acknowledged into the database.
//!
//! # When the storage fails
//!
//! A full disk fails the commits that meet it, as [`Full`](tokenkeep::StoreErrorKind::Full); later
//! ones go through when there is room. After any other failed write or flush, of a commit or of the
//! log that is moved, the store writes no more and answers
//! [`Unavailable`](tokenkeep::StoreErrorKind::Unavailable), since nothing can be acknowledged on top
//! of it: look at the disk and open the store anew, which checks it. A disk that is full when the
//! index of a long log has to grow counts as such a failure. A commit whose write or flush failed so
//! is [`OutcomeUnknown`](tokenkeep::StoreErrorKind::OutcomeUnknown): it may be there after the
//! reopening.
#![forbid(unsafe_code)]

mod changes;
mod columns;
mod commit;
mod error;
mod events;
mod file;
mod import;
mod keys;
mod line;
mod list;
mod maintenance;
mod open;
#[cfg(test)]
mod panics;
mod reader;
mod scan;
mod schema;
mod sharing;
mod slot;
mod store;
mod tokens;
mod user_list;
mod users;
mod watch;
mod writer;

pub use error::OpenError;
pub use import::ImportError;
pub use maintenance::BackupError;
pub use open::{CheckOnOpen, Durability, SqliteOptions};
pub use sharing::Sharing;
pub use store::SqliteStore;
