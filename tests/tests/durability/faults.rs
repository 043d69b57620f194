//! Storage that fails: one write, or one flush, returns an error while everything is written.

use std::path::Path;
use std::process::{Command, Stdio};

use tokenkeep_tests::history::{Judged, Told, prepare};

use crate::aftermath::open;
use crate::at_every_write::has_strace;
use crate::child::{PLACE, WORK};
use crate::kills::{judge_lines, lines_of};

/// Up to which write, or flush, each is made to fail in turn.
fn last() -> u32 {
    let last = std::env::var("TOKENKEEP_FAULTS").ok();
    last.and_then(|last| last.parse().ok()).unwrap_or(50)
}

/// What a child tells that meets an error at that call.
fn meets(path: &Path, call: &str, error: &str, number: u32) -> Vec<String> {
    let mut child = Command::new("strace")
        .args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={call}")])
        .args(["-e", &format!("inject={call}:error={error}:when={number}")])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "child::child_process", "--nocapture"])
        .env(PLACE, path)
        .env(WORK, "everything for a while")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = lines_of(child.stdout.take().unwrap());
    assert!(child.wait().unwrap().success(), "{call} {error} {number}: {lines:?}");
    lines
}

/// How many writes were acknowledged that began after a line.
fn acknowledged_after(lines: &[String], line: &str) -> usize {
    let told = lines.iter().skip_while(|told| *told != line).filter_map(|told| told.parse().ok());
    let told: Vec<Told> = told.collect();
    let begun: Vec<u64> = told
        .iter()
        .filter_map(|told| match told {
            Told::Begun { call, .. } => Some(*call),
            Told::Ended { .. } => None,
        })
        .collect();
    let is_write = |told: &&Told| {
        use tokenkeep_conformance::Outcome::{Deleted, Written};
        match told {
            Told::Ended { call, outcome: Some(Written(_) | Deleted), .. } => begun.contains(call),
            _ => false,
        }
    };
    told.iter().filter(is_write).count()
}

/// Lets each of the first calls fail in turn, and judges what is left. Returns how often the store
/// stopped, and how often it was not even opened.
fn let_each_fail(call: &str, error: &str) -> (u32, u32) {
    let (mut stopped, mut not_opened, mut all) = (0, 0, Judged::default());
    for number in 1..=last() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tokens.db");
        pollster::block_on(prepare(&*open(&path)));
        let lines = meets(&path, call, error, number);
        if lines.iter().any(|line| line.starts_with("not opened: ")) {
            not_opened += 1;
        }
        if lines.iter().any(|line| line == "unavailable") {
            stopped += 1;
            assert_eq!(acknowledged_after(&lines, "unavailable"), 0, "{call} {error} {number}");
        }
        all.add_all(pollster::block_on(judge_lines(&path, &lines, true)));
    }
    println!("{call} {error}: {all:?}, {stopped} stopped, {not_opened} not opened");
    assert_eq!((all.impossible, all.undecided), (0, 0), "{call} {error}: {all:?}");
    (stopped, not_opened)
}

#[test]
fn nothing_is_written_on_top_of_a_failed_write() {
    if has_strace() {
        let (stopped, not_opened) = let_each_fail("pwrite64", "EIO");
        assert!(stopped > 0 && stopped + not_opened == last(), "{stopped} {not_opened}");
    }
}

#[test]
fn nothing_is_written_on_top_of_a_failed_flush() {
    if has_strace() {
        let (stopped, not_opened) = let_each_fail("fsync", "EIO");
        assert!(stopped > 0 && stopped + not_opened == last(), "{stopped} {not_opened}");
    }
}

#[test]
fn a_full_disk_stops_nobody_else() {
    if has_strace() {
        let (stopped, _) = let_each_fail("pwrite64", "ENOSPC");
        assert_eq!(stopped, 0);
    }
}
