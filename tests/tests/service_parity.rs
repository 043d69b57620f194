//! Whatever is asked of it, a service gives equal answers and leaves equal rows and events on
//! memory and SQLite.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Value, json};
use tokenkeep::{
    Caller, Event, EventKind, EventQuery, Expected, Intent, KeyChange, Lookup, ManualClock,
    Revision, SeededRandom, Timestamp, Token, TokenChange, TokenError, TokenKey, TokenList,
    TokenService, TokenView, UserId,
};
use tokenkeep_tests::backend::{Backend, Cached, KeptPostgres, Loaded, LoadedMemory, LoadedSqlite};
use tokenkeep_tests::fixture::{Fixture, key_scheme};
use tokenkeep_tests::properties::cases_at_least;
use tokenkeep_tests::vectors::all_tokens;

/// What is asked of a service.
#[derive(Debug, Clone)]
enum Ask {
    Create(Caller, Value),
    Update(Caller, &'static str, Value, Option<i64>),
    PartialUpdate(Caller, &'static str, Value, Option<i64>),
    Retrieve(Caller, &'static str),
    Authenticate(&'static str),
    List(Caller, Vec<(&'static str, &'static str)>),
    Delete(Caller, &'static str, Option<i64>),
    ViewKey(Caller, &'static str),
    SetKey(Caller, &'static str, Value, Option<i64>),
    Rotate(Caller, &'static str, Option<i64>),
    Consume(Intent, &'static str),
    Sweep,
    Flush,
    OwnerDeleted(i64),
    Wait(u64),
    SetActive(i64, bool),
}

/// Keys that are set by hand, and others that are there or not.
const KEYS: [&str; 8] = [
    "one key that is long enough for all",
    "another key that is long enough",
    "key-alice-api",
    "key-admin",
    "key-recovery",
    "key-alice-app",
    "key-expired",
    "none",
];

const IDENTIFIERS: [&str; 9] = [
    "alice-api",
    "alice-app",
    "bob_app",
    "alice-recovery",
    "expired-api",
    "outpost-embedded",
    "new",
    "NEW",
    "not a slug",
];

fn caller() -> impl Strategy<Value = Caller> {
    let user = |number| Caller::User(UserId::new(number));
    let users = [1, 2, 3, 4, 5, 6, 7, 8, 11, 12, 13, 14, 99].map(user);
    select(users.into_iter().chain([Caller::System]).collect::<Vec<_>>())
}

/// A body whose fields are right more often than wrong.
fn body() -> impl Strategy<Value = Value> {
    let field = |name: &'static str, values: Vec<Value>| {
        prop::option::weighted(0.4, select(values)).prop_map(move |value| value.map(|v| (name, v)))
    };
    let times = json!([
        null,
        "2024-09-27T15:00:00Z",
        "2024-09-28T14:26:18.090001Z",
        "2020-01-01T00:00:00Z",
        "2024-10-04T14:26:18.090000Z",
        "soon"
    ]);
    let of = |values: Value| values.as_array().unwrap().clone();
    let fields = (
        field("identifier", of(json!(["new", "NEW", "alice-app", "other", " padded ", "a b", 5]))),
        field("intent", of(json!(["api", "app_password", "recovery", "verification", "API"]))),
        field("user", of(json!([1, 2, 3, "4", 99, null]))),
        field("description", of(json!(["", "text", " trimmed ", 1.5, null]))),
        field("expires", of(times)),
        field("expiring", of(json!([true, false, "yes", "maybe"]))),
        field("managed", of(json!([null, "m-1", "m-2", " m-3 ", ""]))),
    );
    fields.prop_map(|(a, b, c, d, e, f, g)| {
        let fields = [a, b, c, d, e, f, g].into_iter().flatten();
        Value::Object(fields.map(|(name, value)| (name.to_owned(), value)).collect::<Map<_, _>>())
    })
}

/// Parameters of a list, readable more often than not.
fn parameters() -> impl Strategy<Value = Vec<(&'static str, &'static str)>> {
    let parameter = select(vec![
        ("ordering", "-expires,user"),
        ("ordering", "managed"),
        ("ordering", "-intent"),
        ("search", "alice"),
        ("search", "api,a"),
        ("search", "bob \"text"),
        ("intent", "api"),
        ("intent", "API"),
        ("expiring", "true"),
        ("user__username", "alice"),
        ("user__username", "nobody"),
        ("page", "2"),
        ("page", "last"),
        ("page", "99"),
        ("page_size", "3"),
    ]);
    prop::collection::vec(parameter, 0..4)
}

/// What is asked about keys, and of more tokens than one.
fn ask_more() -> impl Strategy<Value = Ask> {
    let identifier = || select(IDENTIFIERS.to_vec());
    let expected = || prop::option::weighted(0.2, 1_i64..4);
    let key = || select(KEYS.to_vec());
    prop_oneof![
        2 => (caller(), parameters()).prop_map(|(caller, list)| Ask::List(caller, list)),
        2 => (caller(), identifier(), expected())
            .prop_map(|(caller, name, rev)| Ask::Delete(caller, name, rev)),
        2 => (caller(), identifier()).prop_map(|(caller, name)| Ask::ViewKey(caller, name)),
        3 => (caller(), identifier(), key(), expected())
            .prop_map(|(caller, name, key, rev)| Ask::SetKey(caller, name, json!(key), rev)),
        2 => (caller(), identifier(), expected())
            .prop_map(|(caller, name, rev)| Ask::Rotate(caller, name, rev)),
        2 => (select(Intent::ALL.to_vec()), key())
            .prop_map(|(intent, key)| Ask::Consume(intent, key)),
        2 => Just(Ask::Sweep),
        1 => Just(Ask::Flush),
        1 => select(vec![2_i64, 3, 99]).prop_map(Ask::OwnerDeleted),
    ]
}

fn ask() -> impl Strategy<Value = Ask> {
    let identifier = || select(IDENTIFIERS.to_vec());
    let expected = || prop::option::weighted(0.2, 1_i64..4);
    prop_oneof![
        8 => ask_more(),
        3 => (caller(), body()).prop_map(|(caller, body)| Ask::Create(caller, body)),
        3 => (caller(), identifier(), body(), expected())
            .prop_map(|(caller, name, body, rev)| Ask::Update(caller, name, body, rev)),
        5 => (caller(), identifier(), body(), expected())
            .prop_map(|(caller, name, body, rev)| Ask::PartialUpdate(caller, name, body, rev)),
        1 => (caller(), identifier()).prop_map(|(caller, name)| Ask::Retrieve(caller, name)),
        1 => select(KEYS.to_vec()).prop_map(Ask::Authenticate),
        1 => (0_u64..100_000).prop_map(Ask::Wait),
        1 => (select(vec![1_i64, 2, 5]), any::<bool>()).prop_map(|(u, a)| Ask::SetActive(u, a)),
    ]
}

/// A service on one backend.
struct Side {
    backend: Backend,
    clock: Arc<ManualClock>,
    service: TokenService,
}

impl Side {
    fn new(fixture: &Fixture, backend: Backend) -> Self {
        let clock = Arc::new(ManualClock::at(fixture.now()));
        let builder = backend
            .builder()
            .clock(clock.clone())
            .keys(key_scheme())
            .random(Arc::new(SeededRandom::new(1)));
        let service = pollster::block_on(builder.open()).unwrap();
        Self { backend, clock, service }
    }

    /// The answer, as far as a caller can see it.
    async fn answer(&self, ask: &Ask) -> Value {
        let tokens = &self.service;
        match ask {
            Ask::Create(caller, body) => {
                let created = tokens.create(caller, change(body, Expected::Anything)).await;
                shown(created.map(|c| json!([c.view, c.view.revision().get(), c.key.expose()])))
            }
            Ask::Update(caller, name, body, expected) => {
                let updated = tokens
                    .update(caller, name, change(body, self.version(name, *expected).await))
                    .await;
                shown(updated.map(|u| json!([view(&u.view), u.changed])))
            }
            Ask::PartialUpdate(caller, name, body, expected) => {
                let updated = tokens
                    .partial_update(caller, name, change(body, self.version(name, *expected).await))
                    .await;
                shown(updated.map(|u| json!([view(&u.view), u.changed])))
            }
            Ask::Retrieve(caller, name) => {
                shown(tokens.retrieve(caller, name).await.map(|v| view(&v)))
            }
            Ask::Authenticate(key) => {
                let header = format!("Bearer {key}");
                let who = tokens.authenticate(Some(header.as_bytes())).await;
                shown(who.map(|who| json!(who.caller().to_string())))
            }
            Ask::List(caller, list) => {
                let list = TokenList::from_pairs(list.iter().copied());
                shown(tokens.list(caller, &list).await.map(|listing| json!(listing)))
            }
            Ask::Delete(caller, name, expected) => {
                let deleted =
                    tokens.delete(caller, name, self.version(name, *expected).await).await;
                shown(deleted.map(|token| json!(token.id)))
            }
            Ask::Wait(seconds) => {
                self.clock.advance(Duration::from_secs(*seconds));
                Value::Null
            }
            Ask::SetActive(id, active) => {
                let mut profiles = self.backend.users.profiles(&[UserId::new(*id)]).await.unwrap();
                let mut user = tokenkeep::User::clone(&profiles.remove(0).user);
                user.is_active = *active;
                self.backend.users.put_user(user).await.unwrap();
                Value::Null
            }
            _ => self.answer_more(ask).await,
        }
    }

    /// The answer to what is asked about keys, and of more tokens than one.
    async fn answer_more(&self, ask: &Ask) -> Value {
        let tokens = &self.service;
        match ask {
            Ask::ViewKey(caller, name) => {
                shown(tokens.view_key(caller, name).await.map(|key| json!(key.expose())))
            }
            Ask::SetKey(caller, name, key, expected) => {
                let change = KeyChange::from_json(json!({"key": key}).to_string().as_bytes());
                let set = tokens
                    .set_key(caller, name, change.expecting(self.version(name, *expected).await))
                    .await;
                shown(set.map(|v| view(&v)))
            }
            Ask::Rotate(caller, name, expected) => {
                let rotated =
                    tokens.rotate(caller, name, self.version(name, *expected).await).await;
                shown(rotated.map(|rotated| json!([view(&rotated.view), rotated.key.expose()])))
            }
            Ask::Consume(intent, key) => {
                let consumed = tokens.consume(*intent, &TokenKey::from((*key).to_owned())).await;
                shown(consumed.map(|who| json!(who.token.id)))
            }
            Ask::Sweep => shown(tokens.sweep().await.map(|report| json!(format!("{report:?}")))),
            Ask::Flush => shown(tokens.flush().await.map(|()| Value::Null).map_err(Into::into)),
            Ask::OwnerDeleted(id) => {
                let deleted = tokens.owner_deleted(UserId::new(*id)).await;
                shown(deleted.map(|tokens| json!(tokens.iter().map(|t| t.id).collect::<Vec<_>>())))
            }
            other => unreachable!("{other:?}"),
        }
    }

    /// The version of the token that has the identifier, at a revision that is expected.
    async fn version(&self, identifier: &str, expected: Option<i64>) -> Expected {
        let Some(revision) = expected.and_then(Revision::new) else {
            return Expected::Anything;
        };
        let found = match identifier.parse() {
            Ok(identifier) => self.backend.tokens.find(Lookup::Identifier(&identifier)).await,
            Err(_) => Ok(None),
        };
        let versions = found.unwrap().map(|token| (token.id, revision));
        Expected::OneOf(versions.into_iter().collect())
    }

    async fn rows(&self) -> (Vec<Token>, Vec<Event>) {
        let all = EventQuery { limit: u32::MAX, ..EventQuery::default() };
        let events = self.backend.tokens.events(&all).await.unwrap().events;
        (all_tokens(&*self.backend.tokens).await, events)
    }
}

fn change(body: &Value, expected: Expected) -> TokenChange {
    TokenChange::from_json(body.to_string().as_bytes()).expecting(expected)
}

fn view(view: &TokenView) -> Value {
    json!([view, view.revision().get()])
}

fn shown(answer: Result<Value, TokenError>) -> Value {
    answer.unwrap_or_else(|error| {
        let stored = matches!(error, TokenError::Store(_));
        assert!(!stored, "no input makes a store fail: {error:?}");
        error.to_json()
    })
}

#[test]
fn a_service_answers_alike_on_every_backend() {
    let fixture = Fixture::read();
    let cached = Cached(LoadedMemory(&fixture));
    let (shared, alone) = (LoadedSqlite::new(&fixture), LoadedSqlite::alone(&fixture));
    let cached_file = Cached(LoadedSqlite::new(&fixture));
    let local: [&dyn Loaded; 4] = [&cached, &shared, &alone, &cached_file];
    let postgres = KeptPostgres::loaded(&fixture);
    let asks = prop::collection::vec(ask(), 1..40);
    proptest!(cases_at_least(128), |(asks in asks)| {
        pollster::block_on(async {
            let memory = Side::new(&fixture, LoadedMemory(&fixture).fresh());
            let sides = local.iter().map(|loaded| Side::new(&fixture, loaded.fresh()));
            let mut others: Vec<_> = sides.collect();
            others.extend(postgres.as_ref().map(|kept| Side::new(&fixture, kept.fresh())));
            for ask in &asks {
                let expected = memory.answer(ask).await;
                for other in &others {
                    assert_eq!(other.answer(ask).await, expected, "{}: {ask:?}", other.backend.name);
                }
            }
            let (rows, events) = memory.rows().await;
            for other in &others {
                assert_eq!(other.rows().await, (rows.clone(), events.clone()), "{}", other.backend.name);
            }
            check_invariants(&rows, &events, fixture.now());
        });
    });
}

/// What no sequence of requests may break.
fn check_invariants(rows: &[Token], events: &[Event], start: Timestamp) {
    for token in rows {
        let of_token = events.iter().filter(|event| event.token == token.id);
        let keeps = |kind| matches!(kind, EventKind::Created | EventKind::KeyViewed);
        let changes = of_token.filter(|event| !keeps(event.kind)).count();
        let changes = i64::try_from(changes).unwrap();
        assert_eq!(token.revision.get(), 1 + changes, "a change without its event: {token:?}");
        assert!(token.updated >= token.created && token.created >= start);
        let unlimited = token.expiring && token.expires.is_none();
        assert!(!unlimited, "a token that expires has an expiry: {token:?}");
    }
}
