//! How far bodies are read.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::Body;
use axum::http::request::Builder;
use futures_util::stream;
use tokenkeep::MAX_BODY_BYTES;
use tokenkeep_tests::http::request;

use crate::app::{App, TOKENS, assert_detail, assert_refused};

fn patch() -> Builder {
    let request = request("PATCH", &format!("{TOKENS}alice-app/"), "key-alice-api");
    request.header("content-type", "application/json")
}

/// A body without a length that never ends, and how many bytes of it have been read.
fn endless() -> (Body, Arc<AtomicUsize>) {
    let read = Arc::new(AtomicUsize::new(0));
    let counter = read.clone();
    let chunks = stream::repeat_with(move || {
        counter.fetch_add(1024, Ordering::Relaxed);
        Ok::<_, Infallible>(vec![b' '; 1024])
    });
    (Body::from_stream(chunks), read)
}

#[pollster::test]
async fn a_body_is_read_up_to_the_limit() {
    let app = App::new();
    let object = r#"{"description": "x"}"#;
    let body = |bytes: usize| object.to_owned() + &" ".repeat(bytes - object.len());
    assert_eq!(app.send(patch(), body(MAX_BODY_BYTES)).await.status, 200);
    let reply = app.send(patch(), body(MAX_BODY_BYTES + 1)).await;
    assert_detail(&reply, 413, "payload_too_large", "Request body exceeds 65536 bytes.");
}

#[pollster::test]
async fn a_body_without_an_end_is_read_to_the_limit_and_no_further() {
    let app = App::new();
    let (body, read) = endless();
    assert_refused(&app.send(patch(), body).await, 413, "payload_too_large");
    assert!((MAX_BODY_BYTES..=MAX_BODY_BYTES + 1024).contains(&read.load(Ordering::Relaxed)));
}

#[pollster::test]
async fn what_has_no_use_for_a_body_does_not_read_it() {
    let app = App::new();
    for (method, path, key) in [
        ("PATCH", "alice-app/", "nobody's key"),
        ("POST", "alice-app/", "key-alice-api"),
        ("GET", "alice-app/", "key-alice-api"),
        ("DELETE", "alice-app/", "key-alice-api"),
    ] {
        let (body, read) = endless();
        app.send(request(method, &format!("{TOKENS}{path}"), key), body).await;
        assert_eq!(read.load(Ordering::Relaxed), 0, "{method}");
    }
}

#[pollster::test]
async fn a_body_that_breaks_off_changes_nothing() {
    let app = App::new();
    let chunks = [Ok(r#"{"description": "half"}"#), Err(io::Error::other("the client is gone"))];
    let reply = app.send(patch(), Body::from_stream(stream::iter(chunks))).await;
    let detail = "JSON parse error - the request body broke off";
    assert_detail(&reply, 400, "parse_error", detail);
    assert_eq!(app.tag("alice-app").await, "\"00000000-0000-4000-8000-000000000102-1\"");
}

#[pollster::test]
async fn only_a_body_that_is_there_needs_a_media_type() {
    let app = App::new();
    let patch = || request("PATCH", &format!("{TOKENS}alice-app/"), "key-alice-api");
    assert_eq!(app.send(patch(), "").await.status, 200);
    assert_eq!(app.send(patch().header("content-type", "text/plain"), "").await.status, 200);
    let empty = Body::from_stream(stream::empty::<Result<Vec<u8>, Infallible>>());
    assert_eq!(app.send(patch(), empty).await.status, 200);
    let detail = "Unsupported media type \"\" in request.";
    let reply = app.send(patch(), "{}").await;
    assert_detail(&reply, 415, "unsupported_media_type", detail);
    for media_type in ["application/json; charset=utf-8", "APPLICATION/JSON", "application/json;"] {
        let request = patch().header("content-type", media_type);
        assert_eq!(app.send(request, "{}").await.status, 200, "{media_type}");
    }
}
