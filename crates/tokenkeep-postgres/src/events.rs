//! Rows of events.

use tokenkeep::{
    Caller, Event, EventId, EventKind, EventQuery, Revision, StoreError, Timestamp, TokenFields,
    TokenId, UserId,
};
use tokio_postgres::Row;
use uuid::Uuid;

use crate::columns::Columns;
use crate::error::Fault;
use crate::pool::Connections;
use crate::statement::Statement;

/// Reads events.
pub(crate) async fn select(
    connections: &Connections,
    query: &EventQuery,
) -> Result<Vec<Event>, StoreError> {
    let select = Statement::of_events(query);
    let rows = connections.query(&select.sql, &select.values).await?;
    Ok(rows.iter().map(read).collect::<Result<_, Fault>>()?)
}

impl Statement<'_> {
    pub(crate) fn of_events(query: &EventQuery) -> Self {
        let mut select = Self::default();
        select.push(
            "SELECT id, at, token, identifier, owner, revision, kind, changed, actor \
             FROM tokenkeep_event WHERE TRUE",
        );
        if let Some(token) = query.token {
            select.push(" AND token = ");
            select.bind(*token.as_bytes());
        }
        if let Some(from) = query.from {
            select.push(" AND at >= ");
            select.bind(from.as_micros());
        }
        if let Some(until) = query.until {
            select.push(" AND at < ");
            select.bind(until.as_micros());
        }
        if let Some(after) = query.after {
            if query.token.is_some() {
                select.push(" AND (revision, at, id) > (");
                select.bind(after.revision.get());
                select.push(", ");
            } else {
                select.push(" AND (at, id) > (");
            }
            select.bind(after.at.as_micros());
            select.push(", ");
            select.bind(*after.id.as_bytes());
            select.push(")");
        }
        let order = if query.token.is_some() { "revision, at, id" } else { "at, id" };
        select.push(&format!(" ORDER BY {order} LIMIT "));
        select.bind(i64::from(query.limit));
        select
    }
}

fn read(row: &Row) -> Result<Event, Fault> {
    let mut columns = Columns::of(row, "tokenkeep_event");
    Ok(Event {
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
    })
}

/// How many events are dropped by one statement: what takes some milliseconds.
const PRUNED_AT_ONCE: i64 = 1_000;

/// Drops events part by part, so that no statement takes long.
pub(crate) async fn prune(connections: &Connections, before: Timestamp) -> Result<u64, StoreError> {
    // Rows that another instance is dropping are old, too, and gone when this has waited for it.
    let sql = "WITH old AS (SELECT at, id FROM tokenkeep_event WHERE at < $1 \
                 ORDER BY at, id LIMIT $2), \
         gone AS (DELETE FROM tokenkeep_event WHERE (at, id) IN (SELECT at, id FROM old) \
                  RETURNING 1) \
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
