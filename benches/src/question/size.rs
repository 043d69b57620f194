//! How many bytes does a token take, in the memory store and in a SQLite file?
//!
//! The memory is that of a process of its own which does nothing else: what it holds of the machine
//! (`/proc/self/statm`) after a store was filled, without what it held before. The file is filled by
//! commits, in no order of the ids, and its pages are counted table by table.

use tokenkeep::Token;
use tokenkeep_memory::MemoryStore;
use tokenkeep_sqlite::{Durability, SqliteOptions};

use crate::child::Child;
use crate::compare::Spread;
use crate::files::Files;
use crate::finding::{Findings, Row};
use crate::load::{fill_tokens, token};
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
    row.noting(format!("with {} tokens {:.0}", scale.many, bytes(scale.many)))
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
