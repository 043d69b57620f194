//! What does authentication by bearer key cost above the look-ups that it has to make?
//!
//! The floor digests the key, looks up the token by it and its owner's state: on bare maps, and on
//! a bare connection with held statements, which has its file for itself where the store has.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::Connection;
use sha2::{Digest, Sha256};
use tokenkeep::{TokenService, VerifyCache};
use tokenkeep_load::Times;
use tokenkeep_memory::MemoryStore;
use tokenkeep_sqlite::{Sharing, SqliteOptions};

use crate::compare::{alone, compare, two_threads};
use crate::files::{Bare, Files};
use crate::finding::{Findings, Line, Row};
use crate::goal::Unit;
use crate::load::{USERS, fill, key, picked_to_authenticate, service, token, user};
use crate::scale::Scale;

/// Measures it.
pub fn measure(scale: &Scale) -> Findings {
    let mut rows = vec![
        sqlite("authenticate-shared", scale, Sharing::Shared),
        two_callers(scale),
        sqlite("authenticate-single", scale, Sharing::SingleProcess),
    ];
    rows.extend(memory(scale));
    rows.extend(cached(scale));
    Findings { rows, lines: by_number_of_tokens(scale), ..Findings::default() }
}

/// Headers with the keys of `api` tokens. They are made anew for each call, as a request's has just
/// been read where it arrives: out of a long list they would come from memory that is cold.
struct Headers {
    tokens: u64,
}

impl Headers {
    fn new(tokens: u64) -> Self {
        assert_eq!(Self { tokens }.of(0)[7..], *key(picked_to_authenticate(0, tokens)).as_bytes());
        Self { tokens }
    }

    fn of(&self, call: u64) -> [u8; 67] {
        let mut header = *b"Bearer 000000000000000000000000000000000000000000000000000000000000";
        let mut number = picked_to_authenticate(call, self.tokens);
        for place in header.iter_mut().rev().take(20) {
            *place = b'0' + u8::try_from(number % 10).unwrap();
            number /= 10;
        }
        header
    }
}

fn authenticate(service: &TokenService, header: &[u8]) -> i64 {
    let who = pollster::block_on(service.authenticate(Some(header))).unwrap();
    who.token.owner.get()
}

fn digest(header: &[u8]) -> [u8; 33] {
    let mut digest = [0; 33];
    digest[1..].copy_from_slice(&Sha256::digest(&header[7..]));
    digest
}

fn sqlite(goal: &'static str, scale: &Scale, sharing: Sharing) -> Row {
    let files = Files::new(&SqliteOptions::new().sharing(sharing), scale.tokens);
    let service = service(&files.store);
    let bare = Bare::new(sharing, scale.tokens);
    let headers = Headers::new(scale.tokens);
    let beside_bare = || {
        let mut look_up = look_up(&bare.connection);
        compare(
            scale,
            20_000,
            |call| authenticate(&service, &headers.of(call)),
            |call| look_up(&headers.of(call)),
        )
    };
    let usual = beside_bare();
    // As many pages as each of the store's readers keeps on two processors.
    bare.connection.pragma_update(None, "cache_size", -32 * 1024).unwrap();
    let ratio = beside_bare().ratio.median;
    Row::ratio(goal, usual, Unit::Seconds)
        .noting(format!("{ratio:.2} where the bare connection keeps as many pages"))
}

/// The two look-ups, with held statements.
fn look_up(bare: &Connection) -> impl FnMut(&[u8]) -> bool {
    let mut token = bare
        .prepare(
            "SELECT id, identifier, intent, owner, description, expires, expiring, managed, \
             revision, created, updated, last_used, owner_may_view_key, key_digest, sealed_key \
             FROM token WHERE key_digest = ?1",
        )
        .unwrap();
    let mut active = bare.prepare("SELECT is_active FROM user_account WHERE id = ?1").unwrap();
    move |header| {
        let owner: i64 = token.query_row([digest(header)], |row| row.get(3)).unwrap();
        active.query_row([owner], |row| row.get(0)).unwrap()
    }
}

fn two_callers(scale: &Scale) -> Row {
    let files = Files::new(&SqliteOptions::new(), scale.tokens);
    let service = service(&files.store);
    let headers = Headers::new(scale.tokens);
    let call = |call| {
        authenticate(&service, &headers.of(call));
    };
    Row::ratio("authenticate-two", two_threads(scale, 20_000, call), Unit::PerSecond)
}

fn in_memory(tokens: u64) -> TokenService {
    let store = Arc::new(MemoryStore::new());
    pollster::block_on(fill(&*store, &*store, tokens));
    service(&store)
}

fn memory(scale: &Scale) -> [Row; 3] {
    let service = in_memory(scale.tokens);
    let headers = Headers::new(scale.tokens);
    let tokens: HashMap<[u8; 33], Arc<tokenkeep::Token>> = (0..scale.tokens)
        .map(|number| (*token(number).key_digest.as_bytes(), Arc::new(token(number))))
        .collect();
    let users: HashMap<i64, bool> = (0..USERS).map(|number| (user(number).get(), true)).collect();
    let one = compare(
        scale,
        50_000,
        |call| authenticate(&service, &headers.of(call)),
        |call| {
            let token = tokens[&digest(&headers.of(call))].clone();
            (users[&token.owner.get()], token)
        },
    );
    let two = two_threads(scale, 100_000, |call| {
        authenticate(&service, &headers.of(call));
    });
    drop((tokens, service));

    let service = in_memory(scale.many);
    let headers = Headers::new(scale.many);
    let many = alone(scale, 100_000, |call| authenticate(&service, &headers.of(call)));
    [
        Row::figure_beside("authenticate-memory", one),
        Row::figure("authenticate-memory-many", many),
        Row::figure_beside("authenticate-memory-two", two),
    ]
}

/// A cache in front of a file: every token has been shown before.
fn cached(scale: &Scale) -> [Row; 4] {
    let single = cached_service(scale.tokens, Sharing::SingleProcess);
    let headers = Headers::new(scale.tokens);
    let bare = Bare::new(Sharing::SingleProcess, scale.tokens);
    let mut bare_look_up = look_up(&bare.connection);
    let one = compare(
        scale,
        50_000,
        |call| authenticate(&single.1, &headers.of(call)),
        |call| bare_look_up(&headers.of(call)),
    );
    let two = two_threads(scale, 100_000, |call| {
        authenticate(&single.1, &headers.of(call));
    });
    drop(single);

    let shared = cached_service(scale.tokens, Sharing::Shared);
    let bare = Bare::new(Sharing::Shared, scale.tokens);
    let mut bare_look_up = look_up(&bare.connection);
    let exact = compare(
        scale,
        20_000,
        |call| authenticate(&shared.1, &headers.of(call)),
        |call| bare_look_up(&headers.of(call)),
    );
    drop(shared);

    let single = cached_service(scale.many, Sharing::SingleProcess);
    let headers = Headers::new(scale.many);
    let many = alone(scale, 100_000, |call| authenticate(&single.1, &headers.of(call)));
    [
        Row::figure_beside("authenticate-cached-single", one),
        Row::figure("authenticate-cached-single-many", many),
        Row::figure_beside("authenticate-cached-single-two", two),
        Row::ratio("authenticate-cached-shared", exact, Unit::Seconds),
    ]
}

/// A service with a cache that has room for every token, and has each.
fn cached_service(tokens: u64, sharing: Sharing) -> (Files, TokenService) {
    let files = Files::new(&SqliteOptions::new().sharing(sharing), tokens);
    let cache = VerifyCache::of(usize::try_from(tokens).unwrap() * 2);
    let builder = TokenService::builder(files.store.clone(), files.store.clone()).cache(cache);
    let service = pollster::block_on(builder.open()).unwrap();
    for number in (0..tokens).step_by(2) {
        let header = format!("Bearer {}", key(number));
        authenticate(&service, header.as_bytes());
    }
    (files, service)
}

/// How long an authentication takes with more and more tokens.
fn by_number_of_tokens(scale: &Scale) -> Vec<Line> {
    let numbers = [scale.many / 1_000, scale.many / 100, scale.many / 10, scale.many];
    let (mut shared, mut single, mut memory, mut floor) = (vec![], vec![], vec![], vec![]);
    let rounds = scale.rounds(3);
    for tokens in numbers.map(|number| number.max(10)) {
        let headers = Headers::new(tokens);
        let took = |service: &TokenService| {
            let call = |call| authenticate(service, &headers.of(call));
            (tokens as f64, alone(&rounds, 20_000, call).median)
        };
        memory.push(took(&in_memory(tokens)));
        for (sharing, line) in
            [(Sharing::Shared, &mut shared), (Sharing::SingleProcess, &mut single)]
        {
            let files = Files::new(&SqliteOptions::new().sharing(sharing), tokens);
            line.push(took(&service(&files.store)));
        }
        let bare = Bare::new(Sharing::Shared, tokens);
        let mut look_up = look_up(&bare.connection);
        let call = |call| look_up(&headers.of(call));
        floor.push((tokens as f64, alone(&rounds, 20_000, call).median));
    }
    [
        ("SQLite, shared file", shared),
        ("SQLite, single process", single),
        ("bare look-ups, shared file", floor),
        ("memory", memory),
    ]
    .map(|(name, points)| Line::new("tokens", name, points))
    .into()
}

/// What each authentication takes, for the profile.
pub fn profiled(lasting: std::time::Duration) -> Times {
    let scale = Scale::FULL;
    let files = Files::new(&SqliteOptions::new(), scale.tokens);
    let service = service(&files.store);
    let headers = Headers::new(scale.tokens);
    crate::compare::for_a_while(lasting, 0, |call| authenticate(&service, &headers.of(call)))
}
