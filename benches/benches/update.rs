//! What does an update with all its rules and its event cost above the rows that it has to read and
//! write?
//!
//! The floor makes the same reads and the same change, event included: on bare maps, and on a bare
//! connection with held statements. Beside many callers it does as many updates in one transaction:
//! what the best group commit could do if nothing else took time.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::{Connection, params};
use tokenkeep::{Caller, Token, TokenChange, TokenService, TokenStore, UserStore};
use tokenkeep_benches::compare::{compare, head};
use tokenkeep_benches::load::{TOKENS, USERS, fill, identifier, pick, token, user};
use tokenkeep_memory::MemoryStore;
use tokenkeep_sqlite::{Durability, SqliteOptions, SqliteStore};

fn main() {
    head("update, 100,000 tokens");
    memory();
    sqlite(Durability::Normal, "SQLite NORMAL, one caller (floor: held statements)", 2_000);
    sqlite(Durability::Full, "SQLite FULL, one caller (floor: held statements)", 300);
    flush();
    for callers in [1, 8, 32, 64] {
        many(callers);
    }
}

fn service<S: TokenStore + UserStore>(store: &Arc<S>) -> TokenService {
    pollster::block_on(TokenService::builder(store.clone(), store.clone()).open()).unwrap()
}

/// The number of an app password, whose expiry an update leaves alone.
fn picked(call: u64) -> u64 {
    pick(call) | 1
}

async fn update(service: &TokenService, call: u64) {
    let number = picked(call);
    let caller = Caller::User(user(number % USERS));
    let change = TokenChange::new().description(format!("changed by call {call}"));
    service.partial_update(&caller, &identifier(number), change).await.unwrap();
}

fn memory() {
    let store = Arc::new(MemoryStore::new());
    pollster::block_on(fill(&*store, &*store));
    let service = service(&store);

    let mut tokens: HashMap<String, Arc<Token>> =
        (0..TOKENS).map(|number| (identifier(number), Arc::new(token(number)))).collect();
    let users: HashMap<i64, bool> = (0..USERS.cast_signed()).map(|user| (user, true)).collect();
    let mut events = Vec::new();
    compare(
        "memory, one caller (floor: two maps and a list)",
        50_000,
        |call| pollster::block_on(update(&service, call)),
        |call| {
            let identifier = identifier(picked(call));
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
}

fn sqlite(durability: Durability, name: &str, calls: u64) {
    let (ours, floor) = (Files::new(durability), Files::new(durability));
    let service = service(&ours.store);
    let bare = floor.bare(durability);
    let mut floor = Floor::on(&bare);
    compare(
        name,
        calls,
        |call| pollster::block_on(update(&service, call)),
        |call| floor.update(call),
    );
}

/// A flush of the disk by itself: what no durable update can be faster than.
fn flush() {
    use std::io::{Seek, Write};
    let directory = tempfile::tempdir().unwrap();
    let mut file = std::fs::File::create(directory.path().join("file")).unwrap();
    let mut write = || {
        file.rewind().unwrap();
        file.write_all(&[1; 4096]).unwrap();
        file.sync_data().unwrap();
    };
    let ours = Files::new(Durability::Full);
    let service = service(&ours.store);
    compare(
        "SQLite FULL, one caller (floor: one fdatasync)",
        300,
        |call| pollster::block_on(update(&service, call)),
        |_| write(),
    );
}

/// The same reads and writes as an update makes.
struct Floor<'a> {
    caller: rusqlite::Statement<'a>,
    groups: rusqlite::Statement<'a>,
    find: rusqlite::Statement<'a>,
    begin_read: rusqlite::Statement<'a>,
    begin: rusqlite::Statement<'a>,
    update: rusqlite::Statement<'a>,
    event: rusqlite::Statement<'a>,
    commit: rusqlite::Statement<'a>,
}

impl<'a> Floor<'a> {
    fn on(bare: &'a Connection) -> Self {
        let prepare = |sql| bare.prepare(sql).unwrap();
        Self {
            caller: prepare("SELECT * FROM user_account WHERE id = ?1"),
            groups: prepare(
                "WITH RECURSIVE own (id) AS (\
                   SELECT user_group FROM group_member WHERE user = ?1 \
                   UNION \
                   SELECT parent FROM user_group JOIN own USING (id) WHERE parent IS NOT NULL\
                 ) SELECT * FROM user_group JOIN own USING (id)",
            ),
            find: prepare("SELECT * FROM token WHERE identifier = ?1"),
            begin_read: prepare("BEGIN"),
            begin: prepare("BEGIN IMMEDIATE"),
            update: prepare(
                "UPDATE token SET revision = ?1, updated = ?2, description = ?3 \
                 WHERE id = ?4 AND revision = ?5",
            ),
            event: prepare(
                "INSERT INTO event (at, id, token, identifier, owner, revision, kind, changed, actor) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, 'updated', 16, ?5)",
            ),
            commit: prepare("COMMIT"),
        }
    }

    fn update(&mut self, call: u64) {
        self.update_together(std::iter::once(call));
    }

    /// Several updates in one transaction.
    fn update_together(&mut self, calls: impl Iterator<Item = u64>) {
        let read: Vec<_> = calls.map(|call| (call, self.read(call))).collect();
        self.begin.execute(()).unwrap();
        for (call, found) in read {
            self.write(call, found);
        }
        self.commit.execute(()).unwrap();
    }

    /// The caller with its groups, and the token.
    fn read(&mut self, call: u64) -> ([u8; 16], i64, String) {
        let number = picked(call);
        let caller = user(number % USERS).get();
        self.begin_read.execute(()).unwrap();
        let active: bool = self.caller.query_row([caller], |row| row.get("is_active")).unwrap();
        assert!(active);
        assert!(!self.groups.exists([caller]).unwrap());
        self.commit.execute(()).unwrap();
        let found = self.find.query_row([identifier(number)], |row| {
            Ok((row.get("id")?, row.get("revision")?, row.get("identifier")?))
        });
        found.unwrap()
    }

    fn write(&mut self, call: u64, (id, revision, name): ([u8; 16], i64, String)) {
        let caller = user(picked(call) % USERS).get();
        let now = 1_700_000_000_000_000 + call.cast_signed();
        let text = format!("changed by call {call}");
        self.update.execute(params![revision + 1, now, text, id, revision]).unwrap();
        let event_id = uuid::Uuid::from_u128(u128::from(call)).into_bytes();
        self.event.execute(params![now, event_id, id, name, caller, revision + 1]).unwrap();
    }
}

/// Callers at the same time, on a runtime with two threads, in turns with the floor.
fn many(callers: u64) {
    let (ours, floor) = (Files::new(Durability::Full), Files::new(Durability::Full));
    let service = service(&ours.store);
    let bare = floor.bare(Durability::Full);
    let mut floor = Floor::on(&bare);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    let mut times = Vec::new();
    let mut ratios = Vec::new();
    let mut rates = Vec::new();
    for turn in 0..5 {
        let own = turn_of(&runtime, &service, callers, turn);
        let rate = own.len() as f64 / TURN.as_secs_f64();
        let start = Instant::now();
        let mut done = turn * 1_000_000_000;
        while start.elapsed() < TURN {
            floor.update_together(done..done + callers);
            done += callers;
        }
        let floor_rate = (done - turn * 1_000_000_000) as f64 / start.elapsed().as_secs_f64();
        times.extend(own);
        rates.push(rate);
        ratios.push(rate / floor_rate);
    }
    times.sort();
    ratios.sort_by(f64::total_cmp);
    rates.sort_by(f64::total_cmp);
    let at = |per_mille: usize| times[times.len() * per_mille / 1_000];
    println!(
        "SQLite FULL, {callers:>2} callers: {:>6.0} a second, {:.2} of the floor ({:.2} to {:.2}), \
         p50 {:.2?}, p99 {:.2?}, p99.9 {:.2?}",
        rates[2],
        ratios[2],
        ratios[0],
        ratios[4],
        at(500),
        at(990),
        at(999)
    );
}

/// How long a turn of many callers takes.
const TURN: Duration = Duration::from_millis(600);

/// What each update took in one turn.
fn turn_of(
    runtime: &tokio::runtime::Runtime,
    service: &TokenService,
    callers: u64,
    turn: u64,
) -> Vec<Duration> {
    let deadline = Instant::now() + TURN;
    let tasks: Vec<_> = (0..callers)
        .map(|caller| {
            let service = service.clone();
            runtime.spawn(async move {
                let mut times = Vec::new();
                while Instant::now() < deadline {
                    let start = Instant::now();
                    let call = turn * 1_000_000_000 + caller * 1_000_000 + times.len() as u64;
                    update(&service, call).await;
                    times.push(start.elapsed());
                }
                times
            })
        })
        .collect();
    tasks.into_iter().flat_map(|task| runtime.block_on(task).unwrap()).collect()
}

/// A store of a hundred thousand tokens in a directory of its own.
struct Files {
    directory: tempfile::TempDir,
    store: Arc<SqliteStore>,
}

impl Files {
    fn new(durability: Durability) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let options = SqliteOptions::new().durability(durability);
        let store = options.open(directory.path().join("tokens.db")).unwrap();
        pollster::block_on(fill(&store, &store));
        Self { directory, store: Arc::new(store) }
    }

    /// A connection to the same file with the settings that cost time.
    fn bare(&self, durability: Durability) -> Connection {
        let bare = Connection::open(self.directory.path().join("tokens.db")).unwrap();
        let synchronous = if durability == Durability::Full { "FULL" } else { "NORMAL" };
        bare.pragma_update(None, "synchronous", synchronous).unwrap();
        bare.pragma_update(None, "secure_delete", 1).unwrap();
        bare
    }
}
