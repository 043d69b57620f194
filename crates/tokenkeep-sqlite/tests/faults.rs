//! Writes that really fail: a child process may write only so much to a file, and meets the limit in
//! the middle of a commit.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]
#![allow(clippy::indexing_slicing)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tokenkeep::{
    StoreErrorKind, Timestamp, User, UserDirectory, UserId, UserStore, UserStoreError,
};
use tokenkeep_sqlite::SqliteStore;

const FILE: &str = "TOKENKEEP_FAULTS_FILE";

fn user(number: i64) -> User {
    User::new(UserId::new(number), uuid::Uuid::from_u128(1), number.to_string(), Timestamp::MIN)
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

/// The file goes away under the store: what would be written to it then would be gone with the process.
#[test]
fn a_file_that_was_moved_deleted_or_replaced_is_written_no_more() {
    type Harm = fn(&Path, &Path);
    // What is done, and whether the file is still anywhere.
    let harms: [(Harm, bool); 4] = [
        (|directory, _| fs::remove_dir_all(directory).unwrap(), false),
        (|directory, path| fs::rename(path, directory.join("moved.db")).unwrap(), true),
        (|_, path| fs::remove_file(path).unwrap(), false),
        (|directory, path| fs::rename(directory.join("other.db"), path).unwrap(), false),
    ];
    for (harm, is_moved) in harms {
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("tokens");
        fs::create_dir(&directory).unwrap();
        let path = directory.join("tokens.db");
        drop(SqliteStore::open(directory.join("other.db")).unwrap());
        let store = SqliteStore::open(&path).unwrap();
        pollster::block_on(store.put_user(user(1))).unwrap();
        harm(&directory, &path);
        for number in [2, 3] {
            let refused = pollster::block_on(store.put_user(user(number))).unwrap_err();
            let UserStoreError::Store(error) = refused else { panic!("{refused:?}") };
            assert_eq!(*error.kind(), StoreErrorKind::Unavailable);
        }
        // A connection that has not read yet may find nothing to read.
        match pollster::block_on(store.is_active(UserId::new(1))) {
            Ok(active) => assert_eq!(active, Some(true)),
            Err(error) => assert_eq!(*error.kind(), StoreErrorKind::Unavailable),
        }
        drop(store);
        if is_moved {
            // What was acknowledged is in the log, which has to go where its file goes.
            fs::rename(directory.join("tokens.db-wal"), directory.join("moved.db-wal")).unwrap();
            let moved = SqliteStore::open(directory.join("moved.db")).unwrap();
            let is_there = |number| {
                pollster::block_on(moved.is_active(UserId::new(number))).unwrap().is_some()
            };
            assert_eq!([1, 2, 3].map(is_there), [true, false, false]);
        }
    }
}
