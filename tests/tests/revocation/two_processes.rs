//! Races between two processes: this one revokes, a child uses the keys.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::FileExt;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use tokenkeep::{TokenService, VerifyCache};
use tokenkeep_tests::backend::Backend;
use tokenkeep_tests::meddling::MeddledStore;

use crate::race::{Seen, pause, prepare, races, restore, revoke, use_key};

const URL: &str = "TOKENKEEP_REVOCATION_URL";
/// The file that holds the number of the last race whose revocation was acknowledged.
const ACKNOWLEDGED: &str = "TOKENKEEP_REVOCATION_ACKNOWLEDGED";
const CACHE: &str = "TOKENKEEP_REVOCATION_CACHE";

/// What the child process runs; nothing by itself.
#[test]
fn child_process() {
    let Ok(url) = std::env::var(URL) else {
        return;
    };
    let acknowledged = File::open(std::env::var(ACKNOWLEDGED).unwrap()).unwrap();
    let acknowledged = || {
        let mut number = [0; 8];
        acknowledged.read_exact_at(&mut number, 0).unwrap();
        u64::from_be_bytes(number)
    };
    let service = service_of_child(&Backend::at(&url));
    for line in std::io::stdin().lines() {
        let number = line.unwrap().parse().unwrap();
        let seen = use_key(&service, number, acknowledged, || println!("\nin use"));
        println!("\nseen {}", seen.accepted_late);
    }
}

fn service_of_child(backend: &Backend) -> TokenService {
    let (tokens, users) = (backend.tokens.clone(), backend.users.clone());
    let exact = VerifyCache::of(1_000);
    let builder = match std::env::var(CACHE).unwrap().as_str() {
        "exact" => TokenService::builder(tokens, users).cache(exact),
        // Hears of nothing, and does not mind.
        _ => TokenService::builder(std::sync::Arc::new(MeddledStore::new(tokens)), users)
            .cache(exact.accept_staleness(Duration::from_secs(3600))),
    };
    pollster::block_on(builder.open()).unwrap()
}

/// The other process, and the way to talk with it.
struct Other {
    child: Child,
    ask: ChildStdin,
    answers: Box<dyn Iterator<Item = String>>,
}

impl Other {
    fn start(url: &str, acknowledged: &std::path::Path, cache: &str) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "two_processes::child_process", "--nocapture"]);
        command.env(URL, url).env(ACKNOWLEDGED, acknowledged).env(CACHE, cache);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let ask = child.stdin.take().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        // The harness of the child talks, too.
        let is_answer = |line: &String| line == "in use" || line.starts_with("seen ");
        Self { child, ask, answers: Box::new(lines.filter(is_answer)) }
    }

    fn answer(&mut self) -> String {
        self.answers.next().expect("the other process has failed")
    }
}

fn run(backend: &Backend, cache: &str) -> Seen {
    pollster::block_on(prepare(backend));
    let service = pollster::block_on(backend.builder().open()).unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    let acknowledge = |number: u64| {
        file.as_file().write_all_at(&number.to_be_bytes(), 0).unwrap();
    };
    acknowledge(0);
    let mut other = Other::start(&backend.url(), file.path(), cache);
    let mut all = Seen::default();
    for number in 1..=races() {
        writeln!(other.ask, "{number}").unwrap();
        assert_eq!(other.answer(), "in use");
        pause(number);
        pollster::block_on(revoke(backend, &service, number));
        acknowledge(number);
        let seen = other.answer();
        all.accepted_late += seen.strip_prefix("seen ").unwrap().parse::<u64>().unwrap();
        pollster::block_on(restore(backend, number));
    }
    let Other { mut child, ask, .. } = other;
    drop(ask);
    assert!(child.wait().unwrap().success());
    all
}

#[test]
fn a_revocation_binds_the_other_process_on_sqlite() {
    assert_eq!(run(&Backend::sqlite().cached(), "exact"), Seen { accepted_late: 0 });
}

#[test]
fn a_revocation_binds_the_other_process_on_postgres() {
    if let Some(backend) = Backend::postgres() {
        assert_eq!(run(&backend, "exact"), Seen { accepted_late: 0 });
    }
}

/// The control: such a cache is what the races are to find.
#[test]
fn a_cache_that_does_not_hear_of_the_other_process_is_found_out() {
    assert!(run(&Backend::sqlite(), "deaf").accepted_late >= races());
}
