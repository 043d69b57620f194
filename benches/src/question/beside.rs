//! What do reads cost beside a writer at full speed?
//!
//! One thread updates tokens without a pause, another authenticates; in turns with it, a bare
//! connection makes the same look-ups beside the same writer. In single-process mode nobody else can
//! read, and the one connection serves both.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use rusqlite::Connection;
use tokenkeep::{KeyDigest, TokenKey, TokenService};
use tokenkeep_load::Times;
use tokenkeep_sqlite::{Durability, Sharing, SqliteOptions};

use crate::compare::{Spread, for_a_while, in_turns};
use crate::files::Files;
use crate::finding::{Findings, Row};
use crate::goal::Unit;
use crate::load::{authenticate, key, picked_to_authenticate, service, update};
use crate::scale::Scale;

/// Measures it.
pub fn measure(scale: &Scale) -> Findings {
    Findings { rows: vec![shared(scale)], ..Findings::default() }
}

fn shared(scale: &Scale) -> Row {
    let files = Files::new(&SqliteOptions::new(), scale.tokens);
    let service = service(&files.store);
    let bare = files.bare(Durability::Full);
    let mut look_ups = look_ups(&bare, scale.tokens);
    let mut ours = Vec::new();
    let (paired, updates) = beside_writer(&service, scale, || {
        in_turns(
            scale,
            |round| {
                ours.push(reading(&service, scale, round * 2));
                ours.last().map_or(0.0, Times::rate)
            },
            |round| {
                let first = (round * 2 + 1) * 1_000_000;
                for_a_while(scale.turn, first, &mut look_ups).rate()
            },
        )
    });
    let all = Times::joined(ours);
    let note = format!(
        "p50 {:.1?}, p99 {:.1?}, beside {updates:.0} updates a second; {}",
        all.at(500),
        all.at(990),
        single_process(scale)
    );
    Row::ratio("beside", paired, Unit::PerSecond).noting(note)
}

fn single_process(scale: &Scale) -> String {
    let options = SqliteOptions::new().sharing(Sharing::SingleProcess);
    let files = Files::new(&options, scale.tokens);
    let service = service(&files.store);
    let (rates, updates) = beside_writer(&service, scale, || {
        let rates = (0..3).map(|round| reading(&service, scale, round).rate());
        Spread::of(rates.collect::<Vec<_>>())
    });
    let rate = rates.median;
    format!("in single-process mode {rate:.0} reads beside {updates:.0} updates a second")
}

fn reading(service: &TokenService, scale: &Scale, turn: u64) -> Times {
    for_a_while(scale.turn, turn * 1_000_000, |call| {
        pollster::block_on(authenticate(service, call, scale.tokens));
    })
}

/// Does something while a thread updates, and tells how many updates there were a second.
fn beside_writer<T>(service: &TokenService, scale: &Scale, read: impl FnOnce() -> T) -> (T, f64) {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let (start, mut done) = (Instant::now(), 0);
            while !stop.load(Ordering::Relaxed) {
                pollster::block_on(update(service, done, scale.tokens));
                done += 1;
            }
            done as f64 / start.elapsed().as_secs_f64()
        });
        let read = read();
        stop.store(true, Ordering::Relaxed);
        (read, writer.join().unwrap())
    })
}

/// The two look-ups of an authentication.
fn look_ups(bare: &Connection, tokens: u64) -> impl FnMut(u64) {
    let mut token = bare.prepare("SELECT * FROM token WHERE key_digest = ?1").unwrap();
    let mut active = bare.prepare("SELECT is_active FROM user_account WHERE id = ?1").unwrap();
    move |call| {
        let key = key(picked_to_authenticate(call, tokens));
        let digest = KeyDigest::of(&TokenKey::from(key));
        let owner: i64 = token.query_row([digest.as_bytes()], |row| row.get("owner")).unwrap();
        assert!(active.query_row([owner], |row| row.get::<_, bool>(0)).unwrap());
    }
}
