//! Changes and events as statements.

use std::fmt::Write;

use sha2::{Digest, Sha256};
use tokenkeep::{Caller, Change, Commit, Event, Marker, Token, TokenField, TokenFields};

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
    /// The steps of a commit: the change at each place with the event at that place. Each is one
    /// statement, which finds a row when it has done its work and none when a token is not at the
    /// expected revision.
    pub(crate) fn steps_of(commit: &'a Commit) -> Vec<Self> {
        let places = commit.changes.len().max(commit.events.len());
        let step = |place| Self::step(commit.changes.get(place), commit.events.get(place));
        (0..places).map(step).collect()
    }

    fn step(change: Option<&'a Change>, event: Option<&'a Event>) -> Self {
        let mut step = Self { wants: Wanted::Some, ..Self::default() };
        let source = match change {
            Some(change) => {
                step.push("WITH done AS (");
                step.change(change);
                step.push(")");
                " FROM done"
            }
            None => "",
        };
        if let Some(event) = event {
            // The event is written if the change is done, by the same statement.
            step.push(if change.is_some() { ", trail AS (" } else { "WITH done AS (" });
            step.event(event, source);
            step.push(" RETURNING 1)");
        }
        step.push(" SELECT 1 FROM done");
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
        let _ = write!(self.sql, "${}::{}", self.values.len(), kind.name());
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

    fn event(&mut self, event: &'a Event, source: &str) {
        let actor = match event.actor {
            Caller::System => None,
            Caller::User(id) => Some(id.get()),
        };
        self.push(
            "INSERT INTO tokenkeep_event \
             (at, id, token, identifier, owner, revision, kind, changed, actor) SELECT ",
        );
        self.bind_all([
            event.at.as_micros().into(),
            (*event.id.as_bytes()).into(),
            (*event.token.as_bytes()).into(),
            event.identifier.as_str().into(),
            event.owner.get().into(),
            event.revision.get().into(),
            event.kind.as_str().into(),
            i64::from(event.changed.bits()).into(),
            actor.into(),
        ]);
        self.push(source);
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
