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
    if !query.accepts_cursor(store, prunes) {
        return Err(invalid_cursor());
    }
    let start = EventCursor { store, number: 0, prunes, event: None, token: query.token };
    let page = match query.token {
        Some(_) => of_token(connections, start, query).await?,
        None => of_all(connections, start, query).await?,
    };
    // After the rows: what was pruned before they were read is known by now.
    if let Some(after) = &query.after {
        check_cursor(connections, after).await?;
    }
    Ok(page)
}

fn invalid_cursor() -> StoreError {
    error(
        StoreErrorKind::InvalidCursor,
        "the cursor belongs to another store, state or token, or events after it were pruned: \
         read the trail from its start",
    )
}

fn number_of(cursor: &EventCursor) -> Result<i64, StoreError> {
    i64::try_from(cursor.number).map_err(|_| invalid_cursor())
}

/// Refuses a cursor at which the trail of this store cannot continue.
async fn check_cursor(connections: &Connections, after: &EventCursor) -> Result<(), StoreError> {
    let number = number_of(after)?;
    let prunes = i64::try_from(after.prunes).map_err(|_| invalid_cursor())?;
    let sql = if after.token.is_none() {
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
    let mut backlog = Backlog::read(connections, None).await?;
    let rows = loop {
        // After the backlog: another reader may have placed its events.
        let rows = connections.query(&select.sql, &select.values).await?;
        let Some(unplaced) = backlog.filter(|_| rows.len() < query.limit as usize) else {
            break rows;
        };
        backlog = unplaced.place_some(connections).await?;
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

/// How many events the first and the last steps place at once. The larger one takes some hundred
/// milliseconds, in which other readers wait.
const FIRST_STEP: i64 = 1_000;
const LAST_STEP: i64 = 16_000;

/// The committed events that have no place.
///
/// One reader at a time gives places, after all that were given before. An event that is committed
/// later gets a later place, so that no follower passes it. Of two commits, one of which was
/// acknowledged before the other began, the first drew the lower number, and is placed first.
#[derive(Debug, Clone, Copy)]
struct Backlog {
    /// The highest number among them when the backlog was read. Later commits draw higher numbers,
    /// so that placing ends however many there are.
    highest: i64,
    /// How many events are placed next.
    step: i64,
}

impl Backlog {
    /// Reads the backlog, up to the last event before a time if there is one. Returns `None` if every
    /// event has a place.
    async fn read(
        connections: &Connections,
        before: Option<Timestamp>,
    ) -> Result<Option<Self>, StoreError> {
        let sql = "SELECT number FROM tokenkeep_event WHERE place IS NULL AND at < $1 \
             ORDER BY number DESC LIMIT 1";
        let all = "SELECT number FROM tokenkeep_event WHERE place IS NULL \
             ORDER BY number DESC LIMIT 1";
        let rows = match before {
            Some(before) => connections.query(sql, &[before.as_micros().into()]).await?,
            None => connections.query(all, &[]).await?,
        };
        let highest = rows.first().map(|row| Columns::of(row, "tokenkeep_event").get("number"));
        Ok(highest.transpose()?.map(|highest| Self { highest, step: FIRST_STEP }))
    }

    /// Places some of the events, lowest number first. Returns what is left of the backlog.
    async fn place_some(self, connections: &Connections) -> Result<Option<Self>, StoreError> {
        let lock = Statement {
            sql: "UPDATE tokenkeep_store SET last_place = last_place + $1".into(),
            values: vec![self.step.into()],
            ..Statement::default()
        };
        let place = Statement {
            sql: "UPDATE tokenkeep_event SET place = last_place - $1 + step \
                 FROM (SELECT number AS unplaced, row_number() OVER (ORDER BY number) AS step \
                       FROM tokenkeep_event WHERE place IS NULL ORDER BY number LIMIT $1) AS next, \
                      tokenkeep_store \
                 WHERE number = unplaced AND place IS NULL"
                .into(),
            values: vec![self.step.into()],
            ..Statement::default()
        };
        match connections.transact(&[&lock, &place]).await? {
            Transacted::Committed => {}
            Transacted::RolledBack(_, cause @ (Cause::Rows | Cause::Refusal(_))) => {
                return Err(cause.into_fault().into());
            }
        }
        let sql = "SELECT 1 FROM tokenkeep_event WHERE place IS NULL AND number <= $1 \
             ORDER BY number LIMIT 1";
        let rows = connections.query(sql, &[self.highest.into()]).await?;
        let step = LAST_STEP.min(self.step.saturating_mul(2));
        Ok((!rows.is_empty()).then_some(Self { step, ..self }))
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
/// follower notices what it has missed. Events that are placed later stay: writers could add them
/// without end.
pub(crate) async fn prune(connections: &Connections, before: Timestamp) -> Result<u64, StoreError> {
    let mut backlog = Backlog::read(connections, Some(before)).await?;
    while let Some(unplaced) = backlog {
        backlog = unplaced.place_some(connections).await?;
    }
    let rows = connections.query("SELECT last_place FROM tokenkeep_store", &[]).await?;
    let last = rows.first().map(|row| Columns::of(row, "tokenkeep_store").get("last_place"));
    let last: i64 = last.transpose()?.unwrap_or_default();
    // Rows that another instance is pruning are old, too, and gone when this has waited for it.
    let sql = "WITH old AS (SELECT number FROM tokenkeep_event \
                 WHERE at < $1 AND place <= $3 ORDER BY at LIMIT $2), \
         gone AS (DELETE FROM tokenkeep_event WHERE number IN (SELECT number FROM old) \
                  RETURNING place), \
         run AS (UPDATE tokenkeep_store SET prunes = prunes + 1 \
                 WHERE EXISTS (SELECT 1 FROM gone) RETURNING prunes), \
         exceeded AS (DELETE FROM tokenkeep_prune \
                      WHERE highest <= (SELECT max(place) FROM gone)), \
         noted AS (INSERT INTO tokenkeep_prune (run, highest) \
                   SELECT prunes, (SELECT max(place) FROM gone) FROM run) \
         SELECT (SELECT count(*) FROM old), (SELECT count(*) FROM gone)";
    let values = [before.as_micros().into(), PRUNED_AT_ONCE.into(), last.into()];
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

#[cfg(test)]
mod tests {
    use std::iter;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use futures_util::future::{Either, join_all, select};
    use tokenkeep::{Commit, TokenStore};
    use tokenkeep_test_server::{Server, available};

    use super::*;
    use crate::PostgresStore;

    /// More than any of these calls needs. A call that follows the writers takes longer.
    const LIMIT: Duration = Duration::from_secs(60);

    fn seconds(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000).unwrap()
    }

    fn event(number: u32, at: Timestamp) -> Event {
        let mut id = [0; 16];
        id[..4].copy_from_slice(&number.to_be_bytes());
        Event {
            id: EventId::from_bytes(id),
            at,
            token: TokenId::from_bytes([u8::try_from(number % 7).unwrap(); 16]),
            identifier: "a".parse().unwrap(),
            owner: UserId::new(1),
            revision: Revision::FIRST,
            kind: EventKind::KeyViewed,
            changed: TokenFields::NONE,
            actor: Caller::System,
        }
    }

    async fn commit(store: &PostgresStore, events: Vec<Event>) {
        store.commit(Commit { changes: Vec::new(), events }).await.unwrap();
    }

    /// Commits without end.
    async fn write(store: &PostgresStore, number: &AtomicU32) {
        loop {
            let next = || number.fetch_add(1, Ordering::Relaxed);
            commit(store, iter::repeat_with(next).take(5).map(|n| event(n, seconds(9))).collect())
                .await;
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn trail_beside_writers_ends() {
        if !available("trail_beside_writers_ends") {
            return;
        }
        let database = Server::shared().unwrap().database().unwrap();
        let store = PostgresStore::connect(&database.url()).await.unwrap();
        let number = AtomicU32::new(0);
        let all = EventQuery { limit: u32::MAX, ..EventQuery::default() };
        let none = EventQuery { until: Some(seconds(5)), ..EventQuery::default() };
        let calls = Box::pin(async {
            // The calls begin when the writers have begun.
            while store.events(&EventQuery { limit: 1, ..all.clone() }).await?.events.is_empty() {}
            assert_eq!(store.events(&none).await?.events, []);
            assert!(!store.events(&all).await?.events.is_empty());
            assert!(store.prune_events(seconds(10)).await? > 0);
            Ok::<_, StoreError>(())
        });
        let writers = Box::pin(join_all(iter::repeat_with(|| write(&store, &number)).take(4)));
        let ended = tokio::time::timeout(LIMIT, select(calls, writers)).await;
        match ended.expect("every call ends") {
            Either::Left((result, _)) => result.unwrap(),
            Either::Right(_) => unreachable!("writers do not end"),
        }
    }

    #[tokio::test]
    async fn backlog_of_many_steps_is_placed_in_order() {
        if !available("backlog_of_many_steps_is_placed_in_order") {
            return;
        }
        let database = Server::shared().unwrap().database().unwrap();
        let store = PostgresStore::connect(&database.url()).await.unwrap();
        let events: Vec<_> = (0..5_000).map(|number| event(number, seconds(1))).collect();
        commit(&store, events.clone()).await;
        commit(&store, vec![event(5_000, seconds(9))]).await;
        let late = EventQuery { from: Some(seconds(9)), limit: 1, ..EventQuery::default() };
        assert_eq!(store.events(&late).await.unwrap().events, [event(5_000, seconds(9))]);
        let all = EventQuery { limit: 5_000, ..EventQuery::default() };
        assert_eq!(store.events(&all).await.unwrap().events, events);
        assert_eq!(store.prune_events(seconds(9)).await.unwrap(), 5_000);
    }
}
