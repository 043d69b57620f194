//! Many callers at the same time.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::{Duration, Instant};

use tokenkeep::{
    Change, CommitError, Event, EventId, EventQuery, Filter, Lookup, Token, TokenId, TokenQuery,
    TokenStore, UniqueField,
};

use crate::harness::{Harness, race};
use crate::sample::{
    assert_is, assert_stale, by_id, changes, commit, delete, digest, event, events, expect, found,
    identifier, insert, insert_all, marker, numbered_event, revised, time, token,
};

const RACERS: u8 = 8;
const ROUNDS: u8 = 25;

/// How long a race may take before it counts as stuck.
const PATIENCE: Duration = Duration::from_secs(60);

/// Set when its guard is dropped, also by a panic: the end of a race for those who look on.
struct End(AtomicBool);

struct EndOnDrop<'a>(&'a End);

impl End {
    const fn new() -> Self {
        Self(AtomicBool::new(false))
    }

    fn has_come(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::SeqCst);
    }
}

/// Adds a letter to a token's description until it has succeeded `rounds` times.
async fn add(store: &dyn TokenStore, id: TokenId, racer: u8, rounds: u8) {
    let start = Instant::now();
    let mut done = 0;
    while done < rounds {
        assert!(start.elapsed() < PATIENCE, "stuck after {done} updates");
        let before = by_id(store, id).await.expect("nobody deletes it");
        let after = revised(&before, |token| {
            token.description = format!("{}{}", before.description, letter(racer)).into();
        });
        let mut batch = changes([Change::replace(&before, after.clone())]);
        batch.events = vec![event(racer * ROUNDS + done, &after)];
        match store.commit(batch).await {
            Ok(()) => done += 1,
            Err(CommitError::Stale { .. }) => {}
            Err(other) => panic!("{other:?}"),
        }
    }
}

fn letter(racer: u8) -> char {
    char::from(b'a' + racer)
}

pub(crate) async fn loses_no_update_of_a_token(harness: &dyn Harness) {
    let store = harness.open().await;
    let other_handle = harness.open().await;
    let first = token(1);
    insert_all(&*store, std::slice::from_ref(&first)).await;
    race(harness, RACERS, |racer| {
        let store = if racer % 2 == 0 { &store } else { &other_handle };
        add(&**store, first.id, racer, ROUNDS)
    });
    let last = by_id(&*store, first.id).await.expect("nobody deletes it");
    let updates = i64::from(RACERS) * i64::from(ROUNDS);
    assert_eq!(last.revision.get(), 1 + updates, "every acknowledged change raised the revision");
    for racer in 0..RACERS {
        let own = last.description.chars().filter(|c| *c == letter(racer)).count();
        assert_eq!(own, usize::from(ROUNDS), "no change of racer {racer} was written over");
    }
    let query = EventQuery { token: Some(first.id), limit: 1_000, ..EventQuery::default() };
    let page = store.events(&query).await.expect("the store can be read");
    let revisions: Vec<_> = page.events.iter().map(|event| event.revision.get()).collect();
    assert_eq!(
        revisions,
        (2..=1 + updates).rev().collect::<Vec<_>>(),
        "every change has its event"
    );
}

pub(crate) async fn lets_one_of_those_who_want_a_revision_win(harness: &dyn Harness) {
    let store = harness.open().await;
    for round in 0..ROUNDS {
        let before = token(round);
        insert_all(&*store, std::slice::from_ref(&before)).await;
        let results = race(harness, RACERS, |racer| {
            let after = revised(&before, |token| token.description = racer.to_string().into());
            let change = match racer % 3 {
                2 => delete(&before),
                _ => Change::replace(&before, after),
            };
            store.commit(changes([change]))
        });
        let won = results.iter().filter(|result| result.is_ok()).count();
        assert_eq!(won, 1, "{results:?}");
        let there = by_id(&*store, before.id).await;
        for result in results.into_iter().filter(|result| result.is_err()) {
            assert_stale(result, 0, there.as_deref());
        }
    }
}

/// Lets racers insert tokens that share one value, and asserts that one of them wins.
async fn race_for(
    harness: &dyn Harness,
    field: UniqueField,
    share: impl Fn(&mut Token, u8) + Sync,
) {
    let store = harness.open().await;
    let other_handle = harness.open().await;
    for round in 0..ROUNDS {
        let results = race(harness, RACERS, |racer| {
            let mut new = token(round * RACERS + racer);
            share(&mut new, round);
            let store = if racer % 2 == 0 { &store } else { &other_handle };
            store.commit(changes([insert(&new)]))
        });
        let won = results.iter().filter(|result| result.is_ok()).count();
        assert_eq!(won, 1, "{results:?}");
        for error in results.into_iter().filter_map(Result::err) {
            assert!(
                matches!(error, CommitError::Taken { field: f, .. } if f == field),
                "{error:?}"
            );
        }
    }
    let there = store.list(&TokenQuery::default()).await.expect("the store can be read");
    assert_eq!(there.tokens.len(), usize::from(ROUNDS));
}

pub(crate) async fn lets_one_of_those_who_want_an_identifier_win(harness: &dyn Harness) {
    let share =
        |token: &mut Token, round| token.identifier = identifier(&format!("wanted-{round}"));
    race_for(harness, UniqueField::Identifier, share).await;
}

pub(crate) async fn lets_one_of_those_who_want_a_marker_win(harness: &dyn Harness) {
    let share = |token: &mut Token, round| token.managed = Some(marker(&format!("m/{round}")));
    race_for(harness, UniqueField::Managed, share).await;
}

pub(crate) async fn lets_one_of_those_who_want_a_key_win(harness: &dyn Harness) {
    let share = |token: &mut Token, round| token.key_digest = digest(&format!("wanted-{round}"));
    race_for(harness, UniqueField::Key, share).await;
}

pub(crate) async fn lets_nobody_pass_what_another_expects(harness: &dyn Harness) {
    let store = harness.open().await;
    let other_handle = harness.open().await;
    for round in 0..ROUNDS {
        // Each changes its own token if the other's is as it was: both cannot be right.
        let pair = [token(2 * round), token(2 * round + 1)];
        insert_all(&*store, &pair).await;
        let results = race(harness, 2, |racer| {
            let [a, b] = &pair;
            let (own, other, store) =
                if racer == 0 { (a, b, &store) } else { (b, a, &other_handle) };
            let after = revised(own, |token| token.description = "changed".into());
            store.commit(changes([expect(other), Change::replace(own, after)]))
        });
        let won = results.iter().filter(|result| result.is_ok()).count();
        assert_eq!(won, 1, "{results:?}");
    }
}

pub(crate) async fn shows_no_part_of_a_commit(harness: &dyn Harness) {
    let store = harness.open().await;
    let other_handle = harness.open().await;
    let pair = [token(1), token(2)];
    insert_all(&*store, &pair).await;
    let end = End::new();
    race(harness, RACERS, async |racer| {
        if racer == 0 {
            let _end = EndOnDrop(&end);
            let [mut a, mut b] = pair.clone();
            for _ in 0..200 {
                let [c, d] = [&a, &b].map(|token| revised(token, |_| {}));
                let batch = [Change::replace(&a, c.clone()), Change::replace(&b, d.clone())];
                commit(&*store, changes(batch)).await;
                (a, b) = (c, d);
            }
        } else {
            let store = if racer % 2 == 0 { &store } else { &other_handle };
            loop {
                let page = store.list(&TokenQuery::default()).await.expect("it can be read");
                let revisions: Vec<_> = page.tokens.iter().map(|token| token.revision).collect();
                assert!(matches!(revisions[..], [a, b] if a == b), "{revisions:?}");
                // Each has looked once at least.
                if end.has_come() {
                    break;
                }
            }
        }
    });
}

pub(crate) async fn shows_no_change_without_its_event(harness: &dyn Harness) {
    let store = harness.open().await;
    let other_handle = harness.open().await;
    let first = token(1);
    let mut batch = changes([insert(&first)]);
    batch.events = vec![event(0, &first)];
    commit(&*store, batch).await;
    let end = End::new();
    race(harness, RACERS, async |racer| {
        if racer == 0 {
            let _end = EndOnDrop(&end);
            let mut before = first.clone();
            for number in 1..=200 {
                let after = revised(&before, |_| {});
                let mut batch = changes([Change::replace(&before, after.clone())]);
                batch.events = vec![numbered_event(number, &after)];
                commit(&*store, batch).await;
                before = after;
            }
        } else {
            let store = if racer % 2 == 0 { &store } else { &other_handle };
            loop {
                let seen = by_id(&**store, first.id).await.expect("it is there").revision;
                let of_token =
                    EventQuery { token: Some(first.id), limit: 1, ..EventQuery::default() };
                let page = store.events(&of_token).await.expect("the store can be read");
                let told = page.events.first().map(|event| event.revision);
                assert!(told >= Some(seen), "revision {seen} has no event, the last is {told:?}");
                // Each has looked once at least.
                if end.has_come() {
                    break;
                }
            }
        }
    });
}

/// Writers on several handles commit one and several events at once, by clocks that differ, while a
/// follower reads.
pub(crate) async fn shows_a_follower_every_event_once(harness: &dyn Harness) {
    const COMMITS: u8 = 40;
    let store = harness.open().await;
    let other_handle = harness.open().await;
    let first_of = |racer: u8| token(racer * 2);
    let writers: Vec<_> = (1..RACERS).collect();
    insert_all(&*store, &writers.iter().map(|racer| first_of(*racer)).collect::<Vec<_>>()).await;
    let all = usize::from(RACERS - 1) * usize::from(COMMITS) * 2;
    let ended = AtomicU8::new(0);
    let followed = race(harness, RACERS, async |racer| {
        let store = if racer % 2 == 0 { &store } else { &other_handle };
        let mut seen = Vec::new();
        if racer == 0 {
            let mut query = EventQuery { limit: 7, ..EventQuery::default() };
            loop {
                let all_have_ended = ended.load(Ordering::SeqCst) == RACERS - 1;
                let page = store.events(&query).await.expect("the store can be read");
                if all_have_ended && page.events.is_empty() {
                    return seen;
                }
                query.after = page.next;
                seen.extend(page.events);
            }
        }
        let mut before = first_of(racer);
        for number in 0..COMMITS {
            let skew = time(i64::from(racer) * -1_000);
            let after = revised(&before, |token| token.updated = skew);
            let event = |part: u8| Event {
                id: EventId::from_bytes([
                    racer, number, part, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
                ]),
                ..numbered_event(0, &after)
            };
            let mut batch = changes([Change::replace(&before, after.clone())]);
            batch.events = vec![event(0)];
            let rest = if number % 2 == 0 {
                batch.events.push(event(1));
                None
            } else {
                Some(events([event(1)]))
            };
            commit(&**store, batch).await;
            if let Some(rest) = rest {
                commit(&**store, rest).await;
            }
            before = after;
        }
        ended.fetch_add(1, Ordering::SeqCst);
        seen
    });
    let followed = followed.into_iter().next().expect("the follower returns");
    let ids: BTreeSet<_> = followed.iter().map(|event| event.id).collect();
    assert_eq!((followed.len(), ids.len()), (all, all), "each event once");
    for racer in writers {
        let own = followed.iter().filter(|event| event.token == first_of(racer).id);
        assert!(own.is_sorted_by_key(|event| event.id), "in the order of commits");
    }
}

pub(crate) async fn shows_every_acknowledged_commit_at_once(harness: &dyn Harness) {
    let writer = harness.open().await;
    let reader = harness.open().await;
    let mut current = Token { managed: Some(marker("m")), ..token(1) };
    insert_all(&*writer, std::slice::from_ref(&current)).await;
    for round in 0..100 {
        let after = revised(&current, |token| {
            token.key_digest = digest(&format!("round {round}"));
            token.identifier = identifier(&format!("round-{round}"));
            token.managed = Some(marker(&format!("m/{round}")));
        });
        let event = numbered_event(round, &after);
        let mut batch = changes([Change::replace(&current, after.clone())]);
        batch.events = vec![event.clone()];
        commit(&*writer, batch).await;
        assert_gone(&*reader, &current).await;
        assert_there(&*reader, &after, &event).await;
        current = after;
    }
    commit(&*writer, changes([delete(&current)])).await;
    assert_gone(&*reader, &current).await;
    assert_eq!(by_id(&*reader, current.id).await, None);
}

/// Asserts that no look-up and no list finds the token by its unique values.
async fn assert_gone(store: &dyn TokenStore, token: &Token) {
    let marker = token.managed.as_ref().expect("it is managed");
    for lookup in [
        Lookup::KeyDigest(&token.key_digest),
        Lookup::Identifier(&token.identifier),
        Lookup::Marker(marker),
    ] {
        assert_eq!(found(store, lookup).await, None, "{lookup:?}");
    }
    assert_eq!(listed(store, token).await, []);
}

/// Asserts that every look-up, the list and the audit trail show the token.
async fn assert_there(store: &dyn TokenStore, token: &Token, last: &Event) {
    let marker = token.managed.as_ref().expect("it is managed");
    for lookup in [
        Lookup::Id(token.id),
        Lookup::KeyDigest(&token.key_digest),
        Lookup::Identifier(&token.identifier),
        Lookup::Marker(marker),
    ] {
        assert_eq!(found(store, lookup).await.as_deref(), Some(token), "{lookup:?}");
    }
    assert_eq!(listed(store, token).await, std::slice::from_ref(token));
    let everything = store.list(&TokenQuery::default()).await.expect("the store can be read");
    assert_eq!(everything.tokens.last().map(|token| token.revision), Some(token.revision));
    let query = EventQuery { limit: 1_000, ..EventQuery::default() };
    let page = store.events(&query).await.expect("the store can be read");
    assert_eq!(page.events.last(), Some(last));
}

/// The tokens that a list by identifier shows.
async fn listed(store: &dyn TokenStore, token: &Token) -> Vec<Token> {
    let filter = Filter { identifier: Some(token.identifier.to_string()), ..Filter::default() };
    let query = TokenQuery { filter, ..TokenQuery::default() };
    let page = store.list(&query).await.expect("the store can be read");
    page.tokens.iter().map(|token| Token::clone(token)).collect()
}

pub(crate) async fn does_commits_beside_others_that_fail(harness: &dyn Harness) {
    let store = harness.open().await;
    let taken = token(255);
    insert_all(&*store, std::slice::from_ref(&taken)).await;
    race(harness, RACERS, async |racer| {
        for round in 0..ROUNDS {
            let number = racer * ROUNDS + round;
            if racer % 2 == 0 {
                commit(&*store, changes([insert(&token(number))])).await;
            } else {
                let refused = Token { identifier: taken.identifier.clone(), ..token(number) };
                let batch = changes([insert(&token(254)), insert(&refused)]);
                let result = store.commit(batch).await;
                assert!(matches!(result, Err(CommitError::Taken { change: 1, .. })), "{result:?}");
            }
        }
    });
    for racer in 0..RACERS {
        for round in 0..ROUNDS {
            let number = racer * ROUNDS + round;
            if racer % 2 == 0 {
                assert_is(&*store, &token(number)).await;
            } else {
                assert_eq!(by_id(&*store, token(number).id).await, None);
            }
        }
    }
    assert_eq!(by_id(&*store, token(254).id).await, None, "a failed commit left nothing");
}
