//! The orders in which threads can meet in the store and in the verify cache, tried by shuttle: 10,000
//! of each scene, or as many as `TOKENKEEP_SCHEDULES` says.
//!
//! `tests/interleavings/run` builds and runs them.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::panic::catch_unwind;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use pollster::block_on;
use shuttle::rand::{Rng, thread_rng};
use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::{Runner, thread};
use tokenkeep::{
    Caller, ChangeCounters, Changes, Commit, CommitError, EventPage, EventQuery, Expected, Intent,
    KeyChange, KeyCheck, KeyUsage, Lookup, ManagedToken, Reconcile, Revision, StoreError, StoreId,
    Subject, Timestamp, Token, TokenChange, TokenError, TokenId, TokenKey, TokenList, TokenPage,
    TokenQuery, TokenService, TokenStore, Touch, User, UserId, UserStore, VerifyCache,
};
use tokenkeep_conformance::{Call, Operation, Outcome, Verdict, Version, judge};
use tokenkeep_memory::MemoryStore;

const OWNER: UserId = UserId::new(7);

/// Runs a scene in one order after the other.
fn in_many_orders(scene: impl Fn() + Send + Sync + 'static) {
    let schedules = std::env::var("TOKENKEEP_SCHEDULES").ok();
    let schedules = schedules.and_then(|schedules| schedules.parse().ok()).unwrap_or(10_000);
    let mut config = shuttle::Config::new();
    // A call of a service in debug takes more than the 32 KiB of the default.
    config.stack_size = 1 << 20;
    // Half of them change threads wherever they can, half seldom, at the places that matter.
    let (scene, half) = (Arc::new(scene), schedules / 2);
    let again = scene.clone();
    Runner::new(RandomScheduler::new(schedules - half), config.clone()).run(move || scene());
    Runner::new(PctScheduler::new(3, half), config).run(move || again());
}

fn owner() -> User {
    User::new(OWNER, uuid::Uuid::from_u128(7), "owner", Timestamp::MIN)
}

fn service(store: Arc<dyn TokenStore>, users: Arc<MemoryStore>) -> TokenService {
    block_on(users.put_user(owner())).unwrap();
    let cache = VerifyCache::of(4);
    block_on(TokenService::builder(store, users).cache(cache).open()).unwrap()
}

fn create(service: &TokenService, identifier: &str) -> TokenKey {
    let change = TokenChange::new().identifier(identifier).intent(Intent::Api).owner(OWNER);
    block_on(service.create(&Caller::System, change)).unwrap().key
}

fn authenticate(service: &TokenService, key: &TokenKey) -> Result<(), TokenError> {
    let header = format!("Bearer {}", key.expose());
    block_on(service.authenticate(Some(header.as_bytes()))).map(|_| ())
}

/// What three threads have called, with a time that none of them waits for.
struct Calls {
    service: TokenService,
    clock: AtomicU64,
    keys: Mutex<Vec<(u64, TokenKey)>>,
    /// The ids of the tokens that were seen.
    tokens: Mutex<Vec<TokenId>>,
    calls: Mutex<Vec<Call>>,
}

impl Calls {
    /// Makes a call about the only token and keeps it.
    fn make(&self, operation: Operation) {
        let began = self.clock.fetch_add(1, Ordering::SeqCst);
        let outcome = block_on(self.outcome(operation));
        let ended = self.clock.fetch_add(1, Ordering::SeqCst);
        if let Some(outcome) = outcome {
            self.calls.lock().unwrap().push(Call { operation, outcome, began, ended });
        }
    }

    /// What comes of it; `None` when it is known that nothing was done.
    async fn outcome(&self, operation: Operation) -> Option<Outcome> {
        let (service, system) = (&self.service, &Caller::System);
        let value = |value: u64| TokenChange::new().description(value.to_string());
        let version = |view: &tokenkeep::TokenView| {
            self.tokens.lock().unwrap().push(view.token.id);
            Version::new(view.token.id, view.token.revision)
        };
        let written = |view: &tokenkeep::TokenView| Outcome::Written(version(view));
        // A version holds a part of the token's id.
        let expecting = |expected: Version| {
            let tokens = self.tokens.lock().unwrap();
            let is_it = |id: &&TokenId| Version::new(**id, expected.revision) == expected;
            (*tokens.iter().find(is_it).unwrap(), expected.revision)
        };
        let answer = match operation {
            Operation::Find => service.retrieve(system, "ci").await.map(|view| {
                Outcome::Found(version(&view), view.token.description.parse().unwrap())
            }),
            Operation::Create { value: number, key } => {
                let change = value(number).identifier("ci").intent(Intent::Api).owner(OWNER);
                service.create(system, change).await.map(|created| {
                    self.keys.lock().unwrap().push((key, created.key));
                    written(&created.view)
                })
            }
            Operation::Update { expected, value: number } => {
                let change = value(number);
                let expected = expected.map(expecting);
                let change = expected.into_iter().fold(change, TokenChange::expecting);
                service.partial_update(system, "ci", change).await.map(|done| written(&done.view))
            }
            Operation::SetKey(key) => {
                let text = format!("key {key}, which is long enough to be one");
                service.set_key(system, "ci", KeyChange::new(&text)).await.map(|view| {
                    self.keys.lock().unwrap().push((key, TokenKey::from(text)));
                    written(&view)
                })
            }
            Operation::Delete(expected) => {
                let expected = expected.map_or(Expected::Anything, |v| expecting(v).into());
                service.delete(system, "ci", expected).await.map(|_| Outcome::Deleted)
            }
            Operation::Authenticate(number) => {
                let keys = self.keys.lock().unwrap().clone();
                let (_, key) = keys.iter().find(|(key, _)| *key == number)?;
                authenticate(service, key).map(|()| Outcome::Accepted)
            }
        };
        Some(answer.unwrap_or_else(|error| match error {
            TokenError::NotFound => Outcome::Missing,
            TokenError::Stale { .. } => Outcome::Stale,
            TokenError::InvalidKey => Outcome::Refused,
            TokenError::Invalid(_) => Outcome::Taken,
            error if error.is_retryable() => Outcome::Unknown,
            error => panic!("{operation:?}: {error:?}"),
        }))
    }

    /// The first version of the token that was seen last.
    fn first_version(&self) -> Option<Version> {
        let token = self.tokens.lock().unwrap().last().copied();
        token.map(|token| Version::new(token, Revision::FIRST))
    }

    /// A call that none of the others is equal to.
    fn draw(&self, unique: u64) -> Operation {
        let last_key = self.keys.lock().unwrap().last().map_or(0, |(key, _)| *key);
        match thread_rng().gen_range(0..8) {
            0 => Operation::Find,
            1 => Operation::Create { value: unique, key: unique },
            2 => Operation::Update { expected: None, value: unique },
            3 => Operation::Update { expected: self.first_version(), value: unique },
            4 => Operation::SetKey(unique),
            5 => Operation::Delete(None),
            _ => Operation::Authenticate(last_key),
        }
    }
}

fn calls_of_three_threads(service: TokenService) {
    let calls = Calls {
        service,
        clock: AtomicU64::new(0),
        keys: Mutex::default(),
        tokens: Mutex::default(),
        calls: Mutex::default(),
    };
    let calls = Arc::new(calls);
    calls.make(Operation::Create { value: 1, key: 1 });
    calls.make(Operation::Authenticate(1));
    let threads: Vec<_> = (1..=3)
        .map(|thread| {
            let calls = calls.clone();
            thread::spawn(move || {
                for call in 0..3 {
                    calls.make(calls.draw(10 * thread + call));
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    let calls = calls.calls.lock().unwrap();
    let verdict = judge(&calls, 1_000_000);
    assert_eq!(verdict, Verdict::Linearizable, "{calls:#?}");
}

#[test]
fn calls_can_be_told_as_one_story() {
    in_many_orders(|| {
        let store = Arc::new(MemoryStore::new());
        calls_of_three_threads(service(store.clone(), store));
    });
}

/// Two tokens are changed by one commit, while two threads read all tokens.
#[test]
fn nobody_sees_half_of_a_commit() {
    in_many_orders(|| {
        let store = Arc::new(MemoryStore::new());
        let service = service(store.clone(), store);
        reconcile(&service, "before");
        let writer = {
            let service = service.clone();
            thread::spawn(move || reconcile(&service, "after"))
        };
        let read = move || {
            let list = block_on(service.list(&Caller::System, &TokenList::default())).unwrap();
            let shown: Vec<_> = list.tokens.iter().map(|view| &*view.token.description).collect();
            assert!(shown == ["before"; 2] || shown == ["after"; 2], "{shown:?}");
        };
        let reader = thread::spawn(read.clone());
        read();
        writer.join().unwrap();
        reader.join().unwrap();
    });
}

fn reconcile(service: &TokenService, description: &str) {
    let wanted = ["one", "two"].map(|name| {
        let change = TokenChange::new().identifier(name).owner(OWNER).description(description);
        ManagedToken::present(format!("tests/{name}").parse().unwrap(), change)
    });
    block_on(service.reconcile(&Reconcile::new(wanted))).unwrap();
}

#[test]
fn a_user_who_was_deactivated_is_out() {
    in_many_orders(|| {
        let store = Arc::new(MemoryStore::new());
        let service = service(store.clone(), store.clone());
        let key = create(&service, "ci");
        let readers = [(), ()].map(|()| {
            let (service, key) = (service.clone(), key.clone());
            thread::spawn(move || _ = authenticate(&service, &key))
        });
        block_on(store.put_user(User { is_active: false, ..owner() })).unwrap();
        let late = authenticate(&service, &key);
        assert!(matches!(late, Err(TokenError::InvalidKey)), "{late:?}");
        for reader in readers {
            reader.join().unwrap();
        }
    });
}

/// What is noted of a use is written wherever the token is found by then.
#[test]
fn a_use_and_a_new_key_are_both_there() {
    in_many_orders(|| {
        let store = Arc::new(MemoryStore::new());
        let service = service(store.clone(), store.clone());
        let id = block_on(
            service.create(&Caller::System, TokenChange::new().identifier("ci").owner(OWNER)),
        );
        let id = id.unwrap().view.token.id;
        let touch = Touch { token: id, at: Timestamp::MIN };
        let uses = store.clone();
        let user = thread::spawn(move || block_on(uses.touch(&[touch])).unwrap());
        let set = KeyChange::new("a key, which is long enough to be one");
        block_on(service.set_key(&Caller::System, "ci", set)).unwrap();
        user.join().unwrap();

        let find = |lookup: Lookup<'_>| block_on(store.find(lookup)).unwrap().unwrap();
        let token = find(Lookup::Id(id));
        assert_eq!(token.last_used, Some(Timestamp::MIN));
        assert_eq!(find(Lookup::KeyDigest(&token.key_digest)), token);
        assert_eq!(find(Lookup::Identifier(&token.identifier)), token);
    });
}

/// Tells caches of a change once it is acknowledged, and not while it is made.
#[derive(Debug)]
struct Late {
    inner: Arc<MemoryStore>,
    changes: Arc<ChangeCounters>,
}

#[async_trait]
impl TokenStore for Late {
    async fn find(&self, lookup: Lookup<'_>) -> Result<Option<Arc<Token>>, StoreError> {
        self.inner.find(lookup).await
    }

    async fn owners(&self, tokens: &[TokenId]) -> Result<Vec<UserId>, StoreError> {
        self.inner.owners(tokens).await
    }

    async fn key_usage(&self) -> Result<KeyUsage, StoreError> {
        self.inner.key_usage().await
    }

    async fn record_key_check(&self, check: KeyCheck) -> Result<KeyCheck, StoreError> {
        self.inner.record_key_check(check).await
    }

    async fn list(&self, query: &TokenQuery) -> Result<TokenPage, StoreError> {
        self.inner.list(query).await
    }

    async fn commit(&self, commit: Commit) -> Result<(), CommitError> {
        self.inner.commit(commit).await?;
        self.changes.note(&[Subject::Everything]);
        Ok(())
    }

    async fn touch(&self, touches: &[Touch]) -> Result<(), StoreError> {
        self.inner.touch(touches).await
    }

    async fn events(&self, query: &EventQuery) -> Result<EventPage, StoreError> {
        self.inner.events(query).await
    }

    async fn prune_events(&self, before: Timestamp) -> Result<u64, StoreError> {
        self.inner.prune_events(before).await
    }

    fn changes(&self) -> Option<Arc<dyn Changes>> {
        Some(self.changes.clone())
    }

    fn store_id(&self) -> StoreId {
        self.inner.store_id()
    }
}

/// The control: somebody who has seen the change is followed by somebody who has not.
#[test]
fn a_store_that_tells_of_changes_too_late_is_found_out() {
    let found = catch_unwind(|| {
        in_many_orders(|| {
            let inner = Arc::new(MemoryStore::new());
            let late = Arc::new(Late { inner: inner.clone(), changes: Arc::default() });
            calls_of_three_threads(service(late, inner));
        });
    });
    // Shuttle hands over what the thread panicked with.
    let found = *found.unwrap_err().downcast::<String>().unwrap();
    assert!(found.contains("Impossible"), "{found}");
}
