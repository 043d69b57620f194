//! Rows of events: in the order of commits, and chained for each token.

use std::collections::HashMap;

use rusqlite::types::Value;
use rusqlite::{Connection, ErrorCode, OptionalExtension, Row, params, params_from_iter};
use tokenkeep::{
    Caller, Event, EventCursor, EventId, EventKind, EventPage, EventQuery, StoreId, Timestamp,
    TokenFields, TokenId, UserId,
};

use crate::columns::{Columns, RowName};
use crate::error::Fault;
use crate::tokens::{self, read_revision};

/// The columns of an event, in the order in which they are written and read.
macro_rules! columns {
    () => {
        "number, at, id, token, identifier, owner, revision, kind, changed, actor, previous"
    };
}

/// The kind of an event that was pruned while an older one of its token was not.
const PRUNED: &str = "pruned";

/// The newest events that a commit has written, of each token.
#[derive(Debug, Default)]
pub(crate) struct Heads {
    /// The number of the commit's first event.
    first: i64,
    /// With whether a change of the commit has written the number into the token's row.
    newest: HashMap<TokenId, (i64, bool)>,
}

impl Heads {
    pub(crate) fn of(&self, token: TokenId) -> Option<i64> {
        self.newest.get(&token).map(|(number, _)| *number)
    }

    /// The number of the event at a place of the commit.
    pub(crate) fn number_of(&self, place: usize) -> i64 {
        self.first.saturating_add_unsigned(place as u64)
    }

    /// A change has written the number of the token's newest event.
    pub(crate) fn note_changed(&mut self, token: TokenId) {
        if let Some((_, is_kept)) = self.newest.get_mut(&token) {
            *is_kept = true;
        }
    }

    /// Writes the numbers that no change has written.
    pub(crate) fn keep(self, connection: &Connection) -> Result<(), Fault> {
        for (token, (number, _)) in self.newest.into_iter().filter(|(_, (_, is_kept))| !is_kept) {
            let mut update = connection.prepare_cached(concat!(
                "UPDATE token SET last_event = :number",
                tokens::of_id!()
            ))?;
            if update.execute(params![number, token.as_bytes()])? == 0 {
                keep_head(connection, token, Some(number))?;
            }
        }
        Ok(())
    }
}

/// Keeps the number of the newest event of a token that is deleted, or is not there.
pub(crate) fn keep_head(
    connection: &Connection,
    token: TokenId,
    newest: Option<i64>,
) -> Result<(), Fault> {
    let head = if newest.is_some() {
        newest
    } else {
        let mut select =
            connection.prepare_cached(concat!("SELECT last_event FROM token", tokens::of_id!()))?;
        let head = select.query_row([token.as_bytes()], |row| row.get(0)).optional();
        head.map_err(|error| corrupt_head(error, token))?.flatten()
    };
    if head.is_some() {
        let mut insert = connection.prepare_cached(
            "INSERT INTO event_head (token, number) VALUES (?1, ?2) \
             ON CONFLICT (token) DO UPDATE SET number = excluded.number",
        )?;
        insert.execute(params![token.as_bytes(), head])?;
    }
    Ok(())
}

/// What a failure means that the number of the newest event in a token's row can be to blame for: nothing
/// else of what is read or written with it can be of another type.
fn corrupt_head(error: rusqlite::Error, token: TokenId) -> Fault {
    let is_of_type = matches!(
        error,
        rusqlite::Error::InvalidColumnType(..) | rusqlite::Error::FromSqlConversionFailure(..)
    );
    if is_of_type || error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) {
        return Fault::Corrupt { table: "token", column: "last_event", id: token.to_string() };
    }
    error.into()
}

/// The number of the newest event of a token, as the rows have it. A token that was inserted again has
/// a trail from before.
macro_rules! head {
    ($token:literal) => {
        concat!(
            "nullif(max(\
               coalesce((SELECT last_event FROM token WHERE rowid = \
                         (SELECT rowid FROM token WHERE id = ",
            $token,
            ") AND +id = ",
            $token,
            "), 0), coalesce((SELECT number FROM event_head WHERE token = ",
            $token,
            "), 0)), 0)"
        )
    };
}

/// Writes the events of a commit, each with the next number.
pub(crate) fn append(connection: &Connection, events: &[Event]) -> Result<Heads, Fault> {
    if events.is_empty() {
        return Ok(Heads::default());
    }
    let first = last_number(connection)?.checked_add(1).ok_or_else(no_number)?;
    let mut heads = Heads { first, newest: HashMap::with_capacity(events.len()) };
    let mut insert = connection.prepare_cached(concat!(
        "INSERT INTO event (",
        columns!(),
        ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, coalesce(?11, ",
        head!("?4"),
        "))"
    ))?;
    let mut number = first;
    for event in events {
        let actor = match event.actor {
            Caller::System => None,
            Caller::User(id) => Some(id.get()),
        };
        let inserted = insert.execute(params![
            number,
            event.at.as_micros(),
            event.id.as_bytes(),
            event.token.as_bytes(),
            event.identifier.as_str(),
            event.owner.get(),
            event.revision.get(),
            event.kind.as_str(),
            event.changed.bits(),
            actor,
            heads.of(event.token),
        ]);
        inserted.map_err(|error| corrupt_head(error, event.token))?;
        heads.newest.insert(event.token, (number, false));
        number = number.checked_add(1).ok_or_else(no_number)?;
    }
    Ok(heads)
}

/// The number of the newest event that there ever was.
fn last_number(connection: &Connection) -> Result<i64, Fault> {
    let mut select = connection.prepare_cached(
        "SELECT max(coalesce((SELECT max(number) FROM event), 0), \
                    coalesce((SELECT max(highest) FROM prune), 0))",
    )?;
    Ok(select.query_row((), |row| row.get(0))?)
}

/// A number that no commit can have given.
fn no_number() -> Fault {
    Fault::Corrupt { table: "event", column: "number", id: "the last event".into() }
}

/// Reads the id of the store.
pub(crate) fn store_id(connection: &Connection) -> Result<StoreId, Fault> {
    let mut select = connection.prepare_cached("SELECT id FROM store")?;
    let read = |row: &Row<'_>| Ok(Columns::of(row, "store").sixteen_bytes("id"));
    Ok(StoreId::from_bytes(select.query_row((), read)??))
}

/// Reads events.
pub(crate) fn select(
    connection: &Connection,
    store: StoreId,
    query: &EventQuery,
) -> Result<EventPage, Fault> {
    let mut runs = connection.prepare_cached("SELECT coalesce(max(run), 0) FROM prune")?;
    let runs: i64 = runs.query_row((), |row| row.get(0))?;
    let prunes = runs.unsigned_abs();
    if !query.accepts_cursor(store, prunes) {
        return Err(Fault::InvalidCursor);
    }
    if let Some(after) = &query.after {
        check_cursor(connection, after)?;
    }
    let start = EventCursor { store, number: 0, prunes, event: None, token: query.token };
    match query.token {
        Some(token) => of_token(connection, start, token, query),
        None => of_all(connection, start, query),
    }
}

/// Refuses a cursor at which the trail of this store cannot continue.
fn check_cursor(connection: &Connection, after: &EventCursor) -> Result<(), Fault> {
    let number = number_of(after)?;
    let mut select = connection.prepare_cached("SELECT id FROM event WHERE number = ?1")?;
    let read = |row: &Row<'_>| Ok(Columns::of(row, "event").sixteen_bytes("id"));
    let there = select.query_row([number], read).optional()?.transpose()?;
    let is_another = match (there, after.event) {
        (Some(there), Some(event)) => there != *event.as_bytes(),
        _ => false,
    };
    let mut select =
        connection.prepare_cached("SELECT 1 FROM prune WHERE run > ?1 AND highest > ?2")?;
    let prunes = i64::try_from(after.prunes).map_err(|_| Fault::InvalidCursor)?;
    let is_gone = after.token.is_none() && select.exists([prunes, number])?;
    if is_another || is_gone || number > last_number(connection)? {
        return Err(Fault::InvalidCursor);
    }
    Ok(())
}

fn number_of(cursor: &EventCursor) -> Result<i64, Fault> {
    i64::try_from(cursor.number).map_err(|_| Fault::InvalidCursor)
}

/// Follows the chain of a token's events.
fn of_token(
    connection: &Connection,
    start: EventCursor,
    token: TokenId,
    query: &EventQuery,
) -> Result<EventPage, Fault> {
    let mut next = if let Some(after) = &query.after {
        Some(number_of(after)?)
    } else {
        let mut head = connection.prepare_cached(concat!("SELECT ", head!("?1")))?;
        head.query_row([token.as_bytes()], |row| row.get(0))?
    };
    let mut select = connection.prepare_cached(concat!(
        "SELECT ",
        columns!(),
        " FROM event WHERE number = ?1"
    ))?;
    let mut page = EventPage::default();
    while let Some(number) = next {
        let mut rows = select.query([number])?;
        // The rest of the chain was pruned.
        let Some(row) = rows.next()? else { break };
        let (event, previous) = read(row)?;
        if previous.is_some_and(|previous| previous >= number) {
            return Err(Fault::Corrupt {
                table: "event",
                column: "previous",
                id: number.to_string(),
            });
        }
        next = previous;
        let Some(event) = event else { continue };
        if event.token != token {
            return Err(Fault::of_index());
        }
        if !query.matches(&event) {
            continue;
        }
        if page.events.len() >= query.limit as usize {
            let number = number.unsigned_abs();
            page.next = Some(EventCursor { number, event: Some(event.id), ..start });
            break;
        }
        page.events.push(event);
    }
    Ok(page)
}

/// Reads the events of all tokens in the order of their numbers.
fn of_all(
    connection: &Connection,
    start: EventCursor,
    query: &EventQuery,
) -> Result<EventPage, Fault> {
    let after = query.after.as_ref().map(number_of).transpose()?.unwrap_or(0);
    let mut conditions = String::from("number > ? AND kind <> 'pruned'");
    let mut values = vec![Value::Integer(after)];
    if let Some(from) = query.from {
        conditions.push_str(" AND at >= ?");
        values.push(Value::Integer(from.as_micros()));
        if query.after.is_none() {
            // Enters the trail at the first of them, instead of reading all that lies before it.
            conditions.push_str(
                " AND number >= (SELECT min(number) FROM event INDEXED BY event_at WHERE at >= ?)",
            );
            values.push(Value::Integer(from.as_micros()));
        }
    }
    if let Some(until) = query.until {
        conditions.push_str(" AND at < ?");
        values.push(Value::Integer(until.as_micros()));
    }
    values.push(Value::Integer(query.limit.into()));
    // The number is what the rows are kept by: no index leads to them.
    let sql = format!(
        concat!("SELECT ", columns!(), " FROM event NOT INDEXED WHERE {} ORDER BY number LIMIT ?"),
        conditions
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(params_from_iter(values))?;
    let (number, event) = query.after.map_or((0, None), |after| (after.number, after.event));
    let next = EventCursor { number, event, ..start };
    let mut page = EventPage { events: Vec::new(), next: Some(next) };
    while let Some(row) = rows.next()? {
        let number: i64 = row.get(0)?;
        if let (Some(event), _) = read(row)? {
            let number = number.unsigned_abs();
            page.next = Some(EventCursor { number, event: Some(event.id), ..start });
            page.events.push(event);
        }
    }
    Ok(page)
}

/// An event, unless it was pruned, with the number of its token's event before it.
fn read(row: &Row<'_>) -> Result<(Option<Event>, Option<i64>), Fault> {
    let mut columns = Columns::of(row, "event");
    let number = columns.integer("number")?;
    columns.name(RowName::Number(number));
    let at = columns.time("at")?;
    let id = EventId::from_bytes(columns.sixteen_bytes("id")?);
    columns.name(RowName::Uuid(*id.as_bytes()));
    let token = TokenId::from_bytes(columns.sixteen_bytes("token")?);
    let identifier = columns.parsed("identifier", |text| text.parse().ok())?;
    let owner = UserId::new(columns.integer("owner")?);
    let revision = read_revision(&mut columns)?;
    let kind = columns.parsed("kind", |name| match name {
        PRUNED => Some(None),
        name => EventKind::from_name(name).map(Some),
    })?;
    let bits = u16::try_from(columns.integer("changed")?).ok();
    let changed =
        bits.and_then(TokenFields::from_bits).ok_or_else(|| columns.corrupt("changed"))?;
    let actor = match columns.integer_or_null("actor")? {
        Some(id) => Caller::User(UserId::new(id)),
        None => Caller::System,
    };
    let previous = columns.integer_or_null("previous")?;
    let event =
        kind.map(|kind| Event { id, at, token, identifier, owner, revision, kind, changed, actor });
    Ok((event, previous))
}

/// How many events are pruned at once: what takes some milliseconds.
const PRUNED_AT_ONCE: u32 = 1_000;

/// A place in the order of time and number.
pub(crate) type PrunedTo = (i64, i64);

/// What a part of a prune did.
pub(crate) struct Pruned {
    pub(crate) count: u64,
    /// Where the next part starts; `None` after the last.
    pub(crate) next: Option<PrunedTo>,
}

/// Prunes some of the events before a time, those after `start`. An event whose token has an older
/// one that stays, since some clock was ahead, is kept as a link of the chain and shown no more.
pub(crate) fn prune(
    connection: &Connection,
    before: Timestamp,
    start: PrunedTo,
) -> Result<Pruned, rusqlite::Error> {
    let mut select = connection.prepare_cached(
        "SELECT number, at, token, kind = 'pruned', previous FROM event INDEXED BY event_at \
         WHERE at < ?1 AND at >= ?2 AND (at > ?2 OR number > ?3) ORDER BY at, number LIMIT ?4",
    )?;
    let (at, number) = start;
    let values = params![before.as_micros(), at, number, PRUNED_AT_ONCE];
    let read = |row: &Row<'_>| {
        Ok(Old {
            number: row.get(0)?,
            at: row.get(1)?,
            token: row.get(2)?,
            is_link: row.get(3)?,
            previous: row.get(4)?,
        })
    };
    let mut old = select.query_map(values, read)?.collect::<Result<Vec<_>, _>>()?;
    let is_full = old.len() >= PRUNED_AT_ONCE as usize;
    let next = old.last().filter(|_| is_full).map(|last| (last.at, last.number));
    // The oldest of a chain first, so that what follows it is no link any more.
    old.sort_unstable_by_key(|event| event.number);
    let mut exists = connection.prepare_cached("SELECT 1 FROM event WHERE number = ?1")?;
    let mut link =
        connection.prepare_cached("UPDATE event SET kind = 'pruned' WHERE number = ?1")?;
    let mut delete = connection.prepare_cached("DELETE FROM event WHERE number = ?1")?;
    let mut forget =
        connection.prepare_cached("DELETE FROM event_head WHERE token = ?1 AND number = ?2")?;
    for event in &old {
        if event.previous.is_some() && exists.exists([event.previous])? {
            link.execute([event.number])?;
        } else {
            delete.execute([event.number])?;
            forget.execute(params![event.token, event.number])?;
        }
    }
    if let Some(newest) = old.iter().rfind(|event| !event.is_link) {
        let mut note = connection.prepare_cached(
            "INSERT INTO prune (run, highest) \
             VALUES ((SELECT coalesce(max(run), 0) + 1 FROM prune), ?1)",
        )?;
        note.execute([newest.number])?;
        let mut exceeded = connection.prepare_cached(
            "DELETE FROM prune WHERE highest <= ?1 AND run < (SELECT max(run) FROM prune)",
        )?;
        exceeded.execute([newest.number])?;
    }
    let count = old.iter().filter(|event| !event.is_link).count() as u64;
    Ok(Pruned { count, next })
}

/// A row that is old enough to be pruned.
struct Old {
    number: i64,
    at: i64,
    token: Vec<u8>,
    is_link: bool,
    previous: Option<i64>,
}
