//! Every vector against a server that was seeded with the fixture, over HTTP/1.1.

use std::io::Write;
use std::path::Path;
use std::sync::Mutex;
use std::thread;

use tokenkeep_tests::serve::{Serve, output};
use tokenkeep_tests::vectors::{Case, cases};
use tokenkeep_tests::wire::Connection;

const FIXTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/vectors/fixture.json");

/// The fixture's settings.
fn settings() -> Vec<String> {
    let fixture: serde_json::Value =
        serde_json::from_slice(&std::fs::read(FIXTURE).unwrap()).unwrap();
    let flag = |flag: &str, name: &str| {
        let value = &fixture[name];
        [flag.to_owned(), value.as_str().map_or_else(|| value.to_string(), str::to_owned)]
    };
    [
        flag("--clock", "now"),
        flag("--installation-id", "installation_id"),
        flag("--default-duration", "default_token_duration"),
        flag("--min-key-length", "minimum_key_length"),
    ]
    .concat()
}

fn start(extra: &[&str]) -> Serve {
    Serve::start(settings().into_iter().chain(extra.iter().map(|&flag| flag.to_owned())))
}

/// Sends cases one after the other on one connection, and notes which fail.
fn replay<'a>(
    server: &Serve,
    cases: impl IntoIterator<Item = &'a Case>,
    wrong: &Mutex<Vec<String>>,
) {
    let mut connection = Connection::open(&server.url);
    for case in cases {
        if let Err(error) = case.check_answer(&connection.send(case)) {
            wrong.lock().unwrap().push(format!("case {} ({}): {error}", case.id, case.family));
        }
    }
}

/// Replays every vector: those that change nothing on one server, each other on one of its own.
fn replay_all(name: &str, start: impl Fn() -> Serve + Sync) {
    let cases = cases();
    let wrong = Mutex::new(Vec::new());
    let (reading, changing): (Vec<&Case>, Vec<&Case>) =
        cases.iter().partition(|case| case.only_reads());
    replay(&start(), reading.iter().copied(), &wrong);
    let waiting = Mutex::new(changing.iter());
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                while let Some(case) = { waiting.lock().unwrap().next() } {
                    replay(&start(), [*case], &wrong);
                }
            });
        }
    });
    let text = format!(
        "serve, {name}: {} vectors over HTTP/1.1, {} on one connection, {} on servers of their own\n",
        cases.len(),
        reading.len(),
        changing.len()
    );
    // What is written to the handle itself is not captured.
    std::io::stdout().lock().write_all(text.as_bytes()).unwrap();
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{name}: {} vectors fail\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn every_vector_holds_over_http_in_memory() {
    replay_all("memory", || start(&["--db", "memory:", "--seed", FIXTURE]));
}

/// A database, and its key file.
fn copy_database(from: &Path, to: &Path) -> String {
    for file in ["tokens.db", "tokens.db.key"] {
        std::fs::copy(from.join(file), to.join(file)).unwrap();
    }
    format!("sqlite:{}", to.join("tokens.db").display())
}

#[test]
fn every_vector_holds_over_http_in_a_file_that_was_seeded_before() {
    let seeded = tempfile::tempdir().unwrap();
    let database = format!("sqlite:{}", seeded.path().join("tokens.db").display());
    let (code, ..) = start(&["--db", &database, "--seed", FIXTURE]).signal("TERM");
    assert_eq!(code, Some(0));
    let copies = tempfile::tempdir().unwrap();
    let copy_number = std::sync::atomic::AtomicU32::new(0);
    replay_all("SQLite", || {
        let number = copy_number.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let directory = copies.path().join(number.to_string());
        std::fs::create_dir(&directory).unwrap();
        start(&["--db", &copy_database(seeded.path(), &directory)])
    });
}

#[test]
fn a_seed_goes_into_an_empty_store_only() {
    let directory = tempfile::tempdir().unwrap();
    let database = format!("sqlite:{}", directory.path().join("tokens.db").display());
    drop(start(&["--db", &database, "--seed", FIXTURE]));
    let refused = output(["--db", &database, "--seed", FIXTURE]);
    assert_eq!((refused.status.code(), refused.stdout.len()), (Some(1), 0));
    let message = String::from_utf8(refused.stderr).unwrap();
    assert!(message.starts_with("serve: the store is not empty"), "{message}");
}

#[test]
fn a_seed_that_is_wrong_leaves_the_store_empty_and_is_not_quoted() {
    let directory = tempfile::tempdir().unwrap();
    let database = format!("sqlite:{}", directory.path().join("tokens.db").display());
    let text = std::fs::read_to_string(FIXTURE).unwrap();
    for (from, to) in [
        // The first token takes the key of another; an unknown intent; what is not a seed at all.
        ("\"key-alice-api\"", "\"key-bob-api\""),
        ("\"intent\": \"recovery\"", "\"intent\": \"key-alice-api\""),
        ("\"key\": \"key-bob-api\"", "\"key\": [\"key-bob-api\"]"),
    ] {
        assert!(text.contains(from), "{from}");
        let path = directory.path().join("seed.json");
        std::fs::write(&path, text.replacen(from, to, 1)).unwrap();
        let refused = output(["--db", &database, "--seed", path.to_str().unwrap()]);
        let message = String::from_utf8(refused.stderr).unwrap();
        assert_eq!((refused.status.code(), message.lines().count()), (Some(1), 1), "{message}");
        assert!(message.contains("seed.json") && !message.contains("key-"), "{message}");
    }
    drop(start(&["--db", &database, "--seed", FIXTURE]));
}
