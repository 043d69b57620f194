//! A database for one test.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::net::SocketAddr;

use crate::query::{QueryError, query};
use crate::server::Server;
use crate::url::Url;

/// A database of one test, dropped with this, whoever is connected to it.
///
/// See the [crate's page](crate) for an example.
#[derive(Debug)]
pub struct Database {
    server: Server,
    name: String,
}

impl Database {
    pub(crate) fn create(server: Server) -> Result<Self, QueryError> {
        // Tests of other processes may be on the same server.
        let random = RandomState::new().build_hasher().finish();
        let name = format!("tokenkeep_test_{random:016x}");
        // Nobody connects to this template, so that nobody is in the way.
        server.query(&format!("CREATE DATABASE {name} TEMPLATE template0"))?;
        Ok(Self { server, name })
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The URL, `postgres://…`.
    #[must_use]
    pub fn url(&self) -> String {
        self.server.url_of(&self.name).to_string()
    }

    /// The URL with one more connection parameter, such as `options` and
    /// `-c synchronous_commit=off`.
    #[must_use]
    pub fn url_with(&self, parameter: &str, value: &str) -> String {
        self.server.url_of(&self.name).parameter(parameter, value).to_string()
    }

    /// The URL at another address of a [`Cluster`](crate::Cluster): its
    /// [TCP port](crate::Cluster::address), or one that leads there.
    #[must_use]
    pub fn url_at(&self, address: SocketAddr) -> String {
        Url::of_address(address).database(&self.name).to_string()
    }

    /// Runs statements, each time on a new connection, and returns the rows of all of them as text;
    /// a null is empty.
    ///
    /// # Errors
    ///
    /// [`QueryError`] when the server does not run them.
    pub fn query(&self, sql: &str) -> Result<Vec<Vec<String>>, QueryError> {
        query(&self.url(), sql)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // Where the server has been stopped, the database is as good as gone.
        let _ = self.server.query(&format!("DROP DATABASE {} WITH (FORCE)", self.name));
    }
}
