//! The command line.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use lexopt::prelude::{Long, Short, ValueExt};
use tokenkeep::{Policy, Timestamp};
use tokio::sync::Semaphore;
use tracing_subscriber::filter::Targets;

use crate::Result;
use crate::connections::Limits;
use crate::db::Db;

/// What `--help` prints.
pub(crate) const HELP: &str = "\
Serves authentik's token API under /api/v3/core/tokens/, and its OpenAPI document at /api/v3/schema/.

Usage: serve [OPTIONS]

  --listen ADDR            where to listen; port 0 picks one [127.0.0.1:8080]
  --db DB                  sqlite:PATH, postgres://USER@HOST/NAME or memory:; TOKENKEEP_DB without it,
                           where a password is not shown to others on the machine [sqlite:tokens.db]
  --pool N                 connections to PostgreSQL [16], or readers of SQLite [one a processor]
  --seed FILE              load users, groups and tokens into an empty store, from JSON in the format
                           of tests/vectors/fixture.json
  --clock TIME             a clock that stands still, as 2024-09-27T14:26:18Z
  --installation-id ID     what the uid of users is derived from []
  --default-duration SPAN  how long tokens live, as hours=3;minutes=30 [days=1]
  --min-key-length N       how short a key may be that is set by hand [32]
  --sealing-key-file FILE  the keys that seal tokens' keys, so that they can be viewed
  --no-view-key            keep digests only: a key is shown once, when it is made
  --pepper-file FILE       peppers of the digests
  --sweep-interval SPAN    how often expired tokens are swept; never with --clock [minutes=5]
  --keep-events SPAN       delete older events at each sweep, as days=90 [all are kept]
  --request-timeout SPAN   how long a client may take to send the head of a request, and then for its
                           body and the answer [seconds=30]
  --max-connections N      how many clients are connected at a time; others wait [512]
  --admin-key-file FILE    where the key of the first administrator, or a new one, is written
                           [PATH.admin-key beside sqlite:PATH; else tokenkeep.admin-key, or a new file
                           in the temporary directory for memory:]
  --new-admin-key          write a new key of a superuser to that file, and end
  --admin USERNAME         the superuser who gets it [akadmin]
  --log FILTER             what is logged, on standard error, as debug or info,tokenkeep_axum=debug;
                           RUST_LOG without it [info]
  --help                   this text

A store without users, groups and tokens that gets no seed gets a superuser, akadmin, and one token. Its
key is written to a file with mode 0600, before the token is made. Move it to your secrets.

A file of sealing keys or peppers has a line `ID HEX` for each: a number from 1 to 255, and 64
hexadecimal digits. The first line is what new rows use; the others still open older ones. A file that
every user of the machine can read is refused; where its group can, as on Kubernetes, that is logged:

  (umask 077; echo \"1 $(openssl rand -hex 32)\" > peppers)

Beside a new SQLite file PATH, unless told otherwise, serve makes PATH.key with a sealing key. Keep it
with the database, and apart from its backups: without it no key can be viewed. PostgreSQL is for
several instances, which need the same keys: give each the same --sealing-key-file, or --no-view-key.
";

/// What was asked for.
#[derive(Debug)]
pub(crate) struct Arguments {
    pub(crate) listen: String,
    pub(crate) db: Db,
    pub(crate) pool: Option<NonZeroUsize>,
    pub(crate) seed: Option<PathBuf>,
    pub(crate) clock: Option<Timestamp>,
    pub(crate) installation_id: String,
    pub(crate) default_duration: Duration,
    pub(crate) min_key_length: usize,
    pub(crate) sealing: Sealing,
    pub(crate) pepper_file: Option<PathBuf>,
    pub(crate) sweep_interval: Duration,
    pub(crate) keep_events: Option<Duration>,
    pub(crate) limits: Limits,
    pub(crate) admin_key_file: Option<PathBuf>,
    pub(crate) new_admin_key: bool,
    pub(crate) admin: String,
    pub(crate) log: Targets,
}

/// How keys are made viewable.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Sealing {
    /// With a key beside the database, made with it.
    Default,
    /// With the keys of this file.
    File(PathBuf),
    /// Not at all.
    Never,
}

impl Arguments {
    /// Reads the command line; `None` when only help is asked for.
    pub(crate) fn read() -> Result<Option<Self>> {
        Self::parse(lexopt::Parser::from_env())
    }

    fn parse(mut parser: lexopt::Parser) -> Result<Option<Self>> {
        let mut arguments = Self::default();
        let mut log = std::env::var("RUST_LOG").ok();
        if let Ok(url) = std::env::var("TOKENKEEP_DB") {
            arguments.db = db(&url)?;
        }
        while let Some(argument) = parser.next()? {
            match argument {
                Long("listen") => arguments.listen = parser.value()?.string()?,
                Long("db") => arguments.db = db(&parser.value()?.string()?)?,
                Long("pool") => arguments.pool = Some(parser.value()?.parse()?),
                Long("seed") => arguments.seed = Some(parser.value()?.into()),
                Long("clock") => arguments.clock = Some(parser.value()?.parse()?),
                Long("installation-id") => arguments.installation_id = parser.value()?.string()?,
                Long("default-duration") => {
                    arguments.default_duration = parser.value()?.parse_with(span)?;
                }
                Long("min-key-length") => arguments.min_key_length = parser.value()?.parse()?,
                Long("sealing-key-file") => {
                    arguments.sealing = Sealing::File(parser.value()?.into());
                }
                Long("no-view-key") => arguments.sealing = Sealing::Never,
                Long("pepper-file") => arguments.pepper_file = Some(parser.value()?.into()),
                Long("sweep-interval") => {
                    arguments.sweep_interval = parser.value()?.parse_with(span)?;
                }
                Long("keep-events") => {
                    arguments.keep_events = Some(parser.value()?.parse_with(span)?);
                }
                Long("request-timeout") => {
                    arguments.limits.request_timeout = parser.value()?.parse_with(span)?;
                }
                Long("max-connections") => {
                    arguments.limits.connections = parser.value()?.parse_with(connections)?;
                }
                Long("admin-key-file") => {
                    arguments.admin_key_file = Some(parser.value()?.into());
                }
                Long("new-admin-key") => arguments.new_admin_key = true,
                Long("admin") => arguments.admin = parser.value()?.string()?,
                Long("log") => log = Some(parser.value()?.string()?),
                Long("help") | Short('h') => return Ok(None),
                other => return Err(other.unexpected().into()),
            }
        }
        if let Some(filter) = log {
            arguments.log = filter.parse()?;
        }
        Ok(Some(arguments))
    }
}

impl Arguments {
    /// Where the key of an administrator is written.
    pub(crate) fn admin_key_file(&self) -> Result<PathBuf> {
        Ok(match (&self.admin_key_file, &self.db) {
            (Some(file), _) => file.clone(),
            (None, Db::Sqlite(database)) => {
                let mut file = database.as_os_str().to_owned();
                file.push(".admin-key");
                file.into()
            }
            (None, Db::Postgres(_)) => "tokenkeep.admin-key".into(),
            (None, Db::Memory) => {
                std::env::temp_dir().join(format!("tokenkeep-{}.admin-key", crate::random_uuid()?))
            }
        })
    }
}

impl Default for Arguments {
    fn default() -> Self {
        let policy = Policy::default();
        Self {
            listen: "127.0.0.1:8080".into(),
            db: Db::Sqlite("tokens.db".into()),
            pool: None,
            seed: None,
            clock: None,
            installation_id: String::new(),
            default_duration: policy.default_duration,
            min_key_length: policy.minimum_key_length,
            sealing: Sealing::Default,
            pepper_file: None,
            sweep_interval: Duration::from_secs(300),
            keep_events: None,
            limits: Limits { connections: 512, request_timeout: Duration::from_secs(30) },
            admin_key_file: None,
            new_admin_key: false,
            admin: "akadmin".into(),
            log: Targets::new().with_default(tracing::Level::INFO),
        }
    }
}

fn db(url: &str) -> Result<Db> {
    url.parse().map_err(|error| format!("--db: {error}").into())
}

/// A number of connections that a semaphore can count.
fn connections(number: &str) -> Result<usize> {
    match number.parse()? {
        0 => Err("must be at least 1".into()),
        connections => Ok(Semaphore::MAX_PERMITS.min(connections)),
    }
}

/// A span of time that is not empty.
fn span(expression: &str) -> Result<Duration> {
    match tokenkeep::parse_duration(expression)? {
        Duration::ZERO => Err("must be longer than nothing".into()),
        span => Ok(span),
    }
}
