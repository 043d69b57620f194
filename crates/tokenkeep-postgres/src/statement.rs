//! Changes and events as statements.

use std::borrow::Cow;
use std::fmt::Write;

use sha2::{Digest, Sha256};
use tokenkeep::{Caller, Change, Commit, Event, Marker, Token, TokenField, TokenFields};
use tokio_postgres::types::Type;
use uuid::Uuid;

use crate::tokens;
use crate::value::Value;

/// A statement with what goes into its parameters.
#[derive(Debug, Default)]
pub(crate) struct Statement<'a> {
    pub(crate) sql: String,
    pub(crate) values: Vec<Value<'a>>,
    pub(crate) wants: Wanted,
}

/// How many rows a statement must find in a transaction that is to be committed.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) enum Wanted {
    #[default]
    Any,
    Some,
    None,
}

impl Wanted {
    pub(crate) const fn are(self, rows: u64) -> bool {
        match self {
            Self::Any => true,
            Self::Some => rows > 0,
            Self::None => rows == 0,
        }
    }
}

impl<'a> Statement<'a> {
    /// The steps of a commit: its changes, then its events. Each finds a row when it has done its
    /// work, and none when a token is not at the expected revision. One change with one event, what
    /// most commits are, is one step, and so is each change with its event where tokens are removed.
    pub(crate) fn steps_of(commit: &'a Commit) -> Vec<Self> {
        // A remove writes what it found into its event, so that the events are written with the changes at
        // their places.
        let removes = commit.changes.iter().any(|change| matches!(change, Change::Remove { .. }));
        let are_paired = removes || matches!((&*commit.changes, &*commit.events), ([_], [_]));
        let pairs = if are_paired { commit.changes.len().min(commit.events.len()) } else { 0 };
        // No more than there are events.
        let (paired, rest) = commit.events.split_at(pairs);
        let mut paired = paired.iter();
        let mut steps = Vec::with_capacity(commit.changes.len() + 1);
        for change in &commit.changes {
            steps.push(Self::step(|step| step.change_with(change, paired.next())));
        }
        if !rest.is_empty() {
            steps.push(Self::step(|step| step.events(rest)));
        }
        steps
    }

    /// A change with the event that is written if the change is done, and after it.
    fn change_with(&mut self, change: &'a Change, event: Option<&'a Event>) {
        self.change(change);
        if let Change::Delete { id, .. } | Change::Remove { id } = change {
            self.push("), forgotten AS (DELETE FROM tokenkeep_permission WHERE token = ");
            self.bind(Value::Sixteen(*id.as_bytes()));
            self.push(" AND token <> '' AND EXISTS (SELECT 1 FROM done)");
        }
        if let Some(event) = event {
            self.push("), trail AS (");
            let is_removal = matches!(change, Change::Remove { id } if *id == event.token);
            self.event(event, is_removal);
            self.push(" FROM done");
        }
    }

    fn step(write: impl FnOnce(&mut Self)) -> Self {
        let mut step = Self { wants: Wanted::Some, ..Self::default() };
        step.push("WITH done AS (");
        write(&mut step);
        step.push(") SELECT 1 FROM done");
        step
    }

    pub(crate) fn push(&mut self, sql: &str) {
        self.sql.push_str(sql);
    }

    /// Writes the place of a parameter, and what goes into it.
    pub(crate) fn bind(&mut self, value: impl Into<Value<'a>>) {
        let value = value.into();
        let kind = value.kind();
        self.values.push(value);
        // Writing into a string cannot fail.
        let _ = write!(self.sql, "${}::{}", self.values.len(), sql_name(&kind));
    }

    fn bind_all(&mut self, values: impl IntoIterator<Item = Value<'a>>) {
        for (place, value) in values.into_iter().enumerate() {
            self.push(if place == 0 { "" } else { ", " });
            self.bind(value);
        }
    }

    fn change(&mut self, change: &'a Change) {
        match change {
            Change::Insert(token) => {
                self.insert(token);
                self.push(" RETURNING 1");
            }
            Change::Replace { expected, fields, token } => {
                self.assign(token, *fields);
                self.at(*token.id.as_bytes(), expected.get());
                self.push(" RETURNING 1");
            }
            Change::Delete { id, expected } => {
                self.push("DELETE FROM tokenkeep_token");
                self.at(*id.as_bytes(), expected.get());
                self.push(" RETURNING 1");
            }
            Change::Expect { id, expected } => {
                self.push("SELECT 1 FROM tokenkeep_token");
                self.at(*id.as_bytes(), expected.get());
                self.push(" FOR UPDATE");
            }
            Change::Remove { id } => {
                self.push("DELETE FROM tokenkeep_token WHERE id = ");
                self.bind(*id.as_bytes());
                self.push(" RETURNING identifier, revision");
            }
            Change::Release { id, expected } => {
                // Values that no token has: an identifier that is no slug, a digest that is too short.
                self.push(
                    "UPDATE tokenkeep_token SET identifier = '~' || id::text, managed = NULL",
                );
                self.push(", managed_digest = NULL, key_digest = ");
                self.bind(Value::Sixteen(*id.as_bytes()));
                self.at(*id.as_bytes(), expected.get());
                self.push(" RETURNING 1");
            }
        }
    }

    fn at(&mut self, id: [u8; 16], expected: i64) {
        self.push(" WHERE id = ");
        self.bind(id);
        self.push(" AND revision = ");
        self.bind(expected);
    }

    fn insert(&mut self, token: &'a Token) {
        self.push(concat!(
            "INSERT INTO tokenkeep_token (",
            tokens::columns!(),
            ", managed_digest) VALUES ("
        ));
        self.bind_all([
            (*token.id.as_bytes()).into(),
            token.identifier.as_str().into(),
            token.intent.as_str().into(),
            token.owner.get().into(),
            (&*token.description).into(),
            token.expires.map(|at| at.as_micros()).into(),
            token.expiring.into(),
            token.managed.as_ref().map(|marker| marker.as_str()).into(),
            token.revision.get().into(),
            token.created.as_micros().into(),
            token.updated.as_micros().into(),
            token.last_used.map(|at| at.as_micros()).into(),
            token.owner_may_view_key.into(),
            token.key_digest.as_bytes().as_slice().into(),
            token.sealed_key.as_ref().map(|key| key.as_bytes()).into(),
            marker_digest(token.managed.as_ref()),
        ]);
        self.push(")");
    }

    /// Writes the named fields, and no other column: a column that is not named cannot cost an
    /// index anything, on whichever server.
    fn assign(&mut self, token: &'a Token, fields: TokenFields) {
        self.push("UPDATE tokenkeep_token SET revision = ");
        self.bind(token.revision.get());
        self.push(", updated = ");
        self.bind(token.updated.as_micros());
        for field in fields.iter() {
            self.assign_field(token, field);
        }
    }

    fn assign_field(&mut self, token: &'a Token, field: TokenField) {
        let (column, value) = match field {
            TokenField::Managed => {
                self.set("managed_digest", marker_digest(token.managed.as_ref()));
                ("managed", token.managed.as_ref().map(|marker| marker.as_str()).into())
            }
            TokenField::Identifier => ("identifier", token.identifier.as_str().into()),
            TokenField::Intent => ("intent", token.intent.as_str().into()),
            TokenField::User => ("owner", token.owner.get().into()),
            TokenField::Description => ("description", (&*token.description).into()),
            TokenField::Expires => ("expires", token.expires.map(|at| at.as_micros()).into()),
            TokenField::Expiring => ("expiring", token.expiring.into()),
            TokenField::Key => {
                let sealed = token.sealed_key.as_ref().map(|key| key.as_bytes());
                self.set("sealed_key", sealed.into());
                ("key_digest", token.key_digest.as_bytes().as_slice().into())
            }
            TokenField::OwnerMayViewKey => ("owner_may_view_key", token.owner_may_view_key.into()),
        };
        self.set(column, value);
    }

    fn set(&mut self, column: &str, value: Value<'a>) {
        self.push(", ");
        self.push(column);
        self.push(" = ");
        self.bind(value);
    }

    /// Writes an event. That of a removed token has the identifier and the revision that were found.
    fn event(&mut self, event: &'a Event, is_of_removed: bool) {
        self.push(APPEND);
        self.bind_all([
            event.at.as_micros().into(),
            (*event.id.as_bytes()).into(),
            (*event.token.as_bytes()).into(),
        ]);
        self.push(", ");
        if is_of_removed {
            self.push("done.identifier, ");
            self.bind(event.owner.get());
            self.push(", done.revision");
        } else {
            self.bind_all([
                event.identifier.as_str().into(),
                event.owner.get().into(),
                event.revision.get().into(),
            ]);
        }
        self.push(", ");
        self.bind_all([
            event.kind.as_str().into(),
            i64::from(event.changed.bits()).into(),
            actor(event).into(),
        ]);
    }

    /// All by one statement: a list for each column.
    fn events(&mut self, events: &'a [Event]) {
        let numbers = |of: fn(&Event) -> i64| Value::Numbers(events.iter().map(of).collect());
        let ids = |of: fn(&Event) -> [u8; 16]| {
            Value::Uuids(events.iter().map(|event| Uuid::from_bytes(of(event))).collect())
        };
        self.push(APPEND);
        self.push("* FROM unnest(");
        self.bind_all([
            numbers(|event| event.at.as_micros()),
            ids(|event| *event.id.as_bytes()),
            ids(|event| *event.token.as_bytes()),
            Value::Texts(events.iter().map(|event| event.identifier.as_str()).collect()),
            numbers(|event| event.owner.get()),
            numbers(|event| event.revision.get()),
            Value::Texts(events.iter().map(|event| event.kind.as_str()).collect()),
            numbers(|event| event.changed.bits().into()),
            Value::NumbersOrNull(events.iter().map(actor).collect()),
        ]);
        self.push(") RETURNING 1");
    }
}

/// How SQL names a type.
fn sql_name(kind: &Type) -> Cow<'_, str> {
    // The driver has the catalogue's name: of a list, that of its elements behind an underscore.
    match kind.name().strip_prefix('_') {
        Some(element) => format!("{element}[]").into(),
        None => kind.name().into(),
    }
}

const APPEND: &str = "INSERT INTO tokenkeep_event \
     (at, id, token, identifier, owner, revision, kind, changed, actor) SELECT ";

fn actor(event: &Event) -> Option<i64> {
    match event.actor {
        Caller::System => None,
        Caller::User(id) => Some(id.get()),
    }
}

/// What a text of any length is looked up by, which the row of an index could not hold.
pub(crate) fn digest_of(text: Option<&str>) -> Value<'static> {
    Value::Digest(text.map(|text| Sha256::digest(text).into()))
}

/// The digest of a token's marker.
pub(crate) fn marker_digest(marker: Option<&Marker>) -> Value<'static> {
    digest_of(marker.map(Marker::as_str))
}
