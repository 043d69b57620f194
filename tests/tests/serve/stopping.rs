//! Sweeping, logging and the end.

use std::time::{Duration, Instant};

use tokenkeep_tests::serve::Serve;
use tokenkeep_tests::wire::Connection;

#[test]
fn a_signal_stops_it_cleanly() {
    for signal in ["TERM", "INT"] {
        let server = Serve::start(["--db", "memory:"]);
        // A connection that is idle does not hold it up.
        let mut connection = Connection::open(&server.url);
        assert_eq!(connection.request("GET", "/api/v3/schema/", "", None).status, 200);
        let began = Instant::now();
        let (code, _, log) = server.signal(signal);
        assert_eq!(code, Some(0), "{log}");
        assert!(log.contains("stopping") && !log.contains("ERROR"), "{log}");
        assert!(began.elapsed() < Duration::from_secs(5));
    }
}

#[test]
fn what_was_answered_is_there_after_a_kill() {
    let directory = tempfile::tempdir().unwrap();
    let database = format!("sqlite:{}", directory.path().join("tokens.db").display());
    let mut server = Serve::start(["--db", &database]);
    let (_, key) = server.first_key();
    let headers = format!("Authorization: Bearer {key}\r\nContent-Type: application/json\r\n");
    let path = "/api/v3/core/tokens/";
    let body = Some(r#"{"identifier": "kept"}"#);
    let created = Connection::open(&server.url).request("POST", path, &headers, body);
    assert_eq!(created.status, 201);
    server.signal("KILL");
    let server = Serve::start(["--db", &database]);
    let path = "/api/v3/core/tokens/kept/";
    assert_eq!(Connection::open(&server.url).request("GET", path, &headers, None).status, 200);
}

#[test]
fn expired_tokens_are_swept_in_the_background() {
    let flags = ["--db", "memory:", "--sweep-interval", "milliseconds=200"];
    let mut server =
        Serve::start(flags.into_iter().chain(["--default-duration", "milliseconds=1"]));
    let (_, key) = server.first_key();
    let headers = format!("Authorization: Bearer {key}\r\nContent-Type: application/json\r\n");
    let mut connection = Connection::open(&server.url);
    let body = Some(r#"{"identifier": "short", "intent": "app_password"}"#);
    assert_eq!(connection.request("POST", "/api/v3/core/tokens/", &headers, body).status, 201);
    let deadline = Instant::now() + Duration::from_secs(10);
    while connection.request("GET", "/api/v3/core/tokens/short/", &headers, None).status == 200 {
        assert!(Instant::now() < deadline, "nothing was swept");
        std::thread::sleep(Duration::from_millis(50));
    }
    let (.., log) = server.signal("TERM");
    assert!(log.contains("swept"), "{log}");
}

#[test]
fn the_log_is_as_loud_as_it_is_asked_to_be_and_has_no_key() {
    let mut server = Serve::start(["--db", "memory:", "--log", "trace"]);
    let (_, key) = server.first_key();
    let headers = format!("Authorization: Bearer {key}\r\n");
    let path = "/api/v3/core/tokens/akadmin-api/view_key/";
    let viewed = Connection::open(&server.url).request("GET", path, &headers, None);
    assert_eq!(viewed.body["key"], key);
    let (.., log) = server.signal("TERM");
    assert!(
        log.contains("operation=\"core_tokens_view_key_retrieve\" identifier=\"akadmin-api\""),
        "{log}"
    );
    assert!(!log.contains(&key), "{log}");
}
