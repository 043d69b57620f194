//! Storage that fails: one write, or one flush, returns an error while everything is written.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use tokenkeep_tests::history::{Judged, Told, prepare};
use tokenkeep_tests::trail::{tokens, trail_is_whole};

use crate::aftermath::open;
use crate::at_every_write::{has_strace, not_run};
use crate::child::{HASTY, PLACE, WORK};
use crate::kills::{judge_lines, lines_of};
use crate::power_cuts::is_root;

/// Up to which write, or flush, each is made to fail in turn.
fn last() -> u32 {
    let last = std::env::var("TOKENKEEP_FAULTS").ok();
    last.and_then(|last| last.parse().ok()).unwrap_or(50)
}

/// What a child tells that meets an error at that call on the file or its log.
fn meets(path: &Path, call: &str, error: &str, number: u32, hasty: bool) -> Vec<String> {
    let mut command = Command::new("strace");
    command
        .args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={call}")])
        .args(["-e", &format!("inject={call}:error={error}:when={number}")])
        .arg("-P")
        .arg(path)
        .arg("-P")
        .arg(path.with_extension("db-wal"))
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "child::child_process", "--nocapture"])
        .env(PLACE, path)
        .env(WORK, "everything for a while")
        .stdout(Stdio::piped());
    if hasty {
        command.env(HASTY, "1");
    }
    let mut child = command.spawn().unwrap();
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

/// The control: what was begun and done after the line is counted, and nothing else.
#[test]
fn an_acknowledgement_after_a_fault_is_found_out() {
    use tokenkeep_conformance::{Operation, Outcome};
    let begun = |call| Told::Begun { call, token: 1, operation: Operation::SetKey(1), at: call };
    let ended = |call| {
        let outcome = Some(Outcome::Written(tokenkeep::Revision::FIRST));
        Told::Ended { call, outcome, at: call }
    };
    let before = [begun(1), begun(2), ended(1)].map(|told| told.to_string());
    let after = [ended(2), begun(3), ended(3), begun(4)].map(|told| told.to_string());
    let lines = [&before[..], &["unavailable".into()], &after].concat();
    assert_eq!(acknowledged_after(&lines, "unavailable"), 1);
}

/// Lets each of the first calls fail in turn, and judges what is left. Returns how often the store
/// stopped, and how often it was not even opened.
fn let_each_fail(call: &str, error: &str, last: u32) -> (u32, u32) {
    let (mut stopped, mut not_opened, mut all) = (0, 0, Judged::default());
    for number in 1..=last {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tokens.db");
        pollster::block_on(prepare(&*open(&path)));
        let lines = meets(&path, call, error, number, false);
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
        let (stopped, not_opened) = let_each_fail("pwrite64", "EIO", last());
        assert!(stopped > 0 && stopped + not_opened == last(), "{stopped} {not_opened}");
    }
}

#[test]
fn nothing_is_written_on_top_of_a_failed_flush() {
    if has_strace() {
        let (stopped, not_opened) = let_each_fail("fsync", "EIO", last());
        assert!(stopped > 0 && stopped + not_opened == last(), "{stopped} {not_opened}");
    }
}

#[test]
fn a_file_system_that_has_become_read_only_stops_the_store() {
    if has_strace() {
        let (stopped, not_opened) = let_each_fail("pwrite64", "EROFS", 10);
        assert!(stopped > 0 && stopped + not_opened == 10, "{stopped} {not_opened}");
    }
}

/// A read of the writing connection stops the store, another one only fails.
#[test]
fn a_failed_read_is_told_and_nothing_is_lost() {
    if has_strace() {
        let (stopped, not_opened) = let_each_fail("pread64", "EIO", last());
        assert!(stopped > 0 && not_opened > 0, "{stopped} {not_opened}");
    }
}

#[test]
fn a_full_disk_stops_nobody_else() {
    if has_strace() {
        let (stopped, _) = let_each_fail("pwrite64", "ENOSPC", last());
        assert_eq!(stopped, 0);
    }
}

/// The control: a store that acknowledges first goes on after a fault.
#[test]
fn a_store_that_goes_on_after_a_fault_is_found_out() {
    if !has_strace() {
        return;
    }
    let is_found_out = |number| {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tokens.db");
        pollster::block_on(prepare(&*open(&path)));
        let lines = meets(&path, "fsync", "EIO", number, true);
        pollster::block_on(judge_lines(&path, &lines, false)).impossible > 0
    };
    assert!((5..15).any(is_found_out));
}

/// A disk that is really full, and has room again; then one that nothing can be written to.
#[test]
fn a_full_disk_fails_what_does_not_fit_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let (mounted, copy) = (directory.path().join("mounted"), directory.path().join("copy"));
    fs::create_dir(&mounted).unwrap();
    fs::create_dir(&copy).unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/durability/full_disk.sh");
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", script]).arg(&mounted);
    command.arg(std::env::current_exe().unwrap()).arg(&copy);
    command.env(PLACE, mounted.join("tokens.db")).env(WORK, "fill the disk");
    let output = command.stderr(Stdio::null()).output();
    let Some(output) = output.ok().filter(|output| is_root() && output.status.success()) else {
        not_run("a disk that is really full, which needs root and unshare");
        return;
    };
    let told = String::from_utf8(output.stdout).unwrap();
    let (lines, then) = told.split_at(told.rfind("not opened: ").expect(&told));
    let created: Vec<_> = lines.lines().filter_map(|line| line.strip_prefix("created ")).collect();
    let failed: Vec<_> = lines.lines().filter_map(|line| line.strip_prefix("failed ")).collect();
    assert!(created.len() > 60 && failed.len() == 1, "{told}");
    assert!(failed[0].contains("kind: Full"), "{failed:?}");
    assert!(lines.contains("read true"), "{told}");
    assert!(then.contains("Unavailable"), "{then}");

    let store = open(&copy.join("tokens.db"));
    let rows = pollster::block_on(tokens(&*store));
    let mut names: Vec<_> = rows.iter().map(|token| token.identifier.as_str()).collect();
    let mut wanted: Vec<_> = created.iter().map(|number| format!("token-{number}")).collect();
    names.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(names, wanted);
    pollster::block_on(trail_is_whole(&*store));
}
