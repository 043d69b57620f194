//! What does an update of one caller, with all its rules and its event, cost above the rows that it
//! has to read and write?
//!
//! The floor makes the same reads and the same change, event included: on bare maps, and on a bare
//! connection with held statements. Beside a durable update stands a flush of the disk by itself.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Seek, Write};
use std::sync::Arc;

use tokenkeep::{Token, TokenService};
use tokenkeep_load::Times;
use tokenkeep_memory::MemoryStore;
use tokenkeep_sqlite::{Durability, SqliteOptions};

use crate::compare::{compare, each, in_turns, two_threads};
use crate::files::Files;
use crate::finding::{Findings, Row};
use crate::goal::Unit;
use crate::load::{self, USERS, fill, identifier, picked_to_update, service, token, user};
use crate::scale::Scale;
use crate::statements::{Layout, Statements};

/// Measures it.
pub fn measure(scale: &Scale) -> Findings {
    let mut rows = vec![full(scale), normal(scale), memory(scale), memory_two(scale)];
    rows.extend(
        [("update-layout-1", 1), ("update-layout-32", 32), ("update-layout-64", 64)]
            .map(|(goal, callers)| layout(goal, scale, callers)),
    );
    Findings { rows, ..Findings::default() }
}

fn update(service: &TokenService, call: u64, scale: &Scale) {
    pollster::block_on(load::update(service, call, scale.tokens));
}

/// Beside one flush of the disk: what no durable update can be faster than.
fn full(scale: &Scale) -> Row {
    let directory = tempfile::tempdir().unwrap();
    let mut file = File::create(directory.path().join("file")).unwrap();
    let mut flush = || {
        file.rewind().unwrap();
        file.write_all(&[1; 4096]).unwrap();
        file.sync_data().unwrap();
    };
    flush();
    let files = Files::new(&SqliteOptions::new(), scale.tokens);
    let service = service(&files.store);
    let update = |call| update(&service, call, scale);
    let beside_flush = compare(scale, 500, update, |_| flush());

    let other = Files::new(&SqliteOptions::new(), scale.tokens);
    let bare = other.bare(Durability::Full);
    let mut statements = Statements::on(&bare, scale.tokens);
    let behind = 1_000_000;
    let beside_statements = compare(
        scale,
        500,
        |call| update(behind + call),
        |call| statements.update_together([behind + call]),
    );
    Row::ratio("update-full", beside_flush, Unit::Seconds)
        .noting(format!("{:.2} × the bare statements", beside_statements.ratio.median))
}

/// The statements of so many updates in one durable transaction, with chained events and with an index
/// of events by token.
fn layout(goal: &str, scale: &Scale, callers: u64) -> Row {
    let files = [(); 2].map(|()| Files::new(&SqliteOptions::new(), scale.tokens));
    let [bare, other] = files.each_ref().map(|files| files.bare(Durability::Full));
    let mut chained = Statements::in_layout(&bare, scale.tokens, Layout::Chained);
    let mut indexed = Statements::in_layout(&other, scale.tokens, Layout::Indexed);
    let together = |call: u64| call * callers..(call + 1) * callers;
    let paired = compare(
        scale,
        400,
        |call| chained.update_together(together(call)),
        |call| indexed.update_together(together(call)),
    );
    Row::ratio(goal, paired, Unit::Seconds)
}

fn normal(scale: &Scale) -> Row {
    let options = SqliteOptions::new().durability(Durability::Normal);
    let (files, other) = (Files::new(&options, scale.tokens), Files::new(&options, scale.tokens));
    let service = service(&files.store);
    let bare = other.bare(Durability::Normal);
    let mut statements = Statements::on(&bare, scale.tokens);
    let calls = scale.calls(4_000);
    let median = |times: Times| times.at(500).as_secs_f64();
    let paired = in_turns(
        scale,
        |round| median(each(round * calls, calls, |call| update(&service, call, scale))),
        |round| median(each(round * calls, calls, |call| statements.update_together([call]))),
    );
    Row::ratio("update-normal", paired, Unit::Seconds)
}

fn in_memory(scale: &Scale) -> TokenService {
    let store = Arc::new(MemoryStore::new());
    pollster::block_on(fill(&*store, &*store, scale.tokens));
    service(&store)
}

fn memory(scale: &Scale) -> Row {
    let service = in_memory(scale);
    let mut tokens: HashMap<String, Arc<Token>> =
        (0..scale.tokens).map(|number| (identifier(number), Arc::new(token(number)))).collect();
    let users: HashMap<i64, bool> = (0..USERS).map(|number| (user(number).get(), true)).collect();
    let mut events = Vec::new();
    let paired = compare(
        scale,
        50_000,
        |call| update(&service, call, scale),
        |call| {
            let identifier = identifier(picked_to_update(call, scale.tokens));
            let before = &tokens[&identifier];
            assert!(users[&before.owner.get()]);
            let after = Arc::new(Token {
                description: format!("changed by call {call}").into(),
                revision: before.revision.next().unwrap(),
                ..Token::clone(before)
            });
            events.push((after.id, after.revision, after.identifier.clone()));
            tokens.insert(identifier, after);
        },
    );
    Row::figure_beside("update-memory", paired)
}

/// What two threads get done, beside what one does.
fn memory_two(scale: &Scale) -> Row {
    let service = in_memory(scale);
    let paired = two_threads(scale, 50_000, |call| update(&service, call, scale));
    Row::ratio("update-memory-two", paired, Unit::PerSecond)
}

/// What each update takes, for the profile.
pub fn profiled(lasting: std::time::Duration, durability: Durability) -> Times {
    let scale = Scale::FULL;
    let files = Files::new(&SqliteOptions::new().durability(durability), scale.tokens);
    let service = service(&files.store);
    crate::compare::for_a_while(lasting, 0, |call| update(&service, call, &scale))
}
