//! Rows of events.

use tokenkeep::{
    Caller, Event, EventCursor, EventId, EventKind, EventPage, EventQuery, Revision, StoreError,
    StoreErrorKind, StoreId, Timestamp, TokenFields, TokenId, UserId,
};
use tokio_postgres::Row;
use uuid::Uuid;

use crate::columns::Columns;
use crate::connection::{Cause, Transacted};
use crate::error::{Fault, error};
use crate::pool::Connections;
use crate::statement::Statement;

/// Reads the id of the store.
pub(crate) async fn store_id(connections: &Connections) -> Result<StoreId, StoreError> {
    let rows = connections.query("SELECT id FROM tokenkeep_store", &[]).await?;
    let id = rows.first().map(|row| Columns::of(row, "tokenkeep_store").get::<Uuid>("id"));
    let id = id.transpose()?.ok_or_else(|| {
        let (table, column) = ("tokenkeep_store", "id");
        error(StoreErrorKind::Corrupt { table, column, id: "the store".into() }, "no row")
    })?;
    Ok(StoreId::from_bytes(id.into_bytes()))
}

/// Reads events.
pub(crate) async fn select(
    connections: &Connections,
    store: StoreId,
    query: &EventQuery,
) -> Result<EventPage, StoreError> {
    // A prune after this can only be noticed once more than needed.
    let rows = connections.query("SELECT prunes FROM tokenkeep_store", &[]).await?;
    let prunes = rows.first().map(|row| {
        Columns::of(row, "tokenkeep_store").parsed("prunes", |n: i64| u64::try_from(n).ok())
    });
    let prunes = prunes.transpose()?.unwrap_or_default();
    let start = EventCursor { store, number: 0, prunes, event: None };
    let page = match query.token {
        Some(_) => of_token(connections, start, query).await?,
        None => of_all(connections, start, query).await?,
    };
    // After the rows: what was pruned before they were read is known by now.
    if let Some(after) = &query.after {
        check_cursor(connections, store, after, query.token.is_none()).await?;
    }
    Ok(page)
}

fn invalid_cursor() -> StoreError {
    error(
        StoreErrorKind::InvalidCursor,
        "the cursor belongs to another store or an older state, or events after it were pruned: \
         read the trail from its start",
    )
}

fn number_of(cursor: &EventCursor) -> Result<i64, StoreError> {
    i64::try_from(cursor.number).map_err(|_| invalid_cursor())
}

/// Refuses a cursor at which the trail of this store cannot continue.
async fn check_cursor(
    connections: &Connections,
    store: StoreId,
    after: &EventCursor,
    of_all: bool,
) -> Result<(), StoreError> {
    let number = number_of(after)?;
    if after.store != store {
        return Err(invalid_cursor());
    }
    let prunes = i64::try_from(after.prunes).map_err(|_| invalid_cursor())?;
    let sql = if of_all {
        "SELECT last_place, (SELECT id FROM tokenkeep_event WHERE place = $1), \
           EXISTS (SELECT 1 FROM tokenkeep_prune WHERE run > $2 AND highest > $1) \
         FROM tokenkeep_store"
    } else {
        "SELECT last_value, (SELECT id FROM tokenkeep_event WHERE number = $1), $2::bigint < 0 \
         FROM tokenkeep_event_number_seq"
    };
    let rows = connections.query(sql, &[number.into(), prunes.into()]).await?;
    let Some(row) = rows.first() else {
        return Err(invalid_cursor());
    };
    let mut columns = Columns::of(row, "tokenkeep_store");
    let last: i64 = columns.get("last")?;
    let there = columns.get::<Option<Uuid>>("id")?;
    let is_gone: bool = columns.get("pruned")?;
    let is_another = match (there, after.event) {
        (Some(there), Some(event)) => there.as_bytes() != event.as_bytes(),
        _ => false,
    };
    if is_another || is_gone || number > last {
        return Err(invalid_cursor());
    }
    Ok(())
}

async fn of_token(
    connections: &Connections,
    start: EventCursor,
    query: &EventQuery,
) -> Result<EventPage, StoreError> {
    let select = Statement::of_events(query)?;
    let rows = connections.query(&select.sql, &select.values).await?;
    let mut page = EventPage::default();
    for row in &rows {
        let (number, event) = read(row)?;
        if page.events.len() >= query.limit as usize {
            page.next = Some(EventCursor { number, event: Some(event.id), ..start });
            break;
        }
        page.events.push(event);
    }
    Ok(page)
}

async fn of_all(
    connections: &Connections,
    start: EventCursor,
    query: &EventQuery,
) -> Result<EventPage, StoreError> {
    let select = Statement::of_events(query)?;
    let rows = loop {
        let rows = connections.query(&select.sql, &select.values).await?;
        if rows.len() >= query.limit as usize || !place(connections, None).await? {
            break rows;
        }
    };
    let (number, event) = query.after.map_or((0, None), |after| (after.number, after.event));
    let next = EventCursor { number, event, ..start };
    let mut page = EventPage { events: Vec::new(), next: Some(next) };
    for row in &rows {
        let (number, event) = read(row)?;
        page.next = Some(EventCursor { number, event: Some(event.id), ..start });
        page.events.push(event);
    }
    Ok(page)
}

/// How many events get their places at once: what takes some milliseconds.
const PLACED_AT_ONCE: i64 = 1_000;

/// Gives places to events that have none, only those before a time if there is one. Returns whether
/// there were any.
///
/// One reader at a time does so, and gives places after all that were given before. An event that is
/// committed later gets a later place, so that no follower passes it. Of two commits, one of which was
/// acknowledged before the other began, the first drew the lower number, and is placed first.
async fn place(connections: &Connections, before: Option<Timestamp>) -> Result<bool, StoreError> {
    let sql = "SELECT 1 FROM tokenkeep_event WHERE place IS NULL AND at < $1 LIMIT 1";
    let all = "SELECT 1 FROM tokenkeep_event WHERE place IS NULL ORDER BY number LIMIT 1";
    let waiting = match before {
        Some(before) => connections.query(sql, &[before.as_micros().into()]).await?,
        None => connections.query(all, &[]).await?,
    };
    if waiting.is_empty() {
        return Ok(false);
    }
    let lock = Statement {
        sql: "UPDATE tokenkeep_store SET last_place = last_place + $1".into(),
        values: vec![PLACED_AT_ONCE.into()],
        ..Statement::default()
    };
    let place = Statement {
        sql: "UPDATE tokenkeep_event SET place = last_place - $1 + step \
             FROM (SELECT number AS unplaced, row_number() OVER (ORDER BY number) AS step \
                   FROM tokenkeep_event WHERE place IS NULL ORDER BY number LIMIT $1) AS next, \
                  tokenkeep_store \
             WHERE number = unplaced AND place IS NULL"
            .into(),
        values: vec![PLACED_AT_ONCE.into()],
        ..Statement::default()
    };
    match connections.transact(&[&lock, &place]).await? {
        Transacted::Committed => Ok(true),
        Transacted::RolledBack(_, cause @ (Cause::Rows | Cause::Refusal(_))) => {
            Err(cause.into_fault().into())
        }
    }
}

impl Statement<'_> {
    /// Of one token newest first, by number, one more than asked for; of all by place.
    pub(crate) fn of_events(query: &EventQuery) -> Result<Self, StoreError> {
        let mut select = Self::default();
        let order = if query.token.is_some() { "number" } else { "place" };
        select.push("SELECT ");
        select.push(order);
        select.push(
            ", id, at, token, identifier, owner, revision, kind, changed, actor \
             FROM tokenkeep_event WHERE ",
        );
        let mut limit = i64::from(query.limit);
        if let Some(token) = query.token {
            limit += 1;
            select.push("token = ");
            select.bind(*token.as_bytes());
        } else {
            select.push("place IS NOT NULL");
        }
        if let Some(after) = &query.after {
            select.push(if query.token.is_some() { " AND number <= " } else { " AND place > " });
            select.bind(number_of(after)?);
        }
        if let Some(from) = query.from {
            select.push(" AND at >= ");
            select.bind(from.as_micros());
            if query.token.is_none() && query.after.is_none() {
                // Enters the trail at the first of them, instead of reading all that lies before it.
                select.push(
                    " AND place >= (SELECT min(place) FROM \
                     (SELECT place FROM tokenkeep_event WHERE at >= ",
                );
                select.bind(from.as_micros());
                select.push(" OFFSET 0) AS late)");
            }
        }
        if let Some(until) = query.until {
            select.push(" AND at < ");
            select.bind(until.as_micros());
        }
        select.push(" ORDER BY ");
        select.push(order);
        select.push(if query.token.is_some() { " DESC LIMIT " } else { " LIMIT " });
        select.bind(limit);
        Ok(select)
    }
}

/// An event with its number or its place.
fn read(row: &Row) -> Result<(u64, Event), Fault> {
    let mut columns = Columns::of(row, "tokenkeep_event");
    let number = columns.parsed("number", |number: i64| u64::try_from(number).ok())?;
    let event = Event {
        id: EventId::from_bytes(columns.key::<Uuid>("id")?.into_bytes()),
        at: columns.time("at")?,
        token: TokenId::from_bytes(columns.sixteen_bytes("token")?),
        identifier: columns.parsed("identifier", |text: &str| text.parse().ok())?,
        owner: UserId::new(columns.get("owner")?),
        revision: columns.parsed("revision", Revision::new)?,
        kind: columns.parsed("kind", EventKind::from_name)?,
        changed: columns.parsed("changed", |bits: i64| {
            u16::try_from(bits).ok().and_then(TokenFields::from_bits)
        })?,
        actor: match columns.get("actor")? {
            Some(id) => Caller::User(UserId::new(id)),
            None => Caller::System,
        },
    };
    Ok((number, event))
}

/// How many events are pruned by one statement: what takes some milliseconds.
const PRUNED_AT_ONCE: i64 = 1_000;

/// Prunes events part by part, so that no statement takes long. Each has a place by then, so that a
/// follower notices what it has missed.
pub(crate) async fn prune(connections: &Connections, before: Timestamp) -> Result<u64, StoreError> {
    while place(connections, Some(before)).await? {}
    // Rows that another instance is pruning are old, too, and gone when this has waited for it.
    let sql = "WITH old AS (SELECT number FROM tokenkeep_event \
                 WHERE at < $1 AND place IS NOT NULL ORDER BY at LIMIT $2), \
         gone AS (DELETE FROM tokenkeep_event WHERE number IN (SELECT number FROM old) \
                  RETURNING place), \
         run AS (UPDATE tokenkeep_store SET prunes = prunes + 1 \
                 WHERE EXISTS (SELECT 1 FROM gone) RETURNING prunes), \
         exceeded AS (DELETE FROM tokenkeep_prune \
                      WHERE highest <= (SELECT max(place) FROM gone)), \
         noted AS (INSERT INTO tokenkeep_prune (run, highest) \
                   SELECT prunes, (SELECT max(place) FROM gone) FROM run) \
         SELECT (SELECT count(*) FROM old), (SELECT count(*) FROM gone)";
    let values = [before.as_micros().into(), PRUNED_AT_ONCE.into()];
    let mut pruned = 0;
    loop {
        let rows = connections.execute(sql, &values).await?;
        let Some(row) = rows.first() else {
            return Ok(pruned);
        };
        let mut columns = Columns::of(row, "tokenkeep_event");
        let old: i64 = columns.get("old")?;
        pruned += columns.get::<i64>("gone")?.unsigned_abs();
        if old < PRUNED_AT_ONCE {
            return Ok(pruned);
        }
    }
}
