//! What do authentication and an update cost above the statements that PostgreSQL has to run for
//! them?
//!
//! The floor runs the same statements on bare tokio-postgres, prepared, on as many connections as
//! there are callers. `TOKENKEEP_TEST_POSTGRES` names a server; without it one is started, when the
//! machine has PostgreSQL's programs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use tokenkeep::{Caller, TokenChange, TokenService};
use tokenkeep_benches::load::{TOKENS, USERS, fill, identifier, key, pick, user};
use tokenkeep_postgres::{PostgresOptions, PostgresStore};
use tokenkeep_test_server::Server;
use tokio::runtime::Runtime;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, NoTls, Statement};
use uuid::Uuid;

fn main() {
    let database = match Server::shared() {
        Ok(server) => server.database().unwrap(),
        Err(missing) => return println!("PostgreSQL was not measured: {missing}"),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let url = database.url();
    runtime.block_on(async {
        let store = PostgresStore::connect(&url).await.unwrap();
        fill(&store, &store).await;
        let bare = connect(&url).await;
        bare.batch_execute("VACUUM ANALYZE").await.unwrap();
    });
    println!("PostgreSQL, {TOKENS} tokens: calls a second");
    for callers in [1, 8, 32] {
        for work in [Work::Authenticate, Work::Update] {
            measure(&runtime, &url, work, callers);
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Work {
    Authenticate,
    Update,
}

/// How many turns each side gets, and how long one takes.
const ROUNDS: u64 = 7;
const TURN: Duration = Duration::from_secs(1);

/// Measures callers at the same time, in turns with the floor.
fn measure(runtime: &Runtime, url: &str, work: Work, callers: usize) {
    let service = runtime.block_on(async {
        let options = PostgresOptions::new().max_connections(callers);
        let store = Arc::new(options.connect(url).await.unwrap());
        TokenService::builder(store.clone(), store).open().await.unwrap()
    });
    let floors: Vec<_> =
        (0..callers).map(|_| Arc::new(runtime.block_on(Floor::connect(url)))).collect();
    let mut rates = Vec::new();
    for round in 0..=ROUNDS {
        // No two calls have the same number.
        let turn = callers as u64 * 10_000 + round;
        let ours = rate(runtime, callers, turn, |_| {
            let service = service.clone();
            move |call| {
                let service = service.clone();
                async move { run(&service, work, call).await }
            }
        });
        let floor = rate(runtime, callers, turn + 1_000, |caller| {
            let floor = floors[caller].clone();
            move |call| {
                let floor = floor.clone();
                async move { floor.run(work, call).await }
            }
        });
        // The first turn warms up.
        if round > 0 {
            rates.push((ours, floor));
        }
    }
    let median = |of: &dyn Fn(&(f64, f64)) -> f64| {
        let mut figures: Vec<_> = rates.iter().map(of).collect();
        figures.sort_by(f64::total_cmp);
        (figures[0], figures[figures.len() / 2], figures[figures.len() - 1])
    };
    let (low, ratio, high) = median(&|(ours, floor)| ours / floor);
    println!(
        "{:<13} {callers:>2} callers: {:>7.0}, floor {:>7.0}, ratio {ratio:.2} ({low:.2} to {high:.2})",
        format!("{work:?}"),
        median(&|(ours, _)| *ours).1,
        median(&|(_, floor)| *floor).1,
    );
}

/// How many calls a second all callers make in one turn.
fn rate<C, F>(runtime: &Runtime, callers: usize, turn: u64, caller: impl Fn(usize) -> C) -> f64
where
    C: Fn(u64) -> F + Send + 'static,
    F: Future<Output = ()> + Send,
{
    let start = Instant::now();
    let tasks: Vec<_> = (0..callers)
        .map(|number| {
            let (call, first) = (caller(number), turn * 1_000_000_000 + number as u64 * 1_000_000);
            runtime.spawn(async move {
                let mut calls = 0;
                while start.elapsed() < TURN {
                    call(first + calls).await;
                    calls += 1;
                }
                calls
            })
        })
        .collect();
    let calls: u64 = tasks.into_iter().map(|task| runtime.block_on(task).unwrap()).sum();
    calls as f64 / start.elapsed().as_secs_f64()
}

async fn run(service: &TokenService, work: Work, call: u64) {
    match work {
        Work::Authenticate => {
            let header = format!("Bearer {}", key(pick(call) & !1));
            service.authenticate(Some(header.as_bytes())).await.unwrap();
        }
        Work::Update => {
            let number = pick(call) | 1;
            let caller = Caller::User(user(number % USERS));
            let change = TokenChange::new().description(format!("changed by call {call}"));
            service.partial_update(&caller, &identifier(number), change).await.unwrap();
        }
    }
}

async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// One connection with the statements that a call needs.
struct Floor {
    client: Client,
    by_key: Statement,
    active: Statement,
    profile: Statement,
    by_identifier: Statement,
    update: Statement,
}

impl Floor {
    async fn connect(url: &str) -> Self {
        let client = connect(url).await;
        let token = "SELECT id, identifier, intent, owner, description, expires, expiring, \
             managed, revision, created, updated, last_used, owner_may_view_key, key_digest, \
             sealed_key FROM tokenkeep_token";
        Self {
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
        digest.extend_from_slice(&Sha256::digest(key(pick(call) & !1)));
        let token = self.client.query_one(&self.by_key, &[&digest]).await.unwrap();
        let owner: i64 = token.get(3);
        assert!(self.client.query_one(&self.active, &[&owner]).await.unwrap().get::<_, bool>(0));
    }

    async fn update(&self, call: u64) {
        let number = pick(call) | 1;
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
