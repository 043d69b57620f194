//! The order of refusals, and their shape.

use axum::http::request::Builder;
use tokenkeep_tests::http::request;

use crate::app::{App, TOKENS, assert_detail, assert_refused};

/// A request with everything wrong that can be, to be put right step by step.
fn wrong(method: &str, path: &str, key: &str) -> Builder {
    let request = request(method, &format!("{TOKENS}{path}"), key);
    request.header("if-match", "\"stale\"").header("content-type", "text/plain")
}

#[pollster::test]
async fn refusals_come_in_the_order_of_the_spec() {
    let app = App::new();
    let large = " ".repeat(70_000);
    for (method, path) in [("LINK", "alice-app/"), ("PUT", "nothing/at/all"), ("PUT", "alice-app")]
    {
        let reply = app.send(wrong(method, path, "nobody's key"), large.clone()).await;
        assert_refused(&reply, 403, "authentication_failed");
    }
    let send = async |method, key| app.send(wrong(method, "alice-app/", key), large.clone()).await;
    assert_refused(&send("POST", "key-bob-api").await, 405, "method_not_allowed");
    assert_refused(&send("PUT", "key-bob-api").await, 404, "not_found");
    assert_refused(&send("PUT", "key-auditor").await, 403, "permission_denied");
    assert_refused(&send("PUT", "key-alice-api").await, 412, "precondition_failed");

    let put = |media_type| {
        let request = request("PUT", &format!("{TOKENS}alice-app/"), "key-alice-api");
        request.header("content-type", media_type)
    };
    let reply = app.send(put("text/plain"), large.clone()).await;
    assert_refused(&reply, 415, "unsupported_media_type");
    let reply = app.send(put("application/json"), large).await;
    assert_refused(&reply, 413, "payload_too_large");
    let reply = app.send(put("application/json"), "{").await;
    assert_refused(&reply, 400, "parse_error");
    let reply = app.send(put("application/json"), "{}").await;
    assert_refused(&reply, 400, "invalid");
}

#[pollster::test]
async fn set_key_keeps_the_order_too() {
    let app = App::new();
    let send = async |key| app.send(wrong("POST", "alice-app/set_key/", key), "x").await;
    assert_refused(&send("key-bob-api").await, 404, "not_found");
    assert_refused(&send("key-alice-api").await, 403, "permission_denied");
    assert_refused(&send("key-admin").await, 412, "precondition_failed");
    let set = request("POST", &format!("{TOKENS}alice-app/set_key/"), "key-admin");
    assert_refused(&app.send(set, "x").await, 415, "unsupported_media_type");
}

#[pollster::test]
async fn a_method_that_is_not_offered_is_told_which_are() {
    let app = App::new();
    for (method, path, allow) in [
        ("PUT", "", "GET, POST, HEAD"),
        ("POST", "alice-api/", "GET, PUT, PATCH, DELETE, HEAD"),
        ("OPTIONS", "no-such-token/", "GET, PUT, PATCH, DELETE, HEAD"),
        ("DELETE", "alice-api/view_key/", "GET, HEAD"),
        ("PATCH", "alice-api/used_by", "GET, HEAD"),
        ("GET", "alice-api/set_key/", "POST"),
        ("HEAD", "alice-api/rotate/", "POST"),
    ] {
        let reply = app.ask(method, path, "key-alice-api").await;
        assert_eq!(reply.header("allow"), Some(allow), "{method} {path}");
        assert_eq!(reply.status, 405);
        if method != "HEAD" {
            let detail = format!("Method \"{method}\" not allowed.");
            assert_detail(&reply, 405, "method_not_allowed", &detail);
        }
    }
    let reply = app.send(request("DELETE", "/api/v3/schema/", "no matter"), "").await;
    assert_detail(&reply, 405, "method_not_allowed", "Method \"DELETE\" not allowed.");
    assert_eq!(reply.header("allow"), Some("GET, HEAD"));
}

#[pollster::test]
async fn refusals_say_what_the_spec_says() {
    let app = App::new();
    let nobody = axum::http::Request::get(TOKENS);
    let detail = "Authentication credentials were not provided.";
    assert_detail(&app.send(nobody, "").await, 403, "not_authenticated", detail);
    let reply = app.ask("GET", "alice-api/", "key-bob-api").await;
    assert_detail(&reply, 404, "not_found", "No Token matches the given query.");
    let reply = app.ask("GET", "?page=99", "key-bob-api").await;
    assert_detail(&reply, 404, "not_found", "Invalid page.");
    let reply = app.tell("PATCH", "bob_app/", "key-bob-api", r#"{"identifier": ""}"#).await;
    assert_refused(&reply, 400, "invalid");
    assert_eq!(reply.json()["identifier"][0], "This field may not be blank.");
}
