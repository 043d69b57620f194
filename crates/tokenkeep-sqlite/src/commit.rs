//! Changes of tokens, inside a transaction.

use rusqlite::types::ToSql;
use rusqlite::{CachedStatement, Connection, ErrorCode, params};
use tokenkeep::{
    Change, Commit, CommitError, Event, Lookup, Revision, Token, TokenField, TokenFields, TokenId,
    UniqueField,
};

use crate::error::refused;
use crate::events::{self, Heads};
use crate::tokens;
use crate::writer::Undone;

/// Which row a statement changes: that of a token at the expected revision.
macro_rules! at_revision {
    () => {
        concat!(tokens::of_id!(), " AND revision = :revision")
    };
}

/// Does a commit. When it returns an error, the caller undoes what was done.
pub(crate) fn apply(connection: &Connection, commit: &Commit) -> Result<(), Undone<CommitError>> {
    if !commit.releases_are_replaced() {
        return Err(Undone::Refused(refused("a released token is not replaced").into()));
    }
    // First, while the rows still lead to the events before these.
    let mut heads = events::append(connection, &commit.events)?;
    for (place, change) in commit.changes.iter().enumerate() {
        let head = heads.of(change.token_id());
        match change {
            Change::Insert(token) => insert(connection, place, token, head)?,
            Change::Replace { expected, fields, token } => {
                replace(connection, place, token, *fields, *expected, head)?;
            }
            Change::Delete { id, expected } => delete(connection, place, *id, *expected, head)?,
            Change::Expect { id, expected } => expect(connection, place, *id, *expected, head)?,
            Change::Remove { id } => remove(connection, place, *id, &commit.events, &heads)?,
            Change::Release { id, expected } => release(connection, place, *id, *expected)?,
        }
        heads.note_changed(change.token_id());
    }
    Ok(heads.keep(connection)?)
}

fn expect(
    connection: &Connection,
    place: usize,
    id: TokenId,
    expected: Revision,
    head: Option<i64>,
) -> Result<(), Undone<CommitError>> {
    let found = if head.is_some() {
        let mut expect = connection
            .prepare_cached(concat!("UPDATE token SET last_event = :head", at_revision!()))?;
        expect.execute(params![head, id.as_bytes(), expected.get()])?
    } else {
        let mut expect =
            connection.prepare_cached(concat!("SELECT 1 FROM token", at_revision!()))?;
        expect.exists(params![id.as_bytes(), expected.get()])?.into()
    };
    check_done(connection, place, id, found)
}

fn delete(
    connection: &Connection,
    place: usize,
    id: TokenId,
    expected: Revision,
    head: Option<i64>,
) -> Result<(), Undone<CommitError>> {
    // The trail outlives the token.
    events::keep_head(connection, id, head)?;
    let mut delete = connection.prepare_cached(concat!("DELETE FROM token", at_revision!()))?;
    let deleted = delete.execute(params![id.as_bytes(), expected.get()])?;
    check_done(connection, place, id, deleted)?;
    let mut forget = connection
        .prepare_cached("DELETE FROM user_permission WHERE token = ?1 AND token <> x''")?;
    forget.execute([id.as_bytes()])?;
    Ok(())
}

/// Deletes a token at any revision, and writes what it was into the event at the same place.
fn remove(
    connection: &Connection,
    place: usize,
    id: TokenId,
    events: &[Event],
    heads: &Heads,
) -> Result<(), Undone<CommitError>> {
    let Some(found) = tokens::find(connection, Lookup::Id(id))? else {
        let stale = CommitError::Stale { change: place, current: None };
        return Err(Undone::Refused(stale));
    };
    if events.get(place).is_some_and(|event| event.token == id) {
        let mut update = connection
            .prepare_cached("UPDATE event SET identifier = ?1, revision = ?2 WHERE number = ?3")?;
        let number = heads.number_of(place);
        update.execute(params![found.identifier.as_str(), found.revision.get(), number])?;
    }
    delete(connection, place, id, found.revision, heads.of(id))
}

/// Replaces the unique values of a token by some that no token has.
fn release(
    connection: &Connection,
    place: usize,
    id: TokenId,
    expected: Revision,
) -> Result<(), Undone<CommitError>> {
    let mut release = connection.prepare_cached(concat!(
        "UPDATE token SET identifier = '~' || hex(:id), managed = NULL, key_digest = :id",
        at_revision!()
    ))?;
    let released = release.execute(params![id.as_bytes(), expected.get()])?;
    check_done(connection, place, id, released)
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

fn insert(
    connection: &Connection,
    place: usize,
    token: &Token,
    head: Option<i64>,
) -> Result<(), Undone<CommitError>> {
    insert_row(connection, token, head)
        .map_err(|error| taken_or(error, connection, place, token, |_| true))
}

pub(crate) fn insert_row(
    connection: &Connection,
    token: &Token,
    head: Option<i64>,
) -> Result<(), rusqlite::Error> {
    let mut insert = connection.prepare_cached(
        "INSERT INTO token (id, identifier, intent, owner, description, expires, expiring, \
         managed, revision, created, updated, last_used, owner_may_view_key, key_digest, \
         sealed_key, last_event) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)",
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
        head,
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
    head: Option<i64>,
) -> Result<(), Undone<CommitError>> {
    let sql = update_sql(fields, head.is_some());
    let mut update = Binder::of(connection.prepare_cached(&sql)?);
    update.bind(token.revision.get())?;
    update.bind(token.updated.as_micros())?;
    for field in fields.iter() {
        bind_field(&mut update, token, field)?;
    }
    if head.is_some() {
        update.bind(head)?;
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

fn update_sql(fields: TokenFields, has_event: bool) -> String {
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
    if has_event {
        sql.push_str(", last_event = ?");
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
