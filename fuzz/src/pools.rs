//! What the vectors say of single values.
//!
//! Fields are judged one by one, and all that fail are reported together (SPEC "Reading a request
//! body"): an answer says of each field of its body whether that value is fine there. What is said of
//! `intent`, `description`, `expires` and `expiring` holds anywhere, since this first judgement of them
//! looks at nothing else. What is said of `identifier`, `user` and `managed` holds for that caller and
//! that token alone: what is taken, whose the token is and who may change a marker differ.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

const CASES: &str = include_str!("../../tests/vectors/cases.jsonl");

pub const FIELDS: [&str; 7] =
    ["identifier", "intent", "user", "description", "expires", "expiring", "managed"];

/// The longest spelling that is taken: bodies of many values stay below the limit of a body.
const LONGEST: usize = 1_000;

/// How messages of the rules across fields start: they are reported alone, and only when every single
/// field is fine.
const ACROSS: [&str; 5] = [
    "Intent of a ",
    "Invalid intent ",
    "Only a superuser may change whether this token expires",
    "Only a superuser may prolong a ",
    "Token expires exceeds maximum lifetime ",
];

/// A line of `cases.jsonl`.
#[derive(Debug, Deserialize)]
struct Case {
    method: String,
    path: String,
    authorization: Option<String>,
    body: Option<String>,
    compare: String,
    response: Answer,
}

#[derive(Debug, Deserialize)]
struct Answer {
    status: u16,
    body: Value,
}

/// What is known of one value, by its spelling.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// It is fine. What it becomes is known where a vector shows the token.
    Fine(Option<Value>),
    /// It is refused, with these messages where the vectors insist on them.
    Refused(Option<Value>),
}

/// The values of a field, and what is known of each.
pub type Pool = BTreeMap<String, Verdict>;

/// A caller and a token; without a token, one is created.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Scene {
    pub authorization: String,
    pub identifier: Option<String>,
}

/// Everything that the vectors say of values.
#[derive(Debug, Default)]
pub struct Pools {
    anywhere: BTreeMap<&'static str, Pool>,
    here: BTreeMap<(Scene, &'static str), Pool>,
    /// The scenes of which most is known, so that each has a choice.
    pub scenes: Vec<Scene>,
    /// Every value, of whatever field.
    pub values: Vec<String>,
}

impl Pools {
    /// Reads the vectors. Those that contradict each other end it: the judgement would not be
    /// independent.
    pub fn read() -> Self {
        let mut pools = Self::default();
        let cases = CASES.lines().map(|line| serde_json::from_str::<Case>(line).unwrap());
        cases.for_each(|case| pools.learn(&case));
        let identifiers = pools.here.iter().filter(|((_, field), _)| *field == "identifier");
        let rich = identifiers.filter(|(_, pool)| pool.len() >= 5);
        pools.scenes = rich.map(|((scene, _), _)| scene.clone()).collect();
        let all = pools.anywhere.values().chain(pools.here.values()).flat_map(|pool| pool.keys());
        pools.values = all.cloned().collect();
        pools.values.sort_unstable();
        pools.values.dedup();
        assert!(pools.scenes.len() >= 10 && pools.values.len() >= 100, "too few for a comparison");
        pools
    }

    /// What is known of the values of a field in a scene.
    pub fn of(&self, scene: &Scene, field: &'static str) -> Option<&Pool> {
        if is_judged_anywhere(field) {
            self.anywhere.get(field)
        } else {
            self.here.get(&(scene.clone(), field))
        }
    }

    fn learn(&mut self, case: &Case) {
        let (Some(scene), Some(fields)) = (case.scene(), case.fields()) else { return };
        for field in FIELDS {
            let value = fields.get(field).filter(|value| value.get().len() <= LONGEST);
            if let (Some(value), Some(mut verdict)) = (value, case.verdict(field)) {
                // What no expiry becomes, other fields decide.
                if (field, value.get()) == ("expires", "null") {
                    verdict.forget();
                }
                let pool = if is_judged_anywhere(field) {
                    self.anywhere.entry(field).or_default()
                } else {
                    self.here.entry((scene.clone(), field)).or_default()
                };
                let known = pool.entry(value.get().to_owned()).or_insert_with(|| verdict.clone());
                known.merge(verdict);
            }
        }
    }
}

fn is_judged_anywhere(field: &str) -> bool {
    matches!(field, "intent" | "description" | "expires" | "expiring")
}

impl Case {
    /// Where it belongs, if it is an update or a create whose answer is certain.
    fn scene(&self) -> Option<Scene> {
        let is_certain = matches!(&*self.compare, "exact" | "fields");
        let rest = self.path.strip_prefix("/api/v3/core/tokens/")?;
        let identifier = match (&*self.method, rest.strip_suffix('/')) {
            ("PUT" | "PATCH", Some(name)) if !name.contains(['/', '%']) => Some(name.to_owned()),
            ("POST", None) if rest.is_empty() => None,
            _ => return None,
        };
        let authorization = self.authorization.clone()?;
        is_certain.then_some(Scene { authorization, identifier })
    }

    /// The values by their spelling; of a repeated field the last.
    fn fields(&self) -> Option<BTreeMap<String, Box<RawValue>>> {
        serde_json::from_str(self.body.as_deref()?).ok()
    }

    /// What the answer says of a field that the body has.
    fn verdict(&self, field: &'static str) -> Option<Verdict> {
        let body = &self.response.body;
        match self.response.status {
            200 | 201 => Some(Verdict::Fine(shown(body, field, self.response.status == 200))),
            400 if body.get("detail").or(body.get("non_field_errors")).is_some() => None,
            400 if is_across(body) => Some(Verdict::Fine(None)),
            400 => Some(match body.get(field) {
                Some(messages) => {
                    Verdict::Refused(Some(messages.clone()).filter(|_| self.compare == "exact"))
                }
                None => Verdict::Fine(None),
            }),
            _ => None,
        }
    }
}

/// What has become of a field, where that depends on the given value alone: the expiry of an `api`
/// token does not, and whether a new token expires may not.
pub fn shown(token: &Value, field: &'static str, is_update: bool) -> Option<Value> {
    let depends = match field {
        "expires" => token["intent"] != "api",
        "expiring" => is_update,
        _ => true,
    };
    depends.then(|| token[field].clone())
}

/// Whether a refusal is one of the rules across fields.
pub fn is_across(refusal: &Value) -> bool {
    let messages = FIELDS.iter().filter_map(|field| refusal[*field].as_array()).flatten();
    let messages: Vec<_> = messages.filter_map(Value::as_str).collect();
    matches!(messages[..], [message] if ACROSS.iter().any(|start| message.starts_with(start)))
}

impl Verdict {
    /// Leaves open what the value becomes, or why it is refused.
    fn forget(&mut self) {
        let (Self::Fine(known) | Self::Refused(known)) = self;
        *known = None;
    }

    /// Takes in what another case says of the same value.
    fn merge(&mut self, other: Self) {
        match (self, other) {
            (Self::Fine(known), Self::Fine(other))
            | (Self::Refused(known), Self::Refused(other)) => {
                let agree = known.is_none() || other.is_none() || *known == other;
                assert!(agree, "the vectors say {known:?} and {other:?}");
                *known = known.take().or(other);
            }
            (known, other) => panic!("the vectors say {known:?} and {other:?}"),
        }
    }
}
