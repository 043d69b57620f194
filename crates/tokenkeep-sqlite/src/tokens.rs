//! Rows of tokens.

use std::collections::BTreeSet;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Params, Row, params};
use tokenkeep::{Intent, KeyDigest, Lookup, Revision, SealedKey, Token, TokenId, Touch, UserId};

use crate::columns::{Columns, RowName};
use crate::error::Fault;

/// The columns of a token, in the order in which [`read`] takes them.
macro_rules! columns {
    () => {
        "id, identifier, intent, owner, description, expires, expiring, managed, revision, \
         created, updated, last_used, owner_may_view_key, key_digest, sealed_key"
    };
}
pub(crate) use columns;

/// The rows at `place`s, which an index has told. All that is read comes from the row: in one plain
/// statement SQLite would take columns from the index, so that a damaged one could lead to another row that
/// looks like the one that was asked for. Where there is no row, the columns are null, which is damage, too.
macro_rules! rows_at {
    ($columns:expr, $places:expr) => {
        concat!("SELECT ", $columns, " FROM (", $places, ") LEFT JOIN token ON token.rowid = place")
    };
}
pub(crate) use rows_at;

/// Selects a token by a unique column.
macro_rules! select_by {
    ($column:literal) => {
        rows_at!(columns!(), concat!("SELECT rowid AS place FROM token WHERE ", $column, " = ?1"))
    };
}

/// Which row a statement changes: that of the token with this id, which is read from the row, too.
macro_rules! of_id {
    () => {
        " WHERE rowid = (SELECT rowid FROM token WHERE id = :id) AND +id = :id"
    };
}
pub(crate) use of_id;

/// Finds one token.
pub(crate) fn find(
    connection: &Connection,
    lookup: Lookup<'_>,
) -> Result<Option<Arc<Token>>, Fault> {
    let found = match lookup {
        Lookup::Id(id) => find_by(connection, select_by!("id"), [id.as_bytes()]),
        Lookup::Identifier(identifier) => {
            find_by(connection, select_by!("identifier"), [identifier.as_str()])
        }
        Lookup::Marker(marker) => find_by(connection, select_by!("managed"), [marker.as_str()]),
        Lookup::KeyDigest(digest) => {
            find_by(connection, select_by!("key_digest"), [digest.as_bytes()])
        }
    }?;
    // The service asks the same of what it gets; a commit looks up for itself, which nobody else sees.
    match found {
        Some(another) if !lookup.names(&another) => Err(Fault::of_index()),
        found => Ok(found.map(Arc::new)),
    }
}

/// The owners of tokens, each once.
pub(crate) fn owners(connection: &Connection, ids: &[TokenId]) -> Result<Vec<UserId>, Fault> {
    let mut select = connection.prepare_cached(concat!("SELECT owner FROM token", of_id!()))?;
    let mut owners = BTreeSet::new();
    for id in ids {
        let owner = select.query_row([id.as_bytes()], |row| row.get(0)).optional()?;
        owners.extend(owner.map(UserId::new));
    }
    Ok(owners.into_iter().collect())
}

fn find_by(
    connection: &Connection,
    sql: &'static str,
    by: impl Params,
) -> Result<Option<Token>, Fault> {
    let mut statement = connection.prepare_cached(sql)?;
    statement.query_row(by, |row| Ok(read(row))).optional()?.transpose()
}

/// A token from a row of `columns!()`.
pub(crate) fn read(row: &Row<'_>) -> Result<Token, Fault> {
    let mut columns = Columns::of(row, "token");
    let id = TokenId::from_bytes(columns.sixteen_bytes("id")?);
    columns.name(RowName::Uuid(*id.as_bytes()));
    Ok(Token {
        id,
        identifier: columns.parsed("identifier", |text| text.parse().ok())?,
        intent: columns.parsed("intent", Intent::from_name)?,
        owner: UserId::new(columns.integer("owner")?),
        description: columns.text("description")?.into(),
        expires: columns.time_or_null("expires")?,
        expiring: columns.boolean("expiring")?,
        managed: match columns.text_or_null("managed")? {
            Some(marker) => Some(marker.parse().map_err(|_| columns.corrupt("managed"))?),
            None => None,
        },
        revision: read_revision(&mut columns)?,
        created: columns.time("created")?,
        updated: columns.time("updated")?,
        last_used: columns.time_or_null("last_used")?,
        owner_may_view_key: columns.boolean("owner_may_view_key")?,
        key_digest: read_digest(&mut columns)?,
        sealed_key: columns.bytes_or_null("sealed_key")?.map(SealedKey::from_bytes),
    })
}

fn read_digest(columns: &mut Columns<'_>) -> Result<KeyDigest, Fault> {
    let digest = KeyDigest::from_bytes(columns.bytes("key_digest")?);
    digest.ok_or_else(|| columns.corrupt("key_digest"))
}

/// The next column as a revision.
pub(crate) fn read_revision(columns: &mut Columns<'_>) -> Result<Revision, Fault> {
    let revision = Revision::new(columns.integer("revision")?);
    revision.ok_or_else(|| columns.corrupt("revision"))
}

/// Records when tokens were used, only ever forward.
pub(crate) fn touch(connection: &Connection, touches: &[Touch]) -> Result<(), rusqlite::Error> {
    let mut update = connection.prepare_cached(concat!(
        "UPDATE token SET last_used = :at",
        of_id!(),
        " AND (last_used IS NULL OR last_used < :at)"
    ))?;
    for touch in touches {
        update.execute(params![touch.at.as_micros(), touch.token.as_bytes()])?;
    }
    Ok(())
}
