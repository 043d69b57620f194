//! The example `serve`, as a process.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::example;

/// The built example.
pub fn binary() -> &'static PathBuf {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| example::binary("serve"))
}

/// A running server, killed when dropped.
#[derive(Debug)]
pub struct Serve {
    child: Child,
    stdout: BufReader<ChildStdout>,
    log: Arc<Mutex<String>>,
    logging: Option<JoinHandle<()>>,
    /// `http://ADDRESS`.
    pub url: String,
}

impl Serve {
    /// Starts it on a free port with these arguments, and waits until it listens.
    pub fn start<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Self {
        let mut child = command(arguments).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let log = Arc::new(Mutex::new(String::new()));
        let (stderr, written) = (BufReader::new(child.stderr.take().unwrap()), log.clone());
        let logging = thread::spawn(move || {
            for line in stderr.lines() {
                *written.lock().unwrap() += &(line.unwrap() + "\n");
            }
        });
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let url = line.trim_end().strip_prefix("listening on ");
        let url = url.unwrap_or_else(|| panic!("{line:?} {}", log.lock().unwrap())).to_owned();
        Self { child, stdout, log, logging: Some(logging), url }
    }

    /// Waits until the log contains a text.
    pub fn wait_for_log(&self, text: &str) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !self.log.lock().unwrap().contains(text) {
            assert!(Instant::now() < deadline, "{:?}", self.log);
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// The next line of what it says on standard output.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// The line that it prints on an empty store, ready to be pasted, and the key in the file that the
    /// line reads.
    pub fn first_key(&mut self) -> (String, String) {
        let lines = [self.line(), self.line(), self.line()];
        let line = lines[2].clone();
        let file = line.split("$(cat '").nth(1).unwrap_or_else(|| panic!("{lines:?}"));
        let file = file.split("')").next().unwrap();
        let key = std::fs::read_to_string(file).unwrap();
        (line, key.trim_end().to_owned())
    }

    /// Sends a signal by name, waits for the end, and returns the exit code, what was left to read
    /// on standard output, and the log.
    pub fn signal(mut self, name: &str) -> (Option<i32>, String, String) {
        let mut kill = Command::new("kill");
        kill.args([format!("-{name}"), self.child.id().to_string()]);
        assert!(kill.status().unwrap().success());
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest).unwrap();
        self.logging.take().unwrap().join().unwrap();
        let log = self.log.lock().unwrap().clone();
        (self.child.wait().unwrap().code(), rest, log)
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs it to its end, which has to come by itself.
pub fn output<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Output {
    output_of(&mut command(arguments))
}

/// Runs a command of it to its end, which has to come by itself.
pub fn output_of(command: &mut Command) -> Output {
    let mut child = command.spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > deadline {
            child.kill().unwrap();
            panic!("it serves: {:?}", child.wait_with_output());
        }
        thread::sleep(Duration::from_millis(5));
    }
    child.wait_with_output().unwrap()
}

/// The command that starts it on a free port with these arguments.
pub fn command<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Command {
    let mut command = Command::new(binary());
    command.args(["--listen", "127.0.0.1:0"]).args(arguments).env_remove("RUST_LOG");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}
