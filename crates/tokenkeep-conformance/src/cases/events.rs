//! The audit trail.

use tokenkeep::{
    Caller, Event, EventKind, EventPosition, EventQuery, Revision, Timestamp, Token, TokenField,
    TokenFields, TokenId, TokenStore, UserId,
};

use crate::harness::Harness;
use crate::sample::{changes, commit, delete, event, events, identifier, insert_all, time, token};

/// The numbers of the events that a query returns, in order.
async fn numbers(store: &dyn TokenStore, query: &EventQuery) -> Vec<u8> {
    let events = store.events(query).await.expect("the store can be read");
    events.iter().map(number).collect()
}

fn number(event: &Event) -> u8 {
    event.id.as_bytes()[0]
}

/// An event of a token, at a revision and a time.
fn event_of(number: u8, of: u8, revision: i64, seconds: i64) -> Event {
    let revision = Revision::new(revision).expect("a revision");
    event(number, &Token { revision, updated: time(seconds), ..token(of) })
}

/// Events of two tokens, whose times go against their revisions.
fn trail() -> Vec<Event> {
    vec![
        event_of(4, 1, 1, 30),
        event_of(7, 1, 2, 20),
        event_of(6, 1, 2, 10),
        event_of(5, 1, 2, 20),
        event_of(3, 2, 1, 20),
        event_of(2, 1, 3, 20),
        event_of(1, 2, 2, 40),
    ]
}

fn of(token: u8) -> EventQuery {
    EventQuery { token: Some(TokenId::from_bytes([token; 16])), ..EventQuery::default() }
}

pub(crate) async fn orders_the_events_of_a_token_by_revision(harness: &dyn Harness) {
    let store = harness.open().await;
    commit(&*store, events(trail())).await;
    assert_eq!(numbers(&*store, &of(1)).await, [4, 6, 5, 7, 2]);
    assert_eq!(numbers(&*store, &of(2)).await, [3, 1]);
    assert_eq!(numbers(&*store, &of(3)).await, [0_u8; 0]);
}

pub(crate) async fn orders_the_events_of_all_tokens_by_time(harness: &dyn Harness) {
    let store = harness.open().await;
    commit(&*store, events(trail())).await;
    assert_eq!(numbers(&*store, &EventQuery::default()).await, [6, 2, 3, 5, 7, 4, 1]);
}

pub(crate) async fn cuts_the_trail_by_time(harness: &dyn Harness) {
    let store = harness.open().await;
    commit(&*store, events(trail())).await;
    let ranges: [(Option<i64>, Option<i64>, &[u8]); 5] = [
        (Some(20), None, &[2, 3, 5, 7, 4, 1]),
        (None, Some(20), &[6]),
        (Some(20), Some(30), &[2, 3, 5, 7]),
        (Some(21), Some(30), &[]),
        (Some(30), Some(20), &[]),
    ];
    for (from, until, expected) in ranges {
        let (from, until) = (from.map(time), until.map(time));
        let query = EventQuery { from, until, ..EventQuery::default() };
        assert_eq!(numbers(&*store, &query).await, expected, "{from:?} to {until:?}");
    }
    let query = EventQuery { from: Some(time(20)), until: Some(time(30)), ..of(1) };
    assert_eq!(numbers(&*store, &query).await, [5, 7, 2]);
}

pub(crate) async fn reads_the_trail_page_by_page(harness: &dyn Harness) {
    let store = harness.open().await;
    commit(&*store, events(trail())).await;
    for whole in [of(1), of(2), EventQuery::default()] {
        let expected = numbers(&*store, &whole).await;
        for limit in [1, 2, 3, 100] {
            let mut walked = Vec::new();
            let mut query = EventQuery { limit, ..whole.clone() };
            loop {
                let page = store.events(&query).await.expect("the store can be read");
                assert!(page.len() <= limit as usize);
                walked.extend(page.iter().map(number));
                match page.last() {
                    Some(last) => query.after = Some(EventPosition::from(last)),
                    None => break,
                }
            }
            assert_eq!(walked, expected, "by {limit}");
        }
    }
    let none = EventQuery { limit: 0, ..EventQuery::default() };
    assert_eq!(numbers(&*store, &none).await, [0_u8; 0]);
}

pub(crate) async fn keeps_the_events_of_a_token_that_is_gone(harness: &dyn Harness) {
    let store = harness.open().await;
    let gone = token(1);
    insert_all(&*store, std::slice::from_ref(&gone)).await;
    let mut batch = changes([delete(&gone)]);
    batch.events = vec![event(1, &gone)];
    commit(&*store, batch).await;
    assert_eq!(numbers(&*store, &of(1)).await, [1]);
}

pub(crate) async fn returns_every_field_of_an_event(harness: &dyn Harness) {
    let store = harness.open().await;
    let kinds = (1..).zip(EventKind::ALL);
    let mut written: Vec<_> = kinds
        .map(|(number, kind)| Event {
            kind,
            actor: Caller::User(UserId::new(i64::MIN)),
            ..event_of(number, 1, number.into(), 0)
        })
        .collect();
    written.push(Event {
        identifier: identifier(&"y".repeat(255)),
        owner: UserId::new(i64::MAX),
        revision: Revision::new(i64::MAX).expect("a revision"),
        changed: TokenField::ALL.into_iter().collect(),
        at: Timestamp::MAX,
        ..event(200, &token(1))
    });
    for (number, field) in (100..).zip(TokenField::ALL) {
        let changed = TokenFields::NONE.with(field);
        written.push(Event { changed, ..event_of(number, 1, number.into(), 1) });
    }
    commit(&*store, events(written.clone())).await;
    written.sort_by_key(|event| (event.revision, event.at));
    let read = store.events(&of(1)).await.expect("the store can be read");
    assert_eq!(read, written);
}

pub(crate) async fn prunes_what_is_older(harness: &dyn Harness) {
    let store = harness.open().await;
    commit(&*store, events(trail())).await;
    let prune = async |seconds| store.prune_events(time(seconds)).await.expect("it can be written");
    assert_eq!(prune(10).await, 0);
    assert_eq!(prune(20).await, 1);
    assert_eq!(numbers(&*store, &EventQuery::default()).await, [2, 3, 5, 7, 4, 1]);
    assert_eq!(prune(21).await, 4);
    assert_eq!(numbers(&*store, &of(1)).await, [4]);
    assert_eq!(prune(100).await, 2);
    assert_eq!(numbers(&*store, &EventQuery::default()).await, [0_u8; 0]);
}
