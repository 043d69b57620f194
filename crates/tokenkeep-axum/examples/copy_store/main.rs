//! Copies tokens, events and users from one store to another, and compares both:
//!
//! ```text
//! cargo run --release --example copy_store -- sqlite:old.db sqlite:new.db
//! ```
//!
//! `--help` tells the rest.

#[path = "../serve/chain.rs"]
mod chain;
#[path = "../serve/db.rs"]
mod db;

use std::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use lexopt::prelude::{Long, Short, Value, ValueExt};
use tokenkeep::{
    Copied, CopyReport, check_tokens_target, check_users_target, copy_tokens, copy_users,
};

use crate::chain::chain;
use crate::db::Db;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// What `--help` prints.
const HELP: &str = "\
Copies all tokens, events and users from one store to another, then compares both row by row.

Usage: copy_store FROM TO [OPTIONS]

  FROM, TO    sqlite:PATH, postgres://USER@HOST/NAME or memory:; a file TO that is not there is made
  --no-users  copy tokens and events only, where users are kept elsewhere
  --help      this text

Stop every service on either store before, and let it end by itself, so that it writes the last-used
times that it holds back. Nothing is overwritten or deleted: where TO has a row that FROM does not
have, or has otherwise, nothing is written. A copy that was stopped is started again, and goes on.

Digests and sealed keys are copied as they are: serve TO with the peppers and sealing keys of FROM.
";

/// How often progress is shown.
const PACE: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // There is nobody left to tell when this fails.
            let _ = writeln!(io::stderr(), "copy_store: {}", chain(&*error));
            ExitCode::FAILURE
        }
    }
}

/// What was asked for.
struct Arguments {
    from: Db,
    to: Db,
    with_users: bool,
}

/// Reads the command line; `None` when only help is asked for.
fn arguments() -> Result<Option<Arguments>> {
    let mut parser = lexopt::Parser::from_env();
    let (mut stores, mut with_users) = (Vec::new(), true);
    while let Some(argument) = parser.next()? {
        match argument {
            Value(url) if stores.len() < 2 => stores.push(url.string()?.parse()?),
            Long("no-users") => with_users = false,
            Long("help") | Short('h') => return Ok(None),
            other => return Err(other.unexpected().into()),
        }
    }
    let [from, to] = <[Db; 2]>::try_from(stores)
        .map_err(|_| "say from where to where, as `copy_store sqlite:old.db sqlite:new.db`")?;
    Ok(Some(Arguments { from, to, with_users }))
}

#[tokio::main]
async fn run() -> Result<()> {
    let Some(arguments) = arguments()? else {
        return Ok(io::stdout().write_all(HELP.as_bytes())?);
    };
    let start = Instant::now();
    let report = copy(&arguments).await?;
    let counts = [
        ("groups", report.groups),
        ("users", report.users),
        ("permissions", report.grants),
        ("tokens", report.tokens),
        ("events", report.events),
    ];
    for (what, Copied { written, verified, .. }) in counts {
        writeln!(io::stdout(), "{what}: {verified} are equal, {written} of them new")?;
    }
    Ok(writeln!(io::stdout(), "copied and compared in {:.1} s", start.elapsed().as_secs_f64())?)
}

async fn copy(arguments: &Arguments) -> Result<CopyReport> {
    if let Db::Sqlite(path) = &arguments.from
        && !path.try_exists()?
    {
        // It would be made, and a copy of nothing succeeds.
        return Err(format!("there is no {}", path.display()).into());
    }
    let (tokens, users) = arguments.from.open(None).await?;
    let (to_tokens, to_users) = arguments.to.open(None).await?;
    let mut progress = progress();

    // A target that does not fit gets nothing: neither users nor tokens.
    check_tokens_target(&*tokens, &*to_tokens).await?;
    let mut report = CopyReport::default();
    if arguments.with_users {
        check_users_target(&*users, &*to_users).await?;
        report = copy_users(&*users, &*to_users, &mut progress).await?;
    }
    let copied = copy_tokens(&*tokens, &*to_tokens, &mut progress).await?;
    (report.tokens, report.events) = (copied.tokens, copied.events);
    Ok(report)
}

/// Shows now and then how far the copy is.
fn progress() -> impl FnMut(&CopyReport) + Send {
    let mut shown = Instant::now();
    move |report| {
        if shown.elapsed() < PACE {
            return;
        }
        shown = Instant::now();
        let of_all = |count: fn(&Copied) -> u64| {
            let CopyReport { groups, users, grants, tokens, events, .. } = report;
            [groups, users, grants, tokens, events].into_iter().map(count).sum::<u64>()
        };
        let (written, compared) = (of_all(|of| of.written), of_all(|of| of.verified));
        // Nobody has to read it.
        let _ = writeln!(io::stderr(), "{written} rows written, {compared} compared");
    }
}
