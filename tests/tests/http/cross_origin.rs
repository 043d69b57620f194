//! What other web pages make a browser send, where the host names the callers.

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use tokenkeep::UserId;
use tokenkeep_axum::{HostUser, TokenApi};
use tokenkeep_tests::backend::{Backend, Loaded, LoadedMemory};
use tokenkeep_tests::fixture::Fixture;
use tokenkeep_tests::http::{Reply, send};

use crate::app::{App, TOKENS, assert_detail, assert_refused};

const FORM: &str = "application/x-www-form-urlencoded";

/// Every operation, as an administrator may do it to a token.
const OPERATIONS: [(&str, &str, &str); 9] = [
    ("GET", "", ""),
    ("POST", "", r#"{"identifier": "new"}"#),
    ("GET", "alice-api/", ""),
    ("PUT", "alice-api/", r#"{"identifier": "alice-api"}"#),
    ("PATCH", "alice-api/", r#"{"description": "changed"}"#),
    ("GET", "alice-api/view_key/", ""),
    ("GET", "alice-api/used_by/", ""),
    ("POST", "alice-api/rotate/", ""),
    ("DELETE", "alice-api/", ""),
];

/// An API whose host takes every request for an administrator's.
struct HostApp {
    router: Router,
    _backend: Backend,
}

impl HostApp {
    fn new() -> Self {
        let fixture = Fixture::read();
        let backend = LoadedMemory(&fixture).fresh();
        let api = TokenApi::new(fixture.service(&backend)).callers_from_host();
        let router = api.trust_origin("https://app.example.com").into_router();
        Self { router, _backend: backend }
    }

    async fn send(
        &self,
        (method, path, body): (&str, &str, &str),
        headers: &[(&str, &str)],
    ) -> Reply {
        let mut request = Request::builder().method(method).uri(format!("{TOKENS}{path}"));
        request = request.extension(HostUser(UserId::new(1)));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        send(&self.router, request.body(Body::from(body.to_owned())).unwrap()).await
    }
}

/// The headers, and `Content-Type` where there is a body.
fn with_type<'a>(body: &str, headers: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let json = (!body.is_empty()).then_some(("content-type", "application/json"));
    headers.iter().copied().chain(json).collect()
}

#[pollster::test]
async fn request_from_other_origin_fails() {
    let foreign: [&[(&str, &str)]; 10] = [
        &[("sec-fetch-site", "cross-site")],
        &[("sec-fetch-site", "same-site")],
        &[("sec-fetch-site", "something new")],
        &[("sec-fetch-site", "same-origin"), ("sec-fetch-site", "cross-site")],
        &[("sec-fetch-site", "cross-site"), ("origin", "https://api.example.com")],
        &[("origin", "https://evil.example.com"), ("host", "api.example.com")],
        &[("origin", "https://api.example.com:8443"), ("host", "api.example.com")],
        &[("origin", "null"), ("host", "api.example.com")],
        &[("origin", "https://api.example.com")],
        &[("origin", "https://app.example.com"), ("origin", "https://evil.example.com")],
    ];
    let app = HostApp::new();
    for headers in foreign {
        for what in OPERATIONS {
            let reply = app.send(what, &with_type(what.2, headers)).await;
            let detail = "Requests from other origins are not accepted.";
            assert_detail(&reply, 403, "permission_denied", detail);
        }
        assert_eq!(app.send(("GET", "alice-api/", ""), &[]).await.status, 200);
    }
}

#[pollster::test]
async fn request_from_same_origin_succeeds() {
    let own: [&[(&str, &str)]; 7] = [
        &[],
        &[("sec-fetch-site", "same-origin"), ("origin", "https://api.example.com")],
        &[("sec-fetch-site", "none")],
        &[("origin", "https://api.example.com"), ("host", "api.example.com")],
        &[("origin", "http://127.0.0.1:8080"), ("host", "127.0.0.1:8080")],
        &[("sec-fetch-site", "same-site"), ("origin", "https://app.example.com")],
        &[("sec-fetch-site", "cross-site"), ("origin", "https://app.example.com")],
    ];
    for headers in own {
        let app = HostApp::new();
        for what in OPERATIONS {
            let reply = app.send(what, &with_type(what.2, headers)).await;
            assert!(reply.status.is_success(), "{what:?} {headers:?}: {}", reply.status);
        }
    }
}

/// What a form can send to each operation that takes a POST, and a browser without any of the
/// headers above.
#[pollster::test]
async fn form_post_fails() {
    let app = HostApp::new();
    let before = app.send(("GET", "alice-api/", ""), &[]).await;
    for path in ["", "alice-api/rotate/", "alice-api/set_key/"] {
        for media_type in [FORM, "multipart/form-data; boundary=x", "text/plain", ""] {
            for body in ["", "{}", r#"{"identifier": "new"}"#] {
                let reply = app.send(("POST", path, body), &[("content-type", media_type)]).await;
                assert_refused(&reply, 415, "unsupported_media_type");
            }
        }
        let reply = app.send(("POST", path, r#"{"identifier": "new"}"#), &[]).await;
        assert_refused(&reply, 415, "unsupported_media_type");
        let twice = [("content-type", "application/json"), ("content-type", FORM)];
        assert_refused(&app.send(("POST", path, ""), &twice).await, 415, "unsupported_media_type");
    }
    let after = app.send(("GET", "alice-api/", ""), &[]).await;
    assert_eq!(before.header("etag"), after.header("etag"), "nothing has changed");
    let json = [("content-type", "application/json; charset=utf-8")];
    assert_eq!(app.send(("POST", "alice-api/rotate/", "{}"), &json).await.status, 200);
}

/// No page can add a key to what it makes a browser send, so that bearers need no check.
#[pollster::test]
async fn bearer_from_other_origin_succeeds() {
    let app = App::new();
    let request = tokenkeep_tests::http::request;
    let rotate = request("POST", &format!("{TOKENS}alice-api/rotate/"), "key-admin");
    let rotate = rotate.header("sec-fetch-site", "cross-site").header("content-type", FORM);
    assert_eq!(app.send(rotate, "").await.status, 200);
}
