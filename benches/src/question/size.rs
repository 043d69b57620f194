//! How many bytes does a token take, in the memory store, in a cache and in a SQLite file?
//!
//! The memory is that of a process of its own which does nothing else: what it holds of the machine
//! (`/proc/self/statm`) after a store was filled, without what it held before. The file is filled by
//! commits, in no order of the ids, and its pages are counted table by table.

use std::sync::Arc;

use tokenkeep::{Clock, SystemClock, Token, TokenService, VerifyCache};
use tokenkeep_memory::MemoryStore;
use tokenkeep_sqlite::{Durability, SqliteOptions, SqliteStore};

use crate::child::Child;
use crate::compare::Spread;
use crate::files::{self, Files};
use crate::finding::{Findings, Row};
use crate::load::{fill_tokens, key, token};
use crate::scale::Scale;

/// Measures it.
pub fn measure(scale: &Scale) -> Findings {
    Findings { rows: vec![memory(scale), file(scale)], ..Findings::default() }
}

/// A token whose fields have 170 bytes: 49 of id and digest, 40 of owner, revision and times, 14 of
/// identifier, the others of description.
fn token_of_170(number: u64) -> Token {
    Token { description: "d".repeat(67).into(), ..token(number) }
}

fn memory(scale: &Scale) -> Row {
    let bytes = |tokens: u64| -> f64 {
        let told = Child::start(&format!("memory {tokens}")).first_line().parse::<f64>();
        told.unwrap() / tokens as f64
    };
    let row =
        Row::figure("memory-bytes", Spread::of((0..scale.rounds).map(|_| bytes(scale.tokens))));
    let (many, cache) = (bytes(scale.many), cache_bytes(scale));
    row.noting(format!("with {} tokens {many:.0}; in a full cache {cache:.0}", scale.many))
}

/// Bytes a token in a cache in front of a file.
fn cache_bytes(scale: &Scale) -> f64 {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tokens.db");
    // Of such as have been used just now, nothing else is noted.
    let used = |number| Token { last_used: Some(SystemClock.now()), ..token_of_170(number) };
    files::write(&path, (0..scale.tokens).map(used));
    let mut child = Child::start(&format!("cache {} {}", scale.tokens, path.display()));
    child.line().parse::<f64>().unwrap() * 2.0 / scale.tokens as f64
}

/// What the child process does: shows every key of half the tokens, first to a service without a cache
/// and then to one that has room for them, and prints by how many bytes the process grew the second
/// time.
pub(crate) fn fill_cache(tokens: u64, path: &str) {
    let store = Arc::new(SqliteStore::open(path).unwrap());
    let show_all = |cache| {
        let builder = TokenService::builder(store.clone(), store.clone()).cache(cache);
        let service = pollster::block_on(builder.open()).unwrap();
        for number in (0..tokens).step_by(2) {
            let header = format!("Bearer {}", key(number));
            pollster::block_on(service.authenticate(Some(header.as_bytes()))).unwrap();
        }
        service
    };
    let _uncached = show_all(VerifyCache::of(0));
    let before = resident_bytes();
    let _cached = show_all(VerifyCache::of(usize::try_from(tokens / 2).unwrap()));
    println!("{}", resident_bytes() - before);
}

/// What the child process does: fills a store, and prints by how many bytes the process has grown.
pub(crate) fn fill_memory(tokens: u64) {
    let store = MemoryStore::new();
    // Whatever the first commit allocates for ever is not of a token.
    pollster::block_on(fill_tokens(&store, std::iter::once(token_of_170(tokens))));
    let before = resident_bytes();
    pollster::block_on(fill_tokens(&store, (0..tokens).map(token_of_170)));
    println!("{}", resident_bytes() - before);
}

fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = statm.split_whitespace().nth(1).unwrap().parse().unwrap();
    // The page of every machine that this is measured on.
    pages * 4_096
}

fn file(scale: &Scale) -> Row {
    let options = SqliteOptions::new().durability(Durability::Normal);
    let committed = Files::with(&options, std::iter::empty());
    pollster::block_on(fill_tokens(&*committed.store, (0..scale.tokens).map(token_of_170)));
    let imported = Files::with(&options, (0..scale.tokens).map(token_of_170));
    let bytes = |files: &Files| token_bytes(files) / scale.tokens as f64;
    let row = Row::figure("file-bytes", Spread::of([bytes(&committed)]));
    row.noting(format!("170 bytes of payload, by commits; by an import {:.0}", bytes(&imported)))
}

/// The pages of the table and its indexes.
fn token_bytes(files: &Files) -> f64 {
    let bare = files.bare(Durability::Normal);
    let pages = "SELECT sum(pgsize) FROM dbstat WHERE name IN \
                 (SELECT name FROM sqlite_schema WHERE tbl_name = 'token')";
    bare.query_row(pages, (), |row| row.get(0)).unwrap()
}
