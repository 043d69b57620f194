//! The schema, and how a database comes to it.

use std::time::Duration;

use tokio_postgres::error::SqlState;

use crate::columns::Columns;
use crate::connection::Connection;
use crate::error::{Fault, OpenError, Refusal};
use crate::pool::{Connections, MAX_ATTEMPTS};

/// Each step takes a database from the version before it, 0 being one without our tables, to its
/// place here. A step that has been released is never changed.
const MIGRATIONS: [&str; 1] = [include_str!("schema/1.sql")];

/// The newest schema version that this program knows.
#[allow(clippy::cast_possible_wrap, clippy::cast_possible_truncation, reason = "a handful")]
const NEWEST: i32 = MIGRATIONS.len() as i32;

/// One row: the version, and what instances that write users and groups wait for each other at.
const CREATE: &str = "CREATE TABLE IF NOT EXISTS tokenkeep_schema (\
       only_row integer NOT NULL PRIMARY KEY CHECK (only_row = 1), \
       version integer NOT NULL, \
       directory_writes bigint NOT NULL\
     )";

const INSERT: &str = "INSERT INTO tokenkeep_schema (only_row, version, directory_writes) \
     VALUES (1, 0, 0) ON CONFLICT DO NOTHING";

/// How long to wait for another instance that is creating the same tables.
const PAUSE: Duration = Duration::from_millis(50);

/// Brings a database to the newest version, in one transaction. Instances that start at the same
/// time wait for each other at the one row; one that comes later writes nothing at all.
pub(crate) async fn migrate(connections: &Connections) -> Result<(), OpenError> {
    check_encoding(connections).await?;
    let mut attempt = 1;
    loop {
        match try_migrate(connections).await {
            Err(Failure::Fault(fault)) if attempt < MAX_ATTEMPTS && is_of_others(&fault) => {
                attempt += 1;
                tokio::time::sleep(PAUSE).await;
            }
            Err(Failure::Fault(Fault::Refused(refusal))) => {
                return Err(explained(connections, refusal).await);
            }
            Err(Failure::Fault(fault)) => return Err(fault.into()),
            Err(Failure::Refused(error)) => return Err(error),
            Ok(()) => return Ok(()),
        }
    }
}

/// Why the server refused, in words that say what to do where that is known.
async fn explained(connections: &Connections, refusal: Refusal) -> OpenError {
    let sql = "SELECT current_user::text AS role, coalesce(current_schema()::text, '') AS schema, \
         current_setting('search_path') AS path";
    let is_known = [SqlState::INSUFFICIENT_PRIVILEGE, SqlState::INVALID_SCHEMA_NAME];
    if is_known.contains(&refusal.state)
        && let Ok(rows) = connections.query(sql, &[]).await
        && let Some(mut row) = rows.first().map(|row| Columns::of(row, "session"))
        && let (Ok(role), Ok(schema), Ok(path)) =
            (row.get::<String>("role"), row.get::<String>("schema"), row.get::<String>("path"))
    {
        if schema.is_empty() {
            return OpenError::NoSchema(path);
        }
        let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
        let (in_schema, to_role) = (quoted(&schema), quoted(&role));
        let grant = format!(
            "GRANT CREATE, USAGE ON SCHEMA {in_schema} TO {to_role}; \
             GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {in_schema} TO {to_role}"
        );
        return OpenError::Privilege { role, schema, grant };
    }
    Fault::Refused(refusal).into()
}

enum Failure {
    Fault(Fault),
    Refused(OpenError),
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

async fn check_encoding(connections: &Connections) -> Result<(), OpenError> {
    let rows = connections.query("SHOW server_encoding", &[]).await?;
    let encoding = rows.first().map(|row| Columns::of(row, "database").get::<String>("encoding"));
    match encoding.transpose()? {
        Some(encoding) if encoding.eq_ignore_ascii_case("UTF8") => Ok(()),
        encoding => Err(OpenError::Encoding(encoding.unwrap_or_default())),
    }
}

async fn try_migrate(connections: &Connections) -> Result<(), Failure> {
    let mut connection = connections.get().await?;
    let missing: &[&str] = match version(&mut connection, SELECT).await {
        Ok(Some(NEWEST)) => return Ok(()),
        Ok(Some(found)) if found > NEWEST => return Err(newer(found)),
        Ok(Some(_)) => &[],
        Ok(None) => &[INSERT],
        Err(Fault::Refused(refusal)) if refusal.state == SqlState::UNDEFINED_TABLE => {
            &[CREATE, INSERT]
        }
        Err(fault) => return Err(foreign(fault)),
    };
    connection.begin(&[]).await?;
    for sql in missing {
        connection.batch(sql).await?;
    }
    // Nobody else migrates until this transaction ends.
    let found = version(&mut connection, "SELECT version FROM tokenkeep_schema FOR UPDATE").await?;
    let found = found.unwrap_or_default();
    if found > NEWEST {
        return Err(newer(found));
    }
    for step in MIGRATIONS.iter().skip(usize::try_from(found).unwrap_or_default()) {
        connection.batch(step).await.map_err(foreign)?;
    }
    connection
        .query("UPDATE tokenkeep_schema SET version = $1::bigint", &[i64::from(NEWEST).into()])
        .await?;
    Ok(connection.commit().await?)
}

const SELECT: &str = "SELECT version FROM tokenkeep_schema";

async fn version(connection: &mut Connection, sql: &str) -> Result<Option<i32>, Fault> {
    let rows = connection.query(sql, &[]).await?;
    rows.first().map(|row| Columns::of(row, "tokenkeep_schema").get("version")).transpose()
}

const fn newer(found: i32) -> Failure {
    Failure::Refused(OpenError::Newer { found, known: NEWEST })
}

/// Tables that are there before their step, or have other columns, are not ours.
fn foreign(fault: Fault) -> Failure {
    let states = [SqlState::DUPLICATE_TABLE, SqlState::UNDEFINED_COLUMN];
    match fault {
        Fault::Refused(refusal) if states.contains(&refusal.state) => {
            Failure::Refused(OpenError::Foreign)
        }
        fault => fault.into(),
    }
}

/// Whether another instance was creating the same: `IF NOT EXISTS` does not look at what is not
/// committed yet.
fn is_of_others(fault: &Fault) -> bool {
    match fault {
        Fault::Refused(refusal) => {
            let states = [
                SqlState::UNIQUE_VIOLATION,
                SqlState::DUPLICATE_TABLE,
                SqlState::DUPLICATE_OBJECT,
                SqlState::INTERNAL_ERROR,
            ];
            refusal.may_be_repeated() || states.contains(&refusal.state)
        }
        fault => fault.may_be_repeated(),
    }
}
