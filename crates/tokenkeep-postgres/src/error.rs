//! How the server's and the driver's errors become those of the contract. No driver's type leaves
//! this crate.

use std::io;
use std::path::PathBuf;

use deadpool_postgres::{HookError, PoolError, TimeoutType};
use thiserror::Error;
use tokenkeep::{StoreError, StoreErrorKind};
use tokio_postgres::error::{Severity, SqlState};

/// The backend's name in errors.
const BACKEND: &str = "postgres";

const SILENT: &str = "the server did not answer in time";

/// Why a store was not opened. What the database holds is as it was, or migrated as a whole.
///
/// ```
/// use tokenkeep_postgres::{OpenError, PostgresOptions};
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let error = PostgresOptions::new().connect("postgres://user@host/db?port=x").await.unwrap_err();
/// assert!(matches!(error, OpenError::Url(_)));
/// # });
/// ```
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The URL cannot be read. The message holds no part of it, since it may hold a password.
    #[error("the database URL cannot be used: {0}")]
    Url(String),
    /// The connection would cross a network in the clear.
    #[error(
        "{host} is on a network, and nothing says how to reach it: enable this crate's `tls` \
         feature, or say sslmode=disable where the network itself is trusted"
    )]
    NotEncrypted {
        /// The host.
        host: String,
    },
    /// The root certificates cannot be read, or there are none.
    #[error("no root certificates could be read from {0}")]
    RootCertificates(PathBuf),
    /// Connections need a tokio runtime to live on.
    #[error("a PostgreSQL store must be opened inside a tokio runtime")]
    NoRuntime,
    /// The database does not keep text as UTF-8.
    #[error("the database's encoding is {0}: create it with ENCODING 'UTF8'")]
    Encoding(String),
    /// The schema was made by a newer version.
    #[error("the database has schema version {found}, this program knows up to {known}: update it")]
    Newer {
        /// The schema's version.
        found: i32,
        /// The newest one that this program knows.
        known: i32,
    },
    /// The database has tables of these names that are not tokenkeep's.
    #[error("the database has tables named tokenkeep_… that tokenkeep did not make")]
    Foreign,
    /// The role lacks a privilege on the schema or on the tables in it.
    #[error(
        "the role \"{role}\" lacks a privilege on the schema \"{schema}\"; run `{grant}` as the owner of \
         the schema"
    )]
    Privilege {
        /// The role that the connections use.
        role: String,
        /// The schema in which the tables are, or would be made.
        schema: String,
        /// The statements that grant what is needed.
        grant: String,
    },
    /// No schema of the connections' `search_path` is there.
    #[error("no schema of the search_path {0:?} exists: create one of them")]
    NoSchema(String),
    /// The server could not be reached, or refused.
    #[error("the database cannot be opened")]
    Store(#[from] StoreError),
}

/// What can go wrong with a statement.
#[derive(Debug)]
pub(crate) enum Fault {
    /// Nothing was sent: there is no connection to send it on.
    Unsent(StoreErrorKind, String),
    /// The server refused the statement, has undone it, and goes on.
    Refused(Refusal),
    /// The connection went while the statement was under way.
    Lost(String),
    /// The answer cannot be understood.
    Broken(String),
    /// The answer did not come in time.
    Silent,
    /// The same, after what would have committed was sent: it may have been done.
    Unknown(String),
    /// A row cannot be what was written.
    Corrupt { table: &'static str, column: &'static str, id: String },
}

/// A refusal of the server, without its texts: they can hold values of rows.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) state: SqlState,
    pub(crate) constraint: Option<String>,
}

impl Refusal {
    /// Whether the same may go through at once: others were in the way, or it was the connection.
    pub(crate) fn may_be_repeated(&self) -> bool {
        let conflicts = [SqlState::T_R_SERIALIZATION_FAILURE, SqlState::T_R_DEADLOCK_DETECTED];
        conflicts.contains(&self.state) || self.is_of_connection()
    }

    /// Whether a value that a token wants for itself belongs to another.
    pub(crate) fn is_token_taken(&self) -> bool {
        self.violates(&SqlState::UNIQUE_VIOLATION, "tokenkeep_token_")
    }

    /// Whether another connection may do better: this one knows a plan or a statement that the
    /// server does not, or has been left at a server that no longer accepts writes.
    fn is_of_connection(&self) -> bool {
        [
            SqlState::INVALID_SQL_STATEMENT_NAME,
            SqlState::FEATURE_NOT_SUPPORTED,
            SqlState::READ_ONLY_SQL_TRANSACTION,
        ]
        .contains(&self.state)
    }

    /// Whether it names a constraint that begins so.
    pub(crate) fn violates(&self, state: &SqlState, constraint: &str) -> bool {
        let named = self.constraint.as_deref();
        self.state == *state && named.is_some_and(|name| name.starts_with(constraint))
    }

    /// PostgreSQL's codes, by the class that their first two characters are
    /// (<https://www.postgresql.org/docs/current/errcodes-appendix.html>).
    fn kind(&self) -> StoreErrorKind {
        let code = self.state.code();
        match (code.get(..2), code) {
            (_, "40001" | "40P01" | "55P03") => StoreErrorKind::Busy,
            (_, "57014") => StoreErrorKind::Timeout,
            (_, "53100") => StoreErrorKind::Full,
            (Some("XX"), "XX001" | "XX002") => StoreErrorKind::Corrupt {
                table: "database",
                column: "files",
                id: "the store".into(),
            },
            (Some("08" | "28" | "53" | "57"), _) | (_, "25006" | "26000" | "0A000") => {
                StoreErrorKind::Unavailable
            }
            _ => StoreErrorKind::Other,
        }
    }

    fn cause(&self) -> String {
        match &self.constraint {
            Some(constraint) => format!("SQLSTATE {} by {constraint}", self.state.code()),
            None => format!("SQLSTATE {}", self.state.code()),
        }
    }
}

impl Fault {
    /// Whether a statement that may be run twice is worth running again at once.
    pub(crate) fn may_be_repeated(&self) -> bool {
        match self {
            Self::Lost(_) => true,
            Self::Refused(refusal) => refusal.may_be_repeated(),
            Self::Unsent(..)
            | Self::Broken(_)
            | Self::Silent
            | Self::Unknown(_)
            | Self::Corrupt { .. } => false,
        }
    }

    /// Whether the connection is as good as before.
    pub(crate) fn spares_connection(&self) -> bool {
        matches!(self, Self::Refused(refusal) if !refusal.is_of_connection())
    }

    /// The same, of what would have committed when it succeeded.
    pub(crate) fn of_commit(self) -> Self {
        match self {
            Self::Lost(cause) | Self::Broken(cause) => Self::Unknown(cause),
            Self::Silent => Self::Unknown(SILENT.into()),
            fault => fault,
        }
    }
}

pub(crate) fn error(kind: StoreErrorKind, cause: impl Into<String>) -> StoreError {
    StoreError::new(BACKEND, kind).with_source(cause.into())
}

impl From<tokio_postgres::Error> for Fault {
    /// What became of a statement that was sent. Only a refusal after which the server goes on says
    /// that it was undone: one that ends the connection can come after the commit.
    fn from(error: tokio_postgres::Error) -> Self {
        let Some(refusal) = error.as_db_error() else {
            let source = std::error::Error::source(&error);
            let is_gone =
                error.is_closed() || source.is_some_and(|source| source.is::<io::Error>());
            let cause = error.to_string();
            return if is_gone { Self::Lost(cause) } else { Self::Broken(cause) };
        };
        // Not every server that speaks the protocol sends the severity that is never translated.
        let goes_on = match refusal.parsed_severity() {
            Some(severity) => severity == Severity::Error,
            None => refusal.severity() == "ERROR",
        };
        if !goes_on {
            return Self::Lost(format!("SQLSTATE {}", refusal.code().code()));
        }
        Self::Refused(Refusal {
            state: refusal.code().clone(),
            constraint: refusal.constraint().map(Into::into),
        })
    }
}

impl From<PoolError> for Fault {
    fn from(error: PoolError) -> Self {
        match error {
            PoolError::Timeout(TimeoutType::Wait) => {
                Self::Unsent(StoreErrorKind::Busy, "every connection is in use".into())
            }
            PoolError::Timeout(_) => {
                Self::Unsent(StoreErrorKind::Unavailable, "no connection in time".into())
            }
            PoolError::Backend(error) | PoolError::PostCreateHook(HookError::Backend(error)) => {
                Self::of_connecting(&error)
            }
            other => Self::Unsent(StoreErrorKind::Unavailable, other.to_string()),
        }
    }
}

impl Fault {
    /// What a failed attempt to connect means. No row is involved yet, so that the server's words
    /// may be told: they name the user or the database that it does not let in.
    pub(crate) fn of_connecting(error: &tokio_postgres::Error) -> Self {
        let Some(refusal) = error.as_db_error() else {
            let source = std::error::Error::source(error).map(ToString::to_string);
            let cause =
                source.map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"));
            return Self::Unsent(StoreErrorKind::Unavailable, cause);
        };
        let state = refusal.code().clone();
        let mut cause = format!("{} (SQLSTATE {})", refusal.message(), state.code());
        if refusal.message().contains("startup parameter") {
            cause.push_str(
                ": a pooler does not pass the URL's `options` on; set what they set with `ALTER ROLE … \
                 SET search_path = …` instead",
            );
        }
        // To be let in, something has to change, be it here or there.
        let kind = match (Refusal { state, constraint: None }).kind() {
            StoreErrorKind::Other => StoreErrorKind::Unavailable,
            kind => kind,
        };
        Self::Unsent(kind, cause)
    }
}

impl From<Fault> for StoreError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Unsent(kind, cause) => error(kind, cause),
            Fault::Refused(refusal) => error(refusal.kind(), refusal.cause()),
            Fault::Lost(cause) | Fault::Broken(cause) => error(StoreErrorKind::Unavailable, cause),
            Fault::Silent => error(StoreErrorKind::Unavailable, SILENT),
            Fault::Unknown(cause) => error(StoreErrorKind::OutcomeUnknown, cause),
            Fault::Corrupt { table, column, id } => {
                error(StoreErrorKind::Corrupt { table, column, id }, "not what was written")
            }
        }
    }
}

impl From<Fault> for OpenError {
    fn from(fault: Fault) -> Self {
        Self::Store(fault.into())
    }
}
