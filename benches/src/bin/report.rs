//! Asks every question, and writes what was found out into `docs/PERFORMANCE.md`:
//!
//! ```text
//! cargo run --release -p tokenkeep-benches --bin report
//! ```
//!
//! With names of questions, only those are asked, and the other figures stay. `--quick` takes some
//! seconds and shows that all of it works; its figures mean nothing, and are written where `--out`
//! says.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use lexopt::prelude::*;
use tokenkeep_benches::figures::{self, Figures};
use tokenkeep_benches::question::{QUESTIONS, Question, authenticate, update};
use tokenkeep_benches::scale::Scale;
use tokenkeep_benches::{child, document};
use tokenkeep_sqlite::Durability;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result<()> {
    if child::is_child() {
        return Ok(());
    }
    let arguments = Arguments::read()?;
    if let Some(what) = arguments.profile {
        return profile(&what);
    }
    let path = arguments.out.join("performance").join("figures.json");
    let mut figures = Figures::read(&path)?;
    figures.machine = figures::machine();
    for question in QUESTIONS.iter().filter(|question| arguments.asks(question)) {
        let start = Instant::now();
        let found = (question.measure)(&arguments.scale);
        println!("{}: {:.1?}", question.name, start.elapsed());
        figures.questions.insert(question.name.to_owned(), found);
        // What was measured is kept, whatever becomes of the next question.
        document::write(&figures, &arguments.out)?;
    }
    document::write(&figures, &arguments.out)?;
    println!("{}", arguments.out.join("PERFORMANCE.md").display());
    Ok(())
}

struct Arguments {
    scale: Scale,
    out: PathBuf,
    /// Empty for all; `none` for no question at all.
    questions: Vec<String>,
    profile: Option<String>,
}

impl Arguments {
    fn read() -> Result<Self> {
        let documents = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs");
        let (scale, out) = (Scale::FULL, PathBuf::from(documents));
        let mut read = Self { scale, out, questions: Vec::new(), profile: None };
        let mut is_out_given = false;
        let mut parser = lexopt::Parser::from_env();
        while let Some(argument) = parser.next()? {
            match argument {
                Long("quick") => read.scale = Scale::QUICK,
                Long("out") => {
                    is_out_given = true;
                    read.out = parser.value()?.into();
                }
                Long("profile") => read.profile = Some(parser.value()?.string()?),
                Value(name) => read.questions.push(name.string()?),
                other => return Err(other.unexpected().into()),
            }
        }
        let is_known = |name: &String| QUESTIONS.iter().any(|known| known.name == name);
        if let Some(unknown) = read.questions.iter().find(|name| !is_known(name) && *name != "none")
        {
            return Err(format!("there is no question {unknown:?}").into());
        }
        if read.scale.tokens < Scale::FULL.tokens && !is_out_given {
            return Err("--quick needs --out: its figures mean nothing".into());
        }
        Ok(read)
    }

    fn asks(&self, question: &Question) -> bool {
        self.questions.is_empty() || self.questions.iter().any(|name| name == question.name)
    }
}

/// Does one thing for twelve seconds, for somebody who looks on.
fn profile(what: &str) -> Result<()> {
    let lasting = Duration::from_secs(12);
    let times = match what {
        "authenticate" => authenticate::profiled(lasting),
        "update" => update::profiled(lasting, Durability::Full),
        "update-normal" => update::profiled(lasting, Durability::Normal),
        other => return Err(format!("nothing is known of {other:?}").into()),
    };
    println!("{} calls, {:.2?} each at the median", times.calls().len(), times.at(500));
    Ok(())
}
