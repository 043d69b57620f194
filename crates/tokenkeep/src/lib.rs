//! Keeps API tokens for a Rust service: creates and updates them, authenticates callers by them,
//! and records what happened to them. In process, behind a storage trait.
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
//! let created =
//!     tokens.create(&Caller::User(UserId::new(2)), TokenChange::new().identifier("ci")).await?;
//! let header = format!("Bearer {}", created.key.expose());
//!
//! let caller = tokens.authenticate(Some(header.as_bytes())).await?.caller();
//! let change = TokenChange::from_json(br#"{"description": "deploys"}"#);
//! tokens.partial_update(&caller, "ci", change).await?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # }).unwrap();
//! ```
//!
//! # Where to start
//!
//! - [`TokenService`] has the operations, [`TokenChange`] what they are given, [`TokenError`] how
//!   they fail.
//! - [`TokenStore`] is the contract of a backend. `tokenkeep-memory` keeps tokens in memory,
//!   `tokenkeep-sqlite` in one SQLite file.
//! - [`UserDirectory`] is where users come from: the host's own table, or the one that comes with
//!   each backend.
//! - [`copy_tokens`] and [`copy_users`] move everything from one backend to another.
//! - [`guide::testing`] shows how to test a service that embeds tokenkeep, and
//!   [`guide::write_a_store`] how to write a backend.
//!
//! # What it follows
//!
//! The contract is authentik's token API (`/api/v3/core/tokens/`). Where the documentation names
//! SPEC, it means the project's `docs/SPEC.md`, with the list of what is done otherwise, and why.
//!
//! # About the examples
//!
//! Each type, trait and operation has an example that runs, or says where it is shown. Fields,
//! variants, constants and small accessors are shown with the type that they belong to.
#![forbid(unsafe_code)]

mod access;
mod clock;
mod copy;
mod directory;
mod duration;
mod error;
mod event;
mod expected;
mod fields;
mod grant;
mod identifier;
mod input;
mod key;
mod managed;
mod policy;
mod random;
mod reconcile;
mod service;
mod store;
mod sync;
mod timestamp;
mod token;
mod user;
mod view;

#[cfg(any(doc, doctest))]
pub mod guide;

pub use access::{Caller, Permission, Permissions};
pub use clock::{Clock, ManualClock, SystemClock};
pub use copy::{
    Copied, CopyError, CopyReport, RowId, check_tokens_target, check_users_target, copy_tokens,
    copy_users,
};
pub use directory::{UserDirectory, UserStore, UserStoreError};
pub use duration::{DurationError, MAX_DURATION, parse_duration};
pub use error::TokenError;
pub use event::{Event, EventId, EventKind};
pub use expected::Expected;
pub use fields::{TokenField, TokenFields};
pub use grant::Grant;
pub use identifier::{Identifier, InvalidIdentifier};
pub use input::{
    BodyError, Field, FieldError, FieldErrors, KeyChange, MAX_BODY_BYTES, RequestField,
    TokenChange, TokenList,
};
pub use key::{KeyDigest, KeyScheme, Pepper, SealedKey, SealingKey, TokenKey, UnsealError};
pub use managed::Marker;
pub use policy::Policy;
pub use random::{Random, RandomError, SeededRandom, SystemRandom};
pub use reconcile::{ManagedToken, Reconcile, ReconcileError, ReconcileReport, Reconciled};
pub use service::{
    Authenticated, Caching, Created, MAX_ATTEMPTS, OpenError, Pagination, RekeyReport, Rotated,
    SweepReport, TokenListing, TokenService, TokenServiceBuilder, TokenSlice, Updated, UsedBy,
    VerifyCache,
};
pub use store::{
    Change, ChangeCounters, Changes, Changing, Commit, CommitError, Cursor, EventCursor, EventPage,
    EventQuery, Filter, InvalidEventCursor, KeyCheck, KeyUsage, Lookup, OwnerMatch, SearchWord,
    SecretId, SortField, SortKey, SortValue, StoreError, StoreErrorKind, StoreId, Subject,
    TokenOrder, TokenPage, TokenQuery, TokenStore, Touch, UniqueField, Visibility, Window,
};
pub use timestamp::Timestamp;
pub use token::{Intent, Revision, Token, TokenId};
pub use user::{Group, GroupId, MAX_ATTRIBUTE_DEPTH, Profile, User, UserId, UserType};
pub use view::TokenView;
