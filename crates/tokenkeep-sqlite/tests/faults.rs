//! Writes that really fail: a child process may write only so much to a file, and meets the limit in
//! the middle of a commit.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]
#![allow(clippy::indexing_slicing)]

use std::path::{Path, PathBuf};
use std::process::Command;

use tokenkeep::{Timestamp, User, UserDirectory, UserId, UserStore, UserStoreError};
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
