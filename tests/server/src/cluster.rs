//! A server of one's own.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use crate::binaries::Binaries;
use crate::database::Database;
use crate::keeper::Keeper;
use crate::port;
use crate::query::QueryError;
use crate::server::{Server, Unavailable};
use crate::url::Url;

/// How a [`Cluster`] is made.
///
/// See [`Cluster`] for an example.
#[derive(Debug, Clone, Default)]
pub struct ClusterOptions {
    initdb_arguments: Vec<String>,
    settings: Vec<(String, String)>,
    files: Vec<(String, Vec<u8>)>,
}

impl ClusterOptions {
    /// UTF-8, the locale C, and whoever connects is believed.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// One more argument of `initdb`; the last of a kind counts.
    #[must_use]
    pub fn initdb(mut self, argument: impl Into<String>) -> Self {
        self.initdb_arguments.push(argument.into());
        self
    }

    /// One more setting of the server; the last of a name counts.
    #[must_use]
    pub fn setting(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.settings.push((name.into(), value.into()));
        self
    }

    /// A file in the cluster's directory, which settings name without a path: a certificate, a key,
    /// another `pg_hba.conf`.
    #[must_use]
    pub fn file(mut self, name: impl Into<String>, contents: impl Into<Vec<u8>>) -> Self {
        self.files.push((name.into(), contents.into()));
        self
    }

    fn arguments(&self) -> Vec<String> {
        // What is not flushed here is lost with the machine, and so are the tests.
        let usual = ["--no-sync", "--username=postgres", "--auth=trust"];
        let usual = usual.into_iter().chain(["--encoding=UTF8", "--locale=C"]);
        usual.map(str::to_owned).chain(self.initdb_arguments.iter().cloned()).collect()
    }

    /// The lines of `postgresql.conf` that are not as they come.
    fn lines(&self, directory: &Path) -> String {
        let directory = directory.to_string_lossy();
        let usual = [
            ("listen_addresses", "127.0.0.1"),
            ("unix_socket_directories", &directory),
            // Tests run side by side, each with a pool of connections.
            ("max_connections", "200"),
        ];
        let chosen = self.settings.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        usual
            .into_iter()
            .chain(chosen)
            .fold(String::new(), |lines, (name, value)| lines + &setting(name, value))
    }
}

/// A server of a test's own, for what others must not notice: another locale, restarts, crashes. It
/// listens on a unix socket and on TCP, flushes what it commits, and is gone when this is dropped or
/// the process ends, however that does.
///
/// ```
/// use tokenkeep_test_server::{Cluster, ClusterOptions, cluster_available};
///
/// if !cluster_available("survives_a_crash") {
///     return Ok(());
/// }
/// let cluster = Cluster::start(&ClusterOptions::new().setting("TimeZone", "Asia/Tokyo"))?;
/// let database = cluster.server().database()?;
/// database.query("CREATE TABLE survivor (id bigint)")?;
/// cluster.restart_immediately()?;
/// let url = database.url_at(cluster.address());
/// assert!(url.starts_with("postgres://postgres@127.0.0.1:"));
/// assert_eq!(database.query("SELECT count(*) FROM survivor")?, [["0"]]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Cluster {
    server: Server,
    port: u16,
    keeper: Keeper,
}

impl Cluster {
    /// Makes a cluster and starts its server.
    ///
    /// # Errors
    ///
    /// [`Unavailable`] when there are no binaries, or they fail.
    pub fn start(options: &ClusterOptions) -> Result<Self, Unavailable> {
        let binaries = Binaries::find()?;
        let keeper = Keeper::start(&binaries, &options.arguments())?;
        keeper.order("init")?;
        keeper.configure(&options.lines(keeper.directory()))?;
        for (name, contents) in &options.files {
            keeper.write(name, contents)?;
        }
        let port = start_on_a_free_port(&keeper)?;
        let server = Server::at(Url::of_socket(keeper.directory(), port));
        Ok(Self { server, port, keeper })
    }

    /// Makes a hot standby of this server, which follows it and answers reads.
    ///
    /// # Errors
    ///
    /// [`Unavailable`] when there are no binaries, or they fail.
    pub fn standby(&self) -> Result<Self, Unavailable> {
        let arguments = [
            format!("--host={}", self.directory().display()),
            format!("--port={}", self.port),
            "--username=postgres".to_owned(),
            "--checkpoint=fast".to_owned(),
            "--no-sync".to_owned(),
            // It is a standby from its first start on.
            "--write-recovery-conf".to_owned(),
        ];
        let keeper = Keeper::start(&Binaries::find()?, &arguments)?;
        keeper.order("copy")?;
        keeper.configure(&setting(
            "unix_socket_directories",
            &keeper.directory().to_string_lossy(),
        ))?;
        let port = start_on_a_free_port(&keeper)?;
        let server = Server::at(Url::of_socket(keeper.directory(), port));
        Ok(Self { server, port, keeper })
    }

    /// Makes a standby a server that accepts writes.
    ///
    /// # Errors
    ///
    /// [`Unavailable`] when it is no standby.
    pub fn promote(&self) -> Result<(), Unavailable> {
        self.keeper.order("promote")
    }

    /// The server, at its unix socket.
    #[must_use]
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Where it listens for TCP.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// The directory that holds the socket, the data and the server's `log`.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.keeper.directory()
    }

    /// Makes a database, as [`Server::database`] does.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn database(&self) -> Result<Database, QueryError> {
        self.server.database()
    }

    /// Stops the server in good order: sessions are ended, all is written.
    ///
    /// # Errors
    ///
    /// [`Unavailable`] when it does not stop within a minute.
    pub fn stop(&self) -> Result<(), Unavailable> {
        self.keeper.order("stop")
    }

    /// Stops the server as a crash would: nothing is written, and the next start recovers.
    ///
    /// # Errors
    ///
    /// [`Unavailable`] when it does not stop within a minute.
    pub fn stop_immediately(&self) -> Result<(), Unavailable> {
        self.keeper.order("crash")
    }

    /// Starts the stopped server, at the same addresses.
    ///
    /// # Errors
    ///
    /// [`Unavailable`] when it does not start within a minute.
    pub fn start_again(&self) -> Result<(), Unavailable> {
        self.keeper.order("start")
    }

    /// Stops the server as a crash would, and starts it again.
    ///
    /// # Errors
    ///
    /// [`Unavailable`] when it does not come back within a minute.
    pub fn restart_immediately(&self) -> Result<(), Unavailable> {
        self.stop_immediately()?;
        self.start_again()
    }
}

fn start_on_a_free_port(keeper: &Keeper) -> Result<u16, Unavailable> {
    // Another process may take it first. Whatever else is wrong stays wrong.
    let mut last = Unavailable::new("it was not started");
    for _ in 0..5 {
        let port = port::free();
        keeper.configure(&setting("port", &port.to_string()))?;
        match keeper.order("start") {
            Ok(()) => return Ok(port),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// A line of `postgresql.conf`.
fn setting(name: &str, value: &str) -> String {
    format!("{name} = '{}'\n", value.replace('\'', "''"))
}
