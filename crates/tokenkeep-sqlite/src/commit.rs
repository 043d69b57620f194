//! Changes of tokens, inside a transaction.

use rusqlite::types::ToSql;
use rusqlite::{CachedStatement, Connection, ErrorCode, params};
use tokenkeep::{
    Change, Commit, CommitError, Lookup, Revision, Token, TokenField, TokenFields, TokenId,
    UniqueField,
};

use crate::writer::Undone;
use crate::{events, tokens};

/// Which row a statement changes: that of a token at the expected revision.
macro_rules! at_revision {
    () => {
        concat!(tokens::of_id!(), " AND revision = :revision")
    };
}

/// Does a commit. When it returns an error, the caller undoes what was done.
pub(crate) fn apply(connection: &Connection, commit: &Commit) -> Result<(), Undone<CommitError>> {
    for (place, change) in commit.changes.iter().enumerate() {
        match change {
            Change::Insert(token) => insert(connection, place, token)?,
            Change::Replace { expected, fields, token } => {
                replace(connection, place, token, *fields, *expected)?;
            }
            Change::Delete { id, expected } => {
                let mut delete =
                    connection.prepare_cached(concat!("DELETE FROM token", at_revision!()))?;
                let deleted = delete.execute(params![id.as_bytes(), expected.get()])?;
                check_done(connection, place, *id, deleted)?;
            }
            Change::Expect { id, expected } => {
                let mut expect =
                    connection.prepare_cached(concat!("SELECT 1 FROM token", at_revision!()))?;
                let found = expect.exists(params![id.as_bytes(), expected.get()])?;
                check_done(connection, place, *id, found.into())?;
            }
        }
    }
    for event in &commit.events {
        events::append(connection, event)?;
    }
    Ok(())
}

/// A conditional statement has done its work if it found a row; else the token is stale.
fn check_done(
    connection: &Connection,
    change: usize,
    id: TokenId,
    rows: usize,
) -> Result<(), Undone<CommitError>> {
    if rows > 0 {
        return Ok(());
    }
    let current = tokens::find(connection, Lookup::Id(id))?;
    Err(Undone::Refused(CommitError::Stale { change, current }))
}

fn insert(connection: &Connection, place: usize, token: &Token) -> Result<(), Undone<CommitError>> {
    insert_row(connection, token)
        .map_err(|error| taken_or(error, connection, place, token, |_| true))
}

pub(crate) fn insert_row(connection: &Connection, token: &Token) -> Result<(), rusqlite::Error> {
    let mut insert = connection.prepare_cached(
        "INSERT INTO token (id, identifier, intent, owner, description, expires, expiring, \
         managed, revision, created, updated, last_used, owner_may_view_key, key_digest, \
         sealed_key) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
    )?;
    insert.execute(params![
        token.id.as_bytes(),
        token.identifier.as_str(),
        token.intent.as_str(),
        token.owner.get(),
        &*token.description,
        token.expires.map(|at| at.as_micros()),
        token.expiring,
        token.managed.as_ref().map(|marker| marker.as_str()),
        token.revision.get(),
        token.created.as_micros(),
        token.updated.as_micros(),
        token.last_used.map(|at| at.as_micros()),
        token.owner_may_view_key,
        token.key_digest.as_bytes(),
        token.sealed_key.as_ref().map(|key| key.as_bytes()),
    ])?;
    Ok(())
}

/// Writes the named fields, and no other column: an UPDATE that names an indexed column costs twice
/// one that does not.
fn replace(
    connection: &Connection,
    place: usize,
    token: &Token,
    fields: TokenFields,
    expected: Revision,
) -> Result<(), Undone<CommitError>> {
    let mut update = Binder::of(connection.prepare_cached(&update_sql(fields))?);
    update.bind(token.revision.get())?;
    update.bind(token.updated.as_micros())?;
    for field in fields.iter() {
        bind_field(&mut update, token, field)?;
    }
    update.bind(token.id.as_bytes())?;
    update.bind(expected.get())?;
    match update.statement.raw_execute() {
        Ok(updated) => check_done(connection, place, token.id, updated),
        Err(error) => {
            Err(taken_or(error, connection, place, token, |field| field.is_among(fields)))
        }
    }
}

fn update_sql(fields: TokenFields) -> String {
    let mut sql = String::from("UPDATE token SET revision = ?, updated = ?");
    for field in fields.iter() {
        sql.push_str(match field {
            TokenField::Managed => ", managed = ?",
            TokenField::Identifier => ", identifier = ?",
            TokenField::Intent => ", intent = ?",
            TokenField::User => ", owner = ?",
            TokenField::Description => ", description = ?",
            TokenField::Expires => ", expires = ?",
            TokenField::Expiring => ", expiring = ?",
            TokenField::Key => ", key_digest = ?, sealed_key = ?",
            TokenField::OwnerMayViewKey => ", owner_may_view_key = ?",
        });
    }
    sql.push_str(at_revision!());
    sql
}

/// Binds what [`update_sql`] asks for one field.
fn bind_field(
    update: &mut Binder<'_>,
    token: &Token,
    field: TokenField,
) -> Result<(), rusqlite::Error> {
    match field {
        TokenField::Managed => update.bind(token.managed.as_ref().map(|marker| marker.as_str())),
        TokenField::Identifier => update.bind(token.identifier.as_str()),
        TokenField::Intent => update.bind(token.intent.as_str()),
        TokenField::User => update.bind(token.owner.get()),
        TokenField::Description => update.bind(&*token.description),
        TokenField::Expires => update.bind(token.expires.map(|at| at.as_micros())),
        TokenField::Expiring => update.bind(token.expiring),
        TokenField::Key => {
            update.bind(token.key_digest.as_bytes())?;
            update.bind(token.sealed_key.as_ref().map(|key| key.as_bytes()))
        }
        TokenField::OwnerMayViewKey => update.bind(token.owner_may_view_key),
    }
}

/// A statement whose parameters are bound from left to right.
struct Binder<'a> {
    statement: CachedStatement<'a>,
    bound: usize,
}

impl<'a> Binder<'a> {
    fn of(statement: CachedStatement<'a>) -> Self {
        Self { statement, bound: 0 }
    }

    fn bind(&mut self, value: impl ToSql) -> Result<(), rusqlite::Error> {
        self.bound += 1;
        self.statement.raw_bind_parameter(self.bound, value)
    }
}

/// What a failed write means: that a unique value belongs to another token, or a fault.
fn taken_or(
    error: rusqlite::Error,
    connection: &Connection,
    change: usize,
    token: &Token,
    look_at: impl Fn(UniqueField) -> bool,
) -> Undone<CommitError> {
    if error.sqlite_error_code() != Some(ErrorCode::ConstraintViolation) {
        return error.into();
    }
    for field in UniqueField::ALL.into_iter().filter(|field| look_at(*field)) {
        let holder = match field {
            UniqueField::Id => tokens::find(connection, Lookup::Id(token.id)),
            UniqueField::Identifier => {
                tokens::find(connection, Lookup::Identifier(&token.identifier))
            }
            UniqueField::Managed => match &token.managed {
                Some(marker) => tokens::find(connection, Lookup::Marker(marker)),
                None => Ok(None),
            },
            UniqueField::Key => tokens::find(connection, Lookup::KeyDigest(&token.key_digest)),
        };
        match holder {
            // A token that is inserted is not there yet: whoever has its id is another.
            Ok(Some(holder)) if field == UniqueField::Id || holder.id != token.id => {
                return Undone::Refused(CommitError::Taken { change, field });
            }
            Ok(_) => {}
            Err(fault) => return fault.into(),
        }
    }
    error.into()
}
