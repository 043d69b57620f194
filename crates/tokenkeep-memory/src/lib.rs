//! A [`tokenkeep`] backend that keeps tokens and users in memory: for tests, and for services whose
//! tokens need not outlive them.
//!
//! [`MemoryStore`] is a [`TokenStore`](tokenkeep::TokenStore), a
//! [`UserDirectory`](tokenkeep::UserDirectory) and a [`UserStore`](tokenkeep::UserStore) at once.
//! [`FailingStore`] and [`FailingDirectory`] wrap others and fail on demand, for tests.
//!
//! ```
//! # pollster::block_on(async {
//! use std::sync::Arc;
//! use tokenkeep::{Caller, Timestamp, TokenChange, TokenService, User, UserId, UserStore};
//! use tokenkeep_memory::MemoryStore;
//!
//! let store = Arc::new(MemoryStore::new());
//! let alice = User::new(UserId::new(2), uuid::Uuid::from_u128(2), "alice", Timestamp::MIN);
//! store.put_user(alice).await?;
//!
//! let tokens = TokenService::builder(store.clone(), store).open().await?;
//! let alice = Caller::User(UserId::new(2));
//! let created = tokens.create(&alice, TokenChange::new().identifier("ci")).await?;
//! assert_eq!(created.view.token.identifier.as_str(), "ci");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # }).unwrap();
//! ```
#![forbid(unsafe_code)]

mod failing;
mod names;
mod rows;
mod select;
mod shard;
mod store;
mod sync;
mod users;

pub use failing::{FailingDirectory, FailingStore};
pub use store::MemoryStore;
