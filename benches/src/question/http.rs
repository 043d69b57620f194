//! What does a token over HTTP cost above what HTTP costs by itself?
//!
//! The server is a process of its own, `serve` without its log: it answers `/ping` by a bare axum
//! handler, and the rest by tokenkeep's router on a SQLite file with full durability, which it has
//! for itself, behind a cache: what a service of one process would take. It shares the two processors
//! with the client, which is the same for all that is measured: kept connections, each with one
//! request after the other. The update is also measured in turns with axum and sqlx.

use std::io::Read;
use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use tempfile::TempDir;
use tokenkeep::{TokenService, VerifyCache};
use tokenkeep_load::{Times, identifier, key, turn};
use tokenkeep_sqlite::{Sharing, SqliteOptions};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::Mutex;

use crate::child::Child;
use crate::compare::{Paired, Spread, in_turns};
use crate::files;
use crate::finding::{Findings, Row};
use crate::goal::Unit;
use crate::http_client::Connection;
use crate::load::{picked_to_authenticate, token};
use crate::question::callers::runtime;
use crate::question::peers::{self, beside_peer};
use crate::scale::Scale;

/// Measures it.
pub fn measure(scale: &Scale) -> Findings {
    let runtime = runtime();
    let shared = Server::start(Sharing::Shared, scale);
    let shared = get_beside_ping(scale, &runtime, &shared.address);
    let server = Server::start(Sharing::SingleProcess, scale);
    let paired = get_beside_ping(scale, &runtime, &server.address);
    let row = Row::ratio("http-get", paired, Unit::PerSecond);
    let note = format!("on a shared file without a cache {:.2}", shared.ratio.median);
    let mut found = Findings { rows: vec![row.noting(note)], ..Findings::default() };
    let address = server.address.clone();
    match peers::sqlx(scale) {
        Ok(mut peer) => with_peer(scale, &runtime, [&address, &peer.line()], &mut found),
        Err(why) => {
            let (tokens, put) = (scale.tokens, Call::Put);
            let times = requests(&runtime, &address, 32, scale, 0, put, tokens);
            let p99 = Spread::of([times.at(990).as_secs_f64()]);
            found.rows.push(Row::not_measured("http-put", why));
            found.rows.push(Row::figure("http-put-p99", p99));
        }
    }
    found
}

/// A server that ends when this is dropped.
struct Server {
    address: String,
    _process: Child,
    _directory: TempDir,
}

impl Server {
    fn start(sharing: Sharing, scale: &Scale) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tokens.db");
        files::write(&path, (0..scale.tokens).map(token));
        let role = if sharing == Sharing::Shared { "serve-shared" } else { "serve-alone" };
        let mut process = Child::start(&format!("{role} {}", path.display()));
        Self { address: process.line(), _process: process, _directory: directory }
    }
}

fn get_beside_ping(scale: &Scale, runtime: &Runtime, address: &str) -> Paired {
    let rate = |round: u64, call| {
        requests(runtime, address, 8, scale, round * 100_000_000, call, scale.tokens).rate()
    };
    in_turns(scale, |round| rate(round, Call::Get), |round| rate(round, Call::Ping))
}

/// Measures the update, and for the table of other systems the reading, beside axum and sqlx.
fn with_peer(scale: &Scale, runtime: &Runtime, [ours, theirs]: [&str; 2], found: &mut Findings) {
    let times = |address, connections, first, call| {
        requests(runtime, address, connections, scale, first, call, scale.tokens)
    };
    for (what, connections, call) in [("GET", 8, Call::Get), ("PUT FULL", 32, Call::Put)] {
        let first = |round: u64, side: u64| (round * 2 + side + 100) * 100_000_000;
        let (peer, paired, p99) = beside_peer(
            scale,
            &format!("axum + sqlx over HTTP: {what}"),
            connections,
            |round| times(ours, connections, first(round, 0), call),
            |round| times(theirs, connections, first(round, 1), call),
        );
        found.peers.push(peer);
        if call == Call::Put {
            found.rows.push(Row::ratio("http-put", paired, Unit::PerSecond));
            found.rows.push(Row::figure("http-put-p99", p99));
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Call {
    Ping,
    Get,
    Put,
}

/// What connections get done in a turn. Every token is read or changed with its own key.
fn requests(
    runtime: &Runtime,
    address: &str,
    connections: u64,
    scale: &Scale,
    first: u64,
    call: Call,
    tokens: u64,
) -> Times {
    let open = |_| Arc::new(Mutex::new(runtime.block_on(Connection::open(address))));
    let opened: Vec<_> = (0..connections).map(open).collect();
    turn(runtime, connections, scale.turn, first, |caller| {
        let connection = opened[usize::try_from(caller).unwrap()].clone();
        move |number| {
            let connection = connection.clone();
            async move {
                let (head, body) = request(call, number, tokens);
                connection.lock().await.request(&head, &body).await;
            }
        }
    })
}

/// The first lines of a request, and its body.
fn request(call: Call, number: u64, tokens: u64) -> (String, String) {
    let token = picked_to_authenticate(number, tokens);
    let (name, key) = (identifier(token), key(token));
    let head = |method| {
        let path = format!("/api/v3/core/tokens/{name}/");
        format!("{method} {path} HTTP/1.1\r\nauthorization: Bearer {key}\r\n")
    };
    match call {
        Call::Ping => ("GET /ping HTTP/1.1\r\n".to_owned(), String::new()),
        Call::Get => (head("GET"), String::new()),
        Call::Put => {
            let description = format!("changed by call {number}");
            let body =
                format!("{{\"identifier\": \"{name}\", \"description\": \"{description}\"}}");
            (head("PUT"), body)
        }
    }
}

/// What the server's process does, until its standard input ends: prints where it listens, and
/// serves.
pub(crate) fn serve(path: &str, sharing: Sharing) {
    let store = Arc::new(SqliteOptions::new().sharing(sharing).open(path).unwrap());
    let mut builder = TokenService::builder(store.clone(), store);
    if sharing == Sharing::SingleProcess {
        builder = builder.cache(VerifyCache::of(200_000));
    }
    let service = pollster::block_on(builder.open()).unwrap();
    let app = Router::new()
        .route("/ping", get(|| async { "pong" }))
        .merge(tokenkeep_axum::router(service));
    let runtime = runtime();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    println!("{}", listener.local_addr().unwrap());
    runtime.spawn(async { axum::serve(listener, app).await });
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
}
