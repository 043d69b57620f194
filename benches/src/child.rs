//! Processes beside the one that measures: this program once more, or another one.

use std::io::{BufRead, BufReader, Write};
use std::process::{ChildStdin, ChildStdout, Command, Stdio};

use tokenkeep_load::{Asked, Times};
use tokenkeep_sqlite::Sharing;

use crate::question::{http, size};

/// Says what a copy of this program is to do instead of measuring.
const ROLE: &str = "TOKENKEEP_BENCH_ROLE";

/// Does what this process was started for, if it is a child. Every program that measures begins
/// with it, and is over when it returns true.
#[must_use]
pub fn is_child() -> bool {
    let Ok(role) = std::env::var(ROLE) else { return false };
    let mut words = role.splitn(2, ' ');
    match (words.next(), words.next()) {
        (Some("memory"), Some(tokens)) => size::fill_memory(tokens.parse().unwrap()),
        (Some("cache"), Some(rest)) => {
            let (tokens, path) = rest.split_once(' ').unwrap();
            size::fill_cache(tokens.parse().unwrap(), path);
        }
        (Some("serve-shared"), Some(path)) => http::serve(path, Sharing::Shared),
        (Some("serve-alone"), Some(path)) => http::serve(path, Sharing::SingleProcess),
        _ => panic!("{ROLE}={role}"),
    }
    true
}

/// A process that ends when this is dropped.
#[derive(Debug)]
pub struct Child {
    process: std::process::Child,
    /// None while the process is ended.
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Child {
    /// Starts this program in another role.
    pub fn start(role: &str) -> Self {
        Self::run(Command::new(std::env::current_exe().unwrap()).env(ROLE, role)).unwrap()
    }

    /// Starts a program that ends with its standard input.
    pub(crate) fn run(command: &mut Command) -> std::io::Result<Self> {
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let output = BufReader::new(process.stdout.take().unwrap());
        Ok(Self { input: process.stdin.take(), output, process })
    }

    /// The next line that it prints, empty when it has ended.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// The first line that it prints, of a child that is not needed any longer.
    pub fn first_line(mut self) -> String {
        self.line()
    }

    /// Asks a peer for a turn.
    pub fn turn(&mut self, asked: &Asked) -> Times {
        writeln!(self.input.as_mut().unwrap(), "{}", asked.line()).unwrap();
        self.line().parse().unwrap()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        drop(self.input.take());
        // Over with its input; there is nothing to do where it is over already.
        let _ = self.process.wait();
    }
}
