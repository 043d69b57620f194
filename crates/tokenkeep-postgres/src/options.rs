//! How to connect.

use std::net::IpAddr;
#[cfg(feature = "tls")]
use std::path::PathBuf;
use std::time::Duration;

use deadpool_postgres::{
    Hook, HookError, Manager, ManagerConfig, Pool, QueueMode, RecyclingMethod, Runtime,
};
use tokio::runtime::Handle;
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};

use crate::error::OpenError;
use crate::pool::Connections;
use crate::schema;
use crate::store::PostgresStore;

/// How to open a [`PostgresStore`].
///
/// ```no_run
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// use std::time::Duration;
/// use tokenkeep_postgres::PostgresOptions;
///
/// let store = PostgresOptions::new()
///     .max_connections(8)
///     .statement_timeout(Duration::from_secs(5))
///     .connect("postgres://tokens@%2Frun%2Fpostgresql/tokens")
///     .await?;
/// # drop(store);
/// # Ok::<(), tokenkeep_postgres::OpenError>(())
/// # }).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct PostgresOptions {
    max_connections: usize,
    connect_timeout: Duration,
    statement_timeout: Duration,
    #[cfg(feature = "tls")]
    root_certificates: Option<PathBuf>,
}

impl PostgresOptions {
    /// The defaults: 16 connections, 5 seconds to get one, 10 seconds for a statement.
    #[must_use]
    pub fn new() -> Self {
        Self {
            max_connections: 16,
            connect_timeout: Duration::from_secs(5),
            statement_timeout: Duration::from_secs(10),
            #[cfg(feature = "tls")]
            root_certificates: None,
        }
    }

    /// How many connections there are at most, at least one. They are made when they are needed. The
    /// server must allow as many for every instance, and some for its operators.
    #[must_use]
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.max_connections = connections.max(1);
        self
    }

    /// How long a call waits for a connection, be it for a new one or for one that others use, before
    /// it fails as unavailable or busy.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How long the server may work at a statement, waiting for others included, before the call
    /// fails as busy; at least a millisecond. A second later an answer is no longer waited for, and
    /// the connection is given up.
    #[must_use]
    pub fn statement_timeout(mut self, timeout: Duration) -> Self {
        self.statement_timeout = timeout.clamp(Duration::from_millis(1), MAX_TIMEOUT);
        self
    }

    /// Checks the server's certificate against the root certificates in this PEM file, instead of
    /// those that the system trusts.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn root_certificates(mut self, file: impl Into<PathBuf>) -> Self {
        self.root_certificates = Some(file.into());
        self
    }

    /// Connects to the database that a URL names, in the form of
    /// [libpq](https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING), and
    /// brings it to the newest schema. Several instances may do so at the same time.
    ///
    /// A connection that crosses a network is encrypted, and the server's certificate checked, unless
    /// the URL says `sslmode=disable`; one to this machine is not, unless it says `sslmode=require`.
    ///
    /// Whoever calls the store later, under whichever executor: its connections live on the tokio
    /// runtime that this is called in, and fail when that ends.
    ///
    /// # Errors
    ///
    /// [`OpenError`].
    pub async fn connect(&self, url: &str) -> Result<PostgresStore, OpenError> {
        let runtime = Handle::try_current().map_err(|_| OpenError::NoRuntime)?;
        let connections = Connections::new(self.pool(url)?, self.statement_timeout, runtime);
        schema::migrate(&connections).await?;
        Ok(PostgresStore::new(connections))
    }

    fn pool(&self, url: &str) -> Result<Pool, OpenError> {
        let config = Self::config(url)?;
        let manager = self.manager(config)?;
        let set = format!(
            "SET statement_timeout = {}; SET idle_in_transaction_session_timeout = {}",
            self.statement_timeout.as_millis(),
            // Nothing of ours is idle in a transaction, except when this process stands still.
            MAX_IDLE.as_millis(),
        );
        let timeout = self.connect_timeout;
        let set_up = Hook::async_fn(move |client: &mut deadpool_postgres::ClientWrapper, _| {
            let set = set.clone();
            Box::pin(async move {
                match tokio::time::timeout(timeout, client.batch_execute(&set)).await {
                    Ok(done) => done.map_err(HookError::Backend),
                    Err(_) => Err(HookError::message("the server did not answer in time")),
                }
            })
        });
        let pool = Pool::builder(manager)
            .max_size(self.max_connections)
            // The one that was used last is the warmest, and as few as possible are in use.
            .queue_mode(QueueMode::Lifo)
            .runtime(Runtime::Tokio1)
            .wait_timeout(Some(timeout))
            .create_timeout(Some(timeout))
            .recycle_timeout(Some(timeout))
            .post_create(set_up)
            .build();
        pool.map_err(|error| OpenError::Url(error.to_string()))
    }

    fn config(url: &str) -> Result<Config, OpenError> {
        // Behind an `@` that is not escaped, the rest of a password would be taken for the host.
        if url.contains("://") && url.matches('@').count() > 1 {
            let cause = "it has more than one `@`: write %40 for those in names and passwords";
            return Err(OpenError::Url(cause.into()));
        }
        let mut config: Config = url.parse().map_err(|error| OpenError::Url(why_unread(&error)))?;
        if config.get_application_name().is_none() {
            config.application_name("tokenkeep");
        }
        if config.get_ssl_mode() == SslMode::Prefer {
            // Who can cut a connection could talk both sides out of what is merely preferred.
            let is_remote = remote_host(&config).is_some();
            config.ssl_mode(if is_remote { SslMode::Require } else { SslMode::Disable });
        }
        Ok(config)
    }

    #[cfg(feature = "tls")]
    fn manager(&self, config: Config) -> Result<Manager, OpenError> {
        let tls = crate::tls::connector(self.root_certificates.as_deref())?;
        Ok(Manager::from_config(config, tls, MANAGER))
    }

    #[cfg(not(feature = "tls"))]
    #[allow(clippy::unused_self, reason = "with TLS there are settings to look at")]
    fn manager(&self, config: Config) -> Result<Manager, OpenError> {
        if config.get_ssl_mode() != SslMode::Disable {
            let host = remote_host(&config).unwrap_or_else(|| "the server".into());
            return Err(OpenError::NotEncrypted { host });
        }
        Ok(Manager::from_config(config, tokio_postgres::NoTls, MANAGER))
    }
}

impl Default for PostgresOptions {
    fn default() -> Self {
        Self::new()
    }
}

/// A connection is looked at before it is used, not asked: what it cannot tell, the statement does.
const MANAGER: ManagerConfig = ManagerConfig { recycling_method: RecyclingMethod::Fast };

/// What the server still takes as a timeout.
const MAX_TIMEOUT: Duration = Duration::from_secs(86_400);

/// How long the server keeps a transaction open, and its locks, that a process has left alone.
const MAX_IDLE: Duration = Duration::from_secs(10);

/// Why a URL cannot be read, in words that hold no part of it: what the driver takes for the name of an
/// option can be a part of a password that is not escaped.
fn why_unread(error: &tokio_postgres::Error) -> String {
    let cause = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    if cause.starts_with("invalid value for option") {
        cause
    } else if cause.starts_with("unknown option") {
        "it has an option that is not known".into()
    } else {
        "it is not written as `postgres://user:password@host/database?option=value`".into()
    }
}

/// The first host that is not this machine.
fn remote_host(config: &Config) -> Option<String> {
    let is_here = |address: &IpAddr| address.is_loopback();
    let is_name_here =
        |name: &str| name == "localhost" || name.parse().is_ok_and(|address| is_here(&address));
    let mut addresses = config.get_hostaddrs().iter();
    let elsewhere = addresses.find(|address| !is_here(address)).map(ToString::to_string);
    let named = config.get_hosts().iter().find_map(|host| match host {
        Host::Tcp(name) if !is_name_here(name) => Some(name.clone()),
        _ => None,
    });
    elsewhere.or(named)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_crosses_a_network_is_encrypted_unless_the_url_says_otherwise() {
        for (url, mode) in [
            ("postgres://db.example.com/tokens", SslMode::Require),
            ("postgres://192.0.2.1/tokens", SslMode::Require),
            ("postgres://localhost,db.example.com/tokens", SslMode::Require),
            ("host=localhost hostaddr=192.0.2.1 dbname=tokens", SslMode::Require),
            ("postgres://db.example.com/tokens?sslmode=prefer", SslMode::Require),
            ("postgres://db.example.com/tokens?sslmode=disable", SslMode::Disable),
            ("postgres://localhost/tokens", SslMode::Disable),
            ("postgres://127.0.0.1/tokens", SslMode::Disable),
            ("postgres://[::1]/tokens", SslMode::Disable),
            ("postgres://%2Frun%2Fpostgresql/tokens", SslMode::Disable),
            ("postgres://localhost/tokens?sslmode=require", SslMode::Require),
        ] {
            assert_eq!(PostgresOptions::config(url).unwrap().get_ssl_mode(), mode, "{url}");
        }
    }

    #[cfg(not(feature = "tls"))]
    #[test]
    fn without_tls_a_network_is_not_crossed() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let options = PostgresOptions::new();
        let url = "postgres://db.example.com/tokens";
        let refused = runtime.block_on(options.connect(url)).unwrap_err();
        assert!(matches!(&refused, OpenError::NotEncrypted { host } if host == "db.example.com"));
    }
}
