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
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};

use crate::error::OpenError;
use crate::pool::{Connections, Session};
use crate::schema;
use crate::store::PostgresStore;
use crate::url;

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
    /// server must allow as many for every instance, and some for its operators. Lists, searches and
    /// reads of the trail use one less, so that authentications find a connection: at least two are
    /// needed for that.
    #[must_use]
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.max_connections = connections.max(1);
        self
    }

    /// How long a call waits for a connection, be it for a new one or for one that others use, before
    /// it fails as unavailable or busy. A connection that was not used for a second has as long to answer
    /// a check, before another one takes its place.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How long the server may work at a statement, waiting for others included, before the call
    /// fails as [`Timeout`](tokenkeep::StoreErrorKind::Timeout); at least a millisecond. A second later an answer is no longer waited for, and
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
    /// the URL says `sslmode=disable`; one to this machine is not, unless it says `sslmode=require`, for
    /// which `verify-full` is another word here.
    ///
    /// Only a server that accepts writes is used, the first of several hosts that does. A standby
    /// would accept keys that were revoked. `target_session_attrs=any` in the URL allows it.
    ///
    /// Unless the URL says otherwise, the system asks after 15 seconds of silence whether the other end
    /// of a connection is there (`keepalives_idle`, `keepalives_interval`, `keepalives_retries`), and
    /// gives up a connection on which nothing was acknowledged for 10 seconds (`tcp_user_timeout`).
    ///
    /// Whoever calls the store later, under whichever executor: its connections live on the tokio
    /// runtime that this is called in, and fail when that ends.
    ///
    /// # Errors
    ///
    /// [`OpenError`].
    pub async fn connect(&self, url: &str) -> Result<PostgresStore, OpenError> {
        let config = Self::config(url)?;
        let session = match config.get_target_session_attrs() {
            TargetSessionAttrs::ReadWrite => Session::Writable,
            _ => Session::Any,
        };
        self.open(self.pool(config)?, session).await
    }

    /// Opens a store on connections of the host's own pool, and brings the database to the newest schema.
    ///
    /// The pool decides how many connections there are and how they are made, so that
    /// [`max_connections`](Self::max_connections) and the TLS options do not count. The store waits for
    /// a connection for [`connect_timeout`](Self::connect_timeout), also where the pool waits longer,
    /// and for an answer a second longer than [`statement_timeout`](Self::statement_timeout). It sets
    /// nothing on a connection. The host makes sure of this:
    ///
    /// - The database is encoded as UTF-8, and the server accepts writes. Name a standby in no URL of the
    ///   pool without `target_session_attrs=read-write`.
    /// - `search_path` leads to the schema of the tables, and is the same on every connection, like
    ///   `role` and `synchronous_commit`. Set them for the role or in the pool's configuration, and use
    ///   `SET LOCAL` elsewhere.
    /// - A connection goes back to the pool without an open transaction, as deadpool's `Transaction` does
    ///   when it is dropped.
    /// - `statement_timeout` and `idle_in_transaction_session_timeout` are set for the role or in the
    ///   pool's configuration: the server does not know when the store gives up.
    /// - `client_connection_check_interval` is set as well: it ends the statement of a call that was
    ///   dropped.
    /// - TCP keepalives find connections that went silent.
    ///
    /// Any isolation level will do, since each statement is right at every level.
    ///
    /// The store checks the encoding when it is opened. On each connection it checks, at its first use and
    /// then once a second, that the server accepts writes and that `search_path`, `role` and
    /// `synchronous_commit` are those of the first connection. It closes a connection that fails.
    ///
    /// ```no_run
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// use tokenkeep_postgres::deadpool_postgres::{Manager, Pool, Runtime, tokio_postgres};
    /// use tokenkeep_postgres::PostgresOptions;
    ///
    /// let config = "postgres://host@db.example.com/app?target_session_attrs=read-write".parse()?;
    /// let manager = Manager::new(config, tokio_postgres::NoTls);
    /// let pool = Pool::builder(manager).runtime(Runtime::Tokio1).build()?;
    /// let store = PostgresOptions::new().with_pool(pool.clone()).await?;
    /// # drop(store);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// [`OpenError`].
    pub async fn with_pool(&self, pool: Pool) -> Result<PostgresStore, OpenError> {
        self.open(pool, Session::Unchanged(std::sync::Mutex::default())).await
    }

    async fn open(&self, pool: Pool, session: Session) -> Result<PostgresStore, OpenError> {
        let runtime = Handle::try_current().map_err(|_| OpenError::NoRuntime)?;
        let timeouts = (self.connect_timeout, self.statement_timeout);
        let connections = Connections::new(pool, timeouts, session, runtime);
        schema::migrate(&connections).await?;
        Ok(PostgresStore::new(connections).await?)
    }

    fn pool(&self, config: Config) -> Result<Pool, OpenError> {
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
                let set_up = async {
                    client.batch_execute(&set).await?;
                    match client.batch_execute(CHECK_CLIENT).await {
                        Err(error) if error.as_db_error().is_none() => Err(error),
                        _ => Ok(()),
                    }
                };
                match tokio::time::timeout(timeout, set_up).await {
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
        let spelled = url::with_known_sslmode(url);
        let config = spelled.parse::<Config>();
        let mut config = config.map_err(|error| OpenError::Url(why_unread(url, &error)))?;
        if config.get_application_name().is_none() {
            config.application_name("tokenkeep");
        }
        let names = |option| url::names(url, option);
        if !names("target_session_attrs") {
            config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        }
        if !names("keepalives_idle") {
            config.keepalives_idle(Duration::from_secs(15));
        }
        if !names("keepalives_interval") {
            config.keepalives_interval(Duration::from_secs(5));
        }
        if !names("keepalives_retries") {
            config.keepalives_retries(3);
        }
        if !names("tcp_user_timeout") {
            config.tcp_user_timeout(Duration::from_secs(10));
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

/// Ends a statement a second after its call was dropped, which closes the connection. PostgreSQL 13,
/// and a server on a system that cannot check, refuse it.
const CHECK_CLIENT: &str = "SET client_connection_check_interval = 1000";

/// What the server still takes as a timeout.
const MAX_TIMEOUT: Duration = Duration::from_secs(86_400);

/// How long the server keeps a transaction open, and its locks, that a process has left alone.
const MAX_IDLE: Duration = Duration::from_secs(10);

/// Why a URL cannot be read, in words that hold no part of a password: what the driver takes for the name
/// of an option can be a part of one that is not escaped.
fn why_unread(url: &str, error: &tokio_postgres::Error) -> String {
    let cause = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    if cause == "invalid value for option `sslmode`" {
        "invalid value for option `sslmode`: use disable, prefer, require or verify-full".into()
    } else if cause.starts_with("invalid value for option") {
        cause
    } else if cause.starts_with("unknown option") {
        if url::may_hold_secret(url) {
            "it has an option that is not known, or a character in a password that is not escaped"
                .into()
        } else {
            format!("it has an {cause}")
        }
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

    #[test]
    fn config_sslmode_verify_full_is_require() {
        for url in [
            "postgres://db.example.com/tokens?sslmode=verify-full",
            "postgres://u:p@localhost/tokens?connect_timeout=3&sslmode=verify-full&keepalives=1",
            "host=localhost dbname=tokens sslmode=verify-full user=u",
            "host=localhost sslmode='verify-full'",
        ] {
            assert_eq!(
                PostgresOptions::config(url).unwrap().get_ssl_mode(),
                SslMode::Require,
                "{url}"
            );
        }
        let config =
            PostgresOptions::config("postgres://u:sslmode=verify-full@localhost/d").unwrap();
        assert_eq!(config.get_password(), Some(&b"sslmode=verify-full"[..]));
        let error =
            PostgresOptions::config("postgres://localhost/d?sslmode=verify-ca").unwrap_err();
        assert!(error.to_string().contains("verify-full"), "{error}");
    }

    #[test]
    fn config_unknown_option_is_named_unless_it_may_be_a_secret() {
        for (url, named) in [
            ("postgres://u:secret@db.example.com/d?sslrootcert=x", true),
            ("postgres://u@db.example.com:5433/d?sslrootcert=x", true),
            ("postgres://db.example.com/d?connect_timeout=1&sslrootcert=x", true),
            ("postgresql://localhost:5432,[::1]:5433,[::1]/d?sslrootcert=x", true),
            ("host=db.example.com sslrootcert=x", true),
            // A part of a password that is not escaped.
            ("postgres://db.example.com/d?password=my&sslrootcert=x", false),
            ("host=db.example.com password=my sslrootcert=x", false),
            ("postgres://u:p:my?sslrootcert=x", false),
        ] {
            let error = PostgresOptions::config(url).unwrap_err().to_string();
            assert_eq!(error.contains("`sslrootcert`"), named, "{url}: {error}");
        }
    }

    #[test]
    fn config_defaults_give_way_to_the_url() {
        let config = PostgresOptions::config("postgres://u:p@localhost/d").unwrap();
        assert_eq!(config.get_target_session_attrs(), TargetSessionAttrs::ReadWrite);
        assert_eq!(config.get_keepalives_idle(), Duration::from_secs(15));
        assert_eq!(config.get_keepalives_interval(), Some(Duration::from_secs(5)));
        assert_eq!(config.get_keepalives_retries(), Some(3));
        assert_eq!(config.get_tcp_user_timeout(), Some(&Duration::from_secs(10)));
        let said = "target_session_attrs=any&keepalives_idle=7&keepalives_interval=8\
             &keepalives_retries=9&tcp_user_timeout=6";
        for url in [
            format!("postgres://u:p@localhost/d?{said}"),
            format!("host=localhost {}", said.replace('&', " ")),
        ] {
            let config = PostgresOptions::config(&url).unwrap();
            assert_eq!(config.get_target_session_attrs(), TargetSessionAttrs::Any);
            assert_eq!(config.get_keepalives_idle(), Duration::from_secs(7));
            assert_eq!(config.get_keepalives_interval(), Some(Duration::from_secs(8)));
            assert_eq!(config.get_keepalives_retries(), Some(9));
            assert_eq!(config.get_tcp_user_timeout(), Some(&Duration::from_secs(6)));
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
