//! What do reads cost beside a writer at full speed?
//!
//! One thread updates tokens without a pause, another authenticates; in turns with it, a bare
//! connection makes the same look-ups beside the same writer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags};
use tokenkeep::{Caller, KeyDigest, TokenChange, TokenKey, TokenService};
use tokenkeep_benches::load::{USERS, fill, identifier, key, pick, user};
use tokenkeep_sqlite::{Sharing, SqliteOptions};

/// How long each turn takes.
const TURN: Duration = Duration::from_millis(500);

fn main() {
    println!("\nauthenticate beside a writer at full speed, FULL, 100,000 tokens");
    for sharing in [Sharing::Shared, Sharing::SingleProcess] {
        beside(sharing);
    }
}

fn beside(sharing: Sharing) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tokens.db");
    let store = Arc::new(SqliteOptions::new().sharing(sharing).open(&path).unwrap());
    pollster::block_on(fill(&*store, &*store));
    let service =
        pollster::block_on(TokenService::builder(store.clone(), store.clone()).open()).unwrap();
    let bare = (sharing == Sharing::Shared).then(|| {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        Connection::open_with_flags(&path, flags).unwrap()
    });
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let writer = scope.spawn(|| write_until(&service, &stop));
        for turn in 0..5 {
            let ours = read(turn * 2, |call| {
                let header = format!("Bearer {}", key(pick(call) & !1));
                pollster::block_on(service.authenticate(Some(header.as_bytes()))).unwrap();
            });
            print!("{sharing:?}: {ours}");
            if let Some(bare) = &bare {
                print!("; bare connection: {}", read(turn * 2 + 1, look_ups(bare)));
            }
            println!();
        }
        stop.store(true, Ordering::Relaxed);
        println!("{sharing:?}: {:.0} updates a second meanwhile", writer.join().unwrap());
    });
}

/// Updates a second.
fn write_until(service: &TokenService, stop: &AtomicBool) -> f64 {
    let (start, mut done) = (Instant::now(), 0);
    while !stop.load(Ordering::Relaxed) {
        let number = pick(done) | 1;
        let change = TokenChange::new().description(format!("changed by call {done}"));
        let caller = Caller::User(user(number % USERS));
        pollster::block_on(service.partial_update(&caller, &identifier(number), change)).unwrap();
        done += 1;
    }
    done as f64 / start.elapsed().as_secs_f64()
}

/// The two look-ups of an authentication.
fn look_ups(bare: &Connection) -> impl FnMut(u64) {
    let mut token = bare.prepare("SELECT * FROM token WHERE key_digest = ?1").unwrap();
    let mut active = bare.prepare("SELECT is_active FROM user_account WHERE id = ?1").unwrap();
    move |call| {
        let digest = KeyDigest::of(&TokenKey::from(key(pick(call) & !1)));
        let owner: i64 = token.query_row([digest.as_bytes()], |row| row.get("owner")).unwrap();
        assert!(active.query_row([owner], |row| row.get::<_, bool>(0)).unwrap());
    }
}

/// Reads for one turn, and tells how many a second and how long they took.
fn read(turn: u64, mut call: impl FnMut(u64)) -> String {
    let (start, mut times) = (Instant::now(), Vec::new());
    while start.elapsed() < TURN {
        let before = Instant::now();
        call(turn * 1_000_000 + times.len() as u64);
        times.push(before.elapsed());
    }
    times.sort();
    let at = |per_mille: usize| times[times.len() * per_mille / 1_000];
    let rate = times.len() as f64 / start.elapsed().as_secs_f64();
    format!(
        "{rate:>7.0} reads a second, p50 {:.1?}, p99 {:.1?}, p99.9 {:.1?}",
        at(500),
        at(990),
        at(999)
    )
}
