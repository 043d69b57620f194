//! Backups that are made while eight callers write: each can be opened, is sound, and is a moment of the
//! history, with everything that was acknowledged before it began and nothing that began after it ended.
//! 20 of them, or as many as `TOKENKEEP_BACKUPS` says.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use tokenkeep::{Caller, Intent, TokenChange, TokenService};
use tokenkeep_sqlite::{CheckOnOpen, Durability, SqliteOptions, SqliteStore};
use tokenkeep_tests::history::{OWNER, prepare};
use tokenkeep_tests::trail::{tokens, trail_is_whole};

const CALLERS: usize = 8;

fn backups() -> usize {
    let backups = std::env::var("TOKENKEEP_BACKUPS").ok();
    backups.and_then(|backups| backups.parse().ok()).unwrap_or(20)
}

/// When something began and ended, on a clock that all share.
#[derive(Debug, Clone, Copy)]
struct Span {
    began: u64,
    ended: u64,
}

#[derive(Default)]
struct Clock(AtomicU64);

impl Clock {
    fn tick(&self) -> u64 {
        self.0.fetch_add(1, Ordering::SeqCst)
    }

    fn span<T>(&self, act: impl FnOnce() -> T) -> (Span, T) {
        let began = self.tick();
        let done = act();
        (Span { began, ended: self.tick() }, done)
    }
}

fn name(caller: usize) -> String {
    format!("caller-{caller}")
}

/// The changes of one caller's token in turn: its revision is one more than how many there are.
fn write(service: &TokenService, clock: &Clock, caller: usize, enough: &AtomicBool) -> Vec<Span> {
    let mut changes = Vec::new();
    let name = name(caller);
    while !enough.load(Ordering::SeqCst) {
        let change = TokenChange::new().description(changes.len().to_string());
        let update = service.partial_update(&Caller::System, &name, change);
        let (span, done) = clock.span(|| pollster::block_on(update));
        done.unwrap();
        changes.push(span);
    }
    changes
}

/// Whether these are a moment of the history: how many changes of each caller are there, when the copy
/// was made, and all changes.
fn is_a_moment(there: &[usize], copied: Span, history: &[Vec<Span>]) -> bool {
    let split = || history.iter().zip(there).map(|(changes, there)| changes.split_at(*there));
    let last_began = split().flat_map(|(kept, _)| kept).map(|span| span.began).max();
    let first_ended = split().flat_map(|(_, missing)| missing).map(|span| span.ended).min();
    let (last_began, first_ended) = (last_began.unwrap_or(0), first_ended.unwrap_or(u64::MAX));
    // What is missing had not ended when what is there began, nor when the copy began.
    last_began < first_ended && copied.began < first_ended && last_began < copied.ended
}

/// How many changes of each caller are in a copy; `None` when it is not sound.
fn changes_in(path: &Path) -> Option<Vec<usize>> {
    let store = SqliteOptions::new().check(CheckOnOpen::Always).open(path).ok()?;
    store.check().ok()?;
    pollster::block_on(trail_is_whole(&store));
    let rows = pollster::block_on(tokens(&store));
    let revisions = rows.iter().map(|token| usize::try_from(token.revision.get()).unwrap());
    (rows.len() == CALLERS).then(|| revisions.map(|revision| revision - 1).collect())
}

/// Copies so often while callers write; whether each copy is a moment of the history.
fn copies(count: usize, copy: impl Fn(&SqliteStore, &Path, &Path) + Sync) -> Vec<bool> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tokens.db");
    let store = SqliteOptions::new().durability(Durability::Normal).open(&path).unwrap();
    let (store, clock, enough) = (Arc::new(store), Clock::default(), AtomicBool::new(false));
    let service = pollster::block_on(async {
        prepare(&*store).await;
        TokenService::builder(store.clone(), store.clone()).open().await.unwrap()
    });
    for caller in 0..CALLERS {
        let token = TokenChange::new().identifier(name(caller)).intent(Intent::Api).owner(OWNER);
        pollster::block_on(service.create(&Caller::System, token)).unwrap();
    }
    let history = Mutex::new(vec![Vec::new(); CALLERS]);
    let mut made = Vec::new();
    thread::scope(|scope| {
        for caller in 0..CALLERS {
            let (service, clock, enough, history) = (&service, &clock, &enough, &history);
            scope.spawn(move || {
                let changes = write(service, clock, caller, enough);
                history.lock().unwrap()[caller] = changes;
            });
        }
        for number in 0..count {
            let to = directory.path().join(format!("backup-{number}.db"));
            let (copied, ()) = clock.span(|| copy(&store, &path, &to));
            assert_eq!(fs::metadata(&to).unwrap().permissions().mode() & 0o777, 0o600);
            made.push((copied, to));
        }
        enough.store(true, Ordering::SeqCst);
    });
    let history = history.into_inner().unwrap();
    let all: usize = history.iter().map(Vec::len).sum();
    println!("{count} copies beside {all} updates");
    let judge = |(copied, to): &(Span, PathBuf)| {
        changes_in(to).is_some_and(|there| is_a_moment(&there, *copied, &history))
    };
    made.iter().map(judge).collect()
}

#[test]
fn a_backup_under_load_is_a_moment_of_the_history() {
    let moments = copies(backups(), |store, _, to| store.backup(to).unwrap());
    assert!(moments.iter().all(|is_moment| *is_moment), "{moments:?}");
}

/// The control: a copy of the file alone lacks what is in the log.
#[test]
fn a_copy_of_the_file_alone_is_found_out() {
    let moments = copies(1, |_, path, to| _ = fs::copy(path, to).unwrap());
    assert_eq!(moments, [false]);
}
