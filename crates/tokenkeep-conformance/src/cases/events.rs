//! The audit trail.

use tokenkeep::{
    Caller, Event, EventCursor, EventKind, EventQuery, Revision, StoreErrorKind, StoreId,
    Timestamp, Token, TokenField, TokenFields, TokenId, TokenStore, UserId,
};

use crate::harness::Harness;
use crate::sample::{changes, commit, delete, event, events, identifier, insert_all, time, token};

/// The numbers of the events that a query returns, in order.
async fn numbers(store: &dyn TokenStore, query: &EventQuery) -> Vec<u8> {
    let page = store.events(query).await.expect("the store can be read");
    page.events.iter().map(number).collect()
}

fn number(event: &Event) -> u8 {
    event.id.as_bytes()[0]
}

/// An event of a token, at a revision and a time.
fn event_of(number: u8, of: u8, revision: i64, seconds: i64) -> Event {
    let revision = Revision::new(revision).expect("a revision");
    event(number, &Token { revision, updated: time(seconds), ..token(of) })
}

/// Events of two tokens in the order of their commits, against which their times and ids go.
fn trail() -> Vec<Event> {
    vec![
        event_of(6, 1, 1, 30),
        event_of(3, 2, 1, 20),
        event_of(7, 1, 2, 20),
        event_of(5, 1, 2, 10),
        event_of(4, 1, 2, 20),
        event_of(1, 2, 2, 40),
        event_of(2, 1, 3, 20),
    ]
}

/// Commits the trail, one event, then two, then the rest.
async fn commit_trail(store: &dyn TokenStore) {
    let mut trail = trail();
    let rest = trail.split_off(3);
    let two = trail.split_off(1);
    for part in [trail, two, rest] {
        commit(store, events(part)).await;
    }
}

fn of(token: u8) -> EventQuery {
    EventQuery { token: Some(TokenId::from_bytes([token; 16])), ..EventQuery::default() }
}

pub(crate) async fn orders_the_events_of_a_token_newest_first(harness: &dyn Harness) {
    let store = harness.open().await;
    commit_trail(&*store).await;
    assert_eq!(numbers(&*store, &of(1)).await, [2, 4, 5, 7, 6]);
    assert_eq!(numbers(&*store, &of(2)).await, [1, 3]);
    assert_eq!(numbers(&*store, &of(3)).await, [0_u8; 0]);
}

pub(crate) async fn orders_the_events_of_all_tokens_by_commit(harness: &dyn Harness) {
    let store = harness.open().await;
    commit_trail(&*store).await;
    assert_eq!(numbers(&*store, &EventQuery::default()).await, [6, 3, 7, 5, 4, 1, 2]);
}

pub(crate) async fn cuts_the_trail_by_time(harness: &dyn Harness) {
    let store = harness.open().await;
    commit_trail(&*store).await;
    let ranges: [(Option<i64>, Option<i64>, &[u8]); 5] = [
        (Some(20), None, &[6, 3, 7, 4, 1, 2]),
        (None, Some(20), &[5]),
        (Some(20), Some(30), &[3, 7, 4, 2]),
        (Some(21), Some(30), &[]),
        (Some(30), Some(20), &[]),
    ];
    for (from, until, expected) in ranges {
        let (from, until) = (from.map(time), until.map(time));
        let query = EventQuery { from, until, ..EventQuery::default() };
        assert_eq!(numbers(&*store, &query).await, expected, "{from:?} to {until:?}");
    }
    let query = EventQuery { from: Some(time(20)), until: Some(time(30)), ..of(1) };
    assert_eq!(numbers(&*store, &query).await, [2, 4, 7]);
}

pub(crate) async fn reads_the_trail_page_by_page(harness: &dyn Harness) {
    let store = harness.open().await;
    commit_trail(&*store).await;
    let late = EventQuery { from: Some(time(20)), ..EventQuery::default() };
    let late_of_one = EventQuery { from: Some(time(20)), ..of(1) };
    for whole in [of(1), of(2), late_of_one, EventQuery::default(), late] {
        let expected = numbers(&*store, &whole).await;
        for limit in [1, 2, 3, 100] {
            let mut walked = Vec::new();
            let mut query = EventQuery { limit, ..whole.clone() };
            loop {
                let page = store.events(&query).await.expect("the store can be read");
                assert!(page.events.len() <= limit as usize);
                walked.extend(page.events.iter().map(number));
                if whole.token.is_none() {
                    assert!(page.next.is_some(), "events of all tokens can follow");
                }
                match page.next {
                    // A cursor outlives the process as text.
                    Some(next) => query.after = next.to_string().parse().ok(),
                    None => break,
                }
                if whole.token.is_none() && page.events.is_empty() {
                    break;
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
    let read = store.events(&EventQuery::default()).await.expect("the store can be read");
    assert_eq!(read.events, written);
    written.reverse();
    let read = store.events(&of(1)).await.expect("the store can be read");
    assert_eq!(read.events, written);
}

pub(crate) async fn prunes_what_is_older(harness: &dyn Harness) {
    let store = harness.open().await;
    commit_trail(&*store).await;
    let prune = async |seconds| store.prune_events(time(seconds)).await.expect("it can be written");
    assert_eq!(prune(10).await, 0);
    assert_eq!(prune(20).await, 1);
    assert_eq!(numbers(&*store, &EventQuery::default()).await, [6, 3, 7, 4, 1, 2]);
    assert_eq!(prune(21).await, 4);
    assert_eq!(numbers(&*store, &of(1)).await, [6]);
    assert_eq!(prune(100).await, 2);
    assert_eq!(numbers(&*store, &EventQuery::default()).await, [0_u8; 0]);
    // No place in the trail is given out twice.
    commit(&*store, events([event_of(9, 1, 4, 50)])).await;
    assert_eq!(numbers(&*store, &EventQuery::default()).await, [9]);
    assert_eq!(numbers(&*store, &of(1)).await, [9]);
}

/// The newest events of a token are the oldest by their clocks, before and after its deletion.
pub(crate) async fn prunes_whatever_the_clocks_say(harness: &dyn Harness) {
    let store = harness.open().await;
    let gone = token(1);
    insert_all(&*store, std::slice::from_ref(&gone)).await;
    let times = [50, 20, 40, 10, 60, 5, 30];
    for (number, seconds) in (1..).zip(times) {
        commit(&*store, events([event_of(number, 1, number.into(), seconds)])).await;
    }
    let prune = async |seconds| store.prune_events(time(seconds)).await.expect("it can be written");
    assert_eq!(prune(15).await, 2);
    assert_eq!(numbers(&*store, &of(1)).await, [7, 5, 3, 2, 1]);
    commit(&*store, changes([delete(&gone)])).await;
    assert_eq!(prune(35).await, 2);
    assert_eq!(numbers(&*store, &of(1)).await, [5, 3, 1]);
    assert_eq!(numbers(&*store, &EventQuery::default()).await, [1, 3, 5]);
    assert_eq!(prune(55).await, 2);
    assert_eq!(numbers(&*store, &of(1)).await, [5]);
    assert_eq!(prune(100).await, 1);
    assert_eq!(prune(100).await, 0);
    assert_eq!(numbers(&*store, &of(1)).await, [0_u8; 0]);
}

/// Whether the trail, of one token or of all, continues after a cursor.
async fn continues(store: &dyn TokenStore, after: EventCursor, token: Option<u8>) -> bool {
    let token = token.map(|token| TokenId::from_bytes([token; 16]));
    let query = EventQuery { after: Some(after), token, ..EventQuery::default() };
    match store.events(&query).await {
        Ok(_) => true,
        Err(error) => {
            assert_eq!(*error.kind(), StoreErrorKind::InvalidCursor);
            false
        }
    }
}

/// The cursor after one event of a query, which has more.
async fn cursor_of(store: &dyn TokenStore, query: EventQuery) -> EventCursor {
    let page = store.events(&EventQuery { limit: 1, ..query }).await;
    page.expect("the store can be read").next.expect("events follow")
}

pub(crate) async fn refuses_cursors_at_which_nothing_continues(harness: &dyn Harness) {
    let store = harness.open().await;
    commit_trail(&*store).await;
    let continues = async |after, token| continues(&*store, after, token).await;
    let page = async |limit| {
        let query = EventQuery { limit, ..EventQuery::default() };
        store.events(&query).await.expect("the store can be read").next.expect("events can follow")
    };
    let (first, last) = (page(1).await, page(100).await);
    assert!(continues(first, None).await && continues(last, None).await);
    let of_one = cursor_of(&*store, of(1)).await;
    assert!(continues(of_one, Some(1)).await);

    let elsewhere = StoreId::from_bytes([7; 16]);
    for (cursor, token) in [(last, None), (of_one, Some(1))] {
        assert!(!continues(EventCursor { store: elsewhere, ..cursor }, token).await);
        assert!(!continues(EventCursor { number: u64::MAX, ..cursor }, token).await);
        assert!(!continues(EventCursor { number: i64::MAX as u64, ..cursor }, token).await);
    }
    // Events that a follower has not seen are pruned.
    store.prune_events(time(100)).await.expect("the store can be written");
    assert!(!continues(first, None).await);
    assert!(continues(last, None).await);
    assert!(continues(of_one, Some(1)).await, "the rest of the token's trail is gone");
}

pub(crate) async fn refuses_cursors_of_another_query(harness: &dyn Harness) {
    let store = harness.open().await;
    commit_trail(&*store).await;
    let queries = [(None, EventQuery::default()), (Some(1), of(1)), (Some(2), of(2))];
    for (of, query) in &queries {
        let cursor = cursor_of(&*store, query.clone()).await;
        for (token, _) in &queries {
            assert_eq!(continues(&*store, cursor, *token).await, of == token, "{of:?} {token:?}");
        }
    }
}

pub(crate) async fn refuses_cursors_of_a_later_state(harness: &dyn Harness) {
    let store = harness.open().await;
    commit_trail(&*store).await;
    store.prune_events(time(20)).await.expect("the store can be written");
    for (token, query) in [(None, EventQuery::default()), (Some(1), of(1))] {
        let cursor = cursor_of(&*store, query).await;
        assert!(continues(&*store, cursor, token).await);
        for prunes in [cursor.prunes + 1, i64::MAX as u64, u64::MAX] {
            assert!(!continues(&*store, EventCursor { prunes, ..cursor }, token).await);
        }
    }
}
