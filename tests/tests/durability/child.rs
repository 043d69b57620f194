//! The process that is killed.

use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokenkeep::{
    Caller, Change, Commit, CommitError, Expected, Intent, KeyChange, ManagedToken, Reconcile,
    ReconcileError, StoreError, StoreErrorKind, Timestamp, Token, TokenChange, TokenError,
    TokenService, TokenStore, UserStore,
};
use tokenkeep_sqlite::{Durability, OpenError, SqliteOptions, SqliteStore};
use tokenkeep_tests::backend::Backend;
use tokenkeep_tests::hasty::HastyStore;
use tokenkeep_tests::history::{Draw, Keys, OWNER, Task, is_fault, prepare};
use tokenkeep_tests::scene::row;
use tokio::runtime::Builder;
use tokio::task::JoinSet;

/// The file, or the URL of a PostgreSQL database.
pub(crate) const PLACE: &str = "TOKENKEEP_DURABILITY_PLACE";
/// One operation, or `everything` until it is killed, or `everything for a while`.
pub(crate) const WORK: &str = "TOKENKEEP_DURABILITY_WORK";
/// Whether it acknowledges what it has not done: the control.
pub(crate) const HASTY: &str = "TOKENKEEP_DURABILITY_HASTY";

/// How a line begins that tells how a call has failed.
pub(crate) const FAILED: &str = "failed ";
/// How a line begins that tells of a panic.
pub(crate) const PANICKED: &str = "panicked: ";

/// Whether it does not wait for the disk: the control of power cuts.
pub(crate) const NORMAL: &str = "TOKENKEEP_DURABILITY_NORMAL";

/// How often a child goes round that is not killed: each time it flushes three times at least.
const ROUNDS: u64 = 30;

const TASKS: u64 = 8;

/// How many tokens one reconcile is about, and one sweep.
pub(crate) const TOGETHER: u64 = 10;

/// What the child processes run; nothing by itself.
#[test]
fn child_process() {
    let Ok(place) = std::env::var(PLACE) else { return };
    // Where there is one processor, the harness has begun a line.
    println!();
    // Also what panics in a task of its own must be seen.
    std::panic::set_hook(Box::new(|panic| {
        println!("{PANICKED}{panic}");
        std::process::abort();
    }));
    let work = std::env::var(WORK).unwrap();
    if work == "open in place" {
        write_in_place(Path::new(&place));
    }
    let (store, users) = match open(&place) {
        Ok(stores) => stores,
        Err(error) => return println!("not opened: {error:?}"),
    };
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let hasty = std::env::var(HASTY).is_ok().then(|| Arc::new(HastyStore::new(store.clone())));
        let tokens = hasty.clone().map_or(store, |hasty| hasty as _);
        let builder = TokenService::builder(tokens.clone(), users.clone());
        let service = match builder.open().await {
            Ok(service) => service,
            Err(error) => return println!("not opened: {error:?}"),
        };
        match work.as_str() {
            "everything" => {
                prepare(&*users).await;
                everything(&service, &*tokens, u64::MAX).await;
            }
            // The owner is there.
            "everything for a while" => {
                let mut tasks = everything(&service, &*tokens, ROUNDS).await;
                if let Some(hasty) = hasty {
                    tasks.shutdown().await;
                    drop((service, tokens));
                    Arc::into_inner(hasty).expect("the last one").end();
                }
                println!("done");
                std::process::exit(0);
            }
            "fill the disk" => {
                prepare(&*users).await;
                fill_the_disk(&service, Path::new(&place)).await;
            }
            work => {
                one(&service, work).await;
                println!("done");
            }
        }
    });
}

/// Makes the file that a store would make, where it is to be, page by page.
fn write_in_place(path: &Path) {
    let made = tempfile::tempdir().unwrap();
    drop(SqliteStore::open(made.path().join("tokens.db")).unwrap());
    let made = std::fs::read(made.path().join("tokens.db")).unwrap();
    let file = std::fs::File::create(path).unwrap();
    file.set_permissions(PermissionsExt::from_mode(0o600)).unwrap();
    for (number, page) in made.chunks(4096).enumerate() {
        file.write_all_at(page, number as u64 * 4096).unwrap();
    }
}

type Stores = (Arc<dyn TokenStore>, Arc<dyn UserStore>);

fn open(place: &str) -> Result<Stores, OpenError> {
    if place.starts_with("postgres:") {
        let backend = Backend::at(place);
        return Ok((backend.tokens, backend.users));
    }
    let normal = std::env::var(NORMAL).is_ok();
    let durability = if normal { Durability::Normal } else { Durability::Full };
    let store = Arc::new(SqliteOptions::new().durability(durability).open(place)?);
    Ok((store.clone(), store))
}

/// All kinds of work at the same time, for so many rounds; the tasks that go on.
async fn everything(service: &TokenService, tokens: &dyn TokenStore, rounds: u64) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    let keys = Arc::new(Keys::default());
    for number in 0..TASKS {
        let (service, keys, history) = (service.clone(), keys.clone(), "killed".to_owned());
        let (tell, draw) = (Arc::new(|told| println!("{told}")), Draw::new(seed() + number));
        let task = Task { service, keys, tell, history, draw, number, clock };
        tasks.spawn(task.run(1_000_000));
    }
    tasks.spawn(rotate(service.clone()));
    for round in 1..=rounds {
        match reconcile(service, round).await {
            Ok(()) => println!("reconciled {round}"),
            Err(ReconcileError::Failed { error, .. }) => tell_of(error).await,
            Err(other) => panic!("{other:?}"),
        }
        match sweep(service, tokens, round).await {
            Ok(()) => println!("swept {round}"),
            Err(error) => tell_of(error).await,
        }
    }
    tasks
}

/// Creates tokens until the disk is full, and more of them when there is room again.
async fn fill_the_disk(service: &TokenService, path: &Path) {
    let create = async |number: u64| {
        let change = TokenChange::new().identifier(format!("token-{number}")).owner(OWNER);
        service.create(&Caller::System, change.description("x".repeat(10_000))).await
    };
    println!();
    let mut number = 0;
    while create(number).await.inspect_err(|error| println!("failed {error:?}")).is_ok() {
        println!("created {number}");
        number += 1;
    }
    println!("read {}", service.retrieve(&Caller::System, "token-0").await.is_ok());
    std::fs::remove_file(path.with_file_name("ballast")).unwrap();
    for number in number + 1..number + 51 {
        create(number).await.unwrap();
        println!("created {number}");
    }
}

/// Tells of what may happen when storage fails, and rests; anything else is not to happen.
async fn tell_of(error: TokenError) {
    match error {
        TokenError::Store(error) if is_fault(error.kind()) || error.is_retryable() => {
            println!("{FAILED}{:?}", error.kind());
        }
        TokenError::Store(error) if *error.kind() == StoreErrorKind::OutcomeUnknown => {
            println!("{FAILED}OutcomeUnknown");
        }
        TokenError::Contended => {}
        other => panic!("{other:?}"),
    }
    tokio::time::sleep(Duration::from_millis(1)).await;
}

fn clock() -> u64 {
    static TIME: AtomicU64 = AtomicU64::new(0);
    TIME.fetch_add(1, Ordering::SeqCst)
}

fn seed() -> u64 {
    u64::from(std::process::id()) << 8
}

/// Gives one token new keys for ever.
async fn rotate(service: TokenService) {
    loop {
        match service.rotate(&Caller::System, "rotated", Expected::Anything).await {
            Ok(rotated) => println!("rotated {}", rotated.view.token.revision.get()),
            Err(TokenError::NotFound) => {
                let change = TokenChange::new().identifier("rotated").intent(Intent::Api);
                if let Err(error) = service.create(&Caller::System, change.owner(OWNER)).await {
                    tell_of(error).await;
                }
            }
            Err(error) => tell_of(error).await,
        }
    }
}

/// Gives every managed token the same description.
async fn reconcile(service: &TokenService, round: u64) -> Result<(), ReconcileError> {
    let managed = (0..TOGETHER).map(|number| {
        let marker = format!("example.org/killed/{number}").parse().unwrap();
        let wanted = TokenChange::new()
            .identifier(format!("managed-{number}"))
            .owner(OWNER)
            .description(round.to_string());
        ManagedToken::present(marker, wanted)
    });
    service.reconcile(&Reconcile::new(managed)).await.map(drop)
}

/// Tokens of a round that have expired long ago.
fn expired(round: u64) -> impl Iterator<Item = Token> {
    (0..TOGETHER).map(move |number| {
        let number = round * TOGETHER + number;
        let name = format!("expired-{round}-{number}");
        let row = row(u128::from(number) << 64, &name, OWNER, &format!("key of {name}"));
        Token { expiring: true, expires: Some(Timestamp::MIN), ..row }
    })
}

async fn add_expired(tokens: &dyn TokenStore, round: u64) -> Result<(), StoreError> {
    let changes = expired(round).map(|token| Change::Insert(token.into())).collect();
    match tokens.commit(Commit { changes, events: Vec::new() }).await {
        Ok(()) => Ok(()),
        Err(CommitError::Store(error)) => Err(error),
        Err(other) => panic!("{other:?}"),
    }
}

async fn sweep(
    service: &TokenService,
    tokens: &dyn TokenStore,
    round: u64,
) -> Result<(), TokenError> {
    add_expired(tokens, round).await?;
    service.sweep().await.map(drop)
}

/// Fills a file with what the single operations are about.
pub(crate) async fn fill(path: &Path) {
    let store = Arc::new(SqliteStore::open(path).unwrap());
    prepare(&*store).await;
    let service = TokenService::builder(store.clone(), store.clone()).open().await.unwrap();
    for name in ["other", "own"] {
        let change = TokenChange::new().identifier(name).intent(Intent::Api).owner(OWNER);
        service.create(&Caller::System, change).await.unwrap();
    }
    reconcile(&service, 1).await.unwrap();
    add_expired(&*store, 1).await.unwrap();
}

/// What can be done once.
pub(crate) const WORKS: [&str; 7] =
    ["create", "update", "set key", "rotate", "delete", "sweep", "reconcile"];

async fn one(service: &TokenService, work: &str) {
    let system = Caller::System;
    match work {
        "open" | "open in place" => Ok(()),
        "create" => {
            let change = TokenChange::new().identifier("new").intent(Intent::Api).owner(OWNER);
            service.create(&system, change).await.map(drop)
        }
        "update" => {
            let change = TokenChange::new().description("changed");
            service.partial_update(&system, "own", change).await.map(drop)
        }
        "set key" => {
            let key = KeyChange::new("a key that is long enough to be one, and new");
            service.set_key(&system, "own", key).await.map(drop)
        }
        "rotate" => service.rotate(&system, "own", Expected::Anything).await.map(drop),
        "delete" => service.delete(&system, "own", Expected::Anything).await.map(drop),
        "sweep" => service.sweep().await.map(drop),
        "reconcile" => {
            reconcile(service, 2).await.unwrap();
            Ok(())
        }
        other => panic!("{other}"),
    }
    .unwrap();
}
