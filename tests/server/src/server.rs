//! A server to make databases on.

use std::env;
use std::sync::OnceLock;

use thiserror::Error;

use crate::cluster::{Cluster, ClusterOptions};
use crate::database::Database;
use crate::query::{QueryError, query};
use crate::url::Url;

/// A running server on which databases can be made.
///
/// See the [crate's page](crate) for an example.
#[derive(Debug, Clone)]
pub struct Server {
    url: Url,
}

/// Why there is no server.
#[derive(Debug, Error)]
#[error("{reason}")]
pub struct Unavailable {
    reason: String,
}

/// What tests share. The cluster is here to live as long as the process.
#[derive(Debug)]
enum Shared {
    Named(Server),
    Own(Cluster),
}

impl Server {
    /// The server that all tests of this process share: the one that `TOKENKEEP_TEST_POSTGRES` names,
    /// else a cluster of its own, which is started when this is called first.
    ///
    /// # Errors
    ///
    /// [`Unavailable`] when it is not named and cannot be started.
    ///
    /// # Panics
    ///
    /// When it is named, and the name is no URL.
    pub fn shared() -> Result<&'static Self, &'static Unavailable> {
        static SHARED: OnceLock<Result<Shared, Unavailable>> = OnceLock::new();
        let shared = SHARED.get_or_init(|| match env::var("TOKENKEEP_TEST_POSTGRES") {
            Ok(url) => {
                let url = Url::parse(&url).expect("TOKENKEEP_TEST_POSTGRES is postgres://…");
                Ok(Shared::Named(Self { url }))
            }
            Err(_) => Cluster::start(&ClusterOptions::new()).map(Shared::Own),
        });
        shared.as_ref().map(|shared| match shared {
            Shared::Named(server) => server,
            Shared::Own(cluster) => cluster.server(),
        })
    }

    pub(crate) fn at(url: Url) -> Self {
        Self { url }
    }

    /// Makes a database with a name of its own, which is dropped with what is returned.
    ///
    /// # Errors
    ///
    /// [`QueryError`] when the server does not do it.
    pub fn database(&self) -> Result<Database, QueryError> {
        Database::create(self.clone())
    }

    /// The server's URL, with the database that the role itself uses.
    #[must_use]
    pub fn url(&self) -> String {
        self.url.to_string()
    }

    /// Runs statements in that database, each time on a new connection, and returns the rows of all
    /// of them as text; a null is empty.
    ///
    /// # Errors
    ///
    /// [`QueryError`] when the server does not run them.
    pub fn query(&self, sql: &str) -> Result<Vec<Vec<String>>, QueryError> {
        query(&self.url(), sql)
    }

    pub(crate) fn url_of(&self, database: &str) -> Url {
        self.url.database(database)
    }
}

impl Unavailable {
    pub(crate) fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into() }
    }
}

impl From<std::io::Error> for Unavailable {
    fn from(error: std::io::Error) -> Self {
        Self::new(error.to_string())
    }
}
