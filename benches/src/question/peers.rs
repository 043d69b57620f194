//! How much do other systems get done that people would use instead?
//!
//! They are programs of their own (`benches/peers`), since their dependencies are not ours, and are
//! built by cargo when they are asked for. Each does the same work as tokenkeep in the same
//! durability, in its own process, in turns with tokenkeep in this one.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;
use tokenkeep::TokenService;
use tokenkeep_load::{Asked, Times, Work, turn};
use tokenkeep_sqlite::SqliteOptions;
use tokio::runtime::Runtime;

use crate::child::Child;
use crate::compare::{Paired, Spread, in_turns, rounded};
use crate::files::Files;
use crate::finding::{Done, Findings, Line, Peer, Row};
use crate::goal::Unit;
use crate::load::{self, service};
use crate::question::callers::runtime;
use crate::scale::Scale;

/// A program, and what it says to be.
struct System {
    name: &'static str,
    workspace: &'static str,
    program: &'static str,
    arguments: &'static [&'static str],
    callers: &'static [u64],
}

const SYSTEMS: [System; 4] = [
    System {
        name: "axum + sqlx, SQLite FULL",
        workspace: "sqlx",
        program: "peer-sqlx",
        arguments: &[],
        callers: &[1, 8, 32],
    },
    System {
        name: "tower-sessions-rusqlite-store, FULL",
        workspace: "",
        program: "peer-sessions",
        arguments: &[],
        callers: &[1, 8],
    },
    System {
        name: "Redis, appendfsync always",
        workspace: "",
        program: "peer-redis",
        arguments: &["always"],
        callers: &[1, 8],
    },
    System {
        name: "Redis, nothing durable",
        workspace: "",
        program: "peer-redis",
        arguments: &["no"],
        callers: &[1, 8],
    },
];

/// Measures what can be built and started here.
pub fn measure(scale: &Scale) -> Findings {
    let files = Files::new(&SqliteOptions::new(), scale.tokens);
    let ours = Ours { scale: *scale, runtime: runtime(), service: service(&files.store) };
    let mut found = Findings::default();
    for system in &SYSTEMS {
        match system.start(scale) {
            Ok(peer) => ours.beside(system, peer, &mut found),
            Err(why) => println!("{} was not measured: {why}", system.name),
        }
    }
    if found.rows.is_empty() {
        let why = "axum + sqlx was not measured";
        found.rows.push(Row::not_measured("update-full-peer", why));
    }
    found
}

/// axum and sqlx, or why they are not there. Its first line is the address where it serves HTTP.
pub(crate) fn sqlx(scale: &Scale) -> Result<Running, String> {
    SYSTEMS[0].start(scale)
}

/// A system that runs in a directory of its own.
pub(crate) struct Running {
    child: Child,
    _directory: TempDir,
}

impl Running {
    /// The next line that it prints.
    pub(crate) fn line(&mut self) -> String {
        self.child.line()
    }
}

impl System {
    fn start(&self, scale: &Scale) -> Result<Running, String> {
        if scale.tokens < Scale::FULL.tokens {
            return Err("other systems are left out of a quick run".to_owned());
        }
        let program = self.build()?;
        let directory = tempfile::tempdir().unwrap();
        let mut command = Command::new(program);
        command.arg(directory.path()).arg(scale.tokens.to_string()).args(self.arguments);
        let child = Child::run(&mut command).map_err(|error| error.to_string())?;
        Ok(Running { child, _directory: directory })
    }

    /// The program, built by cargo.
    fn build(&self) -> Result<PathBuf, String> {
        let benches = Path::new(env!("CARGO_MANIFEST_DIR"));
        let target = std::env::var_os("CARGO_TARGET_DIR")
            .map_or_else(|| benches.join("../target"), PathBuf::from)
            .join("peers");
        let built = Command::new("cargo")
            .args(["build", "--release", "--locked", "--quiet", "--package", self.program])
            .arg("--manifest-path")
            .arg(benches.join("peers").join(self.workspace).join("Cargo.toml"))
            .arg("--target-dir")
            .arg(&target)
            .status();
        match built {
            Ok(status) if status.success() => Ok(target.join("release").join(self.program)),
            Ok(_) => Err("it could not be built".to_owned()),
            Err(error) => Err(format!("there is no cargo: {error}")),
        }
    }
}

/// tokenkeep beside a peer.
struct Ours {
    scale: Scale,
    runtime: Runtime,
    service: TokenService,
}

impl Ours {
    fn beside(&self, system: &System, mut peer: Running, found: &mut Findings) {
        let ready = peer.line();
        if ready.is_empty() {
            return println!("{} was not measured: it does not start here", system.name);
        }
        let mut rates = Vec::new();
        for (work, name) in [(Work::Authenticate, "authenticate"), (Work::Update, "update")] {
            for callers in system.callers {
                let ask = |round: u64, side: u64| Asked {
                    work,
                    callers: *callers,
                    lasting: self.scale.turn * 3 / 5,
                    first: (callers * 100 + round * 2 + side) * 100_000_000,
                };
                let (row, paired, _) = beside_peer(
                    &self.scale,
                    &format!("{}: {name}", system.name),
                    *callers,
                    |round| self.turn(&ask(round, 0)),
                    |round| peer.child.turn(&ask(round, 1)),
                );
                if work == Work::Update {
                    rates.push((*callers as f64, row.theirs.rate));
                }
                if (system.program, work, callers) == ("peer-sqlx", Work::Update, &32) {
                    found.rows.push(Row::ratio("update-full-peer", paired, Unit::PerSecond));
                }
                found.peers.push(row);
            }
        }
        if system.arguments != ["no"] {
            found.lines.push(Line::new("callers-rate", system.name, rates));
        }
    }

    fn turn(&self, asked: &Asked) -> Times {
        let (work, tokens) = (asked.work, self.scale.tokens);
        turn(&self.runtime, asked.callers, asked.lasting, asked.first, |_| {
            let service = self.service.clone();
            move |call| {
                let service = service.clone();
                async move {
                    match work {
                        Work::Authenticate => load::authenticate(&service, call, tokens).await,
                        Work::Update => load::update(&service, call, tokens).await,
                    }
                }
            }
        })
    }
}

/// Gives tokenkeep and another system turns. Returns what they got done, and tokenkeep's p99 turn by
/// turn.
pub(crate) fn beside_peer(
    scale: &Scale,
    what: &str,
    callers: u64,
    mut ours: impl FnMut(u64) -> Times,
    mut theirs: impl FnMut(u64) -> Times,
) -> (Peer, Paired, Spread) {
    let (mut our_turns, mut their_turns) = (Vec::new(), Vec::new());
    let paired = in_turns(
        &scale.rounds(5),
        |round| kept(&mut our_turns, ours(round)),
        |round| kept(&mut their_turns, theirs(round)),
    );
    let p99 = |times: &Times| times.at(990).as_secs_f64();
    let done = |rate: Spread, turns: &[Times]| Done {
        rate: rate.median,
        p99: rounded(p99(&Times::joined(turns.iter().skip(1).cloned()))),
    };
    let peer = Peer {
        what: what.to_owned(),
        callers,
        theirs: done(paired.floor, &their_turns),
        ours: done(paired.ours, &our_turns),
        ratio: paired.ratio,
    };
    (peer, paired, Spread::of(our_turns.iter().skip(1).map(p99)))
}

fn kept(turns: &mut Vec<Times>, times: Times) -> f64 {
    let rate = times.rate();
    turns.push(times);
    rate
}
