//! Kills at each system call by which one operation writes, by way of strace.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use tokenkeep::{Token, TokenId};
use tokenkeep_sqlite::SqliteStore;
use tokenkeep_tests::trail::{tokens, trail_is_whole};

use crate::aftermath::open;
use crate::child::{PLACE, WORK, WORKS, fill};

/// Says so where nobody captures it.
pub(crate) fn not_run(what: &str) {
    let _ = writeln!(io::stderr(), "NOT RUN: {what}");
}

pub(crate) fn has_strace() -> bool {
    let found = Command::new("strace").arg("-V").output().is_ok_and(|told| told.status.success());
    if !found {
        not_run("kills and faults at every write, which need strace");
        assert!(std::env::var_os("CI").is_none(), "strace is missing");
    }
    found
}

/// Does `work` on the file, and is killed at the call of that number. Returns whether the work was
/// acknowledged, and whether the process came to its end.
fn killed_at(path: &Path, work: &str, call: &str, number: u32) -> (bool, bool) {
    let child = Command::new("strace")
        .args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={call}")])
        .args(["-e", &format!("inject={call}:signal=SIGKILL:when={number}")])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "child::child_process", "--nocapture"])
        .env(PLACE, path)
        .env(WORK, work)
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&child.stdout);
    (told.lines().any(|line| line == "done"), child.status.success())
}

type Rows = BTreeMap<TokenId, Arc<Token>>;

fn rows_of(path: &Path) -> Rows {
    let store = open(path);
    pollster::block_on(trail_is_whole(&*store));
    pollster::block_on(tokens(&*store)).into_iter().map(|token| (token.id, token)).collect()
}

/// How many tokens differ.
fn differences(one: &Rows, other: &Rows) -> usize {
    let changed = one.iter().filter(|(id, token)| other.get(id) != Some(token)).count();
    changed + other.keys().filter(|id| !one.contains_key(id)).count()
}

/// Kills `work` at each of its calls, and looks that all of it is there or nothing, and all of it once
/// it was acknowledged. Returns how many kills there were.
fn kill_at_each(filled: &Path, work: &str, call: &str) -> u32 {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tokens.db");
    let copy = || {
        let _ = fs::remove_file(path.with_extension("db-wal"));
        let _ = fs::remove_file(path.with_extension("db-shm"));
        fs::copy(filled, &path).unwrap();
    };
    copy();
    let before = rows_of(&path);
    // Later than any.
    assert_eq!(killed_at(&path, work, call, 65_535), (true, true));
    let all = differences(&before, &rows_of(&path));
    assert!(all > 0, "{work} does nothing");
    for number in 1.. {
        copy();
        let (acknowledged, ended) = killed_at(&path, work, call, number);
        let done = differences(&before, &rows_of(&path));
        assert!(done == 0 || done == all, "{work}, {call} {number}: {done} of {all}");
        assert!(done == all || !acknowledged, "{work}, {call} {number}: acknowledged, and lost");
        if ended {
            return number - 1;
        }
    }
    unreachable!()
}

#[test]
fn an_operation_that_is_killed_at_any_write_is_done_or_not() {
    if !has_strace() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let filled = directory.path().join("filled.db");
    pollster::block_on(fill(&filled));
    for work in WORKS {
        let kills = ["pwrite64", "fsync"].map(|call| kill_at_each(&filled, work, call));
        println!("{work}: killed at {} writes and {} flushes", kills[0], kills[1]);
        assert!(kills.iter().all(|kills| *kills > 0), "{work} was never killed: {kills:?}");
    }
}

#[test]
fn a_new_file_is_made_or_not_whenever_that_is_killed() {
    if !has_strace() {
        return;
    }
    for call in ["pwrite64", "fsync", "?rename,renameat,renameat2", "?unlink,unlinkat"] {
        let (kills, parts) = kill_at_each_of_a_new_file("open", call);
        println!("a new file: killed at {kills} calls of {call}");
        assert!(kills > 0 && parts == 0, "{call}: {parts} of {kills} left a part of a file");
    }
}

/// The control: a file that is written where it is to be.
#[test]
fn a_new_file_that_is_written_in_its_place_is_found_out() {
    if has_strace() {
        let (_, parts) = kill_at_each_of_a_new_file("open in place", "pwrite64");
        assert!(parts > 0);
    }
}

/// Kills who makes a new file at each of these calls. Returns how many kills there were, and how many
/// left a file that cannot be opened.
fn kill_at_each_of_a_new_file(work: &str, call: &str) -> (u32, u32) {
    let mut parts = 0;
    let undisturbed = tempfile::tempdir().unwrap();
    let path = undisturbed.path().join("tokens.db");
    assert_eq!(killed_at(&path, work, call, 65_535), (true, true));
    for number in 1.. {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tokens.db");
        let (acknowledged, ended) = killed_at(&path, work, call, number);
        assert!(path.exists() || !acknowledged, "{call} {number}");
        let is_whole = || SqliteStore::open(&path).is_ok_and(|store| store.check().is_ok());
        parts += u32::from(path.exists() && !is_whole());
        // Whatever was left, the next makes one.
        assert!(path.exists() || rows_of(&path).is_empty(), "{call} {number}");
        if ended {
            return (number - 1, parts);
        }
    }
    unreachable!()
}
