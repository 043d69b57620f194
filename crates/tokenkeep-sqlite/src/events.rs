//! Rows of events.

use rusqlite::types::Value;
use rusqlite::{Connection, Row, params, params_from_iter};
use tokenkeep::{
    Caller, Event, EventId, EventKind, EventQuery, Timestamp, TokenFields, TokenId, UserId,
};

use crate::columns::{Columns, RowName};
use crate::error::Fault;
use crate::tokens::read_revision;

/// The columns of an event, in the order in which they are written and read.
macro_rules! columns {
    () => {
        "at, id, token, identifier, owner, revision, kind, changed, actor"
    };
}

/// Writes an event.
pub(crate) fn append(connection: &Connection, event: &Event) -> Result<(), rusqlite::Error> {
    let mut insert = connection.prepare_cached(concat!(
        "INSERT INTO event (",
        columns!(),
        ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)"
    ))?;
    let actor = match event.actor {
        Caller::System => None,
        Caller::User(id) => Some(id.get()),
    };
    insert.execute(params![
        event.at.as_micros(),
        event.id.as_bytes(),
        event.token.as_bytes(),
        event.identifier.as_str(),
        event.owner.get(),
        event.revision.get(),
        event.kind.as_str(),
        event.changed.bits(),
        actor,
    ])?;
    Ok(())
}

/// Reads events.
pub(crate) fn select(connection: &Connection, query: &EventQuery) -> Result<Vec<Event>, Fault> {
    let mut conditions = vec!["TRUE"];
    let mut values = Vec::new();
    if let Some(token) = query.token {
        conditions.push("token = ?");
        values.push(Value::Blob(token.as_bytes().to_vec()));
    }
    if let Some(from) = query.from {
        conditions.push("at >= ?");
        values.push(Value::Integer(from.as_micros()));
    }
    if let Some(until) = query.until {
        conditions.push("at < ?");
        values.push(Value::Integer(until.as_micros()));
    }
    if let Some(after) = query.after {
        if query.token.is_some() {
            conditions.push("(revision, at, id) > (?, ?, ?)");
            values.push(Value::Integer(after.revision.get()));
        } else {
            conditions.push("(at, id) > (?, ?)");
        }
        values.push(Value::Integer(after.at.as_micros()));
        values.push(Value::Blob(after.id.as_bytes().to_vec()));
    }
    values.push(Value::Integer(query.limit.into()));
    let conditions = conditions.join(" AND ");
    let sql = if query.token.is_some() {
        // As `tokens::rows_at` does, for the same reason: without a token the rows are read in their
        // own order, and no index leads to them.
        format!(
            concat!(
                "SELECT ",
                columns!(),
                " FROM (SELECT at AS its_time, id AS its_id FROM event WHERE {} \
                  ORDER BY revision, at, id LIMIT ?) \
                 LEFT JOIN event ON at = its_time AND id = its_id ORDER BY revision, at, id"
            ),
            conditions
        )
    } else {
        format!(
            concat!("SELECT ", columns!(), " FROM event WHERE {} ORDER BY at, id LIMIT ?"),
            conditions
        )
    };
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(params_from_iter(values))?;
    let mut events = Vec::new();
    while let Some(row) = rows.next()? {
        events.push(read(row)?);
    }
    Ok(events)
}

fn read(row: &Row<'_>) -> Result<Event, Fault> {
    let mut columns = Columns::of(row, "event");
    let at = columns.time("at")?;
    let id = EventId::from_bytes(columns.sixteen_bytes("id")?);
    columns.name(RowName::Uuid(*id.as_bytes()));
    Ok(Event {
        id,
        at,
        token: TokenId::from_bytes(columns.sixteen_bytes("token")?),
        identifier: columns.parsed("identifier", |text| text.parse().ok())?,
        owner: UserId::new(columns.integer("owner")?),
        revision: read_revision(&mut columns)?,
        kind: columns.parsed("kind", EventKind::from_name)?,
        changed: {
            let bits = u16::try_from(columns.integer("changed")?).ok();
            bits.and_then(TokenFields::from_bits).ok_or_else(|| columns.corrupt("changed"))?
        },
        actor: match columns.integer_or_null("actor")? {
            Some(id) => Caller::User(UserId::new(id)),
            None => Caller::System,
        },
    })
}

/// How many events are dropped at once: what takes some milliseconds.
const PRUNED_AT_ONCE: u32 = 1_000;

/// Drops some of what is older, and tells how many; none when there is nothing left to drop.
pub(crate) fn prune(connection: &Connection, before: Timestamp) -> Result<u64, rusqlite::Error> {
    let mut delete = connection.prepare_cached(
        "DELETE FROM event WHERE (at, id) IN \
         (SELECT at, id FROM event WHERE at < ?1 ORDER BY at, id LIMIT ?2)",
    )?;
    Ok(delete.execute(params![before.as_micros(), PRUNED_AT_ONCE])? as u64)
}
