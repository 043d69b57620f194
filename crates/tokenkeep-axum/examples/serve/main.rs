//! Serves the token API, in one command:
//!
//! ```text
//! cargo run --example serve
//! ```
//!
//! `--help` lists the options. A new store gets a superuser, whose key is written to a file, and the
//! line that updates its first token is printed, ready to be pasted.

mod admin;
mod arguments;
mod background;
mod chain;
mod connections;
mod db;
mod draft;
mod keys;
mod secret_file;
mod seed;
mod store;

use std::error::Error;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use tokenkeep::{
    Clock, ManualClock, Policy, Random, SystemClock, SystemRandom, Timestamp, TokenKey,
    TokenService,
};
use tokenkeep_memory::MemoryStore;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::arguments::Arguments;
use crate::chain::chain;
use crate::seed::Seed;
use crate::store::Opened;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // There is nobody left to tell when this fails.
            let _ = writeln!(io::stderr(), "serve: {}", chain(&*error));
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn run() -> Result<()> {
    let Some(arguments) = Arguments::read()? else {
        return Ok(io::stdout().write_all(arguments::HELP.as_bytes())?);
    };
    tracing_log(&arguments);
    if arguments.new_admin_key {
        return new_admin_key(&arguments).await;
    }
    let listener = TcpListener::bind(&arguments.listen)
        .await
        .map_err(|error| format!("cannot listen on {}: {error}", arguments.listen))?;
    let opened = store::open(&arguments).await?;
    let tokens = service(&arguments, &opened, arguments.min_key_length).await?;
    // Heard from now on: who reads the first line may say stop at once.
    let stop = stop()?;
    let url = format!("http://{}", listener.local_addr()?);
    let mut lines = vec![format!("listening on {url}")];
    lines.extend(fill(&arguments, &opened, &url).await?);
    say(&lines);

    let background = background::start(&tokens, &arguments);
    let app = tokenkeep_axum::router(tokens.clone());
    connections::serve(listener, app, arguments.limits, stop).await;
    background.stop().await;
    Ok(tokens.flush().await?)
}

/// Writes a new key of a superuser to a file.
async fn new_admin_key(arguments: &Arguments) -> Result<()> {
    let opened = store::open(arguments).await?;
    let tokens = service(arguments, &opened, TokenKey::GENERATED_CHARS).await?;
    let (users, name) = (&*opened.users, &arguments.admin);
    let line = admin::renew(users, &tokens, name, &arguments.admin_key_file()?).await?;
    say(&[line]);
    Ok(())
}

/// Prints lines, of which none is needed: standard output may be closed or full.
fn say(lines: &[String]) {
    if let Err(error) = writeln!(io::stdout(), "{}", lines.join("\n")) {
        tracing::warn!("standard output cannot be written: {error}");
    }
}

fn random_uuid() -> Result<uuid::Uuid> {
    let mut bytes = [0; 16];
    SystemRandom.fill(&mut bytes)?;
    Ok(uuid::Builder::from_random_bytes(bytes).into_uuid())
}

fn tracing_log(arguments: &Arguments) {
    use tracing_subscriber::prelude::*;
    let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr).with_ansi(false);
    tracing_subscriber::registry().with(lines.with_filter(arguments.log.clone())).init();
}

async fn service(
    arguments: &Arguments,
    opened: &Opened,
    minimum_key_length: usize,
) -> Result<TokenService> {
    let policy = Policy {
        default_duration: arguments.default_duration,
        minimum_key_length,
        ..Policy::default()
    };
    let builder = TokenService::builder(opened.tokens.clone(), opened.users.clone())
        .clock(clock(arguments))
        .policy(policy)
        .keys(opened.keys.clone())
        .installation_id(arguments.installation_id.as_str());
    Ok(builder.open().await?)
}

fn clock(arguments: &Arguments) -> Arc<dyn Clock> {
    match arguments.clock {
        Some(time) => Arc::new(ManualClock::at(time)),
        None => Arc::new(SystemClock),
    }
}

/// Fills a store that is empty, and returns what there is to say about it.
async fn fill(arguments: &Arguments, opened: &Opened, url: &str) -> Result<Vec<String>> {
    let is_empty = opened.is_empty().await?;
    match &arguments.seed {
        Some(path) if !is_empty => {
            Err(format!("the store is not empty: {} was not loaded", path.display()).into())
        }
        Some(path) => {
            let loaded = load(path, opened, clock(arguments).now()).await;
            loaded.map_err(|error| format!("{}: {}", path.display(), chain(&*error)))?;
            Ok(Vec::new())
        }
        None if is_empty => {
            let (now, file) = (clock(arguments).now(), arguments.admin_key_file()?);
            let tokens = service(arguments, opened, TokenKey::GENERATED_CHARS).await?;
            let lines = admin::create(&*opened.users, &tokens, now, &file, url).await?;
            if lines.is_none() {
                tracing::info!("another instance has made the administrator");
            }
            Ok(lines.unwrap_or_default())
        }
        None => Ok(Vec::new()),
    }
}

async fn load(path: &Path, opened: &Opened, now: Timestamp) -> Result<()> {
    let seed = Seed::parse(&std::fs::read_to_string(path)?)?;
    // What is wrong shows in memory, before the first row is written.
    let trial = MemoryStore::new();
    seed.load(&trial, &trial, &opened.keys, &SystemRandom, now).await?;
    seed.load(&*opened.tokens, &*opened.users, &opened.keys, &SystemRandom, now).await
}

/// Listens for the signals that stop the process, and waits for the first.
fn stop() -> Result<impl Future<Output = ()> + Send + 'static> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        tracing::info!("stopping");
    })
}
