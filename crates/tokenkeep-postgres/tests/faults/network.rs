//! A connection that fails at every byte of an update: what the store says must be what is true.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokenkeep::{
    Caller, Change, Lookup, Revision, Timestamp, Token, TokenChange, TokenService, TokenStore,
    User, UserId, UserStore,
};
use tokenkeep_memory::MemoryStore;
use tokenkeep_postgres::{PostgresOptions, PostgresStore};
use tokenkeep_test_server::{Database, Direction, Failure, Proxy, cluster_available};

use crate::scene::{Observer, Verdict, cluster, insert, revision_of, token};

/// A token behind a proxy, and who changes it.
struct Scene {
    proxy: Proxy,
    store: Arc<PostgresStore>,
    service: TokenService,
    observer: Observer,
    events: u128,
    /// Whether each failing change begins with a connection that is made for it.
    begins_cold: bool,
    /// What an unknown outcome is taken for.
    unknown_is: Verdict,
    _database: Database,
}

/// Through what the token is changed.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Through {
    /// One change, which is one statement.
    Store,
    /// Two changes, which are a transaction.
    Transaction,
    Service,
}

impl Scene {
    async fn new() -> Self {
        Self::with_patience(Duration::from_secs(20)).await
    }

    /// Where the store waits for so long for an answer.
    async fn with_patience(patience: Duration) -> Self {
        let database = cluster().database().unwrap();
        let proxy = Proxy::start(cluster().address()).unwrap();
        let options = PostgresOptions::new()
            .max_connections(1)
            .statement_timeout(patience)
            .connect_timeout(Duration::from_secs(20));
        let store = options.connect(&database.url_at(proxy.address())).await.unwrap();
        let store = Arc::new(store);
        insert(&*store, [token(1), token(2)]).await;
        let users = Arc::new(MemoryStore::new());
        let owner = User::new(UserId::new(1), uuid::Uuid::from_u128(1), "owner", Timestamp::MIN);
        users.put_user(owner).await.unwrap();
        let service = TokenService::builder(store.clone(), users).open().await.unwrap();
        let observer = Observer::of(&database).await;
        Self {
            proxy,
            store,
            service,
            observer,
            events: 0,
            begins_cold: false,
            unknown_is: Verdict::Unknown,
            _database: database,
        }
    }

    async fn token(&self) -> Arc<Token> {
        self.store.find(Lookup::Id(token(1).id)).await.unwrap().unwrap()
    }

    async fn change(&mut self, through: Through, before: &Token) -> Verdict {
        self.events += 1;
        let (after, mut commit) = revision_of(before, self.events);
        if through == Through::Transaction {
            let other = token(2);
            commit.changes.push(Change::Expect { id: other.id, expected: other.revision });
        }
        if through != Through::Service {
            return Verdict::of(self.store.commit(commit).await);
        }
        let change = TokenChange::new().description(&*after.description);
        let change = change.expecting((before.id, before.revision));
        match self.service.partial_update(&Caller::System, "token-1", change).await {
            Ok(updated) => {
                assert_eq!(updated.view.revision(), after.revision);
                Verdict::Done
            }
            Err(error) if error.is_outcome_unknown() => Verdict::Unknown,
            Err(error) => {
                assert!(error.is_retryable(), "{error:?}");
                Verdict::NotDone
            }
        }
    }

    /// Changes the token over a network that fails behind so many bytes, and compares what is said
    /// with what is true. `None` when the change was through before.
    async fn fail(
        &mut self,
        through: Through,
        (direction, after, failure): (Direction, usize, Failure),
    ) -> Option<Verdict> {
        let before = self.token().await;
        if self.begins_cold {
            self.cool_down().await;
        }
        self.proxy.arm(direction, after, failure);
        let verdict = match self.change(through, &before).await {
            Verdict::Unknown => self.unknown_is,
            verdict => verdict,
        };
        let failed = self.proxy.failed();
        self.proxy.repair();
        if failed.is_empty() {
            assert_eq!(verdict, Verdict::Done);
            return None;
        }
        // What is still under way at the server could be committed after a look at it.
        for port in failed {
            self.observer.until_no_session(&format!("client_port = {port}")).await;
        }
        let is = self.observer.revision(before.id).await;
        let is_there = is == before.revision.next().unwrap();
        assert!(is_there || is == before.revision, "{:?} became {is:?}", before.revision);
        let said = (direction, after, failure, verdict);
        match verdict {
            Verdict::Done => assert!(is_there, "{said:?}, and it is not there"),
            Verdict::NotDone => assert!(!is_there, "{said:?}, and it is there"),
            Verdict::Unknown => {}
        }
        self.assert_well(through, is, said).await;
        Some(verdict)
    }

    /// The next call has to succeed, on a connection that is as good as any.
    async fn assert_well(&mut self, through: Through, is: Revision, said: impl Debug) {
        let now = self.token().await;
        assert_eq!(now.revision, is, "after {said:?}");
        assert_eq!(self.change(through, &now).await, Verdict::Done, "after {said:?}");
    }

    /// Ends the store's connection, so that the next call begins with a new one.
    async fn cool_down(&self) {
        self.observer.end_sessions().await;
        while self.proxy.connections() != 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        // Time for the driver to see what the proxy has passed on.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Fails at every byte, both ways, until a change is through; counts what was said.
async fn sweep(through: Through, failure: Failure) -> HashMap<Verdict, u32> {
    sweep_on(Scene::new().await, through, failure).await
}

async fn sweep_on(mut scene: Scene, through: Through, failure: Failure) -> HashMap<Verdict, u32> {
    let mut verdicts = HashMap::new();
    // The first change prepares the statements; after that the update itself is all that is sent.
    let before = scene.token().await;
    assert_eq!(scene.change(through, &before).await, Verdict::Done);
    for direction in Direction::ALL {
        let mut after = 0;
        while let Some(verdict) = scene.fail(through, (direction, after, failure)).await {
            *verdicts.entry(verdict).or_default() += 1;
            after += 1;
        }
        println!("{through:?}, {failure:?}: {after} bytes {direction:?}");
        assert!(after > 20);
    }
    println!("{through:?}, {failure:?}: {verdicts:?}");
    verdicts
}

#[tokio::test]
async fn a_connection_that_is_cut_at_any_byte_of_a_commit_leads_to_no_wrong_verdict() {
    if !cluster_available("a_connection_that_is_cut_at_any_byte_of_a_commit") {
        return;
    }
    // The network is there again at once: what was not sent in full is sent again.
    let verdicts = sweep(Through::Store, Failure::Cut).await;
    assert!(verdicts.contains_key(&Verdict::Unknown), "{verdicts:?}");
    // Or it stays away, so that nothing can be tried again.
    let verdicts = sweep(Through::Store, Failure::Outage).await;
    assert!(verdicts.contains_key(&Verdict::Unknown), "{verdicts:?}");
}

/// The control: whoever takes an unknown outcome for a known one is wrong at some byte.
#[tokio::test]
async fn a_store_that_says_what_nobody_can_know_is_found_out() {
    if !cluster_available("a_store_that_says_what_nobody_can_know") {
        return;
    }
    for unknown_is in [Verdict::Done, Verdict::NotDone] {
        let scene = Scene { unknown_is, ..Scene::new().await };
        let swept = tokio::spawn(sweep_on(scene, Through::Store, Failure::Outage)).await;
        let found = swept.unwrap_err().into_panic().downcast::<String>().unwrap();
        assert!(found.contains(", and it is "), "{unknown_is:?}: {found}");
    }
}

#[tokio::test]
async fn a_connection_that_is_cut_at_any_byte_of_a_transaction_leads_to_no_wrong_verdict() {
    if !cluster_available("a_connection_that_is_cut_at_any_byte_of_a_transaction") {
        return;
    }
    let verdicts = sweep(Through::Transaction, Failure::Cut).await;
    assert!(verdicts.contains_key(&Verdict::Done), "{verdicts:?}");
    assert!(verdicts.contains_key(&Verdict::Unknown), "{verdicts:?}");
    let verdicts = sweep(Through::Transaction, Failure::Outage).await;
    assert!(verdicts.contains_key(&Verdict::NotDone), "{verdicts:?}");
    assert!(verdicts.contains_key(&Verdict::Unknown), "{verdicts:?}");
}

#[tokio::test]
async fn a_connection_that_is_cut_at_any_byte_of_an_update_leads_to_no_wrong_verdict() {
    if !cluster_available("a_connection_that_is_cut_at_any_byte_of_an_update") {
        return;
    }
    let verdicts = sweep(Through::Service, Failure::Cut).await;
    assert!(verdicts.contains_key(&Verdict::Done), "{verdicts:?}");
    let verdicts = sweep(Through::Service, Failure::Outage).await;
    assert!(verdicts.contains_key(&Verdict::NotDone), "{verdicts:?}");
    assert!(verdicts.contains_key(&Verdict::Unknown), "{verdicts:?}");
}

#[tokio::test]
async fn a_connection_that_is_cut_while_it_is_made_leads_to_no_wrong_verdict() {
    if !cluster_available("a_connection_that_is_cut_while_it_is_made") {
        return;
    }
    let mut scene = Scene { begins_cold: true, ..Scene::new().await };
    let mut verdicts = HashMap::<_, u32>::new();
    for (failure, start) in [(Failure::Cut, 0), (Failure::Outage, 2)] {
        for direction in Direction::ALL {
            // Handshake, settings, statements: many bytes of a kind.
            for after in (start..).step_by(5) {
                let place = (direction, after, failure);
                let Some(verdict) = scene.fail(Through::Store, place).await else {
                    println!("{failure:?}: about {after} bytes {direction:?}");
                    break;
                };
                *verdicts.entry(verdict).or_default() += 1;
            }
        }
    }
    println!("while connecting: {verdicts:?}");
    for verdict in [Verdict::Done, Verdict::NotDone, Verdict::Unknown] {
        assert!(verdicts.contains_key(&verdict), "{verdicts:?}");
    }
}

#[tokio::test]
async fn a_network_that_swallows_everything_is_not_waited_for_for_ever() {
    if !cluster_available("a_network_that_swallows_everything_is_not_waited_for_for_ever") {
        return;
    }
    let mut scene = Scene::with_patience(Duration::from_secs(1)).await;
    let mut verdicts = HashMap::<_, u32>::new();
    let before = scene.token().await;
    assert_eq!(scene.change(Through::Store, &before).await, Verdict::Done);
    for direction in Direction::ALL {
        for after in (0..).step_by(150) {
            let start = Instant::now();
            let place = (direction, after, Failure::Stall);
            let Some(verdict) = scene.fail(Through::Store, place).await else {
                break;
            };
            assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
            *verdicts.entry(verdict).or_default() += 1;
        }
    }
    println!("swallowed: {verdicts:?}");
    assert!(verdicts.contains_key(&Verdict::Unknown), "{verdicts:?}");
}
