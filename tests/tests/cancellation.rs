//! Futures that are dropped at each of their awaits, on every backend: what was called is done or not,
//! the next operation succeeds, and nobody waits. 300 times on each, or as often as
//! `TOKENKEEP_CANCELLATIONS` says.

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use tokenkeep::{
    Caller, Change, Commit, EventQuery, Expected, Intent, KeyChange, KeyScheme, ManagedToken,
    Reconcile, SealingKey, Timestamp, Token, TokenChange, TokenKey, TokenList, TokenService,
    TokenStore, UserId,
};
use tokenkeep_tests::backend::Backend;
use tokenkeep_tests::scene::{bearer, row, sealing, user};
use tokenkeep_tests::trail::trail_is_whole;
use tokenkeep_tests::yielding::{HalvingStore, YieldingStore};
use tokio::runtime::Runtime;
use tokio::time::timeout;

const OWNER: UserId = UserId::new(7);
const OTHER: UserId = UserId::new(8);

fn cancellations() -> i64 {
    let cancellations = std::env::var("TOKENKEEP_CANCELLATIONS").ok();
    cancellations.and_then(|cancellations| cancellations.parse().ok()).unwrap_or(300)
}

/// How many operations there are.
const OPERATIONS: u64 = 22;

/// One operation, once, on the tokens of the number. What becomes of it does not matter: it may meet
/// what an earlier one has left.
async fn operate(service: TokenService, operation: u64, number: u64, keys: Keys) {
    let (name, system) = (&*format!("token-{number}"), &Caller::System);
    let change = TokenChange::new().description(number.to_string());
    let new = TokenChange::new().owner(OTHER);
    let marker = format!("example.org/cancelled/{number}").parse().unwrap();
    let managed = new.clone().identifier(format!("managed-{number}"));
    let wanted = Reconcile::new([ManagedToken::present(marker, managed)]);
    let set = KeyChange::new(format!("a key that is long enough to be one, and the {number}th"));
    match operation {
        0 => drop(service.authenticate(Some(&bearer(&keys.api))).await),
        1 => drop(service.authenticate_app_password("the owner", &keys.app_password).await),
        2 => drop(service.retrieve(system, name).await),
        3 => drop(service.view_key(system, name).await),
        4 => drop(service.used_by(system, name).await),
        5 => drop(service.list(system, &TokenList::default()).await),
        6 => drop(service.list_from(system, &TokenList::default(), None).await),
        7 => drop(service.events(&EventQuery::default()).await),
        8 => drop(service.prune_events(Timestamp::MIN).await),
        9 => drop(service.flush().await),
        10 => drop(service.create(system, new.identifier(format!("new-{number}"))).await),
        11 => drop(service.update(system, name, change.identifier(name).owner(OWNER)).await),
        12 => drop(service.partial_update(system, name, change).await),
        13 => drop(service.set_key(system, name, set).await),
        14 => drop(service.rotate(system, name, Expected::Anything).await),
        15 => drop(service.rekey().await),
        16 => drop(service.reconcile(&wanted).await),
        17 => drop(service.reconcile_dry_run(&wanted).await),
        18 => drop(service.owner_deleted(OTHER).await),
        19 => drop(service.sweep().await),
        20 => drop(service.consume(Intent::Recovery, &keys.recovery).await),
        21 => drop(service.delete(system, name, Expected::Anything).await),
        other => panic!("{other}"),
    }
}

/// Polls so often and drops what is not done by then; whether it was done.
async fn dropped_after(polls: u64, call: impl Future<Output = ()>) -> bool {
    let mut call = pin!(call);
    let mut left = polls;
    poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(false);
        }
        left -= 1;
        match call.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(true),
            // At once: what it waits for is still under way.
            Poll::Pending if left == 0 => Poll::Ready(false),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// The keys of the tokens of a number.
#[derive(Debug, Clone)]
struct Keys {
    api: TokenKey,
    app_password: TokenKey,
    recovery: TokenKey,
}

/// A token of each kind, one that has been used, and one that has expired. Their keys are sealed by
/// an older key than that of `service`.
async fn put(backend: &Backend, service: &TokenService, number: u64) -> Keys {
    let scheme = sealing().also_opening(SealingKey::new(2, [2; 32]));
    let older = backend.builder().keys(scheme).open().await.unwrap();
    let create = async |name: &str, intent| {
        let token = TokenChange::new().identifier(format!("{name}-{number}")).intent(intent);
        older.create(&Caller::System, token.owner(OWNER)).await.unwrap().key
    };
    let keys = Keys {
        api: create("token", Intent::Api).await,
        app_password: create("app-password", Intent::AppPassword).await,
        recovery: create("recovery", Intent::Recovery).await,
    };
    let used = create("used", Intent::Api).await;
    service.authenticate(Some(&bearer(&used))).await.unwrap();
    let (id, name) = (u128::from(number) << 64, format!("expired-{number}"));
    let old = row(id, &name, OWNER, &format!("the key of {name}"));
    let expires = Some(Timestamp::MIN);
    let old = Token { intent: Intent::AppPassword, expiring: true, expires, ..old };
    let changes = vec![Change::Insert(old.into())];
    backend.tokens.commit(Commit { changes, events: Vec::new() }).await.unwrap();
    keys
}

/// Tells how many futures were dropped, and how long the call behind one took at most.
async fn nobody_is_wedged(backend: &Backend, store: Arc<dyn TokenStore>) -> (i64, Duration) {
    let builder = TokenService::builder(store, backend.users.clone()).cache(backend.cache);
    let scheme = KeyScheme::sealing(SealingKey::new(2, [2; 32]));
    let scheme = scheme.also_opening(SealingKey::new(1, [1; 32]));
    let service = builder.keys(scheme).open().await.unwrap();
    for (id, name) in [(OWNER, "the owner"), (OTHER, "the other")] {
        backend.users.put_user(user(id, name)).await.unwrap();
    }
    let canary = TokenChange::new().identifier("canary").owner(OWNER);
    service.create(&Caller::System, canary).await.unwrap();
    let (mut drops, mut number, mut polls) = (0, 0, 0);
    let mut longest = Duration::ZERO;
    let mut dropped_inside = BTreeSet::new();
    while drops < cancellations() {
        number += 1;
        let keys = put(backend, &service, number).await;
        let mut all_done = true;
        for operation in 0..OPERATIONS {
            let call = operate(service.clone(), operation, number, keys.clone());
            if dropped_after(polls, call).await {
                continue;
            }
            (drops, all_done) = (drops + 1, false);
            if polls > 0 {
                dropped_inside.insert(operation);
            }
            let start = Instant::now();
            assert!(!backend.has_left_a_transaction());
            let next = TokenChange::new().description(drops.to_string());
            let next = service.partial_update(&Caller::System, "canary", next);
            let next = timeout(Duration::from_secs(10), next).await.expect("the store is wedged");
            longest = longest.max(start.elapsed());
            let next = next.unwrap();
            assert_eq!(next.view.token.revision.get(), drops + 1, "somebody else has written");
        }
        polls = if all_done { 0 } else { polls + 1 };
    }
    assert_eq!(dropped_inside, (0..OPERATIONS).collect(), "some were never under way");
    (drops, longest)
}

#[test]
fn a_dropped_future_wedges_nobody_and_leaves_nothing_by_half() {
    for backend in Backend::all() {
        let (drops, longest) = Runtime::new().unwrap().block_on(async {
            let store = Arc::new(YieldingStore(backend.tokens.clone()));
            let dropped = nobody_is_wedged(&backend, store).await;
            trail_is_whole(&*backend.tokens).await;
            dropped
        });
        println!(
            "{}: {drops} dropped futures, the next waited for {longest:.0?} at most",
            backend.name
        );
    }
}

/// The control: somebody who is in a transaction, and stays.
#[test]
fn a_transaction_that_is_left_open_is_found_out() {
    let backend = Backend::sqlite();
    let left = Connection::open(backend.url().trim_start_matches("sqlite:")).unwrap();
    left.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert!(backend.has_left_a_transaction());
    left.execute_batch("COMMIT").unwrap();
    assert!(!backend.has_left_a_transaction());
}

/// The control: a store that writes in two steps.
#[test]
fn a_store_that_can_be_cut_in_half_is_found_out() {
    let backend = Backend::memory();
    Runtime::new().unwrap().block_on(async {
        let store = HalvingStore(YieldingStore(backend.tokens.clone()));
        nobody_is_wedged(&backend, Arc::new(store)).await;
    });
    let judged =
        catch_unwind(AssertUnwindSafe(|| pollster::block_on(trail_is_whole(&*backend.tokens))));
    assert!(judged.is_err());
}
