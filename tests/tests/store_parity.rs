//! Whatever is done to them, memory and SQLite answer as the model does and hold the same rows.

use std::sync::Arc;

use proptest::prelude::*;
use proptest::sample::select;
use tokenkeep::{
    Change, Commit, CommitError, Event, EventQuery, Filter, Lookup, OwnerMatch, Revision,
    SearchWord, SortField, SortKey, Timestamp, Token, TokenField, TokenFields, TokenId, TokenQuery,
    Touch, Visibility, Window,
};
use tokenkeep_tests::arbitrary::{event, fields, id, time, token, user};
use tokenkeep_tests::backend::{Backend, KeptPostgres, Loaded};
use tokenkeep_tests::model::{Model, Page, Refusal};
use tokenkeep_tests::properties::cases_at_least;
use tokenkeep_tests::vectors::all_tokens;

/// What is done to a store.
#[derive(Debug, Clone)]
enum Step {
    Commit(Vec<Draft>, Vec<Event>),
    Touch(Vec<Touch>),
    Prune(Timestamp),
    Find(Token),
    /// Lists page after page until there is no more.
    Walk(TokenQuery),
    Events(EventQuery),
}

/// A change that is made ready when it is known what is there.
#[derive(Debug, Clone)]
enum Draft {
    Insert(Token),
    Replace(Token, TokenFields, Guess),
    Delete(TokenId, Guess),
    Expect(TokenId, Guess),
    Remove(TokenId),
    /// Two tokens take each other's unique values.
    Exchange(TokenId, TokenId),
}

/// Which revision a change expects.
#[derive(Debug, Clone, Copy)]
enum Guess {
    Current,
    First,
    Third,
}

fn draft() -> impl Strategy<Value = Draft> {
    let guess =
        || select(vec![Guess::Current, Guess::Current, Guess::Current, Guess::First, Guess::Third]);
    prop_oneof![
        3 => token().prop_map(Draft::Insert),
        4 => (token(), fields(), guess()).prop_map(|(t, f, g)| Draft::Replace(t, f, g)),
        1 => (id(), guess()).prop_map(|(id, guess)| Draft::Delete(id, guess)),
        1 => (id(), guess()).prop_map(|(id, guess)| Draft::Expect(id, guess)),
        1 => id().prop_map(Draft::Remove),
        1 => (id(), id()).prop_map(|(one, other)| Draft::Exchange(one, other)),
    ]
}

fn query() -> impl Strategy<Value = TokenQuery> {
    let filter = (
        token(),
        any::<[bool; 7]>(),
        prop::option::of(time()),
        select(vec![None, Some("m"), Some("m/")]),
    )
        .prop_map(|(token, wanted, expired_before, prefix)| Filter {
            identifier: wanted[0].then(|| token.identifier.to_string()),
            intent: wanted[1].then_some(token.intent),
            owner: wanted[2].then_some(token.owner),
            description: wanted[3].then(|| token.description.to_string()),
            expires: token.expires.filter(|_| wanted[4]),
            expiring: wanted[5].then_some(token.expiring),
            managed: token.managed.filter(|_| wanted[6]).map(|marker| marker.to_string()),
            expired_before,
            managed_prefix: prefix.map(str::to_owned),
        });
    let rarely =
        |filter: BoxedStrategy<Filter>| prop_oneof![3 => Just(Filter::default()), 1 => filter];
    let visibility = prop_oneof![
        2 => Just(Visibility::All),
        1 => (user(), prop::collection::vec(id(), 0..3))
            .prop_map(|(owner, also)| Visibility::Limited {
                owner,
                also: also.into_iter().collect()
            }),
    ];
    let word = (select(vec!["a", "A", "ä", "%", "app_", "z"]), prop::collection::vec(user(), 0..2))
        .prop_map(|(text, owners)| SearchWord {
            text: text.into(),
            owners: OwnerMatch::Listed(owners.into_iter().collect()),
        });
    let key = (select(SortField::ALL.to_vec()), any::<bool>())
        .prop_map(|(field, descending)| SortKey { field, descending });
    let window = (any::<bool>(), 0_u64..4, 1_u32..4).prop_map(|(by_cursor, offset, limit)| {
        if by_cursor {
            Window::After { cursor: None, limit }
        } else {
            Window::Offset { offset, limit }
        }
    });
    let search = prop::collection::vec(word, 0..2);
    let order = prop::collection::vec(key, 0..3);
    (rarely(filter.boxed()), visibility, search, order, window, any::<bool>()).prop_map(
        |(filter, visibility, search, order, window, count)| TokenQuery {
            visibility,
            filter,
            search,
            order,
            window,
            count,
        },
    )
}

fn event_query() -> impl Strategy<Value = EventQuery> {
    let range = (prop::option::of(time()), prop::option::of(time()));
    (prop::option::of(id()), range, 1_u32..6).prop_map(|(token, (from, until), limit)| EventQuery {
        token,
        from,
        until,
        after: None,
        limit,
    })
}

fn step() -> impl Strategy<Value = Step> {
    let touch = (id(), time()).prop_map(|(token, at)| Touch { token, at });
    prop_oneof![
        8 => (prop::collection::vec(draft(), 0..4), prop::collection::vec(event(), 0..3))
            .prop_map(|(changes, events)| Step::Commit(changes, events)),
        1 => prop::collection::vec(touch, 0..4).prop_map(Step::Touch),
        1 => time().prop_map(Step::Prune),
        2 => token().prop_map(Step::Find),
        3 => query().prop_map(Step::Walk),
        2 => event_query().prop_map(Step::Events),
    ]
}

/// The changes of a batch, as far as the model knows what each will meet.
fn ready(model: &Model, drafts: &[Draft]) -> Vec<Change> {
    let mut foreseen = model.clone();
    let mut changes = Vec::new();
    for draft in drafts {
        let expected = |id, guess| match guess {
            Guess::Current => foreseen.find(Lookup::Id(id)).map_or(Revision::FIRST, |t| t.revision),
            Guess::First => Revision::FIRST,
            Guess::Third => Revision::new(3).unwrap(),
        };
        let change = match draft.clone() {
            Draft::Exchange(one, other) => {
                let exchanged = exchange(&foreseen, one, other);
                let commit = Commit { changes: exchanged.clone(), events: Vec::new() };
                let _ = foreseen.commit(&commit);
                changes.extend(exchanged);
                continue;
            }
            Draft::Remove(id) => Change::Remove { id },
            Draft::Insert(token) => Change::Insert(Arc::new(token)),
            Draft::Replace(token, fields, guess) => {
                let expected = expected(token.id, guess);
                let revision = expected.next().unwrap();
                let token = Arc::new(Token { revision, ..token });
                Change::Replace { expected, fields, token }
            }
            Draft::Delete(id, guess) => Change::Delete { id, expected: expected(id, guess) },
            Draft::Expect(id, guess) => Change::Expect { id, expected: expected(id, guess) },
        };
        let _ = foreseen.commit(&Commit { changes: vec![change.clone()], events: Vec::new() });
        changes.push(change);
    }
    changes
}

/// The changes by which two tokens take each other's unique values; none where one is missing.
fn exchange(model: &Model, one: TokenId, other: TokenId) -> Vec<Change> {
    let (Some(one), Some(other)) = (model.find(Lookup::Id(one)), model.find(Lookup::Id(other)))
    else {
        return Vec::new();
    };
    let fields = [TokenField::Identifier, TokenField::Managed, TokenField::Key];
    let takes = |from: &Token, of: &Token| Change::Replace {
        expected: from.revision,
        fields: fields.into_iter().collect(),
        token: Arc::new(Token {
            identifier: of.identifier.clone(),
            managed: of.managed.clone(),
            key_digest: of.key_digest.clone(),
            revision: from.revision.next().unwrap(),
            ..from.clone()
        }),
    };
    let release = Change::Release { id: one.id, expected: one.revision };
    vec![release, takes(other, one), takes(one, other)]
}

/// Does a step to the model and the backends, and compares the answers.
async fn take(step: &Step, model: &mut Model, backends: &[Backend]) {
    match step {
        Step::Commit(drafts, events) => {
            let commit = Commit { changes: ready(model, drafts), events: events.clone() };
            let expected = model.commit(&commit);
            for backend in backends {
                let answer = backend.tokens.commit(commit.clone()).await.map_err(refusal);
                assert_eq!(answer, expected, "{}", backend.name);
            }
        }
        Step::Touch(touches) => {
            model.touch(touches);
            for backend in backends {
                backend.tokens.touch(touches).await.unwrap();
            }
        }
        Step::Prune(before) => {
            let expected = model.prune(*before);
            for backend in backends {
                let pruned = backend.tokens.prune_events(*before).await.unwrap();
                assert_eq!(pruned, expected, "{}", backend.name);
            }
        }
        Step::Find(token) => {
            let marker = token.managed.as_ref().map(Lookup::Marker);
            let lookups = [
                Lookup::Id(token.id),
                Lookup::Identifier(&token.identifier),
                Lookup::KeyDigest(&token.key_digest),
            ];
            for lookup in lookups.into_iter().chain(marker) {
                let expected = model.find(lookup);
                for backend in backends {
                    let found = backend.tokens.find(lookup).await.unwrap();
                    assert_eq!(found.as_deref(), expected, "{} {lookup:?}", backend.name);
                }
            }
        }
        Step::Walk(query) => walk(query, model, backends).await,
        Step::Events(query) => {
            let expected = model.events(&EventQuery { limit: u32::MAX, ..query.clone() });
            for backend in backends {
                let mut query = query.clone();
                let mut events = Vec::new();
                loop {
                    let page = backend.tokens.events(&query).await.unwrap();
                    assert!(page.events.len() <= query.limit as usize);
                    let is_end = page.events.is_empty() || page.next.is_none();
                    events.extend(page.events);
                    query.after = page.next;
                    if is_end {
                        break;
                    }
                }
                assert_eq!(events, expected, "{}", backend.name);
            }
        }
    }
}

async fn walk(query: &TokenQuery, model: &Model, backends: &[Backend]) {
    for backend in backends {
        let mut query = query.clone();
        loop {
            let expected = model.list(&query);
            let page = backend.tokens.list(&query).await.unwrap();
            let tokens = page.tokens.iter().map(|token| Token::clone(token)).collect();
            let goes_on = page.next.is_some();
            let found = Page { tokens, total: page.total, goes_on };
            assert_eq!(found, expected, "{} {query:?}", backend.name);
            match (&mut query.window, page.next) {
                (Window::After { cursor, .. }, Some(next)) => *cursor = Some(next),
                _ => break,
            }
        }
    }
}

fn refusal(error: CommitError) -> Refusal {
    match error {
        CommitError::Stale { change, current } => {
            Refusal::Stale { change, current: current.as_deref().cloned().map(Box::new) }
        }
        CommitError::Taken { change, field } => Refusal::Taken { change, field },
        CommitError::Store(_) => Refusal::Release,
        other => panic!("{other}"),
    }
}

#[test]
fn every_backend_does_what_the_model_does() {
    let postgres = KeptPostgres::empty();
    let steps = prop::collection::vec(step(), 1..40);
    proptest!(cases_at_least(256), |(steps in steps)| {
        pollster::block_on(async {
            let mut model = Model::default();
            let mut backends =
                vec![Backend::memory(), Backend::sqlite(), Backend::sqlite_alone()];
            backends.extend(postgres.as_ref().map(Loaded::fresh));
            for step in &steps {
                take(step, &mut model, &backends).await;
            }
            let mut expected = model.tokens.clone();
            expected.sort_by(|a, b| a.identifier.cmp(&b.identifier));
            for backend in &backends {
                let rows = all_tokens(&*backend.tokens).await;
                assert_eq!(rows, expected, "{}", backend.name);
            }
        });
    });
}
