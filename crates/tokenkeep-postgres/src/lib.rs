//! A [`tokenkeep`] backend that keeps tokens, events and users in PostgreSQL, for a service that runs as
//! many instances.
//!
//! ```no_run
//! # tokio::runtime::Runtime::new().unwrap().block_on(async {
//! use std::sync::Arc;
//! use tokenkeep::{Caller, Timestamp, TokenChange, TokenService, User, UserId, UserStore};
//! use tokenkeep_postgres::PostgresStore;
//!
//! let url = "postgres://tokens:secret@db.example.com/tokens";
//! let store = Arc::new(PostgresStore::connect(url).await?);
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
//! - **Durable.** When a commit returns, the server has acknowledged it: it survives what the server
//!   lets it survive. With PostgreSQL's defaults (`fsync` and `synchronous_commit` on) that is a power
//!   cut.
//! - **Shared.** Any number of instances may use the database, and start at the same time.
//! - **Current.** Only a server that accepts writes is used, unless the URL says otherwise: a standby may
//!   lag, and would accept keys that were revoked. A connection is checked when it is made, and once a
//!   second while it is used, so that reads end a second after a server stopped accepting writes.
//! - **Exact.** Text is compared byte by byte, times are numbers: neither the database's locale nor its
//!   time zone matters. The database must be encoded as UTF-8.
//! - **Honest.** A call ends as done, as failed, or as
//!   [`OutcomeUnknown`](tokenkeep::StoreErrorKind::OutcomeUnknown): the connection was lost after the
//!   commit was sent. A service then reads the audit trail, and passes on only what that cannot tell.
//! - **Private.** A connection over a network is encrypted and the server's certificate checked (the
//!   feature `tls`), unless the URL says `sslmode=disable`. No error holds a value of a row, and neither
//!   does what the driver logs.
//!
//! # How it runs
//!
//! A read is one statement; so is a commit of one change with its event: one round trip, prepared once
//! a connection. A commit of more is a transaction of two round trips, one that sends everything and
//! one that commits it; its tokens are locked in the order of their ids, so that commits wait for each
//! other and do not stand in a circle. What fails because others were in the way (a serialization
//! failure, a deadlock) is tried again inside the store, the isolation level of the server being
//! whatever it is; that can end as [`Busy`](tokenkeep::StoreErrorKind::Busy).
//!
//! Connections come from a pool, are made when they are needed and looked at before they are used; one
//! that was lost, went silent, or was left in the middle of a statement by a future that was dropped is
//! closed. After one was silent, all that were made before are closed, and a read is repeated once on a
//! new one. After the server was away, the next call finds it again. Where the server has no room for
//! another connection, calls wait for those that there are. A call can be made under any executor: the
//! connections live on the tokio runtime in which the store was opened.
//!
//! Calls that may read many rows use all connections but one together: searches, and lists and reads of
//! events that no index bounds ([`TokenQuery::is_bounded`](tokenkeep::TokenQuery::is_bounded),
//! [`EventQuery::is_bounded`](tokenkeep::EventQuery::is_bounded)). Authentications, look-ups and bounded lists do
//! not wait for them. A statement ends at the server after
//! [`statement_timeout`](PostgresOptions::statement_timeout), and within about a second after its call was
//! dropped.
//!
//! A host that has a `deadpool_postgres::Pool` can give it to [`PostgresOptions::with_pool`], which names
//! what the store needs of its connections.
//!
//! # What the server needs
//!
//! A database with `ENCODING 'UTF8'` and a role that may create tables in it, at least the first time:
//! they are named `tokenkeep_…`, and a schema of their own can be chosen with the URL's `options`
//! (`?options=-c%20search_path%3Dtokens`). Nothing else: no extension, no function, no advisory lock, no
//! `LISTEN`. Connections through a pooler that switches them between transactions need one that knows
//! prepared statements. PgBouncer does not pass the URL's `options` on: set the schema for the role with
//! `ALTER ROLE … SET search_path = …` there.
#![forbid(unsafe_code)]

mod columns;
mod commit;
mod connection;
mod error;
mod events;
mod explain;
mod keys;
mod list;
mod options;
#[cfg(test)]
mod plans;
mod pool;
mod runtime;
mod schema;
mod statement;
mod store;
#[cfg(feature = "tls")]
mod tls;
mod tokens;
mod url;
mod user_list;
mod users;
mod value;

/// The pool that [`PostgresOptions::with_pool`] takes, in the version that it takes.
pub use deadpool_postgres;

pub use error::OpenError;
pub use options::PostgresOptions;
pub use store::PostgresStore;
