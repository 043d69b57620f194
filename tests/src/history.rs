//! Histories: random calls of tasks on a few tokens, each told as it begins and as it ends, so that
//! they can be judged when the process that made them is no more.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex};

use tokenkeep::{
    Caller, Expected, Intent, KeyChange, Revision, StoreErrorKind, Token, TokenChange, TokenError,
    TokenId, TokenKey, TokenService, TokenView, UserId, UserStore,
};
use tokenkeep_conformance::{Call, Operation, Outcome, Verdict, Version, judge};

use crate::scene::{bearer, user};

/// How many tokens a history is about.
pub const TOKENS: u64 = 4;

/// The owner of every token.
pub const OWNER: UserId = UserId::new(7);

/// Adds the owner.
pub async fn prepare(users: &dyn UserStore) {
    users.put_user(user(OWNER, "writer of history")).await.unwrap();
}

/// What is told of a call, a line each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    Begun {
        call: u64,
        token: u64,
        operation: Operation,
        at: u64,
    },
    /// `None` for a call that is known to have done nothing.
    Ended {
        call: u64,
        outcome: Option<Outcome>,
        at: u64,
    },
}

/// A version as two numbers; none is two zeros.
fn numbers(version: Option<Version>) -> [u64; 2] {
    version.map_or([0; 2], |version| [version.token, version.revision.get().try_into().unwrap()])
}

fn version(token: u64, revision: u64) -> Option<Version> {
    Some(Version { token, revision: Revision::new(revision.try_into().unwrap())? })
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Begun { call, token, operation, at } => {
                let (kind, [a, b], c) = match operation {
                    Operation::Find => (0, [0, 0], 0),
                    Operation::Create { value, key } => (1, [value, key], 0),
                    Operation::Update { expected, value } => (2, numbers(expected), value),
                    Operation::SetKey(key) => (3, [key, 0], 0),
                    Operation::Delete(expected) => (4, numbers(expected), 0),
                    Operation::Authenticate(key) => (5, [key, 0], 0),
                };
                write!(f, "begun {call} {at} {token} {kind} {a} {b} {c}")
            }
            Self::Ended { call, outcome, at } => {
                let (kind, [a, b], c) = match outcome {
                    None => (0, [0; 2], 0),
                    Some(Outcome::Found(version, value)) => (1, numbers(Some(version)), value),
                    Some(Outcome::Missing) => (2, [0; 2], 0),
                    Some(Outcome::Written(version)) => (3, numbers(Some(version)), 0),
                    Some(Outcome::Deleted) => (4, [0; 2], 0),
                    Some(Outcome::Taken) => (5, [0; 2], 0),
                    Some(Outcome::Stale) => (6, [0; 2], 0),
                    Some(Outcome::Accepted) => (7, [0; 2], 0),
                    Some(Outcome::Refused) => (8, [0; 2], 0),
                    Some(Outcome::Unknown) => (9, [0; 2], 0),
                };
                write!(f, "ended {call} {at} 0 {kind} {a} {b} {c}")
            }
        }
    }
}

impl FromStr for Told {
    type Err = String;

    /// Reads a line; one that was cut off is none.
    fn from_str(line: &str) -> Result<Self, String> {
        let (what, numbers) = line.split_once(' ').ok_or(line)?;
        let numbers = numbers.split(' ').map(str::parse).collect::<Result<Vec<u64>, _>>();
        let [call, at, token, kind, a, b, c] = numbers
            .map_err(|error| error.to_string())?
            .try_into()
            .map_err(|_| format!("not seven numbers: {line}"))?;
        let operation = || {
            Some(match kind {
                0 => Operation::Find,
                1 => Operation::Create { value: a, key: b },
                2 => Operation::Update { expected: version(a, b), value: c },
                3 => Operation::SetKey(a),
                4 => Operation::Delete(version(a, b)),
                5 => Operation::Authenticate(a),
                _ => return None,
            })
        };
        let outcome = || {
            Some(match kind {
                1 => Outcome::Found(version(a, b)?, c),
                2 => Outcome::Missing,
                3 => Outcome::Written(version(a, b)?),
                4 => Outcome::Deleted,
                5 => Outcome::Taken,
                6 => Outcome::Stale,
                7 => Outcome::Accepted,
                8 => Outcome::Refused,
                9 => Outcome::Unknown,
                _ => return None,
            })
        };
        match what {
            "begun" => {
                let operation = operation().ok_or(line)?;
                Ok(Self::Begun { call, token, operation, at })
            }
            "ended" => Ok(Self::Ended { call, outcome: outcome(), at }),
            _ => Err(line.into()),
        }
    }
}

/// The calls about each token. Of one that never ended, nobody knows whether it was done.
pub fn calls_of(told: impl IntoIterator<Item = Told>) -> BTreeMap<u64, Vec<Call>> {
    let mut calls = BTreeMap::new();
    for told in told {
        match told {
            Told::Begun { call, token, operation, at } => {
                let outcome = Outcome::Unknown;
                calls.insert(call, (token, Call { operation, outcome, began: at, ended: at }));
            }
            Told::Ended { call, outcome: None, .. } => _ = calls.remove(&call),
            Told::Ended { call, outcome: Some(outcome), at } => {
                let (_, call) = calls.get_mut(&call).expect("a call begins before it ends");
                (call.outcome, call.ended) = (outcome, at);
            }
        }
    }
    let mut of_token: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (token, call) in calls.into_values() {
        of_token.entry(token).or_default().push(call);
    }
    of_token
}

/// What became of histories.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Judged {
    pub linearizable: u64,
    pub impossible: u64,
    pub undecided: u64,
}

impl Judged {
    pub fn add_all(&mut self, others: Self) {
        self.linearizable += others.linearizable;
        self.impossible += others.impossible;
        self.undecided += others.undecided;
    }

    /// Judges the calls about one token: what a first attempt leaves undecided once more with eight
    /// times the steps, and reports what that cannot decide either.
    pub fn add(&mut self, calls: &[Call]) {
        let verdict = match judge(calls, 500_000) {
            Verdict::Undecided => judge(calls, 4_000_000),
            verdict => verdict,
        };
        match verdict {
            Verdict::Linearizable => self.linearizable += 1,
            Verdict::Impossible => self.impossible += 1,
            Verdict::Undecided => {
                println!("undecided, of {} calls: {calls:?}", calls.len());
                self.undecided += 1;
            }
        }
    }
}

/// Judges the calls of a history that has ended, together with what is there now: each token, and which
/// of the keys that were set open it.
pub async fn judge_with_what_is_left(
    service: TokenService,
    history: &str,
    told: impl IntoIterator<Item = Told>,
) -> Judged {
    let task = Task {
        service,
        keys: Arc::new(Keys::default()),
        tell: Arc::new(|_| ()),
        history: history.into(),
        draw: Draw::new(0),
        number: 0,
        clock: || 0,
    };
    let mut judged = Judged::default();
    for (token, mut calls) in calls_of(told) {
        let is_set_key = |call: &Call| match call.operation {
            Operation::SetKey(key) => Some(key),
            _ => None,
        };
        let keys: Vec<_> = calls.iter().filter_map(is_set_key).collect();
        let operations = keys.into_iter().map(Operation::Authenticate);
        for operation in operations.chain([Operation::Find]) {
            let last_key = match operation {
                Operation::Authenticate(key) => Some((key, task.key(token, key).into())),
                _ => None,
            };
            // After everything that was told.
            let (began, ended) = (u64::MAX - 1, u64::MAX);
            let outcome = task.call(token, operation, last_key).await.unwrap();
            calls.push(Call { operation, outcome, began, ended });
        }
        judged.add(&calls);
    }
    judged
}

/// A small generator: what it draws is decided by its seed.
pub struct Draw(u64);

impl Draw {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn below(&mut self, end: u64) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31) % end
    }
}

/// The last keys of the tokens, each with its number, for those who authenticate.
#[derive(Debug, Default)]
pub struct Keys {
    keys: Mutex<BTreeMap<u64, (u64, TokenKey)>>,
    /// The ids of tokens by the part of them that versions hold.
    ids: Mutex<BTreeMap<u64, TokenId>>,
}

impl Keys {
    fn put(&self, token: u64, number: u64, key: TokenKey) {
        self.keys.lock().unwrap().insert(token, (number, key));
    }

    fn of(&self, token: u64) -> Option<(u64, TokenKey)> {
        self.keys.lock().unwrap().get(&token).cloned()
    }

    fn see(&self, token: &Token) {
        let version = Version::new(token.id, token.revision);
        self.ids.lock().unwrap().insert(version.token, token.id);
    }

    fn id(&self, token: u64) -> Option<TokenId> {
        self.ids.lock().unwrap().get(&token).copied()
    }
}

/// One task's calls.
pub struct Task {
    pub service: TokenService,
    pub keys: Arc<Keys>,
    /// Hears of each call.
    pub tell: Arc<dyn Fn(Told) + Send + Sync>,
    /// Tells this history's tokens from those of others.
    pub history: String,
    pub draw: Draw,
    /// Values and keys are numbers of this task's own.
    pub number: u64,
    /// The time, on a clock that all tasks share.
    pub clock: fn() -> u64,
}

impl Task {
    /// Makes so many calls.
    pub async fn run(mut self, calls: u64) {
        let mut versions = BTreeMap::new();
        for made in 0..calls {
            let token = self.draw.below(TOKENS);
            let unique = self.number * 1_000_000 + made;
            let expected = versions.get(&token).copied().filter(|_| self.draw.below(2) == 0);
            let last_key = self.keys.of(token);
            let operation = match (self.draw.below(12), &last_key) {
                (3..6, _) => Operation::Update { expected, value: unique },
                (6, _) => Operation::Delete(expected),
                (7 | 8, _) => Operation::Create { value: unique, key: unique },
                (9, _) => Operation::SetKey(unique),
                (10.., Some((number, _))) => Operation::Authenticate(*number),
                _ => Operation::Find,
            };
            (self.tell)(Told::Begun { call: unique, token, operation, at: (self.clock)() });
            let outcome = self.call(token, operation, last_key).await;
            (self.tell)(Told::Ended { call: unique, outcome, at: (self.clock)() });
            if let Some(Outcome::Found(version, _) | Outcome::Written(version)) = outcome {
                versions.insert(token, version);
            }
            if self.draw.below(4) == 0 {
                tokio::task::yield_now().await;
            }
        }
    }

    pub fn name(&self, token: u64) -> String {
        format!("history-{}-{token}", self.history)
    }

    /// The text of a key that was set.
    pub fn key(&self, token: u64, key: u64) -> String {
        format!("key {key} of {}, which is long enough to be one", self.name(token))
    }

    /// Makes one call; `None` when it is known that nothing was done.
    pub async fn call(
        &self,
        token: u64,
        operation: Operation,
        last_key: Option<(u64, TokenKey)>,
    ) -> Option<Outcome> {
        let (name, system) = (self.name(token), Caller::System);
        let version = |view: &TokenView| {
            self.keys.see(&view.token);
            Version::new(view.token.id, view.token.revision)
        };
        // The whole id, of which a version holds a part.
        let expecting = |version: Version| match self.keys.id(version.token) {
            Some(id) => Expected::from((id, version.revision)),
            None => Expected::OneOf(Vec::new()),
        };
        let answered = match operation {
            Operation::Find => self.service.retrieve(&system, &name).await.map(|view| {
                Outcome::Found(version(&view), view.token.description.parse().unwrap())
            }),
            Operation::Create { value, key } => {
                let change = change(value).identifier(&name).intent(Intent::Api).owner(OWNER);
                self.service.create(&system, change).await.map(|created| {
                    self.keys.put(token, key, created.key);
                    Outcome::Written(version(&created.view))
                })
            }
            Operation::Update { expected, value } => {
                let mut change = change(value);
                if let Some(expected) = expected {
                    change = change.expecting(expecting(expected));
                }
                let updated = self.service.partial_update(&system, &name, change).await;
                updated.map(|updated| Outcome::Written(version(&updated.view)))
            }
            Operation::SetKey(key) => {
                let text = self.key(token, key);
                let set = self.service.set_key(&system, &name, KeyChange::new(&text)).await;
                set.map(|view| {
                    self.keys.put(token, key, TokenKey::from(text));
                    Outcome::Written(version(&view))
                })
            }
            Operation::Delete(expected) => {
                let expected = expected.map_or(Expected::Anything, expecting);
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

/// Whether the storage has failed, and the store has said that nothing was done. SQLite takes a file
/// that cannot be read for a damaged one; whether it is, those find out who open it again.
pub fn is_fault(kind: &StoreErrorKind) -> bool {
    use StoreErrorKind::{Corrupt, Full, Unavailable};
    matches!(kind, Unavailable | Full | Corrupt { table: "database", .. })
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
        // After a fault of the storage nothing is written.
        TokenError::Store(error) if is_fault(error.kind()) => return None,
        error => panic!("{operation:?}: {error:?}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_what_was_told() {
        let operations = [
            Operation::Find,
            Operation::Create { value: 1, key: 2 },
            Operation::Update { expected: None, value: 3 },
            Operation::Update { expected: version(u64::MAX, 4), value: 5 },
            Operation::SetKey(6),
            Operation::Delete(version(3, 7)),
            Operation::Authenticate(8),
        ];
        let begun = operations.map(|operation| Told::Begun { call: 1, token: 2, operation, at: 3 });
        let first = version(7, 1).unwrap();
        let outcomes = [
            Outcome::Found(first, 9),
            Outcome::Missing,
            Outcome::Written(first),
            Outcome::Deleted,
            Outcome::Taken,
            Outcome::Stale,
            Outcome::Accepted,
            Outcome::Refused,
            Outcome::Unknown,
        ];
        let outcomes = outcomes.into_iter().map(Some).chain([None]);
        let ended = outcomes.map(|outcome| Told::Ended { call: 1, outcome, at: 4 });
        for told in begun.into_iter().chain(ended) {
            assert_eq!(told.to_string().parse(), Ok(told));
        }
        assert!("begun 1 2 3".parse::<Told>().is_err());
    }
}
