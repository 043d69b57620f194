//! Storage that fails: one write, or one flush, returns an error while everything is written.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use tokenkeep_tests::history::{Judged, Told, prepare};
use tokenkeep_tests::trail::{tokens, trail_is_whole};

use crate::aftermath::open;
use crate::at_every_write::{has_strace, not_run};
use crate::child::{FAILED, PLACE, WORK};
use crate::kills::{as_child, judge_lines, told_by};
use crate::power_cuts::{IMPOSSIBLE, is_root};

/// Up to which write, or flush, each is made to fail in turn.
fn last() -> u32 {
    let last = std::env::var("TOKENKEEP_FAULTS").ok();
    last.and_then(|last| last.parse().ok()).unwrap_or(50)
}

/// How strace marks a call that it has let fail, in a line among those that the child tells: before
/// any that comes of it.
const INJECTED: &str = "(INJECTED)";

/// What a child tells that meets an error at that call on the file or its log.
fn meets(path: &Path, call: &str, error: &str, number: u32, hasty: bool) -> Vec<String> {
    let mut command = Command::new("strace");
    command
        .args(["-f", "-qq", "-Z", "-o", "/dev/stdout", "-e", &format!("trace={call}")])
        .args(["-e", &format!("inject={call}:error={error}:when={number}")])
        .arg("-P")
        .arg(path)
        .arg("-P")
        .arg(path.with_extension("db-wal"))
        .arg(std::env::current_exe().unwrap());
    told_by(as_child(command, path, "everything for a while", hasty))
}

/// How many writes were acknowledged that began after the first line with a mark.
fn acknowledged_after(lines: &[String], mark: &str) -> usize {
    let behind = lines.iter().skip_while(|line| !line.contains(mark));
    let told: Vec<Told> = behind.filter_map(|told| told.parse().ok()).collect();
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
    use tokenkeep_conformance::{Operation, Outcome, Version};
    let begun = |call| Told::Begun { call, token: 1, operation: Operation::SetKey(1), at: call };
    let ended = |call| {
        let first = Version { token: 1, revision: tokenkeep::Revision::FIRST };
        let outcome = Some(Outcome::Written(first));
        Told::Ended { call, outcome, at: call }
    };
    let before = [begun(1), begun(2), ended(1)].map(|told| told.to_string());
    let after = [ended(2), begun(3), ended(3), begun(4)].map(|told| told.to_string());
    let mark = "4711  fsync(5) = -1 EIO (Input/output error) (INJECTED)";
    let lines = [&before[..], &[mark.into()], &after].concat();
    assert_eq!(acknowledged_after(&lines, INJECTED), 1);
}

/// What became of stores that met an error.
#[derive(Debug, Default)]
struct Met {
    not_opened: u32,
    /// Did not write any more.
    stopped: u32,
    /// Told that the disk was full.
    full: u32,
}

/// Lets each of the first calls fail in turn, and judges what is left. Where `all_stop`, nothing that
/// begins behind the call may be acknowledged.
fn let_each_fail(call: &str, error: &str, last: u32, all_stop: bool) -> Met {
    let (mut met, mut all) = (Met::default(), Judged::default());
    for number in 1..=last {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tokens.db");
        pollster::block_on(prepare(&*open(&path)));
        let lines = meets(&path, call, error, number, false);
        let has = |told: &dyn Fn(&str) -> bool| u32::from(lines.iter().any(|line| told(line)));
        assert_eq!(has(&|line| line.contains(INJECTED)), 1, "{call} {error} {number}: never met");
        let unavailable = format!("{FAILED}Unavailable");
        met.not_opened += has(&|line| line.starts_with("not opened: "));
        met.stopped += has(&|line| line == unavailable);
        met.full += has(&|line| line == format!("{FAILED}Full"));
        let mark = if all_stop { INJECTED } else { &unavailable };
        assert_eq!(acknowledged_after(&lines, mark), 0, "{call} {error} {number}");
        all.add_all(pollster::block_on(judge_lines(&path, &lines, true)));
    }
    println!("{call} {error}: {all:?}, {met:?}");
    assert_eq!(all.impossible, 0, "{call} {error}: {all:?}");
    met
}

#[test]
fn nothing_is_written_on_top_of_a_failed_write() {
    if has_strace() {
        let met = let_each_fail("pwrite64", "EIO", last(), true);
        assert!(met.stopped > 0 && met.stopped + met.not_opened == last(), "{met:?}");
    }
}

#[test]
fn nothing_is_written_on_top_of_a_failed_flush() {
    if has_strace() {
        let met = let_each_fail("fsync", "EIO", last(), true);
        assert!(met.stopped > 0 && met.stopped + met.not_opened == last(), "{met:?}");
    }
}

#[test]
fn a_file_system_that_has_become_read_only_stops_the_store() {
    if has_strace() {
        let met = let_each_fail("pwrite64", "EROFS", 10, true);
        assert!(met.stopped > 0 && met.stopped + met.not_opened == 10, "{met:?}");
    }
}

/// A read of the writing connection stops the store, another one only fails.
#[test]
fn a_failed_read_is_told_and_nothing_is_lost() {
    if has_strace() {
        let met = let_each_fail("pread64", "EIO", last(), false);
        assert!(met.stopped > 0 && met.not_opened > 0, "{met:?}");
    }
}

#[test]
fn a_full_disk_stops_nobody_else() {
    if has_strace() {
        let met = let_each_fail("pwrite64", "ENOSPC", last(), false);
        assert!(met.stopped == 0 && met.full > 0, "{met:?}");
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
        let lost = pollster::block_on(judge_lines(&path, &lines, false)).impossible;
        acknowledged_after(&lines, INJECTED) > 0 && lost > 0
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
    let can_be_done = |output: &Output| {
        // It tells nothing where not even the namespace can be made.
        output.status.code() != Some(IMPOSSIBLE)
            && (output.status.success() || !output.stdout.is_empty())
    };
    let output = is_root().then(|| command.output()).and_then(Result::ok).filter(can_be_done);
    let Some(output) = output else {
        not_run("a disk that is really full, which needs root and unshare");
        return;
    };
    assert!(output.status.success(), "{output:?}");
    let told = String::from_utf8(output.stdout).unwrap();
    let (lines, then) = told.split_at(told.rfind("not opened: ").expect(&told));
    let created: Vec<_> = lines.lines().filter_map(|line| line.strip_prefix("created ")).collect();
    let failed: Vec<_> = lines.lines().filter_map(|line| line.strip_prefix("failed ")).collect();
    assert!(created.len() > 60 && failed.len() == 1, "{told}");
    assert!(failed[0].contains("kind: Full"), "{failed:?}");
    assert!(lines.contains("read true"), "{told}");
    assert!(then.contains("NotWritable"), "{then}");

    let store = open(&copy.join("tokens.db"));
    let rows = pollster::block_on(tokens(&*store));
    let mut names: Vec<_> = rows.iter().map(|token| token.identifier.as_str()).collect();
    let mut wanted: Vec<_> = created.iter().map(|number| format!("token-{number}")).collect();
    names.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(names, wanted);
    pollster::block_on(trail_is_whole(&*store));
}
