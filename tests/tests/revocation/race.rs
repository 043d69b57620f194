//! One race: a key in use, and its revocation.

use std::time::{Duration, Instant};

use tokenkeep::{
    Caller, Change, Commit, Expected, KeyChange, Timestamp, Token, TokenError, TokenService, User,
    UserId,
};
use tokenkeep_tests::backend::Backend;
use tokenkeep_tests::meddling::change;
use tokenkeep_tests::scene::{row, user};

/// How many races each test runs.
pub(crate) fn races() -> u64 {
    let races = std::env::var("TOKENKEEP_REVOCATION_RACES").ok();
    races.and_then(|races| races.parse().ok()).unwrap_or(2_000)
}

/// The owner of every token.
fn owner() -> User {
    user(UserId::new(7), "racer")
}

/// Every race has a token of its own.
pub(crate) async fn prepare(backend: &Backend) {
    backend.users.put_user(owner()).await.unwrap();
    let numbers: Vec<_> = (1..=races()).collect();
    for part in numbers.chunks(1_000) {
        let insert = |number: &u64| Change::Insert(token(*number).into());
        let changes = part.iter().map(insert).collect();
        backend.tokens.commit(Commit { changes, events: Vec::new() }).await.unwrap();
    }
}

fn token(number: u64) -> Token {
    row(number.into(), &format!("race-{number}"), owner().id, &key(number))
}

fn key(number: u64) -> String {
    format!("the key that race {number} is about")
}

/// Revokes the token of a race, in one of the ways that there are.
pub(crate) async fn revoke(backend: &Backend, service: &TokenService, number: u64) {
    let name = format!("race-{number}");
    let system = Caller::System;
    match number % 5 {
        0 => {
            service.delete(&system, &name, Expected::Anything).await.unwrap();
        }
        1 => {
            let other = KeyChange::new(format!("another key, {}", key(number)));
            service.set_key(&system, &name, other).await.unwrap();
        }
        2 => {
            service.rotate(&system, &name, Expected::Anything).await.unwrap();
        }
        3 => {
            let past = Timestamp::from_micros(1_700_000_000_000_000).unwrap();
            change(&*backend.tokens, &name, |token| {
                (token.expiring, token.expires) = (true, Some(past));
            })
            .await;
        }
        _ => {
            let inactive = User { is_active: false, ..owner() };
            backend.users.put_user(inactive).await.unwrap();
        }
    }
}

/// Lets in again whom the race before has locked out.
pub(crate) async fn restore(backend: &Backend, number: u64) {
    if number % 5 == 4 {
        backend.users.put_user(owner()).await.unwrap();
    }
}

/// What the user of a key saw.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen {
    /// How often the key was accepted by an authentication that began after the revocation had been
    /// acknowledged.
    pub(crate) accepted_late: u64,
}

/// Uses the key of a race until it is refused, or has been accepted often enough when it must not.
/// `acknowledged` is the last race whose revocation was acknowledged; `in_use` is called when the
/// key has been accepted more than once.
pub(crate) fn use_key(
    service: &TokenService,
    number: u64,
    acknowledged: impl Fn() -> u64,
    in_use: impl FnOnce(),
) -> Seen {
    let header = format!("Bearer {}", key(number)).into_bytes();
    let mut in_use = Some(in_use);
    let (mut accepted, mut seen) = (0, Seen::default());
    let start = Instant::now();
    while seen.accepted_late < 10 {
        assert!(start.elapsed() < Duration::from_secs(300), "race {number}: never revoked");
        let is_late = acknowledged() >= number;
        match pollster::block_on(service.authenticate(Some(&header))) {
            Ok(_) => {
                accepted += 1;
                seen.accepted_late += u64::from(is_late);
            }
            Err(TokenError::InvalidKey) => {
                assert!(in_use.is_none(), "race {number}: refused before it was revoked");
                break;
            }
            Err(error) => panic!("race {number}: {error:?}"),
        }
        if accepted == 2
            && let Some(in_use) = in_use.take()
        {
            in_use();
        }
    }
    seen
}

/// A pause before the revocation, another one each time: from nothing to some authentications.
pub(crate) fn pause(number: u64) {
    let end = Instant::now() + Duration::from_micros(number * 7 % 40);
    while Instant::now() < end {
        std::hint::spin_loop();
    }
}
