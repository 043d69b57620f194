//! How fast do tokens come into a store: imported into an empty one, and committed in batches with an
//! event each?
//!
//! The floor inserts the same columns on a bare connection in one durable transaction, into a table
//! without any index.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use rusqlite::{Connection, params};
use tokenkeep::{
    Caller, Change, Commit, Event, EventId, EventKind, Token, TokenFields, TokenStore,
};
use tokenkeep_sqlite::SqliteStore;

use crate::compare::{Spread, in_turns};
use crate::finding::{Findings, Row};
use crate::goal::Unit;
use crate::load::token;
use crate::scale::Scale;

/// Measures it.
pub fn measure(scale: &Scale) -> Findings {
    let rate = |fill: &dyn Fn(Vec<Token>, &Path)| {
        let tokens: Vec<_> = (0..scale.tokens).map(token).collect();
        let directory = tempfile::tempdir().unwrap();
        let start = Instant::now();
        fill(tokens, &directory.path().join("tokens.db"));
        scale.tokens as f64 / start.elapsed().as_secs_f64()
    };
    let rounds = scale.rounds(5);
    let imported = in_turns(&rounds, |_| rate(&import), |_| rate(&floor));
    let committed = Spread::of((0..rounds.rounds).map(|_| rate(&commit)));
    let import =
        Row { judged: Some(imported.ours), ..Row::ratio("import", imported, Unit::PerSecond) };
    let import = import.noting(format!("{:.2} of the floor", imported.ratio.median));
    Findings { rows: vec![import, Row::figure("batches", committed)], ..Findings::default() }
}

fn import(tokens: Vec<Token>, path: &Path) {
    let store = SqliteStore::open(path).unwrap();
    let count = tokens.len() as u64;
    assert_eq!(pollster::block_on(store.import(tokens)).unwrap(), count);
}

fn commit(tokens: Vec<Token>, path: &Path) {
    let store = SqliteStore::open(path).unwrap();
    let mut tokens = tokens.into_iter().peekable();
    while tokens.peek().is_some() {
        let batch: Vec<_> = tokens.by_ref().take(1_000).collect();
        let events = batch.iter().map(creation).collect();
        let changes = batch.into_iter().map(|token| Change::Insert(Arc::new(token))).collect();
        pollster::block_on(store.commit(Commit { changes, events })).unwrap();
    }
}

fn creation(token: &Token) -> Event {
    Event {
        id: EventId::from_bytes(*token.id.as_bytes()),
        at: token.created,
        token: token.id,
        identifier: token.identifier.clone(),
        owner: token.owner,
        revision: token.revision,
        kind: EventKind::Created,
        changed: TokenFields::default(),
        actor: Caller::User(token.owner),
    }
}

fn floor(tokens: Vec<Token>, path: &Path) {
    let bare = Connection::open(path).unwrap();
    bare.execute_batch(
        "PRAGMA journal_mode = wal; PRAGMA synchronous = FULL; \
         CREATE TABLE token (a, b, c, d, e, f, g, h, i, j, k, l, m, n, o); BEGIN",
    )
    .unwrap();
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
}
