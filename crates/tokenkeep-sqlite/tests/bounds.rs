//! What does not grow for ever: the log, however long somebody reads, and what a file of very many
//! tokens takes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]
#![allow(clippy::cast_precision_loss)]

use std::fs;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use rusqlite::Connection;
use tempfile::tempdir;
use tokenkeep::{
    Change, Commit, Event, EventId, EventKind, Intent, KeyDigest, Lookup, Revision, Timestamp,
    Token, TokenFields, TokenId, TokenKey, TokenStore, UserId,
};
use tokenkeep_sqlite::{Durability, SqliteOptions};

const MIB: u64 = 1024 * 1024;

/// Above it the writer waits for readers, so that the log can start again.
const LOG_LIMIT: u64 = 64 * MIB;

fn number_of(variable: &str, usual: u32) -> u32 {
    std::env::var(variable).ok().and_then(|number| number.parse().ok()).unwrap_or(usual)
}

/// A token with 170 bytes of text, all in all.
fn token(number: u32) -> Token {
    Token {
        id: TokenId::from_bytes(u128::from(number.reverse_bits()).to_le_bytes()),
        identifier: format!("service-account-{number:08}").parse().unwrap(),
        intent: Intent::Api,
        owner: UserId::new((number % 1_000).into()),
        description: format!("deploys of environment {number:08}, rotated each night").into(),
        expires: Timestamp::from_micros(4_000_000_000_000_000 + i64::from(number)),
        expiring: true,
        managed: None,
        revision: Revision::FIRST,
        created: Timestamp::MIN,
        updated: Timestamp::MIN,
        last_used: None,
        owner_may_view_key: true,
        key_digest: KeyDigest::of(&TokenKey::from(number.to_string())),
        sealed_key: None,
    }
}

/// The next revision of a token, with its event.
fn update(before: &Token, number: u32) -> (Token, Commit) {
    let revision = before.revision.next().unwrap();
    let after = Token { revision, description: number.to_string().into(), ..before.clone() };
    let event = Event {
        id: EventId::from_bytes(u128::from(number).to_le_bytes()),
        at: Timestamp::from_micros(number.into()).unwrap(),
        token: after.id,
        identifier: after.identifier.clone(),
        owner: after.owner,
        revision,
        kind: EventKind::Updated,
        changed: TokenFields::default(),
        actor: tokenkeep::Caller::System,
    };
    let changes = vec![Change::replace(before, after.clone())];
    (after, Commit { changes, events: vec![event] })
}

/// Sixteen callers write, `writes` in all, each on a token of its own.
fn write(store: &impl TokenStore, first: u32, writes: u32) {
    const CALLERS: u32 = 16;
    thread::scope(|scope| {
        for caller in 0..CALLERS {
            scope.spawn(move || {
                let lookup = token(caller).id;
                let found = pollster::block_on(store.find(Lookup::Id(lookup))).unwrap();
                let mut token = Arc::unwrap_or_clone(found.unwrap());
                for number in (first..first + writes).filter(|number| number % CALLERS == caller) {
                    let (after, commit) = update(&token, number);
                    pollster::block_on(store.commit(commit)).unwrap();
                    token = after;
                }
            });
        }
    });
}

#[test]
fn the_log_of_a_reader_who_stays_is_short_again_when_it_has_left() {
    let writes = number_of("TOKENKEEP_PINNED_WRITES", 50_000);
    let directory = tempdir().unwrap();
    let path = directory.path().join("tokens.db");
    let store = SqliteOptions::new().durability(Durability::Normal).open(&path).unwrap();
    let changes = (0..16).map(|number| Change::Insert(token(number).into())).collect();
    pollster::block_on(store.commit(Commit { changes, events: Vec::new() })).unwrap();

    let reader = Connection::open(&path).unwrap();
    reader.execute_batch("BEGIN; SELECT count(*) FROM token").unwrap();
    let start = Instant::now();
    write(&store, 0, writes);
    let pinned = store.log_size().unwrap();
    // It grows for as long as somebody needs it: the control.
    assert!(pinned > 4 * MIB, "{pinned} bytes");

    reader.execute_batch("COMMIT").unwrap();
    write(&store, writes, 2_000);
    let released = store.log_size().unwrap();
    println!(
        "the log after {writes} writes beside a reader: {} MiB; released: {} MiB; in {:.1?}",
        pinned / MIB,
        released / MIB,
        start.elapsed()
    );
    assert!(released <= LOG_LIMIT / 2, "{released} bytes");
    store.check().unwrap();
}

/// What of this process is in memory, in bytes.
fn resident() -> u64 {
    let told = fs::read_to_string("/proc/self/smaps_rollup").unwrap();
    let line = told.lines().find_map(|line| line.strip_prefix("Rss:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.expect("told by Linux") * 1024
}

#[test]
fn a_file_of_very_many_tokens_is_opened_and_used() {
    let tokens = number_of("TOKENKEEP_MANY_TOKENS", 1_000_000);
    let directory = tempdir().unwrap();
    let path = directory.path().join("tokens.db");
    let options = SqliteOptions::new().durability(Durability::Normal);
    let store = options.open(&path).unwrap();
    let imported = pollster::block_on(store.import((0..tokens).map(token))).unwrap();
    assert_eq!(imported, u64::from(tokens));
    drop(store);

    let (before, start) = (resident(), Instant::now());
    let store = options.open(&path).unwrap();
    let opened = start.elapsed();
    for number in (0..10_000).map(|number| number * (tokens / 10_000).max(1)) {
        let wanted = token(number % tokens);
        let found = pollster::block_on(store.find(Lookup::KeyDigest(&wanted.key_digest))).unwrap();
        assert_eq!(found.map(|found| found.id), Some(wanted.id));
    }
    let grown = resident().saturating_sub(before);
    let per_token = fs::metadata(&path).unwrap().len() as f64 / f64::from(tokens);
    println!(
        "{tokens} tokens: {per_token:.0} bytes each in the file, opened in {opened:.1?}, \
         {:.1} MiB of memory after 10,000 look-ups",
        grown as f64 / MIB as f64
    );
    assert!(per_token <= 400.0, "{per_token} bytes a token");
    // Pages are kept up to a limit, however large the file is.
    assert!(grown < 64 * MIB, "{grown} bytes");
}
