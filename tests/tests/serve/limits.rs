//! What bounds clients and the store.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use tokenkeep_tests::backend::Backend;
use tokenkeep_tests::serve::{Serve, output};
use tokenkeep_tests::wire::Connection;

use crate::place::Place;

/// Clients that send nothing, or half a head, and wait.
fn half_open(url: &str, count: usize) -> Vec<TcpStream> {
    let open = |number: usize| {
        let mut stream = TcpStream::connect(url.strip_prefix("http://").unwrap()).unwrap();
        if number.is_multiple_of(2) {
            stream.write_all(b"GET /api/v3/schema/ HTTP/1.1\r\nHost: half").unwrap();
        }
        stream
    };
    (0..count).map(open).collect()
}

#[test]
fn half_open_connections_are_closed_and_others_answered() {
    let flags = ["--db", "memory:", "--request-timeout", "milliseconds=300"];
    let server = Serve::start(flags.into_iter().chain(["--max-connections", "32"]));
    let half_open = half_open(&server.url, 300);
    let status = Connection::open(&server.url).request("GET", "/api/v3/schema/", "", None).status;
    assert_eq!(status, 200);
    for mut stream in half_open {
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let mut rest = Vec::new();
        // Closed in order, or reset where unread bytes are left.
        let _ = stream.read_to_end(&mut rest).map_err(|error| {
            assert_ne!(error.kind(), std::io::ErrorKind::WouldBlock, "still open");
        });
    }
}

#[test]
fn request_whose_body_does_not_arrive_is_given_up() {
    let mut server = Serve::start(["--db", "memory:", "--request-timeout", "milliseconds=300"]);
    let (_, key) = server.first_key();
    let mut stream = TcpStream::connect(server.url.strip_prefix("http://").unwrap()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let head = format!(
        "POST /api/v3/core/tokens/ HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n\
         Content-Type: application/json\r\nContent-Length: 20\r\n\r\n{{\"identifier\":"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(answer, *b"HTTP/1.1 408");
}

#[test]
fn keep_events_prunes_with_each_sweep() {
    let flags = ["--db", "memory:", "--sweep-interval", "milliseconds=100"];
    let mut server = Serve::start(flags.into_iter().chain(["--keep-events", "microseconds=1"]));
    server.first_key();
    server.wait_for_log("pruned events=2");
    let mut kept = Serve::start(["--db", "memory:", "--sweep-interval", "milliseconds=100"]);
    kept.first_key();
    kept.wait_for_log("swept");
    let (.., log) = kept.signal("TERM");
    assert!(!log.contains("pruned"), "{log}");
}

#[test]
fn pool_is_bounded_by_flag() {
    let place = Place::new();
    let mut server = Serve::start(["--db", &*place.db(), "--pool", "1"]);
    let (_, key) = server.first_key();
    let header = format!("Authorization: Bearer {key}\r\n");
    let path = "/api/v3/core/tokens/";
    assert_eq!(Connection::open(&server.url).request("GET", path, &header, None).status, 200);
    for (flags, said) in [
        (["--db", "memory:", "--pool", "4"], "memory: has no pool"),
        (["--db", &*place.db(), "--pool", "0"], "0"),
    ] {
        let refused = output(flags);
        let message = String::from_utf8(refused.stderr).unwrap();
        assert!(refused.status.code() == Some(1) && message.contains(said), "{message}");
    }
    let Some(postgres) = Backend::postgres() else { return };
    let (url, file) = (postgres.url(), place.path("key"));
    let flags = ["--db", &url, "--no-view-key", "--admin-key-file", &file, "--pool", "1"];
    let mut server = Serve::start(flags);
    let (_, key) = server.first_key();
    let header = format!("Authorization: Bearer {key}\r\n");
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut connection = Connection::open(&server.url);
                assert_eq!(connection.request("GET", path, &header, None).status, 200);
            });
        }
    });
}
