//! Histories of the tasks of four processes on one file or one database. Processes are killed and the
//! sessions of a server are ended while they are at it.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use tokenkeep::{TokenService, VerifyCache};
use tokenkeep_tests::backend::Backend;
use tokenkeep_tests::history::{Draw, Judged, Keys, Task, Told, judge_with_what_is_left, prepare};
use tokenkeep_tests::meddling::MeddledStore;
use tokio::runtime::Builder;

use crate::record::{CALLS, TASKS};

const URL: &str = "TOKENKEEP_HISTORIES_URL";
const NUMBER: &str = "TOKENKEEP_HISTORIES_NUMBER";
/// Whether it hears of nothing that others change, and does not mind: the control.
const DEAF: &str = "TOKENKEEP_HISTORIES_DEAF";

const PROCESSES: u64 = 4;

fn histories() -> u64 {
    let histories = std::env::var("TOKENKEEP_HISTORIES_OF_PROCESSES").ok();
    histories.and_then(|histories| histories.parse().ok()).unwrap_or(100)
}

/// The time on a clock that all processes share, in nanoseconds.
fn clock() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    u64::try_from(now.tv_sec * 1_000_000_000 + now.tv_nsec).unwrap()
}

/// What the child processes run; nothing by itself.
#[test]
fn child_process() {
    let Ok(url) = std::env::var(URL) else { return };
    let number: u64 = std::env::var(NUMBER).unwrap().parse().unwrap();
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let service = runtime.block_on(service_of_child(&Backend::at(&url), number));
    println!("\nready");
    for line in std::io::stdin().lines() {
        let history = line.unwrap();
        runtime.block_on(part_of_history(&service, number, &history));
        println!("finished");
    }
}

async fn service_of_child(backend: &Backend, number: u64) -> TokenService {
    let (tokens, users) = (backend.tokens.clone(), backend.users.clone());
    let cache = VerifyCache::of(1_000);
    let builder = if std::env::var(DEAF).is_ok() {
        let cache = cache.accept_staleness(Duration::from_secs(3600));
        TokenService::builder(Arc::new(MeddledStore::new(tokens)), users).cache(cache)
    } else if number.is_multiple_of(2) {
        TokenService::builder(tokens, users).cache(cache)
    } else {
        TokenService::builder(tokens, users)
    };
    builder.open().await.unwrap()
}

/// Its share of the tasks.
async fn part_of_history(service: &TokenService, process: u64, history: &str) {
    let keys = Arc::new(Keys::default());
    let share = TASKS / PROCESSES;
    let tasks = (process * share..).take(share.try_into().unwrap()).map(|number| {
        let (service, keys, tell) =
            (service.clone(), keys.clone(), Arc::new(|told| println!("{told}")));
        let seed = history.parse::<u64>().unwrap() * TASKS + number;
        let (history, draw) = (history.to_owned(), Draw::new(seed));
        tokio::spawn(Task { service, keys, tell, history, draw, number, clock }.run(CALLS))
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
}

struct Process {
    child: Child,
    ask: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Process {
    /// Starts one, which is ready.
    fn start(url: &str, number: u64, deaf: bool) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "four_processes::child_process", "--nocapture"]);
        command.env(URL, url).env(NUMBER, number.to_string());
        if deaf {
            command.env(DEAF, "1");
        }
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let ask = child.stdin.take().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let is_ready = (&mut output).lines().any(|line| line.unwrap() == "ready");
        assert!(is_ready, "a process has failed");
        Self { child, ask, output }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a process tells of its part of a history, to its end or until it is killed.
fn told(output: &mut BufReader<ChildStdout>) -> Vec<Told> {
    let lines = output.lines().map_while(Result::ok).take_while(|line| line != "finished");
    // A line that was cut off tells nothing.
    lines.filter_map(|line| line.parse().ok()).collect()
}

/// Which processes are killed in a history, and when.
fn victims(draw: &mut Draw) -> BTreeMap<Duration, usize> {
    let processes = 0..PROCESSES.try_into().unwrap();
    let victims = processes.filter(|_| draw.below(4) == 0).collect::<Vec<_>>();
    victims.into_iter().map(|victim| (Duration::from_micros(draw.below(60_000)), victim)).collect()
}

/// What all processes tell of a history, while victims are killed and sessions end. Leaves the victims
/// that lived to see the end.
fn told_by_all(
    backend: &Backend,
    processes: &mut [Process],
    victims: &mut BTreeMap<Duration, usize>,
) -> Vec<Told> {
    let (mut children, outputs): (Vec<_>, Vec<_>) =
        processes.iter_mut().map(|process| (&mut process.child, &mut process.output)).unzip();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let start = Instant::now();
            while !is_over.load(Ordering::SeqCst) {
                if let Some(next) =
                    victims.first_entry().filter(|next| *next.key() < start.elapsed())
                {
                    children[next.remove()].kill().unwrap();
                }
                backend.end_a_session();
                thread::sleep(Duration::from_millis(5));
            }
        });
        let readers: Vec<_> =
            outputs.into_iter().map(|output| scope.spawn(|| told(output))).collect();
        let told = readers.into_iter().flat_map(|reader| reader.join().unwrap()).collect();
        is_over.store(true, Ordering::SeqCst);
        told
    })
}

#[expect(clippy::needless_pass_by_value, reason = "it ends with its directory")]
fn judged(backend: Backend, deaf: bool) -> Judged {
    let (start, url) = (Instant::now(), backend.url());
    pollster::block_on(prepare(&*backend.users));
    let begin = |number| Process::start(&url, number, deaf);
    let mut processes: Vec<_> = (0..PROCESSES).map(begin).collect();
    let (mut judged, mut kills) = (Judged::default(), 0);
    for number in 0..histories() {
        for process in &mut processes {
            writeln!(process.ask, "{number}").unwrap();
        }
        let drawn = victims(&mut Draw::new(number));
        let mut survivors = drawn.clone();
        let told = told_by_all(&backend, &mut processes, &mut survivors);
        for victim in drawn.values().filter(|victim| !survivors.values().any(|one| one == *victim))
        {
            processes[*victim] = begin(*victim as u64);
            kills += 1;
        }
        // Its own sessions have been ended, too.
        let left = Backend::at(&url);
        judged.add_all(pollster::block_on(async {
            let service = left.builder().open().await.unwrap();
            judge_with_what_is_left(service, &number.to_string(), told).await
        }));
    }
    let name = backend.name;
    println!("{name}, four processes, {kills} kills: {judged:?} in {:.1?}", start.elapsed());
    // One in each is to be; many come to their end before.
    assert!(kills >= histories() / 20, "{kills} kills");
    judged
}

fn one_story(backend: Backend) {
    let judged = judged(backend, false);
    assert_eq!(judged.impossible, 0, "{judged:?}");
    assert!(judged.linearizable >= histories(), "{judged:?}");
}

#[test]
fn a_file_tells_four_processes_one_story() {
    one_story(Backend::sqlite());
}

#[test]
fn a_database_tells_four_processes_one_story() {
    if let Some(backend) = Backend::postgres() {
        one_story(backend);
    }
}

/// The control: processes that do not hear of each other.
#[test]
fn deaf_processes_are_found_out() {
    assert!(judged(Backend::sqlite(), true).impossible > 0);
}
