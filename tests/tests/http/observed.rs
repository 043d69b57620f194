//! Spans, events and metrics.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, LazyLock, Mutex};

use axum::Router;
use axum::body::Body;
use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};
use tokenkeep::StoreErrorKind;
use tokenkeep_memory::FailingStore;
use tokenkeep_tests::backend::{Loaded, LoadedMemory};
use tokenkeep_tests::fixture::{Fixture, key_scheme};
use tokenkeep_tests::http::{request, send};
use tracing::{Dispatch, Level};

use crate::app::{ADMIN, App, TOKENS, assert_detail};

/// What has been logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Runs something, and returns all that it logs at the finest level, with its metrics.
fn observe(run: impl Future<Output = ()>) -> (String, Snapshotter) {
    // While there is one subscriber, tracing asks the thread that comes to an event first whether
    // anybody wants it: another test's, which has none, would answer for this one.
    static ANOTHER: LazyLock<Dispatch> =
        LazyLock::new(|| Dispatch::new(tracing_subscriber::registry()));
    LazyLock::force(&ANOTHER);
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(Level::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    metrics::with_local_recorder(&recorder, || {
        tracing::subscriber::with_default(subscriber, || pollster::block_on(run));
    });
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    (text, snapshotter)
}

/// Every counter, as `operation outcome`.
fn counters(snapshotter: &Snapshotter) -> Vec<(String, u64)> {
    let mut counters = Vec::new();
    for (key, _, _, value) in snapshotter.snapshot().into_vec() {
        let labels: Vec<_> = key.key().labels().map(|label| label.value()).collect();
        match (key.key().name(), value) {
            ("tokenkeep_requests_total", DebugValue::Counter(count)) => {
                counters.push((labels.join(" "), count));
            }
            ("tokenkeep_request_seconds", DebugValue::Histogram(values)) => {
                assert!(values.iter().all(|seconds| (0.0..60.0).contains(&seconds.0)));
            }
            (name, value) => panic!("{name} {value:?}"),
        }
    }
    counters.sort();
    counters
}

#[test]
fn every_request_is_counted_by_operation_and_outcome() {
    let (_, metrics) = observe(async {
        let app = App::new();
        app.ask("GET", "", ADMIN).await;
        app.ask("GET", "?page=99", ADMIN).await;
        app.ask("GET", "alice-api/", ADMIN).await;
        app.ask("GET", "alice-api/", ADMIN).await;
        app.ask("PATCH", "alice-api/", "nobody's key").await;
        app.ask("BREW", "alice-api/", ADMIN).await;
        app.ask("GET", "alice-api/other/", ADMIN).await;
    });
    let wanted = [
        ("core_tokens_list not_found", 1),
        ("core_tokens_list ok", 1),
        ("core_tokens_partial_update authentication_failed", 1),
        ("core_tokens_retrieve ok", 2),
        ("none method_not_allowed", 1),
        ("none not_found", 1),
    ];
    assert_eq!(counters(&metrics), wanted.map(|(what, count)| (what.to_owned(), count)));
}

#[test]
fn a_request_that_is_dropped_is_counted_too() {
    let (log, metrics) = observe(async {
        let app = App::new();
        let body = Body::from_stream(futures_util::stream::pending::<io::Result<Vec<u8>>>());
        let request = request("POST", TOKENS, ADMIN).header("content-type", "application/json");
        let mut sending = Box::pin(app.send(request, body));
        assert!(futures_util::poll!(&mut sending).is_pending());
    });
    assert_eq!(counters(&metrics), [("core_tokens_create dropped".to_owned(), 1)]);
    assert!(log.contains("outcome=\"dropped\""), "{log}");
}

#[test]
fn a_span_says_what_was_done_to_which_token() {
    let (log, _) = observe(async {
        let app = App::new();
        app.ask("GET", "alice-api/", ADMIN).await;
        app.ask("DELETE", "alice-app/", "key-auditor").await;
        app.tell("POST", "", ADMIN, r#"{"identifier": "created"}"#).await;
    });
    let lines: Vec<_> = log.lines().filter(|line| line.contains("answered")).collect();
    for (line, fields) in lines.iter().zip([
        ["operation=\"core_tokens_retrieve\"", "identifier=\"alice-api\"", "outcome=\"ok\""],
        [
            "operation=\"core_tokens_destroy\"",
            "identifier=\"alice-app\"",
            "outcome=\"permission_denied\"",
        ],
        ["operation=\"core_tokens_create\"", "identifier=\"created\"", "outcome=\"ok\""],
    ]) {
        for field in fields.into_iter().chain(["latency=", "DEBUG"]) {
            assert!(line.contains(field), "{field} is not in {line}");
        }
    }
    assert_eq!(lines.len(), 3, "{log}");
}

/// A key that is looked for wherever it must not be.
const CANARY: &str = "canary-canary-canary-canary-canary-canary";

#[test]
fn no_key_is_logged_wherever_it_is_sent() {
    let mut generated = Vec::new();
    let (log, metrics) = observe(async {
        let app = App::new();
        let body = format!(r#"{{"key": "{CANARY}"}}"#);
        let mut statuses = BTreeSet::new();
        assert_eq!(app.tell("POST", "bob-api/set_key/", ADMIN, &body).await.status, 204);
        for (method, path) in [
            ("GET", ""),
            ("GET", "bob_app/"),
            ("PUT", "bob_app/"),
            ("PATCH", "bob_app/"),
            ("GET", "bob-api/used_by/"),
            ("GET", "bob-api/view_key/"),
            ("POST", "bob_app/rotate/"),
            ("POST", "bob_app/set_key/"),
            ("BREW", "bob_app/"),
            ("DELETE", "bob_app/"),
            // In places where no key belongs.
            ("GET", CANARY),
            ("POST", CANARY),
            ("PATCH", &format!("{CANARY}/set_key/")),
            ("GET", &format!("bob-api/{CANARY}/")),
            ("GET", &format!("?intent={CANARY}&search={CANARY}&page={CANARY}")),
        ] {
            let body = format!(r#"{{"identifier": "{CANARY}!", "intent": "{CANARY}""#);
            for body in [&format!("{body}}}"), &body] {
                statuses.insert(app.tell(method, path, CANARY, body).await.status.as_u16());
            }
        }
        assert!([200, 400, 404].iter().all(|status| statuses.contains(status)), "{statuses:?}");
        let viewed = app.ask("GET", "bob-api/view_key/", ADMIN).await;
        assert_eq!(viewed.json()["key"], CANARY);
        let rotated = app.ask("POST", "bob-api/rotate/", ADMIN).await.json();
        generated.push(rotated["key"].as_str().unwrap().to_owned());
    });
    assert!(log.contains("core_tokens_set_key_create"), "{log}");
    assert!(!log.contains(CANARY), "{log}");
    assert!(!log.contains(&generated[0]), "{log}");
    assert!(!format!("{:?}", counters(&metrics)).contains(CANARY));
}

#[test]
fn a_failure_tells_the_operator_and_not_the_client() {
    let (log, metrics) = observe(async {
        let fixture = Fixture::read();
        let backend = LoadedMemory(&fixture).fresh();
        let store = Arc::new(FailingStore::new(backend.tokens.clone()));
        let service = backend.builder_on(store.clone()).keys(key_scheme());
        let router: Router = tokenkeep_axum::router(service.open().await.unwrap());
        let ask = async || {
            let request = request("GET", TOKENS, ADMIN).body(Body::empty()).unwrap();
            send(&router, request).await
        };
        store.fail_next(StoreErrorKind::Busy);
        let reply = ask().await;
        let detail = "The service is temporarily unavailable.";
        assert_detail(&reply, 503, "unavailable", detail);
        assert_eq!(reply.header("retry-after"), Some("1"));
        store.fail_next(StoreErrorKind::Unsupported("of no use"));
        let reply = ask().await;
        assert_detail(&reply, 500, "error", "The storage failed.");
        assert_eq!(reply.header("retry-after"), None);
    });
    assert_eq!(log.lines().filter(|line| line.contains("ERROR")).count(), 2, "{log}");
    assert!(log.contains("failing: another process holds the store for too long"), "{log}");
    let wanted = [("core_tokens_list error", 1), ("core_tokens_list unavailable", 1)];
    assert_eq!(counters(&metrics), wanted.map(|(what, count)| (what.to_owned(), count)));
}
