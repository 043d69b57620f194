//! A [`tokenkeep`] backend that keeps tokens, events and users in PostgreSQL.
#![forbid(unsafe_code)]

mod columns;
mod commit;
mod connection;
mod error;
mod events;
mod explain;
mod list;
mod options;
mod schema;
mod statement;
mod store;
#[cfg(feature = "tls")]
mod tls;
mod tokens;
mod users;
mod value;

pub use error::OpenError;
pub use options::PostgresOptions;
pub use store::PostgresStore;
