//! The access table, and how it is driven through a door: the service, or an adapter on it.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Value, json};
use tokenkeep::{
    Caller, Change, Commit, EventCursor, EventPage, EventQuery, Grant, Group, GroupId, Intent,
    KeyScheme, ManualClock, Permission, SealingKey, SystemRandom, Timestamp, Token, TokenKey,
    TokenService, User, UserId,
};

use crate::backend::Backend;
use crate::scene::{HOUR, row, shifted, start, user};
use crate::vectors::all_tokens;

/// The key of the caller's own `api` token, for doors that let callers in by their keys.
pub const CALLER_KEY: &str = "the key by which the caller of a table's row is known";

/// One line of `access.csv`; `access.py` says what it means.
#[derive(Debug)]
pub struct Row {
    pub line: usize,
    who: &'static str,
    holds: &'static str,
    owner: &'static str,
    intent: Intent,
    managed: bool,
    owner_may_view_key: bool,
    /// Operations and what must come of them.
    cells: Vec<(&'static str, &'static str)>,
}

/// The rows that one stage can show, in turn.
pub fn acts() -> Vec<Vec<Row>> {
    let mut lines = include_str!("../access.csv").lines();
    let names: Vec<_> = lines.next().unwrap().split(',').skip(6).collect();
    let rows = lines.enumerate().map(|(index, line)| Row::read(index + 2, line, &names));
    let mut acts: Vec<Vec<Row>> = Vec::new();
    for row in rows {
        match acts.last_mut() {
            Some(act) if act[0].stage() == row.stage() => act.push(row),
            _ => acts.push(vec![row]),
        }
    }
    acts
}

impl Row {
    fn read(number: usize, line: &'static str, names: &[&'static str]) -> Self {
        let values: Vec<_> = line.split(',').collect();
        let [who, holds, owner, intent, managed, owner_may_view_key, outcomes @ ..] = &values[..]
        else {
            panic!("line {number} is too short");
        };
        assert_eq!(names.len(), outcomes.len(), "line {number}");
        let cells = names.iter().copied().zip(outcomes.iter().copied());
        Self {
            line: number,
            who,
            holds,
            owner,
            intent: Intent::from_name(intent).unwrap(),
            managed: *managed == "yes",
            owner_may_view_key: *owner_may_view_key == "yes",
            cells: cells.filter(|(_, outcome)| *outcome != "-").collect(),
        }
    }

    fn stage(&self) -> (&str, &str, &str) {
        (self.who, self.holds, self.owner)
    }

    /// The identifier of the token in question.
    fn token(&self) -> String {
        let viewable = if self.owner_may_view_key { "viewable" } else { "own" };
        let managed = if self.managed { "managed" } else { "plain" };
        format!("{}-{managed}-{viewable}", self.intent)
    }
}

/// Something that is asked, in the words of a request.
#[derive(Debug)]
pub struct Asked {
    pub operation: Operation,
    /// The token; of a list, the one that is looked for.
    pub identifier: String,
    pub body: Value,
}

/// The operations of a token resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    List,
    Create,
    Retrieve,
    Update,
    PartialUpdate,
    Delete,
    ViewKey,
    SetKey,
    Rotate,
    UsedBy,
}

impl Operation {
    fn commits(self) -> bool {
        !matches!(self, Self::List | Self::Retrieve | Self::UsedBy)
    }
}

/// The way to a service.
#[async_trait]
pub trait Door: Sync {
    /// The body of the answer or of the refusal. `None` when this caller, or what is asked, does
    /// not come this way at all.
    async fn ask(&self, caller: Caller, asked: &Asked) -> Option<Result<Value, Value>>;
}

/// How many cells were asked, and which gave another answer.
#[derive(Debug, Default)]
pub struct Findings {
    pub asked: usize,
    pub wrong: Vec<String>,
}

/// A store with the people and tokens of one act.
#[derive(Debug)]
pub struct Stage {
    pub backend: Backend,
    pub service: TokenService,
    caller: Caller,
    before: Vec<Token>,
    grants: Vec<Grant>,
}

const SUPERUSERS: GroupId = GroupId::from_bytes([1; 16]);
const OWNER: UserId = UserId::new(10);
const OTHER: UserId = UserId::new(20);
const OTHER_SUPERUSER: UserId = UserId::new(21);
const NOBODY: UserId = UserId::new(98);
const MISSING: UserId = UserId::new(99);

fn in_hours(hours: i64) -> Timestamp {
    shifted(start(), hours * HOUR)
}

impl Stage {
    /// Sets up what an act needs.
    pub async fn set(act: &[Row], backend: Backend) -> Self {
        let first = &act[0];
        let (caller, owner) = (first.caller(), first.owner());
        let keys = KeyScheme::sealing(SealingKey::new(1, [7; 32]));
        let service = backend
            .builder()
            .clock(Arc::new(ManualClock::at(start())))
            .keys(keys.clone())
            .open()
            .await
            .unwrap();
        first.put_people(&backend, owner).await;
        let mut tokens: Vec<_> =
            act.iter().zip(1..).map(|(row, number)| row.to_token(number, owner, &keys)).collect();
        tokens.push(row(200, "elsewhere", owner, "key-elsewhere"));
        if let Caller::User(id) = caller {
            tokens.push(row(201, "caller", id, CALLER_KEY));
        }
        first.grant(&backend, &tokens, act.len()).await;
        let changes = tokens.into_iter().map(|token| Change::Insert(Arc::new(token))).collect();
        backend.tokens.commit(Commit { changes, events: Vec::new() }).await.unwrap();
        let before = all_tokens(&*backend.tokens).await;
        let grants = backend.users.grants(None, 1_000).await.unwrap();
        Self { backend, service, caller, before, grants }
    }

    /// Asks for every cell of the act.
    pub async fn play(&self, act: &[Row], door: &dyn Door, findings: &mut Findings) {
        let mut position = None;
        for row in act {
            for (name, expected) in &row.cells {
                let asked = row.asked(name);
                let Some(answer) = door.ask(self.caller, &asked).await else { continue };
                findings.asked += 1;
                let outcome = outcome(&asked, &answer);
                let is_right = outcome == *expected;
                let mut wrong = Vec::new();
                if !is_right {
                    wrong.push(format!("{outcome} instead of {expected}"));
                }
                // What is known to write nothing is looked at once, at the end of the row.
                if answer.is_ok() && asked.operation.commits() {
                    wrong.extend(self.check_done(&asked, &mut position).await);
                }
                findings.add(row, name, wrong);
            }
            let wrong = self.check_unchanged(position).await;
            findings.add(row, "what must change nothing", wrong);
        }
    }

    /// A commit has one event, of this caller, and is undone.
    async fn check_done(&self, asked: &Asked, position: &mut Option<EventCursor>) -> Vec<String> {
        let mut wrong = Vec::new();
        let EventPage { events, next } = self.events(*position).await;
        if events.len() != 1 || events[0].actor != self.caller {
            wrong.push(format!("tells {events:?}"));
        }
        *position = next;
        let has_changed = self.undo().await;
        if has_changed == (asked.operation == Operation::ViewKey) {
            wrong.push(format!("a token has changed: {has_changed}"));
        }
        wrong
    }

    async fn check_unchanged(&self, position: Option<EventCursor>) -> Vec<String> {
        let mut wrong = Vec::new();
        let events = self.events(position).await.events;
        if !events.is_empty() {
            wrong.push(format!("events: {events:?}"));
        }
        if self.undo().await {
            wrong.push("a token has changed".to_owned());
        }
        wrong
    }

    async fn events(&self, after: Option<EventCursor>) -> EventPage {
        let query = EventQuery { after, ..EventQuery::default() };
        self.backend.tokens.events(&query).await.unwrap()
    }

    /// Makes the tokens what they were, and tells whether they were not.
    async fn undo(&self) -> bool {
        let after = all_tokens(&*self.backend.tokens).await;
        let delete = |token: &Token| Change::Delete { id: token.id, expected: token.revision };
        let gone = after.iter().filter(|token| !self.before.contains(token)).map(delete);
        let back = self.before.iter().filter(|token| !after.contains(token));
        let back = back.map(|token| Change::Insert(Arc::new(token.clone())));
        let changes: Vec<_> = gone.chain(back).collect();
        let has_changed = !changes.is_empty();
        if has_changed {
            let undo = Commit { changes, events: Vec::new() };
            self.backend.tokens.commit(undo).await.unwrap();
            // Those on a deleted token went with it.
            for Grant { user, on, permission } in self.grants.iter().copied() {
                self.backend.users.grant(user, permission, on).await.unwrap();
            }
        }
        has_changed
    }
}

impl Findings {
    fn add(&mut self, row: &Row, what: &str, wrong: Vec<String>) {
        let (line, stage, token) = (row.line, row.stage(), row.token());
        let place = format!("line {line} {stage:?} {token} {what}");
        self.wrong.extend(wrong.into_iter().map(|wrong| format!("{place}: {wrong}")));
    }
}

/// An answer in the words of the table.
fn outcome(asked: &Asked, answer: &Result<Value, Value>) -> String {
    match answer {
        Ok(body) if asked.operation == Operation::List => {
            let named: Vec<_> = body["results"].as_array().unwrap().iter().collect();
            let count = body["pagination"]["count"].as_u64();
            match named[..] {
                [token] if token["identifier"] == *asked.identifier && count == Some(1) => "ok",
                [] if count == Some(0) => "not_listed",
                _ => return format!("a list of {body}"),
            }
            .to_owned()
        }
        Ok(_) => "ok".to_owned(),
        Err(refusal) => refused(refusal),
    }
}

/// A refusal in the words of the table.
fn refused(body: &Value) -> String {
    match body["code"].as_str() {
        Some("authentication_failed") => "inactive".to_owned(),
        Some("permission_denied") => "forbidden".to_owned(),
        Some("invalid") => {
            let fields = body.as_object().unwrap().keys().filter(|key| *key != "code");
            let fields: BTreeSet<_> = fields.map(String::as_str).collect();
            format!("invalid:{}", fields.into_iter().collect::<Vec<_>>().join("+"))
        }
        _ => body["code"].as_str().unwrap_or("no code").to_owned(),
    }
}

impl Row {
    /// The request of a column.
    fn asked(&self, name: &str) -> Asked {
        let token = self.token();
        let swapped = match self.intent {
            Intent::Api => "app_password",
            _ => "api",
        };
        let single_use = match self.intent {
            Intent::Recovery => "verification",
            _ => "recovery",
        };
        let (operation, body) = match name {
            "retrieve" => (Operation::Retrieve, Value::Null),
            "used_by" => (Operation::UsedBy, Value::Null),
            "list" => (Operation::List, Value::Null),
            "update" => (Operation::Update, json!({"identifier": token, "description": "new"})),
            "partial_update" => (Operation::PartialUpdate, json!({"description": "new"})),
            "change_managed" => (Operation::PartialUpdate, json!({"managed": "new"})),
            "change_user" => (Operation::PartialUpdate, json!({"user": OTHER})),
            "change_intent" => (Operation::PartialUpdate, json!({"intent": swapped})),
            "make_single_use" => (Operation::PartialUpdate, json!({"intent": single_use})),
            "stop_expiring" => (Operation::PartialUpdate, json!({"expiring": false})),
            "prolong" => (Operation::PartialUpdate, json!({"expires": in_hours(2)})),
            "prolong_too_far" => (Operation::PartialUpdate, json!({"expires": in_hours(25)})),
            "delete" => (Operation::Delete, Value::Null),
            "view_key" => (Operation::ViewKey, Value::Null),
            "set_key" => {
                (Operation::SetKey, json!({"key": "a key that is long enough, and is nobody's"}))
            }
            "rotate" => (Operation::Rotate, Value::Null),
            "create_for_self" => (Operation::Create, self.new_token(None)),
            "create_for_other" => (Operation::Create, self.new_token(Some(self.other()))),
            _ => panic!("line {}: a column {name}", self.line),
        };
        Asked { operation, identifier: token, body }
    }

    fn new_token(&self, user: Option<UserId>) -> Value {
        let mut body = json!({"identifier": "new", "intent": self.intent});
        if let Some(user) = user {
            body["user"] = json!(user);
        }
        if self.managed {
            body["managed"] = json!("new");
        }
        body
    }

    fn caller(&self) -> Caller {
        Caller::User(match self.who {
            "system" => return Caller::System,
            "owner" | "inactive owner" => self.owner(),
            "stranger" => UserId::new(11),
            "superuser" => UserId::new(12),
            "inactive stranger" => UserId::new(13),
            "inactive superuser" => UserId::new(14),
            "nobody" => NOBODY,
            who => panic!("line {}: {who}", self.line),
        })
    }

    fn owner(&self) -> UserId {
        if self.owner == "missing" { MISSING } else { OWNER }
    }

    /// Another user of the owner's kind.
    fn other(&self) -> UserId {
        match self.owner {
            "ordinary" => OTHER,
            "superuser" => OTHER_SUPERUSER,
            _ => UserId::new(97),
        }
    }

    async fn put_people(&self, backend: &Backend, owner: UserId) {
        let superusers = Group { is_superuser: true, ..Group::new(SUPERUSERS, "superusers") };
        backend.users.put_group(superusers).await.unwrap();
        let owner_is_active = self.who != "inactive owner";
        let everybody = [
            (owner, self.owner == "superuser", owner_is_active),
            (UserId::new(11), false, true),
            (UserId::new(12), true, true),
            (UserId::new(13), false, false),
            (UserId::new(14), true, false),
            (OTHER, false, true),
            (OTHER_SUPERUSER, true, true),
        ];
        for (id, is_superuser, is_active) in everybody {
            if id == MISSING {
                continue;
            }
            let groups = is_superuser.then_some(SUPERUSERS).into_iter().collect();
            let person = User { is_active, groups, ..user(id, &format!("user-{id}")) };
            backend.users.put_user(person).await.unwrap();
        }
    }

    /// Gives the caller what it holds. The first tokens are those in question.
    async fn grant(&self, backend: &Backend, tokens: &[Token], in_question: usize) {
        let Caller::User(caller) = self.caller() else { return };
        if caller == MISSING || caller == NOBODY {
            return;
        }
        let ids: Vec<_> = tokens.iter().map(|token| Some(token.id)).collect();
        for grant in self.holds.split_whitespace() {
            let (name, place) = grant.split_once('@').unwrap();
            let permission = permission(name);
            let places = match place {
                "all" => &[None],
                "token" => &ids[..in_question],
                "elsewhere" => &ids[in_question..=in_question],
                _ => panic!("line {}: {grant}", self.line),
            };
            for on in places {
                backend.users.grant(caller, permission, *on).await.unwrap();
            }
        }
    }

    fn to_token(&self, number: u128, owner: UserId, keys: &KeyScheme) -> Token {
        let key = TokenKey::from(format!("key-{number}"));
        let token = row(number, &self.token(), owner, key.expose());
        Token {
            intent: self.intent,
            expires: Some(in_hours(1)),
            expiring: true,
            managed: self.managed.then(|| format!("marker-{number}").parse().unwrap()),
            owner_may_view_key: self.owner_may_view_key,
            sealed_key: keys.seal(&key, token.id, &SystemRandom).unwrap(),
            ..token
        }
    }
}

fn permission(name: &str) -> Permission {
    let name = match name {
        "view_key" => "authentik_core.view_token_key".to_owned(),
        "set_key" => "authentik_core.set_token_key".to_owned(),
        name => format!("authentik_core.{name}_token"),
    };
    Permission::from_name(&name).unwrap()
}
