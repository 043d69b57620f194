//! What do authentication and an update cost above the statements that PostgreSQL has to run for
//! them?
//!
//! The floor runs the same statements on bare tokio-postgres, prepared, on as many connections as
//! there are callers. `TOKENKEEP_TEST_POSTGRES` names a server; without it one is started, when the
//! machine has PostgreSQL's programs.

use std::sync::Arc;

use sha2::{Digest, Sha256};
use tokenkeep::TokenService;
use tokenkeep_load::{Work, turn};
use tokenkeep_postgres::{PostgresOptions, PostgresStore};
use tokenkeep_test_server::Server;
use tokio::runtime::Runtime;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, NoTls, Statement};
use uuid::Uuid;

use crate::compare::in_turns;
use crate::finding::{Findings, Line, Row};
use crate::goal::Unit;
use crate::load::{
    self, USERS, fill, identifier, key, picked_to_authenticate, picked_to_update, user,
};
use crate::question::callers::runtime;
use crate::scale::Scale;

const CALLERS: [u64; 3] = [1, 8, 32];

/// Measures it, where there is a server.
pub fn measure(scale: &Scale) -> Findings {
    let works = [("authenticate", Work::Authenticate), ("update", Work::Update)];
    let goals = works.iter().flat_map(|(name, work)| {
        CALLERS.map(|callers| (format!("postgres-{name}-{callers}"), *work, callers))
    });
    let database = match Server::shared() {
        Ok(server) => server.database().unwrap(),
        Err(missing) => {
            let row = |(goal, ..): (String, _, _)| Row::not_measured(&goal, missing.to_string());
            return Findings { rows: goals.map(row).collect(), ..Findings::default() };
        }
    };
    let (runtime, url) = (runtime(), database.url());
    runtime.block_on(async {
        let store = PostgresStore::connect(&url).await.unwrap();
        fill(&store, &store, scale.tokens).await;
        connect(&url).await.batch_execute("VACUUM ANALYZE").await.unwrap();
    });
    let rows: Vec<_> = goals
        .map(|(goal, work, callers)| compare(scale, &runtime, &url, work, callers, &goal))
        .collect();
    let rates = rows[3..].iter().filter_map(|row| row.ours).map(|ours| ours.value);
    let points = CALLERS.map(|callers| callers as f64).into_iter().zip(rates).collect::<Vec<_>>();
    let line = Line::new("callers-rate", "tokenkeep on PostgreSQL", points);
    Findings { rows, lines: vec![line], ..Findings::default() }
}

/// Measures callers at the same time, in turns with the floor.
fn compare(
    scale: &Scale,
    runtime: &Runtime,
    url: &str,
    work: Work,
    callers: u64,
    goal: &str,
) -> Row {
    let service = runtime.block_on(async {
        let connections = usize::try_from(callers).unwrap();
        let options = PostgresOptions::new().max_connections(connections);
        let store = Arc::new(options.connect(url).await.unwrap());
        TokenService::builder(store.clone(), store).open().await.unwrap()
    });
    let tokens = scale.tokens;
    let floors: Vec<_> =
        (0..callers).map(|_| Arc::new(runtime.block_on(Floor::connect(url, tokens)))).collect();
    // No two calls of one database have the same number: that is the id of the floor's event.
    let first = |round: u64, side: u64| {
        let update = u64::from(work == Work::Update);
        ((callers * 100 + round) * 4 + side * 2 + update) * 100_000_000
    };
    let paired = in_turns(
        scale,
        |round| {
            let caller = |_| {
                let service = service.clone();
                move |call| run(service.clone(), work, call, tokens)
            };
            turn(runtime, callers, scale.turn, first(round, 0), caller).rate()
        },
        |round| {
            let caller = |caller: u64| {
                let floor = floors[usize::try_from(caller).unwrap()].clone();
                move |call| {
                    let floor = floor.clone();
                    async move { floor.run(work, call).await }
                }
            };
            turn(runtime, callers, scale.turn, first(round, 1), caller).rate()
        },
    );
    Row::ratio(goal, paired, Unit::PerSecond)
}

async fn run(service: TokenService, work: Work, call: u64, tokens: u64) {
    match work {
        Work::Authenticate => load::authenticate(&service, call, tokens).await,
        Work::Update => load::update(&service, call, tokens).await,
    }
}

async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// One connection with the statements that a call needs.
struct Floor {
    tokens: u64,
    client: Client,
    by_key: Statement,
    active: Statement,
    profile: Statement,
    by_identifier: Statement,
    update: Statement,
}

impl Floor {
    async fn connect(url: &str, tokens: u64) -> Self {
        let client = connect(url).await;
        let token = "SELECT id, identifier, intent, owner, description, expires, expiring, \
             managed, revision, created, updated, last_used, owner_may_view_key, key_digest, \
             sealed_key FROM tokenkeep_token";
        Self {
            tokens,
            by_key: client.prepare(&format!("{token} WHERE key_digest = $1")).await.unwrap(),
            active: client
                .prepare("SELECT is_active FROM tokenkeep_user WHERE id = $1")
                .await
                .unwrap(),
            profile: client.prepare(PROFILE).await.unwrap(),
            by_identifier: client.prepare(&format!("{token} WHERE identifier = $1")).await.unwrap(),
            update: client.prepare(UPDATE).await.unwrap(),
            client,
        }
    }

    async fn run(&self, work: Work, call: u64) {
        match work {
            Work::Authenticate => self.authenticate(call).await,
            Work::Update => self.update(call).await,
        }
    }

    async fn authenticate(&self, call: u64) {
        let mut digest = vec![0];
        digest.extend_from_slice(&Sha256::digest(key(picked_to_authenticate(call, self.tokens))));
        let token = self.client.query_one(&self.by_key, &[&digest]).await.unwrap();
        let owner: i64 = token.get(3);
        assert!(self.client.query_one(&self.active, &[&owner]).await.unwrap().get::<_, bool>(0));
    }

    async fn update(&self, call: u64) {
        let number = picked_to_update(call, self.tokens);
        let caller = user(number % USERS).get();
        let profile = self.client.query(&self.profile, &[&vec![caller]]).await.unwrap();
        assert!(profile[0].get::<_, bool>("is_active"));
        while !self.try_update(call, number, caller).await {}
    }

    /// `false` when another caller was faster.
    async fn try_update(&self, call: u64, number: u64, caller: i64) -> bool {
        let name = identifier(number);
        let token = self.client.query_one(&self.by_identifier, &[&name]).await.unwrap();
        let (id, revision): (Uuid, i64) = (token.get("id"), token.get("revision"));
        let now = 1_700_000_000_000_000 + call.cast_signed();
        let text = format!("changed by call {call}");
        let event = Uuid::from_u128(u128::from(call));
        let next = revision + 1;
        let values: [&(dyn ToSql + Sync); 8] =
            [&next, &now, &text, &id, &revision, &event, &name, &caller];
        self.client.execute(&self.update, &values).await.unwrap() == 1
    }
}

const PROFILE: &str = "WITH RECURSIVE own (member, id) AS (\
       SELECT user_id, group_id FROM tokenkeep_member WHERE user_id = ANY ($1) \
       UNION \
       SELECT own.member, up.parent FROM tokenkeep_group up JOIN own ON up.id = own.id \
       WHERE up.parent IS NOT NULL\
     ) \
     SELECT u.*, g.* FROM tokenkeep_user u LEFT JOIN own ON own.member = u.id \
     LEFT JOIN tokenkeep_group g ON g.id = own.id WHERE u.id = ANY ($1)";

const UPDATE: &str = "WITH done AS (\
       UPDATE tokenkeep_token SET revision = $1, updated = $2, description = $3 \
       WHERE id = $4 AND revision = $5 RETURNING 1\
     ), trail AS (\
       INSERT INTO tokenkeep_event \
         (at, id, token, identifier, owner, revision, kind, changed, actor) \
       SELECT $2, $6::uuid, $4, $7::text, $8::bigint, $1, 'updated', 16, $8 FROM done\
     ) SELECT 1 FROM done";
