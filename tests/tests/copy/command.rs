//! The example `copy_store`, as its users run it.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use tokenkeep::{TokenQuery, TokenStore, Window};
use tokenkeep_sqlite::{Durability, SqliteOptions, SqliteStore};
use tokenkeep_tests::backend::Backend;
use tokenkeep_tests::example;

use crate::world::World;

fn copy_store() -> Command {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    let mut command = Command::new(BINARY.get_or_init(|| example::binary("copy_store")));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn sqlite(path: &Path) -> String {
    format!("sqlite:{}", path.display())
}

fn open(path: &Path) -> SqliteStore {
    SqliteOptions::new().durability(Durability::Normal).open(path).unwrap()
}

fn world_in(path: &Path) -> World {
    let store = open(path);
    pollster::block_on(World::in_stores(&store, &store))
}

/// A file that holds a world.
fn source(path: &Path, size: u32) {
    let store = open(path);
    pollster::block_on(World::of_size(size).put(&store, &store));
}

fn succeeded(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// The one line that is said about what cannot be done.
fn refused(output: &Output) -> String {
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{output:?}");
    let line = String::from_utf8(output.stderr.clone()).unwrap();
    assert!(line.starts_with("copy_store: ") && line.lines().count() == 1, "{line}");
    line
}

/// How many tokens are copied that is killed: as many as `TOKENKEEP_COPY_TOKENS` says.
fn size() -> u32 {
    std::env::var("TOKENKEEP_COPY_TOKENS").map_or(8_000, |size| size.parse().unwrap())
}

fn count(store: &dyn TokenStore) -> u64 {
    let window = Window::After { cursor: None, limit: 0 };
    let query = TokenQuery { window, count: true, ..TokenQuery::default() };
    pollster::block_on(store.list(&query)).unwrap().total.unwrap()
}

/// Kills a copy when half of the tokens have arrived, and starts it again.
fn copy_in_two_goes(from: &str, to: &str, arrived: impl Fn() -> u64) {
    let mut child = copy_store().args([from, to]).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while arrived() < u64::from(size()) / 2 {
        assert!(Instant::now() < deadline);
        thread::sleep(Duration::from_millis(1));
    }
    // SIGKILL.
    child.kill().unwrap();
    let killed = child.wait_with_output().unwrap();
    assert_eq!(killed.status.code(), None, "it was over: {killed:?}");

    let before = arrived();
    let said = succeeded(&copy_store().args([from, to]).output().unwrap());
    println!("{before} tokens were there; then:\n{said}");
    let new = u64::from(size()) - before;
    // What was sent to a server may have arrived after it was counted.
    let is_new = |line: &str| {
        let start = format!("tokens: {} are equal, ", size());
        let new_ones = line.strip_prefix(&start).and_then(|rest| rest.strip_suffix(" of them new"));
        new_ones.is_some_and(|new_ones| new_ones.parse::<u64>().unwrap() <= new)
    };
    assert!(said.lines().any(is_new), "{said}");
}

/// How many tokens have arrived in a file, which may not be there yet.
fn arrived_in(path: &Path) -> u64 {
    if path.exists() { count(&open(path)) } else { 0 }
}

#[test]
fn a_copy_that_was_killed_is_started_again_and_is_equal() {
    let directory = tempfile::tempdir().unwrap();
    let [from, to] = ["old.db", "new.db"].map(|name| directory.path().join(name));
    source(&from, size());
    let expected = world_in(&from);
    copy_in_two_goes(&sqlite(&from), &sqlite(&to), || arrived_in(&to));
    assert!(world_in(&to) == expected, "the copy is not equal");
    let mode = to.metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(world_in(&from) == expected, "the source was changed");
}

#[test]
fn a_copy_to_postgres_and_back_that_was_killed_twice_is_equal() {
    let Some(postgres) = Backend::postgres() else { return };
    let url = postgres.url();
    let directory = tempfile::tempdir().unwrap();
    let [from, to] = ["old.db", "new.db"].map(|name| directory.path().join(name));
    source(&from, size());
    let expected = world_in(&from);
    copy_in_two_goes(&sqlite(&from), &url, || count(&*postgres.tokens));
    assert!(pollster::block_on(World::of(&postgres)) == expected, "the copy is not equal");
    copy_in_two_goes(&url, &sqlite(&to), || arrived_in(&to));
    assert!(world_in(&to) == expected, "the copy of the copy is not equal");
}

#[test]
fn everything_is_copied_or_all_but_the_users() {
    let directory = tempfile::tempdir().unwrap();
    let [from, to, alone] = ["a.db", "b.db", "c.db"].map(|name| directory.path().join(name));
    source(&from, 20);
    let said = succeeded(&copy_store().args([sqlite(&from), sqlite(&to)]).output().unwrap());
    for line in ["groups: 3 are equal, 3 of them new", "users: 3 are", "permissions: 2 are"] {
        assert!(said.contains(line), "{said}");
    }
    assert!(
        said.contains("events: 20 are equal, 20 of them new\ncopied and compared in "),
        "{said}"
    );
    assert_eq!(world_in(&to), world_in(&from));

    let options = [sqlite(&from), "--no-users".into(), sqlite(&alone)];
    succeeded(&copy_store().args(options).output().unwrap());
    let World { tokens, events, .. } = world_in(&from);
    assert_eq!(world_in(&alone), World { tokens, events, ..World::default() });
}

#[test]
fn a_target_that_does_not_fit_gets_neither_users_nor_tokens() {
    let directory = tempfile::tempdir().unwrap();
    let [from, to] = ["a.db", "b.db"].map(|name| directory.path().join(name));
    source(&from, 20);
    // It has no users, so that those of the source would fit.
    let other = World { tokens: World::of_size(21).tokens.split_off(20), ..World::default() };
    let store = open(&to);
    pollster::block_on(other.put(&store, &store));
    drop(store);
    let line = refused(&copy_store().args([sqlite(&from), sqlite(&to)]).output().unwrap());
    assert!(line.contains("which the source does not have"), "{line}");
    assert_eq!(world_in(&to), other);
}

#[test]
fn what_cannot_be_done_is_said_in_one_line() {
    let directory = tempfile::tempdir().unwrap();
    let [missing, file] = ["missing.db", "file.db"].map(|name| directory.path().join(name));
    source(&file, 1);
    let [from_missing, to_file] = [&missing, &file].map(|path| sqlite(path));
    for (arguments, said) in [
        (vec![from_missing.as_str(), &to_file], "missing.db"),
        (vec![], "from where to where"),
        (vec!["memory:"], "from where to where"),
        (vec!["memory:", "memory:", "memory:"], "memory:"),
        (vec!["memory:", "tokens.db"], "use sqlite:PATH, postgres://USER@HOST/NAME or memory:"),
        (vec!["memory:", "memory:", "--force"], "--force"),
        (vec!["memory:", "sqlite:/no/such/directory/tokens.db"], "/no/such/directory"),
        (vec!["memory:", &to_file], "which the source does not have"),
    ] {
        let line = refused(&copy_store().args(&arguments).output().unwrap());
        assert!(line.contains(said), "{line}");
    }
    assert!(!missing.exists(), "a source that is not there is not made");
    let help = succeeded(&copy_store().arg("--help").output().unwrap());
    assert!(help.contains("copy_store FROM TO"), "{help}");
}
