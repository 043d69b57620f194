//! Writes that really fail: a child process may write only so much to a file, and meets the limit in
//! the middle of a commit.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]
#![allow(clippy::indexing_slicing)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use tokenkeep::{
    Intent, KeyDigest, Revision, StoreErrorKind, Timestamp, Token, TokenId, TokenKey, TokenStore,
    User, UserDirectory, UserId, UserStore, UserStoreError,
};
use tokenkeep_sqlite::{BackupError, ImportError, Sharing, SqliteOptions, SqliteStore};

const FILE: &str = "TOKENKEEP_FAULTS_FILE";
const CLOSE: &str = "TOKENKEEP_FAULTS_CLOSE";

fn user(number: i64) -> User {
    User::new(UserId::new(number), uuid::Uuid::from_u128(1), number.to_string(), Timestamp::MIN)
}

fn token(number: u8) -> Token {
    Token {
        id: TokenId::from_bytes([number; 16]),
        identifier: format!("t{number}").parse().unwrap(),
        intent: Intent::Api,
        owner: UserId::new(2),
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

/// Writes users until that fails, and once more; prints what happened, a line each.
fn write_until_it_fails(path: &Path) {
    let store = SqliteStore::open(path).unwrap();
    let put = |number| pollster::block_on(store.put_user(user(number)));
    let kind = |result| match result {
        Err(UserStoreError::Store(error)) => format!("{:?}", error.kind()),
        other => panic!("{other:?}"),
    };
    for number in 0.. {
        match put(number) {
            Ok(()) => println!("acknowledged {number}"),
            failed => {
                println!("failed {number} {}", kind(failed));
                println!("then {}", kind(put(number + 1)));
                let read = pollster::block_on(store.is_active(UserId::new(0)));
                println!("read {read:?}");
                return;
            }
        }
    }
}

/// What the child process runs; nothing by itself.
#[test]
fn child_process() {
    if let Some(path) = std::env::var_os(FILE) {
        write_until_it_fails(&PathBuf::from(path));
    }
    if let Some(path) = std::env::var_os(CLOSE) {
        let connection = Connection::open(path).unwrap();
        let count = "SELECT count(*) FROM user_account";
        let count: i64 = connection.query_row(count, (), |row| row.get(0)).unwrap();
        assert!(count > 0);
    }
}

#[test]
fn nothing_is_acknowledged_after_a_failed_write_and_nothing_is_lost() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tokens.db");
    drop(SqliteStore::open(&path).unwrap());
    // 512 blocks of 512 bytes: the log reaches that after some sixty commits. Without the signal
    // the write fails with EFBIG.
    let child = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 512; exec \"$0\" --exact child_process --nocapture"])
        .arg(std::env::current_exe().unwrap())
        .env(FILE, &path)
        .output()
        .unwrap();
    let told = String::from_utf8(child.stdout).unwrap();
    let lines: Vec<_> = told.lines().collect();
    let last = |start: &str| lines.iter().rev().find_map(|line| line.strip_prefix(start)).unwrap();
    let acknowledged: i64 = last("acknowledged ").parse().unwrap();
    assert!(acknowledged > 10, "{told}");
    assert_eq!(last("failed "), format!("{} OutcomeUnknown", acknowledged + 1), "{told}");
    assert_eq!(last("then "), "Unavailable", "{told}");
    assert_eq!(last("read "), "Ok(Some(true))", "{told}");

    // The log tells the next to open the file that it was not closed in order, so that it is checked.
    assert!(path.with_extension("db-wal").metadata().unwrap().len() > 0, "the log is gone");
    let store = SqliteStore::open(&path).unwrap();
    store.check().unwrap();
    let is_there = |number| {
        let found = pollster::block_on(store.is_active(UserId::new(number))).unwrap();
        found.is_some()
    };
    assert!((0..=acknowledged).all(is_there), "acknowledged, and lost");
    assert!(!is_there(acknowledged + 2), "refused as unavailable, and there");
    pollster::block_on(store.put_user(user(-1))).unwrap();
}

type Harm = fn(&Path);

fn beside(path: &Path, suffix: &str) -> PathBuf {
    PathBuf::from(format!("{}{suffix}", path.display()))
}

/// What becomes of the files of an open store: a name, the harm, its repair, and whether what was
/// acknowledged before is still there then.
const HARMS: [(&str, Harm, Harm, bool); 13] = [
    (
        "database and all removed",
        |path| fs::remove_dir_all(path.parent().unwrap()).unwrap(),
        |_| {},
        false,
    ),
    ("database removed", |path| fs::remove_file(path).unwrap(), |_| {}, false),
    (
        "database moved",
        |path| fs::rename(path, beside(path, ".moved")).unwrap(),
        |path| fs::rename(beside(path, ".moved"), path).unwrap(),
        true,
    ),
    (
        "database replaced",
        |path| fs::rename(path.with_file_name("other.db"), path).unwrap(),
        |_| {},
        false,
    ),
    (
        "database with a second name",
        |path| fs::hard_link(path, beside(path, ".link")).unwrap(),
        |path| fs::remove_file(beside(path, ".link")).unwrap(),
        true,
    ),
    ("WAL removed", |path| fs::remove_file(beside(path, "-wal")).unwrap(), |_| {}, true),
    (
        "WAL and index removed",
        |path| ["-wal", "-shm"].iter().for_each(|end| fs::remove_file(beside(path, end)).unwrap()),
        |_| {},
        true,
    ),
    (
        "WAL moved",
        |path| fs::rename(beside(path, "-wal"), beside(path, ".w")).unwrap(),
        |_| {},
        true,
    ),
    (
        "WAL replaced by a copy",
        |path| {
            fs::copy(beside(path, "-wal"), beside(path, ".w")).unwrap();
            fs::rename(beside(path, ".w"), beside(path, "-wal")).unwrap();
        },
        make_private,
        true,
    ),
    (
        "WAL replaced by an empty file",
        |path| {
            fs::write(beside(path, ".w"), "").unwrap();
            fs::rename(beside(path, ".w"), beside(path, "-wal")).unwrap();
        },
        make_private,
        true,
    ),
    ("WAL emptied", |path| drop(fs::File::create(beside(path, "-wal")).unwrap()), |_| {}, false),
    ("WAL cut short", |path| cut(&beside(path, "-wal")), |_| {}, false),
    ("index removed", |path| fs::remove_file(beside(path, "-shm")).unwrap(), |_| {}, true),
];

fn cut(path: &Path) {
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    let length = file.metadata().unwrap().len();
    file.set_len(length - 1).unwrap();
}

fn make_private(path: &Path) {
    fs::set_permissions(beside(path, "-wal"), fs::Permissions::from_mode(0o600)).unwrap();
}

/// A store in a directory of its own, with another database beside it.
fn store_in(parent: &Path, sharing: Sharing) -> (PathBuf, SqliteStore) {
    let directory = parent.join("tokens");
    fs::create_dir(&directory).unwrap();
    let path = directory.join("tokens.db");
    drop(SqliteStore::open(directory.join("other.db")).unwrap());
    let store = SqliteOptions::new().sharing(sharing).open(&path).unwrap();
    (path, store)
}

fn put(store: &SqliteStore, number: i64) -> Result<(), StoreErrorKind> {
    pollster::block_on(store.put_user(user(number))).map_err(|error| match error {
        UserStoreError::Store(error) => error.kind().clone(),
        other => panic!("{other:?}"),
    })
}

fn is_there(store: &SqliteStore, number: i64) -> Result<bool, StoreErrorKind> {
    let found = pollster::block_on(store.is_active(UserId::new(number)));
    found.map(|found| found.is_some()).map_err(|error| error.kind().clone())
}

#[test]
fn commit_after_harm_to_a_file_is_unavailable() {
    for sharing in [Sharing::Shared, Sharing::SingleProcess] {
        for (harm, harms, repairs, is_kept) in HARMS {
            if sharing == Sharing::SingleProcess && harm.contains("index") {
                continue;
            }
            let parent = tempfile::tempdir().unwrap();
            let (path, store) = store_in(parent.path(), sharing);
            put(&store, 1).unwrap();
            harms(&path);
            for number in [2, 3] {
                assert_eq!(put(&store, number), Err(StoreErrorKind::Unavailable), "{harm}");
            }
            // What others write is not seen any more.
            assert_eq!(is_there(&store, 1), Err(StoreErrorKind::Unavailable), "{harm}");
            let backup = store.backup(parent.path().join("backup.db"));
            assert!(matches!(backup, Err(BackupError::Store(_))), "{harm}: {backup:?}");
            assert!(store.check().is_err(), "{harm}");
            drop(store);
            repairs(&path);
            // The index of a single process is in no file that would show who else uses the WAL.
            let is_saved = sharing == Sharing::Shared || !harm.contains("empty");
            if is_kept && is_saved {
                let store = SqliteStore::open(&path).unwrap();
                store.check().unwrap();
                let kept = [1, 2, 3].map(|number| is_there(&store, number).unwrap());
                assert_eq!(kept, [true, false, false], "{harm}");
                put(&store, 2).unwrap();
            }
        }
    }
}

/// The files are harmed while a commit is under way, which may be done or not.
#[test]
fn commit_during_harm_to_a_file_is_unknown() {
    for (harm, harms, _, _) in HARMS {
        // What the harm has emptied, SQLite fills again.
        if ["WAL emptied", "WAL cut short"].contains(&harm) {
            continue;
        }
        let parent = tempfile::tempdir().unwrap();
        let (path, store) = store_in(parent.path(), Sharing::Shared);
        put(&store, 1).unwrap();
        let tokens = std::iter::once_with(move || {
            harms(&path);
            token(1)
        });
        let error = pollster::block_on(store.import(tokens)).unwrap_err();
        let ImportError::Store(error) = error else { panic!("{error:?}") };
        assert_eq!(*error.kind(), StoreErrorKind::OutcomeUnknown, "{harm}");
        // A service that looks for the outcome must not find it in a file that will be lost.
        assert_eq!(is_there(&store, 1), Err(StoreErrorKind::Unavailable), "{harm}");
        assert_eq!(put(&store, 2), Err(StoreErrorKind::Unavailable), "{harm}");
    }
}

/// A host that reads the files by itself drops the locks of its process. The next program that closes
/// the database deletes the WAL.
#[test]
fn commit_after_lost_locks_is_unavailable() {
    let parent = tempfile::tempdir().unwrap();
    let (path, store) = store_in(parent.path(), Sharing::Shared);
    put(&store, 1).unwrap();
    for suffix in ["", "-shm"] {
        fs::read(beside(&path, suffix)).unwrap();
    }
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_process"])
        .env(CLOSE, &path)
        .output()
        .unwrap();
    assert!(child.status.success(), "{child:?}");
    assert!(!beside(&path, "-wal").exists());
    assert_eq!(put(&store, 2), Err(StoreErrorKind::Unavailable));
    drop(store);
    let store = SqliteStore::open(&path).unwrap();
    assert_eq!([1, 2].map(|number| is_there(&store, number)), [Ok(true), Ok(false)]);
}

/// To look at the file again must not drop the locks of the store that is open.
#[test]
fn open_again_without_a_wal_keeps_the_locks() {
    let parent = tempfile::tempdir().unwrap();
    let (path, store) = store_in(parent.path(), Sharing::Shared);
    put(&store, 1).unwrap();
    let wal = beside(&path, "-wal");
    fs::rename(&wal, beside(&path, ".w")).unwrap();
    drop(SqliteStore::open(&path));
    // Newer versions of SQLite look at the locks of the index, too, before they delete a WAL.
    fs::read(beside(&path, "-shm")).unwrap();
    fs::rename(beside(&path, ".w"), &wal).unwrap();
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_process"])
        .env(CLOSE, &path)
        .output()
        .unwrap();
    assert!(child.status.success(), "{child:?}");
    assert!(wal.exists(), "another process has taken the WAL away");
    drop(store);
}

#[test]
fn reads_without_a_commit_notice_harm() {
    for (harm, harms, _, _) in HARMS {
        if ["WAL emptied", "WAL cut short"].contains(&harm) {
            continue;
        }
        let parent = tempfile::tempdir().unwrap();
        let (path, store) = store_in(parent.path(), Sharing::Shared);
        put(&store, 1).unwrap();
        harms(&path);
        let deadline = Instant::now() + Duration::from_secs(50);
        while is_there(&store, 1) != Err(StoreErrorKind::Unavailable) {
            assert!(Instant::now() < deadline, "{harm} stays unnoticed");
            thread::sleep(Duration::from_millis(1));
        }
    }
}

/// SQLite deletes the WAL by its name when it closes the database.
#[test]
fn close_after_a_replaced_wal_leaves_the_other_one() {
    let parent = tempfile::tempdir().unwrap();
    let (path, store) = store_in(parent.path(), Sharing::Shared);
    put(&store, 1).unwrap();
    fs::write(beside(&path, ".w"), "another").unwrap();
    fs::rename(beside(&path, ".w"), beside(&path, "-wal")).unwrap();
    drop(store);
    assert_eq!(fs::read(beside(&path, "-wal")).unwrap(), b"another");
}

/// A cache asks only whether others have written.
#[test]
fn changes_after_harm_are_unknown() {
    let parent = tempfile::tempdir().unwrap();
    let (path, store) = store_in(parent.path(), Sharing::Shared);
    put(&store, 1).unwrap();
    let changes = TokenStore::changes(&store).unwrap();
    changes.now().unwrap();
    fs::remove_file(beside(&path, "-wal")).unwrap();
    assert_eq!(put(&store, 2), Err(StoreErrorKind::Unavailable));
    assert!(changes.now().is_err());
}
