//! Every backend, as the tests open it.

use std::fmt::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::thread;
use std::time::Duration;

use rusqlite::Connection;
use tempfile::TempDir;
use tokenkeep::{TokenService, TokenServiceBuilder, TokenStore, UserStore, VerifyCache};
use tokenkeep_memory::MemoryStore;
use tokenkeep_postgres::{PostgresOptions, PostgresStore};
use tokenkeep_sqlite::{Durability, Sharing, SqliteOptions, SqliteStore};
use tokenkeep_test_server::{Database, Server, available};
use tokio::runtime::Runtime;
use tokio_postgres::NoTls;

use crate::fixture::Fixture;

/// A store with the directory that comes with it, gone when dropped.
#[derive(Debug)]
pub struct Backend {
    pub name: &'static str,
    pub tokens: Arc<dyn TokenStore>,
    pub users: Arc<dyn UserStore>,
    /// What a service on it caches: nothing, unless it is [`cached`](Self::cached).
    pub cache: VerifyCache,
    place: Place,
}

/// Where the rows are.
#[derive(Debug)]
enum Place {
    Process,
    Directory(TempDir),
    /// The same, and one store has it for itself.
    Alone(TempDir),
    Database(Arc<Database>),
}

impl Backend {
    /// The same tokens as another process has them: through a handle of its own, where the backend
    /// can be shared.
    pub fn another_handle(&self) -> Arc<dyn TokenStore> {
        match &self.place {
            Place::Process | Place::Alone(_) => self.tokens.clone(),
            Place::Directory(directory) => Arc::new(open_sqlite(&file_in(directory))),
            Place::Database(database) => Arc::new(open_postgres(database)),
        }
    }

    /// The name by which the examples open the same rows.
    pub fn url(&self) -> String {
        match &self.place {
            Place::Process => "memory:".into(),
            Place::Directory(directory) | Place::Alone(directory) => {
                format!("sqlite:{}", file_in(directory).display())
            }
            Place::Database(database) => database.url(),
        }
    }

    /// Ends one of the sessions of its stores, wherever it is, where it has sessions.
    pub fn end_a_session(&self) {
        if let Place::Database(database) = &self.place {
            let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                 WHERE datname = current_database() AND pid <> pg_backend_pid() \
                 ORDER BY random() LIMIT 1";
            database.query(end).unwrap();
        }
    }

    /// All rows of a database as text, as a dump of it shows them.
    pub fn dump(&self) -> Option<String> {
        let Place::Database(database) = &self.place else { return None };
        let names =
            "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'";
        let rows = database.query(names).unwrap().concat().into_iter().map(|table| {
            let all = database.query(&format!("SELECT row_to_json(t) FROM \"{table}\" t")).unwrap();
            format!("{table}\n{}\n", all.concat().join("\n"))
        });
        Some(rows.collect())
    }

    /// Whether it is in a transaction and stays there for ten seconds, where somebody else can tell: one
    /// of the sessions of a database, or the writer of a file that is shared.
    pub fn has_left_a_transaction(&self) -> bool {
        let is_in_one: Box<dyn Fn() -> bool> = match &self.place {
            Place::Process | Place::Alone(_) => return false,
            Place::Directory(directory) => {
                let other = Connection::open(file_in(directory)).unwrap();
                other.busy_timeout(Duration::ZERO).unwrap();
                Box::new(move || other.execute_batch("BEGIN IMMEDIATE; ROLLBACK").is_err())
            }
            Place::Database(database) => {
                let left = "SELECT pid FROM pg_stat_activity \
                     WHERE datname = current_database() AND state LIKE 'idle in transaction%'";
                Box::new(move || !database.query(left).unwrap().is_empty())
            }
        };
        (0..1_000).all(|look| {
            thread::sleep(Duration::from_millis(look.min(10)));
            is_in_one()
        })
    }

    /// The rows of that [`url`](Self::url), as another process opens them.
    pub fn at(url: &str) -> Self {
        match url.strip_prefix("sqlite:") {
            Some(path) => {
                Self::of("sqlite", Arc::new(open_sqlite(Path::new(path))), Place::Process)
            }
            None => Self::of("postgres", Arc::new(connect_postgres(url)), Place::Process),
        }
    }

    pub fn memory() -> Self {
        Self::of("memory", Arc::new(MemoryStore::new()), Place::Process)
    }

    pub fn sqlite() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = open_sqlite(&file_in(&directory));
        Self::of("sqlite", Arc::new(store), Place::Directory(directory))
    }

    /// The same in single-process mode.
    pub fn sqlite_alone() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = open_sqlite_alone(&file_in(&directory));
        Self::of("sqlite, alone", Arc::new(store), Place::Alone(directory))
    }

    /// A database of its own; `None` where there is no server, which is said with the test's name.
    pub fn postgres() -> Option<Self> {
        let database = database()?;
        let store = open_postgres(&database);
        Some(Self::of("postgres", Arc::new(store), Place::Database(database)))
    }

    /// One of each that there is.
    pub fn all() -> Vec<Self> {
        let files = [Self::sqlite(), Self::sqlite_alone()];
        let exact: Vec<_> = [Self::memory()].into_iter().chain(files).collect();
        let cached = [Self::memory(), Self::sqlite(), Self::sqlite_alone()].map(Self::cached);
        exact.into_iter().chain(cached).chain(Self::postgres()).collect()
    }

    /// The same with a cache in the service, where it can be exact.
    #[must_use]
    pub fn cached(self) -> Self {
        let name = match self.name {
            "memory" => "memory, cached",
            "sqlite" => "sqlite, cached",
            _ => "sqlite, alone, cached",
        };
        Self { name, cache: VerifyCache::of(1_000), ..self }
    }

    /// A service on these rows.
    pub fn builder(&self) -> TokenServiceBuilder {
        self.builder_on(self.tokens.clone())
    }

    /// A service with this directory on a store that wraps the backend's.
    pub fn builder_on(&self, tokens: Arc<dyn TokenStore>) -> TokenServiceBuilder {
        TokenService::builder(tokens, self.users.clone()).cache(self.cache)
    }

    fn of<S: TokenStore + UserStore>(name: &'static str, store: Arc<S>, place: Place) -> Self {
        Self { name, tokens: store.clone(), users: store, cache: VerifyCache::of(0), place }
    }
}

/// Where a backend's file is.
fn file_in(directory: &TempDir) -> PathBuf {
    directory.path().join("tokens.db")
}

/// Opens a file without waiting for the disk, which these tests do not test.
fn open_sqlite(path: &Path) -> SqliteStore {
    SqliteOptions::new().durability(Durability::Normal).readers(1).open(path).unwrap()
}

fn open_sqlite_alone(path: &Path) -> SqliteStore {
    let options = SqliteOptions::new().durability(Durability::Normal);
    options.sharing(Sharing::SingleProcess).open(path).unwrap()
}

/// The connections to PostgreSQL live here, whatever runtime a test uses or does not use.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());

fn database() -> Option<Arc<Database>> {
    // The harness names the thread of a test after it.
    let thread = thread::current();
    let test = thread.name().unwrap_or("a test");
    available(test).then(|| Arc::new(Server::shared().unwrap().database().unwrap()))
}

/// Connects without waiting for the disk, which these tests do not test.
fn open_postgres(database: &Database) -> PostgresStore {
    connect_postgres(&database.url_with("options", "-c synchronous_commit=off"))
}

/// Waits for a machine that has stopped answering for some seconds, as those with a slow disk do: these
/// tests test no limits of time.
fn connect_postgres(url: &str) -> PostgresStore {
    let minutes = Duration::from_secs(120);
    let options = PostgresOptions::new().connect_timeout(minutes).statement_timeout(minutes);
    RUNTIME.block_on(options.max_connections(8).connect(url)).unwrap()
}

/// Makes any number of stores that hold the fixture.
pub trait Loaded {
    fn fresh(&self) -> Backend;
}

/// The same with a cache in the service.
#[derive(Debug)]
pub struct Cached<L>(pub L);

impl<L: Loaded> Loaded for Cached<L> {
    fn fresh(&self) -> Backend {
        self.0.fresh().cached()
    }
}

/// Loads the fixture into a new memory store each time.
#[derive(Debug)]
pub struct LoadedMemory<'a>(pub &'a Fixture);

impl Loaded for LoadedMemory<'_> {
    fn fresh(&self) -> Backend {
        let backend = Backend::memory();
        pollster::block_on(self.0.load(&*backend.tokens, &*backend.users));
        backend
    }
}

/// Loads the fixture into one file, and copies it.
#[derive(Debug)]
pub struct LoadedSqlite {
    directory: TempDir,
    sharing: Sharing,
}

impl LoadedSqlite {
    pub fn new(fixture: &Fixture) -> Self {
        Self::opened(fixture, Sharing::Shared)
    }

    /// The copies are opened in single-process mode.
    pub fn alone(fixture: &Fixture) -> Self {
        Self::opened(fixture, Sharing::SingleProcess)
    }

    fn opened(fixture: &Fixture, sharing: Sharing) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = open_sqlite(&directory.path().join("template.db"));
        pollster::block_on(fixture.load(&store, &store));
        // Closing the last connection moves all of the log into the file.
        drop(store);
        Self { directory, sharing }
    }
}

impl Loaded for LoadedSqlite {
    fn fresh(&self) -> Backend {
        let directory = tempfile::tempdir().unwrap();
        let path = file_in(&directory);
        std::fs::copy(self.directory.path().join("template.db"), &path).unwrap();
        match self.sharing {
            Sharing::Shared => {
                Backend::of("sqlite", Arc::new(open_sqlite(&path)), Place::Directory(directory))
            }
            Sharing::SingleProcess => {
                let store = Arc::new(open_sqlite_alone(&path));
                Backend::of("sqlite, alone", store, Place::Alone(directory))
            }
        }
    }
}

/// Keeps the state of one database, and brings it back to that each time: only the last of the
/// backends that it makes can be used.
#[derive(Debug)]
pub struct KeptPostgres {
    database: Arc<Database>,
    store: Arc<PostgresStore>,
    session: Session,
}

/// A connection that runs SQL, whoever waits for it.
struct Session(tokio_postgres::Client);

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Session")
    }
}

impl KeptPostgres {
    /// An empty store; `None` where there is no server, which is said with the test's name.
    pub fn empty() -> Option<Self> {
        Self::filled_by(|_| {})
    }

    /// A store with the fixture.
    pub fn loaded(fixture: &Fixture) -> Option<Self> {
        Self::filled_by(|store| pollster::block_on(fixture.load(store, store)))
    }

    fn filled_by(fill: impl FnOnce(&PostgresStore)) -> Option<Self> {
        let database = database()?;
        let store = Arc::new(open_postgres(&database));
        fill(&store);
        let (session, connection) =
            RUNTIME.block_on(tokio_postgres::connect(&database.url(), NoTls)).unwrap();
        RUNTIME.spawn(connection);
        let kept = Self { database, store, session: Session(session) };
        let mut keep = "CREATE SCHEMA kept; SET synchronous_commit = off;".to_owned();
        for table in TABLES {
            write!(keep, "CREATE TABLE kept.{table} AS TABLE {table};").unwrap();
        }
        kept.run(&keep);
        Some(kept)
    }

    fn run(&self, sql: &str) {
        pollster::block_on(self.session.0.batch_execute(sql)).unwrap();
    }
}

/// Each behind those that it refers to.
const TABLES: [&str; 7] = [
    "tokenkeep_user",
    "tokenkeep_group",
    "tokenkeep_member",
    "tokenkeep_permission",
    "tokenkeep_token",
    "tokenkeep_event",
    "tokenkeep_key_check",
];

impl Loaded for KeptPostgres {
    fn fresh(&self) -> Backend {
        let mut bring_back = "BEGIN;".to_owned();
        for table in TABLES.iter().rev() {
            write!(bring_back, "DELETE FROM {table};").unwrap();
        }
        for table in TABLES {
            write!(bring_back, "INSERT INTO {table} TABLE kept.{table};").unwrap();
        }
        bring_back.push_str("COMMIT");
        self.run(&bring_back);
        Backend::of("postgres", self.store.clone(), Place::Database(self.database.clone()))
    }
}
