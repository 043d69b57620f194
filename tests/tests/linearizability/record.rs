//! Makes histories.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokenkeep::{
    Caller, Expected, Intent, KeyChange, StoreErrorKind, TokenChange, TokenError, TokenKey,
    TokenService, UserId,
};
use tokenkeep_conformance::{Call, Operation, Outcome, Verdict, judge};
use tokenkeep_tests::backend::Backend;
use tokenkeep_tests::scene::{bearer, user};

const TASKS: u64 = 8;
const CALLS: u64 = 50;
const TOKENS: u64 = 4;

/// The owner of every token.
const OWNER: UserId = UserId::new(7);

/// How many histories each test makes.
pub(crate) fn histories() -> u64 {
    let histories = std::env::var("TOKENKEEP_HISTORIES").ok();
    histories.and_then(|histories| histories.parse().ok()).unwrap_or(500)
}

/// What became of the histories of one backend.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Judged {
    pub(crate) linearizable: u64,
    pub(crate) impossible: u64,
    pub(crate) undecided: u64,
    /// Calls that were answered with an error that says that nothing was done.
    pub(crate) not_done: u64,
}

impl Judged {
    pub(crate) fn add(&mut self, calls: &[Call]) {
        match judge(calls, Duration::from_secs(10)) {
            Verdict::Linearizable => self.linearizable += 1,
            Verdict::Impossible => self.impossible += 1,
            Verdict::Undecided => self.undecided += 1,
        }
    }
}

/// A small generator: what it draws is decided by its seed.
pub(crate) struct Draw(u64);

impl Draw {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31) % end
    }
}

pub(crate) async fn prepare(backend: &Backend) {
    backend.users.put_user(user(OWNER, "writer of history")).await.unwrap();
}

/// The last keys of the tokens, each with its number, for those who authenticate.
#[derive(Debug, Default)]
pub(crate) struct Keys(Mutex<BTreeMap<u64, (u64, TokenKey)>>);

impl Keys {
    fn put(&self, token: u64, number: u64, key: TokenKey) {
        self.0.lock().unwrap().insert(token, (number, key));
    }

    fn of(&self, token: u64) -> Option<(u64, TokenKey)> {
        self.0.lock().unwrap().get(&token).cloned()
    }
}

/// One task's calls.
pub(crate) struct Task {
    pub(crate) service: TokenService,
    pub(crate) keys: Arc<Keys>,
    /// Tells this history's tokens from those of others.
    pub(crate) history: String,
    pub(crate) draw: Draw,
    /// Values and keys are numbers of this task's own.
    pub(crate) number: u64,
    /// The time, on a clock that all tasks share.
    pub(crate) clock: fn() -> u64,
}

impl Task {
    /// Makes the calls, each with the number of its token.
    pub(crate) async fn run(mut self) -> Vec<(u64, Option<Call>)> {
        let mut calls = Vec::new();
        let mut revisions = BTreeMap::new();
        for made in 0..CALLS {
            let token = self.draw.below(TOKENS);
            let unique = self.number * 1_000 + made;
            let expected = revisions.get(&token).copied().filter(|_| self.draw.below(2) == 0);
            let last_key = self.keys.of(token);
            let operation = match (self.draw.below(12), &last_key) {
                (3..6, _) => Operation::Update { expected, value: unique },
                (6, _) => Operation::Delete(expected),
                (7 | 8, _) => Operation::Create { value: unique, key: unique },
                (9, _) => Operation::SetKey(unique),
                (10.., Some((number, _))) => Operation::Authenticate(*number),
                _ => Operation::Find,
            };
            let began = (self.clock)();
            let outcome = self.call(token, operation, last_key).await;
            let ended = (self.clock)();
            if let Some(Outcome::Found(revision, _) | Outcome::Written(revision)) = outcome {
                revisions.insert(token, revision);
            }
            calls.push((token, outcome.map(|outcome| Call { operation, outcome, began, ended })));
            if self.draw.below(4) == 0 {
                tokio::task::yield_now().await;
            }
        }
        calls
    }

    fn name(&self, token: u64) -> String {
        format!("history-{}-{token}", self.history)
    }

    /// Makes one call; `None` when it is known that nothing was done.
    async fn call(
        &self,
        token: u64,
        operation: Operation,
        last_key: Option<(u64, TokenKey)>,
    ) -> Option<Outcome> {
        let (name, system) = (self.name(token), Caller::System);
        let answered = match operation {
            Operation::Find => self.service.retrieve(&system, &name).await.map(|view| {
                Outcome::Found(view.token.revision, view.token.description.parse().unwrap())
            }),
            Operation::Create { value, key } => {
                let change = change(value).identifier(&name).intent(Intent::Api).owner(OWNER);
                self.service.create(&system, change).await.map(|created| {
                    self.keys.put(token, key, created.key);
                    Outcome::Written(created.view.token.revision)
                })
            }
            Operation::Update { expected, value } => {
                let mut change = change(value);
                if let Some(expected) = expected {
                    change = change.expecting(expected);
                }
                let updated = self.service.partial_update(&system, &name, change).await;
                updated.map(|updated| Outcome::Written(updated.view.token.revision))
            }
            Operation::SetKey(key) => {
                let text = format!("key {key} of {name}, which is long enough to be one");
                let set = self.service.set_key(&system, &name, KeyChange::new(&text)).await;
                set.map(|view| {
                    self.keys.put(token, key, TokenKey::from(text));
                    Outcome::Written(view.token.revision)
                })
            }
            Operation::Delete(expected) => {
                let expected = expected.map_or(Expected::Anything, Expected::Revision);
                let deleted = self.service.delete(&system, &name, expected).await;
                deleted.map(|_| Outcome::Deleted)
            }
            Operation::Authenticate(_) => {
                let header = bearer(&last_key?.1);
                let who = self.service.authenticate(Some(&header)).await;
                who.map(|_| Outcome::Accepted)
            }
        };
        answered.map_or_else(|error| refusal(operation, &error), Some)
    }
}

fn change(value: u64) -> TokenChange {
    TokenChange::new().description(value.to_string())
}

/// What an error tells; `None` where it tells that nothing was done.
fn refusal(operation: Operation, error: &TokenError) -> Option<Outcome> {
    Some(match error {
        TokenError::NotFound => Outcome::Missing,
        TokenError::Stale { .. } => Outcome::Stale,
        TokenError::InvalidKey => Outcome::Refused,
        TokenError::Invalid(_) if matches!(operation, Operation::Create { .. }) => Outcome::Taken,
        TokenError::Store(error) if *error.kind() == StoreErrorKind::OutcomeUnknown => {
            Outcome::Unknown
        }
        error if error.is_retryable() => return None,
        error => panic!("{operation:?}: {error:?}"),
    })
}

/// Runs one history, and judges it token by token.
pub(crate) async fn run(service: &TokenService, number: u64, judged: &mut Judged) {
    let keys = Arc::new(Keys::default());
    let tasks = (0..TASKS).map(|task| {
        let (service, keys) = (service.clone(), keys.clone());
        let (history, draw) = (number.to_string(), Draw::new(number * TASKS + task));
        tokio::spawn(Task { service, keys, history, draw, number: task, clock }.run())
    });
    let mut of_token: BTreeMap<u64, Vec<Call>> = BTreeMap::new();
    for task in tasks.collect::<Vec<_>>() {
        for (token, call) in task.await.unwrap() {
            match call {
                Some(call) => of_token.entry(token).or_default().push(call),
                None => judged.not_done += 1,
            }
        }
    }
    for calls in of_token.into_values() {
        judged.add(&calls);
    }
}

/// A moment that comes after every one that was told before, to whichever thread.
fn clock() -> u64 {
    static TIME: AtomicU64 = AtomicU64::new(0);
    TIME.fetch_add(1, Ordering::SeqCst)
}

/// How long a piece of work took, for those who watch.
pub(crate) fn report(name: &str, judged: Judged, start: Instant) {
    println!("{name}: {judged:?} in {:.1?}", start.elapsed());
}
