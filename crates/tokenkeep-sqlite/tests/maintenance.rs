//! Checks and backups.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]
#![allow(clippy::indexing_slicing)]

use std::fs;
use std::os::unix::fs::PermissionsExt;

use tempfile::tempdir;
use tokenkeep::{StoreErrorKind, Timestamp, User, UserDirectory, UserId, UserStore};
use tokenkeep_sqlite::{BackupError, SqliteStore};

fn user(number: i64) -> User {
    let uuid = uuid::Uuid::from_u128(2);
    User::new(UserId::new(number), uuid, format!("user-{number}"), Timestamp::MIN)
}

fn put(store: &SqliteStore, number: i64) {
    pollster::block_on(store.put_user(user(number))).unwrap();
}

fn is_there(store: &SqliteStore, number: i64) -> bool {
    pollster::block_on(store.is_active(UserId::new(number))).unwrap().is_some()
}

#[test]
fn a_backup_holds_what_was_there_and_replaces_an_older_one() {
    let directory = tempdir().unwrap();
    let (path, backup) = (directory.path().join("tokens.db"), directory.path().join("backup.db"));
    let store = SqliteStore::open(path).unwrap();
    put(&store, 1);
    store.backup(&backup).unwrap();
    put(&store, 2);
    let restored = SqliteStore::open(&backup).unwrap();
    assert_eq!((is_there(&restored, 1), is_there(&restored, 2)), (true, false));
    drop(restored);

    store.backup(&backup).unwrap();
    assert_eq!(fs::metadata(&backup).unwrap().permissions().mode() & 0o777, 0o600);
    let restored = SqliteStore::open(&backup).unwrap();
    assert!(is_there(&restored, 2));
    put(&restored, 3);
    assert!(!is_there(&store, 3), "a copy, not the same file");
}

#[test]
fn a_backup_that_fails_leaves_the_older_one() {
    let directory = tempdir().unwrap();
    let backup = directory.path().join("backup.db");
    let store = SqliteStore::open(directory.path().join("tokens.db")).unwrap();
    put(&store, 1);
    store.backup(&backup).unwrap();
    let before = fs::read(&backup).unwrap();

    let partial = directory.path().join("backup.db.partial");
    fs::write(&partial, "somebody else's").unwrap();
    let error = store.backup(&backup).unwrap_err();
    assert!(matches!(error, BackupError::Io { path, .. } if path == partial));
    assert_eq!(fs::read(&backup).unwrap(), before);
    assert_eq!(fs::read(&partial).unwrap(), b"somebody else's");

    let nowhere = store.backup(directory.path().join("no/such/backup.db")).unwrap_err();
    assert!(matches!(nowhere, BackupError::Io { .. }), "{nowhere:?}");
}

#[test]
fn a_backup_never_takes_the_place_of_a_database_in_use() {
    let directory = tempdir().unwrap();
    let (path, other) = (directory.path().join("tokens.db"), directory.path().join("other.db"));
    let store = SqliteStore::open(&path).unwrap();
    put(&store, 1);
    let error = store.backup(&path).unwrap_err();
    assert!(matches!(error, BackupError::InUse(_)), "{error:?}");
    put(&store, 2);
    store.check().unwrap();

    let open = SqliteStore::open(&other).unwrap();
    assert!(matches!(store.backup(&other).unwrap_err(), BackupError::InUse(_)));
    drop(open);
    // A log that somebody left there would be taken for that of the backup.
    let log = directory.path().join("other.db-wal");
    fs::write(&log, "left over").unwrap();
    assert!(matches!(store.backup(&other).unwrap_err(), BackupError::InUse(_)));
    fs::remove_file(log).unwrap();
    store.backup(&other).unwrap();
    assert!(is_there(&SqliteStore::open(&other).unwrap(), 2));
}

#[test]
fn reads_go_on_during_a_backup() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("tokens.db");
    let store = tokenkeep_sqlite::SqliteOptions::new().readers(1).open(path).unwrap();
    put(&store, 1);
    std::thread::scope(|scope| {
        let backup = scope.spawn(|| {
            (0..20).for_each(|n| store.backup(directory.path().join(n.to_string())).unwrap());
        });
        let mut reads = 0;
        while !backup.is_finished() {
            assert!(is_there(&store, 1));
            reads += 1;
        }
        backup.join().unwrap();
        assert!(reads > 100, "{reads} reads");
    });
}

#[test]
fn a_check_finds_damage() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("tokens.db");
    let store = SqliteStore::open(&path).unwrap();
    for number in 0..200 {
        put(&store, number);
    }
    store.check().unwrap();
    drop(store);

    // Whatever page is overwritten, the check or an earlier read says so.
    let bytes = fs::read(&path).unwrap();
    for page in 1..bytes.len() / 4096 {
        let mut damaged = bytes.clone();
        damaged[page * 4096..page * 4096 + 64].fill(0xff);
        fs::write(&path, damaged).unwrap();
        let checked = SqliteStore::open(&path).map_err(|_| ()).map(|store| store.check());
        let Ok(Err(error)) = checked else {
            assert!(checked.is_err(), "page {page} is damaged, and nobody said so");
            continue;
        };
        assert!(matches!(error.kind(), StoreErrorKind::Corrupt { .. }), "{error:?}");
        for beside in ["-wal", "-shm"] {
            let _ = fs::remove_file(format!("{}{beside}", path.display()));
        }
    }
}
