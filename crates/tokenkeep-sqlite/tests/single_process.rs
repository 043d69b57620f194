//! A store that has its file for itself: whom it shuts out, and who shuts it out.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]
#![allow(clippy::indexing_slicing)]

use std::io::{BufRead, BufReader, Lines};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode};
use tempfile::{TempDir, tempdir};
use tokenkeep::{Timestamp, User, UserDirectory, UserId, UserStore};
use tokenkeep_sqlite::{BackupError, OpenError, Sharing, SqliteOptions, SqliteStore};

const FILE: &str = "TOKENKEEP_SINGLE_FILE";
const SHARING: &str = "TOKENKEEP_SINGLE_SHARING";

const EITHER: [Sharing; 2] = [Sharing::Shared, Sharing::SingleProcess];

fn options(sharing: Sharing) -> SqliteOptions {
    SqliteOptions::new().sharing(sharing).busy_timeout(Duration::from_millis(50))
}

fn open(path: &Path, sharing: Sharing) -> SqliteStore {
    options(sharing).open(path).unwrap()
}

fn is_shut_out(path: &Path, sharing: Sharing) -> bool {
    match options(sharing).open(path) {
        Ok(_) => false,
        Err(OpenError::InUse(file)) => file.file_name() == path.file_name(),
        Err(other) => panic!("{other:?}"),
    }
}

fn put(store: &SqliteStore, number: i64) {
    let uuid = uuid::Uuid::from_u128(2);
    let user = User::new(UserId::new(number), uuid, format!("user-{number}"), Timestamp::MIN);
    pollster::block_on(store.put_user(user)).unwrap();
}

fn is_there(store: &SqliteStore, number: i64) -> bool {
    pollster::block_on(store.is_active(UserId::new(number))).unwrap().is_some()
}

fn place() -> (TempDir, PathBuf) {
    let directory = tempdir().unwrap();
    let path = directory.path().join("tokens.db");
    (directory, path)
}

/// What the child processes run; nothing by itself. Opens the file as it is told, says so, and goes
/// on until it is killed or its input ends.
#[test]
fn child_process() {
    let Some(path) = std::env::var_os(FILE) else { return };
    if std::env::var(SHARING).unwrap() == "bare" {
        return println!("\n{}", if can_be_read(Path::new(&path)) { "held" } else { "shut out" });
    }
    let sharing = if std::env::var(SHARING).unwrap() == "alone" { EITHER[1] } else { EITHER[0] };
    match options(sharing).open(PathBuf::from(path)) {
        Ok(store) => {
            put(&store, 1);
            println!("\nheld");
            std::io::stdin().lines().for_each(drop);
            put(&store, 2);
        }
        Err(OpenError::InUse(_)) => println!("\nshut out"),
        Err(other) => panic!("{other:?}"),
    }
}

/// Whether SQLite can read the file without waiting.
fn can_be_read(path: &Path) -> bool {
    let bare = Connection::open(path).unwrap();
    bare.busy_timeout(Duration::ZERO).unwrap();
    let read = bare.query_row("SELECT count(*) FROM user_account", (), |row| row.get::<_, i64>(0));
    match read.map_err(|error| error.sqlite_error_code()) {
        Ok(_) => true,
        Err(Some(ErrorCode::DatabaseBusy)) => false,
        Err(other) => panic!("{other:?}"),
    }
}

/// Another process that opens the file.
struct Other {
    child: Child,
    output: Lines<BufReader<ChildStdout>>,
}

fn other(path: &Path, sharing: Sharing) -> Other {
    child(path, if sharing == Sharing::SingleProcess { "alone" } else { "shared" })
}

fn child(path: &Path, sharing: &str) -> Other {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_process", "--nocapture"])
        .env(FILE, path)
        .env(SHARING, sharing)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(child.stdout.take().unwrap()).lines();
    Other { child, output }
}

impl Other {
    /// Whether it has the file, or was shut out.
    fn has_it(&mut self) -> bool {
        let said = self.output.by_ref().map(Result::unwrap);
        said.into_iter().find(|line| ["held", "shut out"].contains(&&**line)).unwrap() == "held"
    }

    /// Ends it, and waits for its end.
    fn end(mut self, killed: bool) {
        if killed {
            self.child.kill().unwrap();
        }
        drop(self.child.stdin.take());
        self.output.for_each(drop);
        assert_eq!(self.child.wait().unwrap().success(), !killed);
    }
}

#[test]
fn nobody_opens_a_file_that_a_store_has_for_itself() {
    let (_directory, path) = place();
    let alone = open(&path, Sharing::SingleProcess);
    put(&alone, 1);
    for sharing in EITHER {
        assert!(is_shut_out(&path, sharing), "{sharing:?}, in this process");
        let mut other = other(&path, sharing);
        assert!(!other.has_it(), "{sharing:?}, in another");
        other.end(false);
    }
    // Nor does SQLite itself, in another process.
    let mut bare = child(&path, "bare");
    assert!(!bare.has_it());
    bare.end(false);

    assert!(!path.with_extension("db-shm").exists(), "an index of the log is shared with others");
    put(&alone, 2);
    alone.check().unwrap();
    drop(alone);
    let shared = open(&path, Sharing::Shared);
    assert!(is_there(&shared, 1) && is_there(&shared, 2));
    shared.check().unwrap();
}

#[test]
fn nobody_gets_a_file_for_itself_that_others_have_open() {
    let (_directory, path) = place();
    let shared = open(&path, Sharing::Shared);
    put(&shared, 1);
    assert!(is_shut_out(&path, Sharing::SingleProcess), "in this process");
    let mut other = other(&path, Sharing::SingleProcess);
    assert!(!other.has_it(), "in another");
    other.end(false);
    // Nobody who has it open notices.
    put(&shared, 2);
    let second = open(&path, Sharing::Shared);
    assert!(is_there(&second, 1) && is_there(&second, 2));
    drop(shared);
    assert!(is_shut_out(&path, Sharing::SingleProcess), "one is still there");
    drop(second);

    let alone = open(&path, Sharing::SingleProcess);
    assert!(is_there(&alone, 1) && is_there(&alone, 2));
    alone.check().unwrap();
}

#[test]
fn a_bare_connection_of_this_process_is_no_danger() {
    let (_directory, path) = place();
    let shared = open(&path, Sharing::Shared);
    put(&shared, 1);
    drop(shared);
    // First, it keeps the store out.
    let bare = Connection::open(&path).unwrap();
    let count = || bare.query_row("SELECT count(*) FROM user_account", (), |r| r.get::<_, i64>(0));
    assert_eq!(count().unwrap(), 1);
    assert!(is_shut_out(&path, Sharing::SingleProcess));
    drop(bare);

    // Second, it sees what the store does, and nobody else gets in, while it is there or after.
    let alone = open(&path, Sharing::SingleProcess);
    for number in 2..50 {
        let bare = Connection::open(&path).unwrap();
        let count =
            || bare.query_row("SELECT count(*) FROM user_account", (), |r| r.get::<_, i64>(0));
        assert_eq!(count().unwrap(), number - 1);
        put(&alone, number);
        assert_eq!(count().unwrap(), number);
        bare.execute("UPDATE user_account SET is_active = 0 WHERE id = ?1", [number]).unwrap();
        assert_eq!(pollster::block_on(alone.is_active(UserId::new(number))).unwrap(), Some(false));
        bare.query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |_| Ok(())).unwrap();
        if number % 10 == 0 {
            let mut other = child(&path, "bare");
            assert!(!other.has_it());
            other.end(false);
        }
        drop(bare);
    }
    let mut other = other(&path, Sharing::Shared);
    assert!(!other.has_it());
    other.end(false);
    alone.check().unwrap();
    drop(alone);
    open(&path, Sharing::Shared).check().unwrap();
}

#[test]
fn a_process_that_ends_or_is_killed_leaves_a_file_for_both_kinds() {
    for held in EITHER {
        for next in EITHER {
            for killed in [false, true] {
                let (_directory, path) = place();
                let mut other = other(&path, held);
                assert!(other.has_it());
                let shuts_out = held == Sharing::SingleProcess || next == Sharing::SingleProcess;
                assert_eq!(is_shut_out(&path, next), shuts_out, "{held:?}, then {next:?}");
                other.end(killed);
                let store = open(&path, next);
                assert!(is_there(&store, 1));
                assert_eq!(is_there(&store, 2), !killed);
                put(&store, 3);
                store.check().unwrap();
            }
        }
    }
}

#[test]
fn who_has_the_file_is_waited_for() {
    for (held, next) in [(EITHER[1], EITHER[0]), (EITHER[0], EITHER[1])] {
        let (_directory, path) = place();
        let store = open(&path, held);
        thread::scope(|scope| {
            let waiting = SqliteOptions::new().sharing(next).busy_timeout(Duration::from_secs(60));
            let (path, start) = (&path, Instant::now());
            let waiting = scope.spawn(move || waiting.open(path).map(drop));
            thread::sleep(Duration::from_millis(100));
            drop(store);
            waiting.join().unwrap().unwrap();
            assert!(start.elapsed() >= Duration::from_millis(100));
        });
    }
}

#[test]
fn a_store_that_is_alone_checks_itself_and_is_backed_up() {
    let (directory, path) = place();
    let store = open(&path, Sharing::SingleProcess);
    put(&store, 1);
    let backup = directory.path().join("backup.db");
    store.backup(&backup).unwrap();
    put(&store, 2);
    store.check().unwrap();
    assert!(matches!(store.backup(&path), Err(BackupError::InUse(_))), "not onto itself");
    let nowhere = store.backup(directory.path().join("no/such/backup.db"));
    assert!(matches!(nowhere, Err(BackupError::Io { .. })), "{nowhere:?}");
    assert!(is_shut_out(&path, Sharing::Shared), "still alone");
    for sharing in EITHER {
        let restored = open(&backup, sharing);
        assert_eq!((is_there(&restored, 1), is_there(&restored, 2)), (true, false));
    }
}

#[test]
fn threads_read_while_others_write() {
    let (_directory, path) = place();
    let store = open(&path, Sharing::SingleProcess);
    thread::scope(|scope| {
        for writer in 0..2 {
            let store = &store;
            scope.spawn(move || {
                for number in 0..200 {
                    put(store, writer * 1_000 + number);
                    assert!(is_there(store, writer * 1_000 + number), "acknowledged, not seen");
                }
            });
        }
        for _ in 0..2 {
            scope.spawn(|| {
                let mut seen = 0;
                while seen < 200 {
                    let ids: Vec<_> = (0..200).map(UserId::new).collect();
                    let now = pollster::block_on(store.profiles(&ids)).unwrap().len();
                    assert!(now >= seen, "what was there is gone");
                    seen = now;
                }
            });
        }
    });
    store.check().unwrap();
}
