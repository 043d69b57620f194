//! Every job of the writer, done and then ended by a panic, beside one that goes well: 2,000 times.

use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use pollster::block_on;
use rusqlite::Connection;
use rusqlite::types::Value;
use tempfile::TempDir;
use tokenkeep::{
    Caller, Change, Commit, Event, EventId, EventKind, Group, GroupId, Intent, KeyDigest,
    Permission, Revision, StoreError, StoreErrorKind, Timestamp, Token, TokenFields, TokenId,
    TokenKey, TokenStore, Touch, User, UserId, UserStore,
};
use uuid::Uuid;

use crate::writer::{Effort, Undone};
use crate::{SqliteStore, commit, events, import, tokens, users};

const ROUNDS: usize = 2_000;
const ALICE: UserId = UserId::new(1);
const NEIGHBOUR: UserId = UserId::new(2);
const STAFF: GroupId = GroupId::from_bytes([1; 16]);

/// What is done before the panic.
type Job = Arc<dyn Fn(&Connection) + Send + Sync>;

struct Rig {
    path: PathBuf,
    store: Arc<SqliteStore>,
    _directory: TempDir,
}

impl Rig {
    /// A store with a user, a group, a grant, a token and its event.
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tokens.db");
        let store = Arc::new(SqliteStore::open(&path).unwrap());
        block_on(async {
            store.put_group(group("staff")).await.unwrap();
            store.put_user(user(ALICE, "alice")).await.unwrap();
            store.grant(ALICE, Permission::ViewToken, None).await.unwrap();
            store.commit(inserted(token(1))).await.unwrap();
        });
        Self { path, store, _directory: directory }
    }
}

fn user(id: UserId, name: &str) -> User {
    let mut user = User::new(id, Uuid::from_u128(7), name, Timestamp::MIN);
    user.groups = [STAFF].into();
    user
}

fn group(name: &str) -> Group {
    Group::new(STAFF, name)
}

fn token(number: u8) -> Token {
    Token {
        id: TokenId::from_bytes([number; 16]),
        identifier: format!("token-{number}").parse().unwrap(),
        intent: Intent::Api,
        owner: ALICE,
        description: "".into(),
        expires: None,
        expiring: false,
        managed: None,
        revision: Revision::FIRST,
        created: Timestamp::MIN,
        updated: Timestamp::MIN,
        last_used: None,
        owner_may_view_key: false,
        key_digest: KeyDigest::of(&TokenKey::from(number.to_string())),
        sealed_key: None,
    }
}

fn inserted(token: Token) -> Commit {
    Commit { events: vec![event(&token)], changes: vec![Change::Insert(Arc::new(token))] }
}

fn event(token: &Token) -> Event {
    Event {
        id: EventId::from_bytes(*token.id.as_bytes()),
        at: Timestamp::MIN,
        token: token.id,
        identifier: token.identifier.clone(),
        owner: token.owner,
        revision: token.revision,
        kind: EventKind::Created,
        changed: TokenFields::default(),
        actor: Caller::System,
    }
}

/// Every kind of work that a store gives to its writer.
fn jobs() -> Vec<(&'static str, Job)> {
    let later = Timestamp::from_micros(0).unwrap();
    let updated = Token {
        identifier: "another".parse().unwrap(),
        revision: Revision::FIRST.next().unwrap(),
        ..token(1)
    };
    let replaced =
        Commit { changes: vec![Change::replace(&token(1), updated)], events: Vec::new() };
    let delete = Change::Delete { id: token(1).id, expected: Revision::FIRST };
    let deleted = Commit { changes: vec![delete], events: Vec::new() };
    let touch = Touch { token: token(1).id, at: later };
    vec![
        ("insert", job(|on| commit::apply(on, &inserted(token(2))))),
        ("update", job(move |on| commit::apply(on, &replaced))),
        ("delete", job(move |on| commit::apply(on, &deleted))),
        ("touch", job(move |on| Ok::<_, Undone<()>>(tokens::touch(on, &[touch])?))),
        ("prune", job(move |on| Ok::<_, Undone<()>>(events::prune(on, later, (0, 0))?.count))),
        ("put a user", job(|on| users::put_user(on, &user(ALICE, "alicia")))),
        ("remove a user", job(|on| users::remove_user(on, ALICE))),
        ("put a group", job(|on| users::put_group(on, &group("crew")))),
        ("remove a group", job(|on| users::remove_group(on, STAFF))),
        ("grant", job(|on| users::grant(on, ALICE, Permission::DeleteToken, None))),
        ("revoke", job(|on| users::revoke(on, ALICE, Permission::ViewToken, None))),
        (
            "import",
            job(|on| {
                on.execute_batch("DELETE FROM token")?;
                import::fill(on, (0..10).map(token))
            }),
        ),
    ]
}

/// Work that does not get to its end unless it succeeds.
fn job<T, E>(work: impl Fn(&Connection) -> Result<T, Undone<E>> + Send + Sync + 'static) -> Job {
    Arc::new(move |connection| assert!(work(connection).is_ok()))
}

/// All that is in the file.
fn content(path: &Path) -> Vec<Vec<Value>> {
    let connection = Connection::open(path).unwrap();
    let tables =
        ["token", "event", "user_account", "user_group", "group_member", "user_permission"];
    tables.iter().flat_map(|table| rows(&connection, table)).collect()
}

fn rows(connection: &Connection, table: &str) -> Vec<Vec<Value>> {
    let mut select = connection.prepare(&format!("SELECT * FROM {table} ORDER BY 1, 2")).unwrap();
    let columns = select.column_count();
    let read = |row: &rusqlite::Row<'_>| (0..columns).map(|column| row.get(column)).collect();
    select.query_map((), read).unwrap().collect::<Result<_, _>>().unwrap()
}

/// No transaction was left open: another connection writes without waiting.
fn assert_nobody_writes(path: &Path) {
    let other = Connection::open(path).unwrap();
    other.busy_timeout(Duration::ZERO).unwrap();
    other.execute_batch("BEGIN IMMEDIATE; ROLLBACK").unwrap();
}

/// Does the job, and panics when it is done.
async fn do_and_panic(store: &SqliteStore, effort: Effort, work: Job, done: Arc<AtomicUsize>) {
    let work = move |connection: &Connection| {
        work(connection);
        done.fetch_add(1, Ordering::Relaxed);
        resume_unwind(Box::new("on purpose"))
    };
    let answer = store.writer.run::<(), StoreError>(effort, Vec::new(), work).await;
    assert_eq!(*answer.unwrap_err().kind(), StoreErrorKind::Other);
}

#[test]
fn a_job_that_panics_leaves_no_trace_and_ends_nobody_elses() {
    let Rig { path, store, _directory } = Rig::new();
    let before = content(&path);
    let done = Arc::new(AtomicUsize::new(0));
    let jobs = jobs();
    for (round, (name, work)) in jobs.iter().cycle().take(ROUNDS).enumerate() {
        // On the caller's thread, and on the store's own.
        let effort =
            if (round / jobs.len()).is_multiple_of(2) { Effort::Short } else { Effort::Long };
        thread::scope(|scope| {
            scope.spawn(|| block_on(do_and_panic(&store, effort, work.clone(), done.clone())));
            scope.spawn(|| block_on(store.put_user(user(NEIGHBOUR, "bob"))).unwrap());
        });
        let start = Instant::now();
        assert!(block_on(store.remove_user(NEIGHBOUR)).unwrap(), "{name}: its neighbour is there");
        assert!(start.elapsed() < Duration::from_secs(10), "{name}: the next waits");
        assert_nobody_writes(&path);
        assert_eq!(content(&path), before, "{name}");
    }
    assert_eq!(done.load(Ordering::Relaxed), ROUNDS);
}

/// The control: a job that ends the transaction by itself leaves its trace.
#[test]
fn a_job_that_commits_by_itself_is_found_out() {
    let Rig { path, store, _directory } = Rig::new();
    let before = content(&path);
    let work = |connection: &Connection| {
        connection.execute_batch("DELETE FROM token; COMMIT; BEGIN IMMEDIATE").unwrap();
        resume_unwind(Box::new("on purpose"))
    };
    let answer = block_on(store.writer.run::<(), StoreError>(Effort::Short, Vec::new(), work));
    assert!(answer.is_err());
    assert_ne!(content(&path), before);
}
