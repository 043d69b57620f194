//! Tokens as sessions of tower-sessions-rusqlite-store: the session's id is the key, its data are the
//! token's fields. That is less work than tokenkeep's: there is no owner whose state is read, no
//! comparison of revisions, and no event.
//!
//! `peer-sessions DIRECTORY TOKENS`

use std::collections::HashMap;
use std::path::Path;

use serde_json::{Value, json};
use time::{Duration, OffsetDateTime};
use tokenkeep_load::{Asked, Times, USERS, Work, answer, identifier, pick, turn};
use tokio::runtime::Runtime;
use tower_sessions_core::SessionStore;
use tower_sessions_core::session::{Id, Record};
use tower_sessions_rusqlite_store::RusqliteStore;
use tower_sessions_rusqlite_store::tokio_rusqlite::{self, Connection};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let directory = arguments.next().unwrap();
    let tokens: u64 = arguments.next().unwrap().parse().unwrap();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let store = runtime.block_on(filled(Path::new(&directory), tokens));
    answer("ready", |asked| run(&runtime, &store, asked, tokens));
}

fn id(number: u64) -> Id {
    Id(tokenkeep_load::scattered(number).cast_signed())
}

fn record(number: u64) -> Record {
    let fields = [
        ("identifier", json!(identifier(number))),
        ("intent", json!("api")),
        ("owner", json!(number % USERS)),
        ("description", json!(format!("deploys service {number} from the pipeline"))),
        ("revision", json!(1)),
        ("updated", json!(1_700_000_000_000_000_u64)),
    ];
    let data: HashMap<String, Value> =
        fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    Record { id: id(number), data, expiry_date: OffsetDateTime::now_utc() + Duration::days(365) }
}

async fn filled(directory: &Path, tokens: u64) -> RusqliteStore {
    let connection = Connection::open(directory.join("sessions.db")).await.unwrap();
    // As large a file as it takes to fill it in seconds; then as durable as tokenkeep.
    pragma(&connection, "PRAGMA journal_mode = wal; PRAGMA synchronous = OFF").await;
    let store = RusqliteStore::new(connection.clone());
    store.migrate().await.unwrap();
    for number in 0..tokens {
        store.save(&record(number)).await.unwrap();
    }
    pragma(&connection, "PRAGMA synchronous = FULL").await;
    store
}

async fn pragma(connection: &Connection, sql: &'static str) {
    let done: Result<(), tokio_rusqlite::Error> =
        connection.call(move |connection| connection.execute_batch(sql)).await;
    done.unwrap();
}

fn run(runtime: &Runtime, store: &RusqliteStore, asked: Asked, tokens: u64) -> Times {
    turn(runtime, asked.callers, asked.lasting, asked.first, |_| {
        let store = store.clone();
        move |call| {
            let store = store.clone();
            async move {
                let number = pick(call, tokens);
                let mut record = store.load(&id(number)).await.unwrap().unwrap();
                assert_eq!(record.data["owner"], json!(number % USERS));
                if asked.work == Work::Update {
                    let text = json!(format!("changed by call {call}"));
                    record.data.insert("description".to_owned(), text);
                    store.save(&record).await.unwrap();
                }
            }
        }
    })
}
