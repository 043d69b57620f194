//! A real PostgreSQL for tests and benches.
//!
//! [`Server::shared`] is the server that `TOKENKEEP_TEST_POSTGRES` names, a URL whose role may create
//! databases. Where that is not set it is a [`Cluster`] of this process, made from the server
//! binaries of the machine in about a second and gone when the process ends, however it does. Each
//! test has a [`Database`] of its own on it.
//!
//! A test begins by asking whether there is a server at all:
//!
//! ```
//! use tokenkeep_test_server::{Server, available};
//!
//! if !available("keeps_what_was_written") {
//!     return Ok(());
//! }
//! let database = Server::shared()?.database()?;
//! assert_eq!(database.query("SELECT 6 * 7")?, [["42"]]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A [`Proxy`] in front of a cluster is a network that fails at a chosen byte.
//!
//! Every function blocks, and may be called where a runtime runs and where none does.
#![forbid(unsafe_code)]

mod available;
mod binaries;
mod cluster;
mod database;
mod keeper;
mod port;
mod programs;
mod proxy;
mod query;
mod server;
mod url;

pub use available::{available, cluster_available};
pub use cluster::{Cluster, ClusterOptions};
pub use database::Database;
pub use programs::Programs;
pub use proxy::{Direction, Failure, Proxy};
pub use query::QueryError;
pub use server::{Server, Unavailable};
