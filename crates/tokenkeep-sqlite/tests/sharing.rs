//! Several processes that write to one file.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]
#![allow(clippy::indexing_slicing)]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tokenkeep::{Timestamp, User, UserDirectory, UserId, UserStore};
use tokenkeep_sqlite::SqliteStore;

const FILE: &str = "TOKENKEEP_SHARING_FILE";
const NUMBER: &str = "TOKENKEEP_SHARING_NUMBER";

const PROCESSES: i64 = 3;

/// Writes users of its own for a second, as fast as it can, and prints how many.
fn write_for_a_second(path: &Path, process: i64) {
    let store = SqliteStore::open(path).unwrap();
    let start = Instant::now();
    let mut written = 0;
    while start.elapsed() < Duration::from_secs(1) {
        let id = UserId::new(process * 1_000_000 + written);
        let user = User::new(id, uuid::Uuid::from_u128(1), id.to_string(), Timestamp::MIN);
        pollster::block_on(store.put_user(user)).unwrap();
        written += 1;
    }
    println!("\nwritten {written}");
}

/// What the child processes run; nothing by itself.
#[test]
fn child_process() {
    if let Some(path) = std::env::var_os(FILE) {
        let number = std::env::var(NUMBER).unwrap().parse().unwrap();
        write_for_a_second(&PathBuf::from(path), number);
    }
}

#[test]
fn processes_share_a_file_and_none_is_turned_away() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tokens.db");
    // They also create it at the same time.
    let children: Vec<_> = (0..PROCESSES)
        .map(|number| {
            Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "child_process", "--nocapture"])
                .env(FILE, &path)
                .env(NUMBER, number.to_string())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    let store = SqliteStore::open(&path).unwrap();
    for (number, child) in (0..).zip(children) {
        let told = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
        let written = told.lines().find_map(|line| line.strip_prefix("written "));
        let written: i64 = written.expect(&told).parse().unwrap();
        println!("process {number} wrote {written}");
        assert!(written > 0);
        for place in 0..written {
            let id = UserId::new(number * 1_000_000 + place);
            assert_eq!(pollster::block_on(store.is_active(id)).unwrap(), Some(true), "{id}");
        }
    }
    store.check().unwrap();
}
