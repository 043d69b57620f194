//! How fast do tokens come into a store: imported into an empty one, and committed in batches?
//!
//! The floor inserts the same columns on a bare connection in one durable transaction, into a table
//! without any index.

use std::sync::Arc;
use std::time::Instant;

use rusqlite::{Connection, params};
use tokenkeep::{Change, Commit, Token, TokenStore};
use tokenkeep_benches::load::{TOKENS, token};
use tokenkeep_sqlite::SqliteStore;

const ROUNDS: usize = 5;

fn main() {
    println!("\ntokens a second into an empty store, {TOKENS} of them, FULL");
    for _ in 0..ROUNDS {
        let [imported, committed, floor] = [import, commit, floor].map(|fill| {
            let tokens: Vec<_> = (0..TOKENS).map(token).collect();
            let directory = tempfile::tempdir().unwrap();
            let took = fill(tokens, &directory.path().join("tokens.db"));
            TOKENS as f64 / took
        });
        println!(
            "import {imported:>7.0}, in batches of 1,000 {committed:>7.0}, floor {floor:>7.0}, \
             import / floor {:.2}",
            imported / floor
        );
    }
}

fn import(tokens: Vec<Token>, path: &std::path::Path) -> f64 {
    let store = SqliteStore::open(path).unwrap();
    let start = Instant::now();
    assert_eq!(pollster::block_on(store.import(tokens)).unwrap(), TOKENS);
    start.elapsed().as_secs_f64()
}

fn commit(tokens: Vec<Token>, path: &std::path::Path) -> f64 {
    let store = SqliteStore::open(path).unwrap();
    let mut changes = tokens.into_iter().map(|token| Change::Insert(Arc::new(token)));
    let start = Instant::now();
    loop {
        let changes: Vec<_> = changes.by_ref().take(1_000).collect();
        if changes.is_empty() {
            return start.elapsed().as_secs_f64();
        }
        pollster::block_on(store.commit(Commit { changes, events: Vec::new() })).unwrap();
    }
}

fn floor(tokens: Vec<Token>, path: &std::path::Path) -> f64 {
    let bare = Connection::open(path).unwrap();
    bare.execute_batch(
        "PRAGMA journal_mode = wal; PRAGMA synchronous = FULL; \
         CREATE TABLE token (a, b, c, d, e, f, g, h, i, j, k, l, m, n, o)",
    )
    .unwrap();
    let start = Instant::now();
    bare.execute_batch("BEGIN").unwrap();
    let mut insert = bare
        .prepare("INSERT INTO token VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")
        .unwrap();
    for token in tokens {
        insert
            .execute(params![
                token.id.as_bytes(),
                token.identifier.as_str(),
                token.intent.as_str(),
                token.owner.get(),
                &*token.description,
                token.expires.map(|at| at.as_micros()),
                token.expiring,
                None::<&str>,
                token.revision.get(),
                token.created.as_micros(),
                token.updated.as_micros(),
                None::<i64>,
                token.owner_may_view_key,
                token.key_digest.as_bytes(),
                None::<&[u8]>,
            ])
            .unwrap();
    }
    bare.execute_batch("COMMIT").unwrap();
    start.elapsed().as_secs_f64()
}
