//! What does a page of a list cost above the statement that reads it, and what does a sweep cost when
//! many tokens have expired?
//!
//! The floor reads the same columns of the same page on a bare connection with a held statement.

use rusqlite::types::ValueRef;
use rusqlite::{Connection, params};
use tempfile::TempDir;
use tokenkeep::{
    Change, Commit, Filter, SortField, SortKey, Timestamp, Token, TokenQuery, TokenStore, Window,
};
use tokenkeep_benches::compare::{compare, head};
use tokenkeep_benches::load::{TOKENS, fill, identifier, pick, token};
use tokenkeep_sqlite::{Durability, SqliteOptions, SqliteStore};

const COLUMNS: &str = "id, identifier, intent, owner, description, expires, expiring, managed, \
                       revision, created, updated, last_used, owner_may_view_key, key_digest, \
                       sealed_key";

/// As many as a sweep takes at once.
const BATCH: u32 = 256;

fn main() {
    let directory = tempfile::tempdir().unwrap();
    let store = filled(&directory);
    let bare = Connection::open(directory.path().join("tokens.db")).unwrap();
    head("list, 100,000 tokens, all expired");
    one(&store, &bare);
    sweep(&store, &bare);
}

/// Every token expires at a time of its own.
fn filled(directory: &TempDir) -> SqliteStore {
    let options = SqliteOptions::new().durability(Durability::Normal);
    let store = options.open(directory.path().join("tokens.db")).unwrap();
    pollster::block_on(fill(&store, &store));
    let numbers: Vec<_> = (0..TOKENS).collect();
    for batch in numbers.chunks(1_000) {
        let expire = |number: &u64| {
            let before = token(*number);
            let expires = Timestamp::from_micros(1 + pick(*number).cast_signed());
            let revision = before.revision.next().unwrap();
            Change::replace(&before, Token { expires, revision, ..before.clone() })
        };
        let changes = batch.iter().map(expire).collect();
        pollster::block_on(store.commit(Commit { changes, events: Vec::new() })).unwrap();
    }
    store
}

/// Reads every column of every row.
fn rows(statement: &mut rusqlite::Statement<'_>, by: impl rusqlite::Params) -> usize {
    let mut rows = statement.query(by).unwrap();
    let mut bytes = 0;
    while let Some(row) = rows.next().unwrap() {
        for column in 0..15 {
            bytes += match row.get_ref(column).unwrap() {
                ValueRef::Text(text) | ValueRef::Blob(text) => text.len(),
                _ => 8,
            };
        }
    }
    bytes
}

fn one(store: &SqliteStore, bare: &Connection) {
    let sql = format!("SELECT {COLUMNS} FROM token WHERE identifier = ?1");
    let mut found = bare.prepare(&sql).unwrap();
    compare(
        "one by its identifier (floor: held statement)",
        5_000,
        |call| {
            let name = Some(identifier(pick(call)));
            let filter = Filter { identifier: name, ..Filter::default() };
            let query = TokenQuery { filter, ..TokenQuery::default() };
            pollster::block_on(store.list(&query)).unwrap().tokens.len()
        },
        |call| rows(&mut found, [identifier(pick(call))]),
    );
}

fn sweep(store: &SqliteStore, bare: &Connection) {
    let sql = format!(
        "SELECT {COLUMNS} FROM token WHERE expiring AND expires < ?1 ORDER BY expires LIMIT ?2"
    );
    let mut expired = bare.prepare(&sql).unwrap();
    let query = TokenQuery {
        filter: Filter { expired_before: Some(Timestamp::MAX), ..Filter::default() },
        order: vec![SortKey { field: SortField::Expires, descending: false }],
        window: Window::After { cursor: None, limit: BATCH },
        ..TokenQuery::default()
    };
    compare(
        "the first 256 that have expired (floor: the same)",
        10,
        |_| pollster::block_on(store.list(&query)).unwrap().tokens.len(),
        |_| rows(&mut expired, params![Timestamp::MAX.as_micros(), BATCH + 1]),
    );
    let half = Timestamp::from_micros((TOKENS / 2).cast_signed());
    let middle = Token { expires: half, ..token(0) };
    let cursor = Some(query.token_order().behind(&middle));
    let later = TokenQuery { window: Window::After { cursor, limit: BATCH }, ..query.clone() };
    compare(
        "256 behind half of them (floor: the first 256)",
        10,
        |_| pollster::block_on(store.list(&later)).unwrap().tokens.len(),
        |_| pollster::block_on(store.list(&query)).unwrap().tokens.len(),
    );
}
