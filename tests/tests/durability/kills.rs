//! Kills at any moment.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use tokenkeep::{Token, TokenService, TokenStore, UserStore};
use tokenkeep_tests::history::{Draw, Judged, Told, judge_with_what_is_left, prepare};

use tokenkeep_tests::trail::{tokens, trail_is_whole};

use crate::aftermath::open;
use crate::child::{HASTY, PANICKED, PLACE, TOGETHER, WORK};

fn kills() -> u64 {
    let kills = std::env::var("TOKENKEEP_KILLS").ok();
    kills.and_then(|kills| kills.parse().ok()).unwrap_or(200)
}

/// Has a command that runs this program be a child that does `work` on the file.
pub(crate) fn as_child(mut command: Command, path: &Path, work: &str, hasty: bool) -> Command {
    command.args(["--exact", "child::child_process", "--nocapture"]);
    command.env(PLACE, path).env(WORK, work).stdout(Stdio::piped());
    if hasty {
        command.env(HASTY, "1");
    }
    command
}

/// All that a child tells that comes to its end by itself.
pub(crate) fn told_by(mut command: Command) -> Vec<String> {
    let mut child = command.spawn().unwrap();
    let lines = lines_of(child.stdout.take().unwrap());
    assert!(child.wait().unwrap().success(), "{command:?}: {lines:?}");
    lines
}

/// Starts a child that does everything, kills it some moments after its first answer, and returns
/// the lines that it wrote.
fn killed(path: &Path, moments: Duration, hasty: bool) -> Vec<String> {
    let own = Command::new(std::env::current_exe().unwrap());
    let mut child = as_child(own, path, "everything", hasty).spawn().unwrap();
    let output = child.stdout.take().unwrap();
    let (tell, answered) = mpsc::channel();
    let reader = thread::spawn(move || {
        let watch = |line: &String| {
            if line.starts_with("ended ") {
                let _ = tell.send(());
            }
        };
        lines(output).inspect(watch).collect()
    });
    answered.recv().expect("the child has failed");
    thread::sleep(moments);
    child.kill().unwrap();
    assert!(!child.wait().unwrap().success());
    reader.join().unwrap()
}

/// The lines that a process writes, the last one perhaps cut off.
fn lines(output: ChildStdout) -> impl Iterator<Item = String> {
    let lines = BufReader::new(output).split(b'\n').map_while(Result::ok);
    lines.map(|line| String::from_utf8(line).unwrap())
}

/// All that a process writes.
pub(crate) fn lines_of(output: ChildStdout) -> Vec<String> {
    lines(output).collect()
}

/// The highest number behind a word.
fn last(lines: &[String], word: &str) -> u64 {
    let numbers = lines.iter().filter_map(|line| line.strip_prefix(word)?.trim().parse().ok());
    numbers.max().unwrap_or(0)
}

/// The lines of a child that does everything for a while, and is not killed.
fn not_killed(path: &Path, hasty: bool) -> Vec<String> {
    told_by(as_child(
        Command::new(std::env::current_exe().unwrap()),
        path,
        "everything for a while",
        hasty,
    ))
}

/// Kills one child, and judges what it left behind.
async fn kill_once(number: u64, hasty: bool) -> Judged {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tokens.db");
    let moments = Duration::from_micros(Draw::new(number).below(60_000));
    let lines = killed(&path, moments, hasty);
    judge_lines(&path, &lines, !hasty).await
}

/// Judges what is left together with the lines that were written. Where the store was to lose nothing,
/// all the rest has to be in order, too.
pub(crate) async fn judge_lines(path: &Path, lines: &[String], keeps_all: bool) -> Judged {
    let store = open(path);
    judge_rows(store.clone(), store, lines, keeps_all).await
}

/// The same of any store.
pub(crate) async fn judge_rows(
    store: Arc<dyn TokenStore>,
    users: Arc<dyn UserStore>,
    lines: &[String],
    keeps_all: bool,
) -> Judged {
    // A line that was cut off tells nothing.
    let told: Vec<Told> = lines.iter().filter_map(|line| line.parse().ok()).collect();
    let rows = tokens(&*store).await;
    let service = TokenService::builder(store.clone(), users).open().await.unwrap();
    let judged = judge_with_what_is_left(service, "killed", told).await;
    if keeps_all {
        let panicked = lines.iter().find(|line| line.starts_with(PANICKED));
        assert_eq!(panicked, None);
        trail_is_whole(&*store).await;
        reconciles_are_whole(&rows, last(lines, "reconciled "));
        sweeps_are_kept(&rows, last(lines, "swept "));
        rotations_are_kept(&rows, last(lines, "rotated "));
    }
    judged
}

/// All managed tokens are of one round, no older than the last that was acknowledged.
fn reconciles_are_whole(rows: &[Arc<Token>], acknowledged: u64) {
    let managed = rows.iter().filter(|token| token.managed.is_some());
    let rounds: Vec<u64> = managed.map(|token| token.description.parse().unwrap()).collect();
    let Some(first) = rounds.first() else {
        assert_eq!(acknowledged, 0, "all are lost");
        return;
    };
    assert_eq!(rounds.len() as u64, TOGETHER, "some are lost");
    assert!(rounds.iter().all(|round| round == first), "half of a reconcile: {rounds:?}");
    assert!(*first >= acknowledged, "{acknowledged} was acknowledged, and {first} is there");
}

/// What an acknowledged sweep has deleted is not there.
fn sweeps_are_kept(rows: &[Arc<Token>], acknowledged: u64) {
    let expired =
        rows.iter().filter_map(|token| token.identifier.as_str().strip_prefix("expired-"));
    let rounds = expired.map(|name| name.split_once('-').unwrap().0.parse::<u64>().unwrap());
    let back: Vec<_> = rounds.filter(|round| *round <= acknowledged).collect();
    assert!(back.is_empty(), "swept, and there: {back:?} of {acknowledged}");
}

/// The token is at the last revision that was acknowledged, or behind it.
fn rotations_are_kept(rows: &[Arc<Token>], acknowledged: u64) {
    let rotated = rows.iter().find(|token| token.identifier.as_str() == "rotated");
    let revision = rotated.map_or(0, |token| token.revision.get().unsigned_abs());
    assert!(revision >= acknowledged, "{acknowledged} was acknowledged, and {revision} is there");
}

fn all(kills: u64, hasty: bool) -> Judged {
    let mut all = Judged::default();
    for number in 0..kills {
        all.add_all(pollster::block_on(kill_once(number, hasty)));
    }
    all
}

#[test]
fn a_killed_process_leaves_what_it_has_acknowledged() {
    let start = Instant::now();
    let judged = all(kills(), false);
    println!("{} kills: {judged:?} in {:.1?}", kills(), start.elapsed());
    assert_eq!(judged.impossible, 0, "{judged:?}");
    assert!(judged.linearizable >= kills(), "{judged:?}");
}

/// The control: such a store is what kills are to find.
#[test]
fn a_store_that_acknowledges_first_is_found_out() {
    assert!(all(10, true).impossible > 0);
}

/// It is the kills that find it out: without them, nobody can tell.
#[test]
fn a_store_that_acknowledges_first_loses_nothing_unless_it_is_killed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tokens.db");
    pollster::block_on(prepare(&*open(&path)));
    let lines = not_killed(&path, true);
    let judged = pollster::block_on(judge_lines(&path, &lines, true));
    assert_eq!(judged.impossible, 0, "{judged:?}");
    assert!(judged.linearizable > 0);
}
