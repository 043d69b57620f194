//! A token on a real server, and what the server itself says of it.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tokenkeep::{
    Caller, Change, Commit, CommitError, Event, EventId, EventKind, Intent, KeyDigest, Revision,
    StoreErrorKind, Timestamp, Token, TokenId, TokenKey, TokenStore, UserId,
};
use tokenkeep_test_server::{Cluster, ClusterOptions, Database};
use tokio_postgres::{Client, NoTls};

/// The cluster of the tests that do not stop it.
pub(crate) fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| Cluster::start(&ClusterOptions::new()).unwrap())
}

/// A token at its first revision that differs from those of other numbers in all that is unique.
pub(crate) fn token(number: u8) -> Token {
    let now = Timestamp::from_micros(1_727_447_178_090_001).unwrap();
    Token {
        id: TokenId::from_bytes([number; 16]),
        identifier: format!("token-{number}").parse().unwrap(),
        intent: Intent::Api,
        owner: UserId::new(1),
        description: "r1".into(),
        expires: None,
        expiring: false,
        managed: None,
        revision: Revision::FIRST,
        created: now,
        updated: now,
        last_used: None,
        owner_may_view_key: false,
        key_digest: KeyDigest::of(&TokenKey::from(format!("key-{number}"))),
        sealed_key: None,
    }
}

/// The commit of a change to `token` with its event: the next revision, which the description names.
pub(crate) fn revision_of(token: &Token, event: u128) -> (Token, Commit) {
    let revision = token.revision.next().unwrap();
    let updated = token.updated.saturating_add(Duration::from_micros(1));
    let description = format!("r{}", revision.get());
    let after =
        Token { revision, updated, description: description.as_str().into(), ..token.clone() };
    let event = Event {
        id: EventId::from_bytes(event.to_be_bytes()),
        at: updated,
        token: token.id,
        identifier: token.identifier.clone(),
        owner: token.owner,
        revision,
        kind: EventKind::Updated,
        changed: token.changed_fields(&after),
        actor: Caller::System,
    };
    let changes = vec![Change::replace(token, after.clone())];
    (after, Commit { changes, events: vec![event] })
}

pub(crate) async fn insert(store: &dyn TokenStore, tokens: impl IntoIterator<Item = Token>) {
    let changes = tokens.into_iter().map(|token| Change::Insert(Arc::new(token))).collect();
    store.commit(Commit { changes, events: Vec::new() }).await.unwrap();
}

/// What a store says of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Verdict {
    Done,
    NotDone,
    Unknown,
}

impl Verdict {
    /// A commit that nobody else was in the way of either is done or fails as a whole.
    pub(crate) fn of(result: Result<(), CommitError>) -> Self {
        match result {
            Ok(()) => Self::Done,
            Err(CommitError::Store(error)) if *error.kind() == StoreErrorKind::OutcomeUnknown => {
                Self::Unknown
            }
            Err(CommitError::Store(error)) => {
                assert!(error.is_retryable(), "{error:?}");
                Self::NotDone
            }
            Err(other) => panic!("nobody was in the way: {other:?}"),
        }
    }
}

/// Asks the server on a connection of its own.
#[derive(Debug)]
pub(crate) struct Observer(Client);

impl Observer {
    pub(crate) async fn of(database: &Database) -> Self {
        let (client, connection) = tokio_postgres::connect(&database.url(), NoTls).await.unwrap();
        tokio::spawn(connection);
        Self(client)
    }

    /// The first column of the first row, a number.
    pub(crate) async fn number(&self, sql: &str) -> i64 {
        self.0.query_one(sql, &[]).await.unwrap().get(0)
    }

    pub(crate) async fn run(&self, sql: &str) {
        self.0.batch_execute(sql).await.unwrap();
    }

    /// Waits until no session of this database has what `condition` says.
    pub(crate) async fn until_no_session(&self, condition: &str) {
        self.until_sessions(0, condition).await;
    }

    /// Waits until at most so many sessions of this database have what `condition` says.
    pub(crate) async fn until_sessions(&self, at_most: i64, condition: &str) {
        let sql = format!(
            "SELECT count(*) FROM pg_stat_activity \
             WHERE datname = current_database() AND pid <> pg_backend_pid() AND {condition}"
        );
        let deadline = Instant::now() + Duration::from_secs(10);
        while self.number(&sql).await > at_most {
            assert!(Instant::now() < deadline, "a session with {condition} stays");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Ends the sessions of the store.
    pub(crate) async fn end_sessions(&self) {
        let its = "application_name = 'tokenkeep'";
        let end = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {its}");
        self.run(&format!("{end} AND datname = current_database()")).await;
        self.until_no_session(its).await;
        // Time for the driver to see it: on a connection that it takes to be there, it would send
        // what may have been done then.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }

    /// The revision of a token, after making sure that it, its description and its events agree.
    pub(crate) async fn revision(&self, id: TokenId) -> Revision {
        let sql = "SELECT revision, description, \
             (SELECT count(*) FROM tokenkeep_event e WHERE e.token = t.id), \
             (SELECT count(DISTINCT e.revision) FROM tokenkeep_event e \
              WHERE e.token = t.id AND e.revision BETWEEN 2 AND t.revision) \
             FROM tokenkeep_token t WHERE id = $1::text::uuid";
        let row = self.0.query_one(sql, &[&id.to_string()]).await.unwrap();
        let revision: i64 = row.get(0);
        assert_eq!(row.get::<_, &str>(1), format!("r{revision}"), "half a change");
        assert_eq!(row.get::<_, i64>(2), revision - 1, "an event too many or too few");
        assert_eq!(row.get::<_, i64>(3), revision - 1, "an event of another revision");
        Revision::new(revision).unwrap()
    }
}
