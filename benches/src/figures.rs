//! All that was found out, kept beside the documentation so that one question can be asked anew.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::finding::{Findings, Line, Peer, Row};
use crate::goal::GOALS;

/// What was found out, question by question.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Figures {
    /// What it was measured on.
    pub machine: String,
    /// By the question's name.
    pub questions: BTreeMap<String, Findings>,
}

impl Figures {
    /// Those of earlier runs, none where there is no such file.
    ///
    /// # Errors
    ///
    /// When the file cannot be read.
    pub fn read(path: &Path) -> io::Result<Self> {
        match std::fs::read(path) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error),
        }
    }

    /// Keeps them.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let mut text = serde_json::to_string(self)?;
        // A question a line, for those who look at what has changed.
        text = text.replace("},\"", "},\n\"").replace("{\"goal\"", "\n{\"goal\"");
        text.push('\n');
        std::fs::write(path, text)
    }

    /// A row for each goal, in the order of the goals.
    pub fn rows(&self) -> Vec<Row> {
        let rows = || self.questions.values().flat_map(|found| &found.rows);
        let row = |id| rows().find(|row| row.goal == id).cloned();
        GOALS
            .iter()
            .map(|goal| row(goal.id).unwrap_or_else(|| Row::not_measured(goal.id, "not asked yet")))
            .collect()
    }

    /// All lines of a plot.
    pub fn lines(&self, plot: &str) -> Vec<&Line> {
        let lines = self.questions.values().flat_map(|found| &found.lines);
        lines.filter(|line| line.plot == plot).collect()
    }

    /// All other systems.
    pub fn peers(&self) -> Vec<Peer> {
        self.questions.values().flat_map(|found| found.peers.clone()).collect()
    }
}

/// What this machine is.
pub fn machine() -> String {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name"));
    let model =
        model.map_or("an unnamed processor", |model| model.trim_start_matches([':', ' ', '\t']));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let kernel = read("/proc/sys/kernel/osrelease");
    format!("{model}, {cores} cores, Linux {}, SQLite {}", kernel.trim(), rusqlite::version())
}
