//! Processes that change the same tokens while sessions are ended and the server crashes.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tokenkeep::{
    Clock, CommitError, EventQuery, Lookup, StoreError, StoreErrorKind, SystemClock, Token,
    TokenStore,
};
use tokenkeep_postgres::{OpenError, PostgresOptions, PostgresStore};
use tokenkeep_test_server::{Cluster, ClusterOptions, Database, cluster_available};

use crate::scene::{insert, revision_of, token};

const URL: &str = "TOKENKEEP_FAULTS_URL";
const NUMBER: &str = "TOKENKEEP_FAULTS_NUMBER";
const SECONDS: &str = "TOKENKEEP_FAULTS_SECONDS";

const PROCESSES: u64 = 4;
const TOKENS: u8 = 50;

/// How long a process may take to go on after the server has come back.
const RECOVERY: Duration = Duration::from_secs(6);

fn seconds() -> Duration {
    let seconds = std::env::var(SECONDS).ok().and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(seconds.unwrap_or(20))
}

/// Milliseconds that mean the same in every process.
fn now() -> i64 {
    SystemClock.now().as_micros() / 1_000
}

fn may_pass(error: &StoreError) {
    let passes = error.is_retryable() || *error.kind() == StoreErrorKind::OutcomeUnknown;
    assert!(passes, "{error:?}");
}

/// Changes tokens as fast as it can, and prints the verdict on each attempt.
async fn write(store: &PostgresStore, writer: u64, end: Instant) {
    let mut attempts = 0_u64;
    while Instant::now() < end {
        attempts += 1;
        let id = u128::from(writer) << 64 | u128::from(attempts);
        // Writers meet often, and go different ways.
        let number = 1 + u8::try_from((attempts * (writer + 7)) % u64::from(TOKENS)).unwrap();
        let before = match store.find(Lookup::Id(token(number).id)).await {
            Ok(found) => found.unwrap(),
            Err(error) => {
                may_pass(&error);
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            }
        };
        let (_, commit) = revision_of(&before, id);
        let verdict = match store.commit(commit).await {
            Ok(()) => "done",
            Err(CommitError::Stale { .. }) => "stale",
            Err(CommitError::Store(error)) => {
                may_pass(&error);
                if error.is_retryable() { "failed" } else { "unknown" }
            }
            Err(other) => panic!("{other:?}"),
        };
        println!("\nverdict {id} {verdict} {}", now());
    }
}

/// Reads tokens with their events: of a change, nobody sees only a part.
async fn read(store: &PostgresStore, end: Instant) {
    let mut reads = 0_u32;
    while Instant::now() < end {
        for number in 1..=TOKENS {
            match read_one(store, &token(number)).await {
                Ok(()) => reads += 1,
                Err(error) => may_pass(&error),
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    println!("\nreads {reads} at {}", now());
}

async fn read_one(store: &PostgresStore, token: &Token) -> Result<(), StoreError> {
    let before = store.find(Lookup::Id(token.id)).await?.unwrap();
    assert_eq!(*before.description, *format!("r{}", before.revision.get()), "half a change");
    let query = EventQuery { token: Some(token.id), limit: 1_000_000, ..EventQuery::default() };
    let mut events = store.events(&query).await?.events;
    events.reverse();
    for (revision, event) in (2..).zip(&events) {
        assert_eq!(event.revision.get(), revision, "a change without its event, or with two");
    }
    let told = events.last().map_or(1, |event| event.revision.get());
    let after = store.find(Lookup::Id(token.id)).await?.unwrap();
    assert!(before.revision.get() <= told, "a change without its event");
    assert!(told <= after.revision.get(), "an event without its change");
    Ok(())
}

/// What the child processes run; nothing by itself.
#[test]
fn child_process() {
    let Ok(url) = std::env::var(URL) else {
        return;
    };
    let number: u64 = std::env::var(NUMBER).unwrap().parse().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let end = Instant::now() + seconds();
        let options = PostgresOptions::new().max_connections(2);
        // Sessions are ended from the start.
        let store = loop {
            match options.connect(&url).await {
                Ok(store) => break store,
                Err(OpenError::Store(error)) => may_pass(&error),
                Err(other) => panic!("{other:?}"),
            }
        };
        let writers = (write(&store, 2 * number, end), write(&store, 2 * number + 1, end));
        tokio::join!(writers.0, writers.1, read(&store, end));
    });
}

fn child(database: &Database, number: u64) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "processes::child_process", "--nocapture"]);
    command.env(URL, database.url()).env(NUMBER, number.to_string());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap()
}

/// What a process said of its attempts.
#[derive(Debug, Default)]
struct Told {
    verdicts: Vec<(u128, String, i64)>,
    reads: u32,
}

fn listen(child: &mut Child) -> thread::JoinHandle<Told> {
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    thread::spawn(move || {
        let mut told = Told::default();
        for line in lines.map_while(Result::ok) {
            let words: Vec<_> = line.split(' ').collect();
            match words.as_slice() {
                ["verdict", id, verdict, at] => told.verdicts.push((
                    id.parse().unwrap(),
                    (*verdict).to_owned(),
                    at.parse().unwrap(),
                )),
                ["reads", reads, "at", _] => told.reads = reads.parse().unwrap(),
                _ => {}
            }
        }
        told
    })
}

/// Ends sessions at random, and crashes the server twice; returns when it was back.
fn disturb(cluster: &Cluster, database: &Database, length: Duration) -> Vec<i64> {
    let start = Instant::now();
    let crashes = [length / 3, length * 2 / 3];
    let mut back = Vec::new();
    let mut ended = 0;
    while start.elapsed() + RECOVERY / 4 < length {
        if crashes.get(back.len()).is_some_and(|at| start.elapsed() > *at) {
            cluster.restart_immediately().unwrap();
            back.push(now());
        }
        let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
             WHERE application_name = 'tokenkeep' ORDER BY random() LIMIT 1";
        // The session that asks may have been hit by a restart.
        ended += database.query(end).map_or(0, |rows| rows.len());
        thread::sleep(Duration::from_millis(100));
    }
    println!("{ended} sessions ended, {} crashes", back.len());
    assert!(ended > 10);
    back
}

#[test]
fn nothing_acknowledged_is_lost_and_nothing_is_done_twice() {
    if !cluster_available("nothing_acknowledged_is_lost_and_nothing_is_done_twice") {
        return;
    }
    let cluster = Cluster::start(&ClusterOptions::new()).unwrap();
    let database = cluster.database().unwrap();
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let store = PostgresStore::connect(&database.url()).await.unwrap();
        insert(&store, (1..=TOKENS).map(token)).await;
    });
    let mut children: Vec<_> = (0..PROCESSES).map(|number| child(&database, number)).collect();
    let listeners: Vec<_> = children.iter_mut().map(listen).collect();
    let back = disturb(&cluster, &database, seconds());
    assert_eq!(back.len(), 2);
    for mut child in children {
        assert!(child.wait().unwrap().success(), "a process has failed");
    }
    let told: Vec<_> = listeners.into_iter().map(|listener| listener.join().unwrap()).collect();
    assert_all_recover(&told, &back);
    assert_true(&told, &database);
}

fn assert_all_recover(told: &[Told], back: &[i64]) {
    for (number, told) in told.iter().enumerate() {
        assert!(told.reads > 0);
        for back in back {
            let mut later = told.verdicts.iter().filter(|(_, verdict, _)| verdict == "done");
            let next = later.find(|(_, _, at)| at > back);
            let after = next.map(|(_, _, at)| at - back);
            println!("process {number} went on {after:?} ms after a crash");
            assert!(
                after.is_some_and(|after| u128::from(after.unsigned_abs()) < RECOVERY.as_millis())
            );
        }
    }
}

/// Compares what was said with what is there.
fn assert_true(told: &[Told], database: &Database) {
    let rows = "SELECT replace(id::text, '-', '') FROM tokenkeep_event";
    let mut events = HashMap::<u128, u32>::new();
    for row in database.query(rows).unwrap() {
        *events.entry(u128::from_str_radix(&row[0], 16).unwrap()).or_default() += 1;
    }
    let mut counts = HashMap::<&str, u32>::new();
    for (id, verdict, _) in told.iter().flat_map(|told| &told.verdicts) {
        *counts.entry(verdict).or_default() += 1;
        let times = events.remove(id).unwrap_or_default();
        match verdict.as_str() {
            "done" => assert_eq!(times, 1, "{id:x} was acknowledged"),
            "unknown" => assert!(times <= 1, "{id:x} was done {times} times"),
            _ => assert_eq!(times, 0, "{id:x} was {verdict}"),
        }
    }
    let reads: u32 = told.iter().map(|told| told.reads).sum();
    println!("{counts:?}, {reads} reads");
    assert!(events.is_empty(), "events that nobody made: {events:?}");
    for verdict in ["done", "stale", "unknown"] {
        assert!(counts.contains_key(verdict), "{counts:?}");
    }
    // Revisions and events agree, each revision once.
    let wrong = "SELECT t.identifier, t.revision, t.description FROM tokenkeep_token t \
         LEFT JOIN tokenkeep_event e ON e.token = t.id GROUP BY t.id \
         HAVING count(e.id) <> t.revision - 1 OR count(DISTINCT e.revision) <> t.revision - 1 \
         OR coalesce(max(e.revision), 1) <> t.revision OR t.description <> 'r' || t.revision";
    assert!(database.query(wrong).unwrap().is_empty());
}
