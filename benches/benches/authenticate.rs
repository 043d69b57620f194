//! What does authentication by bearer key cost above the look-ups that it has to make?
//!
//! The floor digests the key, looks up the token by it and its owner's state: on bare maps, and on
//! a bare connection with held statements, which has its file for itself where the store has.

use std::collections::HashMap;
use std::sync::Arc;
use std::thread;

use rusqlite::{Connection, OpenFlags};
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tokenkeep::{TokenService, TokenStore, UserStore};
use tokenkeep_benches::compare::{compare, head};
use tokenkeep_benches::load::{TOKENS, USERS, fill, key, pick, token};
use tokenkeep_memory::MemoryStore;
use tokenkeep_sqlite::{Sharing, SqliteOptions, SqliteStore};

fn main() {
    head("authenticate, 100,000 tokens");
    memory();
    sqlite(Sharing::Shared, "SQLite, one caller (floor: two held statements)");
    sqlite(Sharing::SingleProcess, "SQLite, single process, one caller (floor: the same)");
    head("authenticate, shared file, two threads for one");
    two_callers();
}

/// The keys of all even tokens, which are `api` tokens, as headers.
fn headers() -> Vec<Vec<u8>> {
    (0..TOKENS).step_by(2).map(|number| format!("Bearer {}", key(number)).into_bytes()).collect()
}

fn service<S: TokenStore + UserStore>(store: &Arc<S>) -> TokenService {
    pollster::block_on(TokenService::builder(store.clone(), store.clone()).open()).unwrap()
}

fn authenticate(service: &TokenService, header: &[u8]) -> i64 {
    let who = pollster::block_on(service.authenticate(Some(header))).unwrap();
    who.token.owner.get()
}

fn digest(header: &[u8]) -> [u8; 33] {
    let mut digest = [0; 33];
    digest[1..].copy_from_slice(&Sha256::digest(&header[7..]));
    digest
}

fn memory() {
    let store = Arc::new(MemoryStore::new());
    pollster::block_on(fill(&*store, &*store));
    let service = service(&store);
    let headers = headers();
    let header = |call| &headers[usize::try_from(pick(call) / 2).unwrap()];

    let tokens: HashMap<[u8; 33], Arc<tokenkeep::Token>> = (0..TOKENS)
        .map(|number| (*token(number).key_digest.as_bytes(), Arc::new(token(number))))
        .collect();
    let users: HashMap<i64, bool> = (0..USERS.cast_signed()).map(|user| (user, true)).collect();
    compare(
        "memory, one caller (floor: two maps)",
        50_000,
        |call| authenticate(&service, header(call)),
        |call| {
            let token = tokens[&digest(header(call))].clone();
            (users[&token.owner.get()], token)
        },
    );
}

/// A store with a hundred thousand tokens, gone with its directory.
fn filled(directory: &TempDir, sharing: Sharing) -> Arc<SqliteStore> {
    let options = SqliteOptions::new().sharing(sharing);
    let store = options.open(directory.path().join("tokens.db")).unwrap();
    pollster::block_on(fill(&store, &store));
    Arc::new(store)
}

/// A bare connection to a copy of the same tokens.
fn bare(directory: &TempDir, sharing: Sharing) -> Connection {
    drop(filled(directory, Sharing::Shared));
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let bare = Connection::open_with_flags(directory.path().join("tokens.db"), flags).unwrap();
    if sharing == Sharing::SingleProcess {
        bare.pragma_update(None, "locking_mode", "exclusive").unwrap();
    }
    bare
}

fn sqlite(sharing: Sharing, name: &str) {
    let (ours, floor) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = filled(&ours, sharing);
    let service = service(&store);
    let headers = headers();
    let header = |call| &headers[usize::try_from(pick(call) / 2).unwrap()];

    let bare = bare(&floor, sharing);
    let mut token = bare
        .prepare(
            "SELECT id, identifier, intent, owner, description, expires, expiring, managed, \
             revision, created, updated, last_used, owner_may_view_key, key_digest, sealed_key \
             FROM token WHERE key_digest = ?1",
        )
        .unwrap();
    let mut active = bare.prepare("SELECT is_active FROM user_account WHERE id = ?1").unwrap();
    compare(
        name,
        20_000,
        |call| authenticate(&service, header(call)),
        |call| {
            let owner: i64 = token.query_row([digest(header(call))], |row| row.get(3)).unwrap();
            let active: bool = active.query_row([owner], |row| row.get(0)).unwrap();
            active
        },
    );
}

/// What two threads do in the time that one takes for half of it.
fn two_callers() {
    const CALLS: u64 = 20_000;
    let directory = tempfile::tempdir().unwrap();
    let store = filled(&directory, Sharing::Shared);
    let service = service(&store);
    let headers = headers();
    let run = |turn: u64, caller: u64| {
        for call in 0..CALLS {
            let number = pick((turn * 2 + caller) * CALLS + call) / 2;
            authenticate(&service, &headers[usize::try_from(number).unwrap()]);
        }
    };
    compare(
        "20,000 by each of two (floor: 20,000 by one)",
        1,
        |turn| {
            thread::scope(|scope| {
                scope.spawn(|| run(turn, 0));
                run(turn, 1);
            });
        },
        |turn| run(turn, 0),
    );
}
