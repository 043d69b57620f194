//! Tokens in Redis, with a server of its own that ends with this program. A token is a hash, found
//! by its key's digest; a change raises the revision, writes the hash and adds to a stream.
//! Each call is one script, so one round trip: the best that Redis can do.
//!
//! `peer-redis DIRECTORY TOKENS always|no`: whether each write is flushed before it is answered.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{Client, Script, pipe};
use sha2::{Digest, Sha256};
use tokenkeep_load::{Asked, Times, USERS, Work, answer, identifier, key, pick, turn};
use tokio::runtime::Runtime;

const AUTHENTICATE: &str = "
    local token = redis.call('GET', KEYS[1])
    local fields = redis.call('HGETALL', token)
    local owner = redis.call('HGET', token, 'owner')
    return {redis.call('HGET', 'user:' .. owner, 'is_active'), fields}";

const UPDATE: &str = "
    local owner = redis.call('HGET', KEYS[1], 'owner')
    if redis.call('HGET', 'user:' .. owner, 'is_active') ~= '1' then return 0 end
    local revision = redis.call('HINCRBY', KEYS[1], 'revision', 1)
    redis.call('HSET', KEYS[1], 'description', ARGV[1], 'updated', ARGV[2])
    redis.call('XADD', 'events', '*', 'token', KEYS[1], 'owner', owner, 'revision', revision,
               'kind', 'updated', 'changed', 16, 'actor', owner)
    return 1";

fn main() {
    let mut arguments = std::env::args().skip(1);
    let directory = arguments.next().unwrap();
    let tokens: u64 = arguments.next().unwrap().parse().unwrap();
    let appendfsync = arguments.next().unwrap();
    let server = Server::start(Path::new(&directory), &appendfsync);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(fill(&server, tokens));
    answer("ready", |asked| run(&runtime, &server, asked, tokens));
}

struct Server {
    process: Child,
    url: String,
}

impl Server {
    fn start(directory: &Path, appendfsync: &str) -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let appendonly = if appendfsync == "always" { "yes" } else { "no" };
        let process = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""])
            .args(["--appendonly", appendonly, "--appendfsync", appendfsync])
            .arg("--dir")
            .arg(directory)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self { process, url: format!("redis://127.0.0.1:{port}") }
    }

    /// A connection, once the server listens.
    async fn connect(&self) -> MultiplexedConnection {
        let client = Client::open(self.url.as_str()).unwrap();
        for _ in 0..100 {
            if let Ok(connection) = client.get_multiplexed_async_connection().await {
                return connection;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("redis-server does not listen");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Nothing is to be done where it is over already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn digest(key: &str) -> Vec<u8> {
    [b"key:", &Sha256::digest(key)[..]].concat()
}

async fn fill(server: &Server, tokens: u64) {
    let mut connection = server.connect().await;
    let mut users = pipe();
    for user in 0..USERS {
        users.hset(format!("user:{user}"), "is_active", 1).ignore();
    }
    users.exec_async(&mut connection).await.unwrap();
    let numbers: Vec<_> = (0..tokens).collect();
    for batch in numbers.chunks(1_000) {
        let mut commands = pipe();
        for number in batch {
            let name = identifier(*number);
            let fields = [
                ("identifier", name.clone()),
                ("intent", "api".to_owned()),
                ("owner", (number % USERS).to_string()),
                ("description", format!("deploys service {number} from the pipeline")),
                ("expires", "253402300799999999".to_owned()),
                ("revision", "1".to_owned()),
                ("updated", "1700000000000000".to_owned()),
            ];
            commands.hset_multiple(&name, &fields).ignore();
            commands.set(digest(&key(*number)), &name).ignore();
        }
        commands.exec_async(&mut connection).await.unwrap();
    }
}

fn run(runtime: &Runtime, server: &Server, asked: Asked, tokens: u64) -> Times {
    let connections: Vec<_> =
        (0..asked.callers).map(|_| runtime.block_on(server.connect())).collect();
    turn(runtime, asked.callers, asked.lasting, asked.first, |caller| {
        let connection = connections[usize::try_from(caller).unwrap()].clone();
        let source = if asked.work == Work::Authenticate { AUTHENTICATE } else { UPDATE };
        let script = Script::new(source);
        move |call| {
            let (mut connection, script) = (connection.clone(), script.clone());
            async move {
                if asked.work == Work::Authenticate {
                    let key = digest(&key(pick(call, tokens) & !1));
                    let (is_active, fields): (String, Vec<String>) =
                        script.key(key).invoke_async(&mut connection).await.unwrap();
                    assert!(is_active == "1" && fields.len() == 14);
                } else {
                    let token = identifier(pick(call, tokens) | 1);
                    let text = format!("changed by call {call}");
                    let now = 1_700_000_000_000_000 + call;
                    let mut script = script.key(token);
                    let done: u64 =
                        script.arg(text).arg(now).invoke_async(&mut connection).await.unwrap();
                    assert_eq!(done, 1);
                }
            }
        }
    })
}
