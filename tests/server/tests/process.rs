//! What a process of tests starts and leaves behind: the test binary runs itself.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use tokenkeep_test_server::{Cluster, ClusterOptions, Server, available, cluster_available};

/// What the child is to do.
const TASK: &str = "TOKENKEEP_TEST_SERVER_TASK";

/// A process that there is not: Linux counts no further than 2^22.
const NOBODY: u32 = 1 << 30;

/// What the child process runs; nothing by itself.
#[test]
fn child_process() {
    let Ok(task) = env::var(TASK) else {
        return;
    };
    if !available("the_name_of_a_test") {
        println!("passed over");
        return;
    }
    let server = Server::shared().unwrap();
    let _database = server.database().unwrap();
    let told = server.query("SHOW data_directory; SELECT pg_postmaster_start_time()").unwrap();
    println!("directory {}", told[0][0]);
    match task.as_str() {
        "wait" => thread::sleep(Duration::from_secs(600)),
        "panic" => panic!("as a failing test does"),
        "exit" => std::process::exit(3),
        _ => {}
    }
}

fn child(task: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", "child_process"]).args(arguments).env(TASK, task);
    command.env_remove("TOKENKEEP_TEST_POSTGRES").env_remove("CI");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// What was told behind `start`.
fn told<'a>(lines: &'a str, start: &str) -> Option<&'a str> {
    lines.lines().find_map(|line| line.split_once(start)).map(|(_, rest)| rest)
}

/// The process of the server in a data directory.
fn process_of(data: &str) -> Option<u32> {
    let file = fs::read_to_string(Path::new(data).join("postmaster.pid")).ok()?;
    file.lines().next()?.parse().ok()
}

fn runs(process: u32) -> bool {
    let signal_nothing = ["-c", &format!("kill -0 {process}")].map(str::to_owned);
    Command::new("sh").args(signal_nothing).stderr(Stdio::null()).status().unwrap().success()
}

fn assert_goes(data: &str, process: u32) {
    let directory = Path::new(data).parent().unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while directory.exists() || runs(process) {
        assert!(Instant::now() < deadline, "{data} or its server {process} is still there");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_killed_process_leaves_no_server_and_no_directory() {
    if !cluster_available("a_killed_process_leaves_no_server_and_no_directory") {
        return;
    }
    let mut child = child("wait", &["--nocapture"]).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut told = lines.map_while(Result::ok);
    let line = told.find(|line| line.contains("directory ")).unwrap();
    let (_, data) = line.split_once("directory ").unwrap();
    let process = process_of(data).unwrap();
    assert!(runs(process));
    // SIGKILL.
    child.kill().unwrap();
    child.wait().unwrap();
    assert_goes(data, process);
}

#[test]
fn a_process_that_is_killed_while_it_starts_leaves_nothing() {
    if !cluster_available("a_process_that_is_killed_while_it_starts_leaves_nothing") {
        return;
    }
    let temporary = tempfile::Builder::new().prefix("t").tempdir_in("/tmp").unwrap();
    let everybody = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    fs::set_permissions(temporary.path(), everybody).unwrap();
    let is_empty = || fs::read_dir(temporary.path()).unwrap().next().is_none();
    for milliseconds in (0..1000).step_by(125) {
        let mut child =
            child("wait", &["--nocapture"]).env("TMPDIR", temporary.path()).spawn().unwrap();
        while is_empty() {
            assert!(child.try_wait().unwrap().is_none(), "it ended by itself");
            thread::sleep(Duration::from_millis(1));
        }
        thread::sleep(Duration::from_millis(milliseconds));
        child.kill().unwrap();
        child.wait().unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        while !is_empty() {
            assert!(Instant::now() < deadline, "killed after {milliseconds} ms, it left something");
            thread::sleep(Duration::from_millis(20));
        }
    }
    let running = Command::new("ps").args(["-eo", "args"]).output().unwrap().stdout;
    let running = String::from_utf8_lossy(&running).into_owned();
    assert!(!running.contains(temporary.path().to_str().unwrap()), "{running}");
}

#[test]
fn a_process_that_ends_by_itself_leaves_nothing_either() {
    if !cluster_available("a_process_that_ends_by_itself_leaves_nothing_either") {
        return;
    }
    for (task, code) in [("pass", 0), ("panic", 101), ("exit", 3)] {
        let Output { status, stdout, .. } = child(task, &["--nocapture"]).output().unwrap();
        assert_eq!(status.code(), Some(code));
        let stdout = String::from_utf8(stdout).unwrap();
        let data = told(&stdout, "directory ").unwrap();
        // The server may have gone already.
        let process = process_of(data);
        assert_goes(data, process.unwrap_or(NOBODY));
    }
}

#[test]
fn the_named_server_is_used() {
    if !cluster_available("the_named_server_is_used") {
        return;
    }
    let cluster = Cluster::start(&ClusterOptions::new()).unwrap();
    let data = &cluster.server().query("SHOW data_directory").unwrap()[0][0];
    let by_tcp = format!("postgres://postgres@{}/postgres", cluster.address());
    for url in [cluster.server().url(), by_tcp] {
        // Without binaries, too.
        let output = child("pass", &["--nocapture"])
            .env("TOKENKEEP_TEST_POSTGRES", url)
            .env("TOKENKEEP_TEST_POSTGRES_BIN", "/nowhere")
            .output()
            .unwrap();
        let stdout = String::from_utf8(output.stdout).unwrap();
        assert_eq!(told(&stdout, "directory "), Some(data.as_str()), "{stdout}");
    }
    let names = "SELECT count(*) FROM pg_database WHERE datname LIKE 'tokenkeep%'";
    assert_eq!(cluster.server().query(names).unwrap(), [["0"]], "it left a database");
    assert!(runs(process_of(data).unwrap()), "it stopped what is not its own");
}

#[test]
fn without_a_server_a_test_is_named_and_in_ci_it_fails() {
    let output = |arguments: &[&str], ci: &str| {
        let mut child = child("pass", arguments);
        child.env("TOKENKEEP_TEST_POSTGRES_BIN", "/nowhere").env("CI", ci).output().unwrap()
    };
    let Output { status, stdout, .. } = output(&["--nocapture"], "");
    assert!(status.success());
    assert!(String::from_utf8(stdout).unwrap().contains("passed over"));
    // The harness holds back what a test that passes prints, and this must be seen all the same.
    let Output { status, stdout, stderr } = output(&[], "");
    assert!(status.success());
    assert!(!String::from_utf8(stdout).unwrap().contains("passed over"));
    let stderr = String::from_utf8(stderr).unwrap();
    let line = told(&stderr, "NOT RUN ON POSTGRESQL: the_name_of_a_test: ").unwrap();
    assert!(line.contains("postgresql") && line.contains("TOKENKEEP_TEST_POSTGRES"), "{line}");

    assert!(!output(&[], "true").status.success());
}
