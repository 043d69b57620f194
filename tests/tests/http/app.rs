//! The router on the fixture.

use axum::Router;
use axum::body::Body;
use axum::http::request::Builder;
use serde_json::Value;
use tokenkeep_tests::backend::{Backend, Loaded, LoadedMemory};
use tokenkeep_tests::fixture::Fixture;
use tokenkeep_tests::http::{Reply, request, send};

pub(crate) const TOKENS: &str = "/api/v3/core/tokens/";
pub(crate) const ADMIN: &str = "key-admin";

/// The fixture in a new memory store, behind a router.
pub(crate) struct App {
    pub(crate) backend: Backend,
    pub(crate) router: Router,
}

impl App {
    pub(crate) fn new() -> Self {
        let fixture = Fixture::read();
        let backend = LoadedMemory(&fixture).fresh();
        let router = tokenkeep_axum::router(fixture.service(&backend));
        Self { backend, router }
    }

    /// Sends a request to a path below the tokens, with a key and without a body.
    pub(crate) async fn ask(&self, method: &str, path: &str, key: &str) -> Reply {
        self.send(request(method, &format!("{TOKENS}{path}"), key), "").await
    }

    /// Sends JSON, too.
    pub(crate) async fn tell(&self, method: &str, path: &str, key: &str, body: &str) -> Reply {
        let request = request(method, &format!("{TOKENS}{path}"), key);
        self.send(request.header("content-type", "application/json"), body.to_owned()).await
    }

    pub(crate) async fn send(&self, request: Builder, body: impl Into<Body>) -> Reply {
        send(&self.router, request.body(body.into()).unwrap()).await
    }

    /// The tag of a token as it is now.
    pub(crate) async fn tag(&self, identifier: &str) -> String {
        let reply = self.ask("GET", &format!("{identifier}/"), ADMIN).await;
        reply.header("etag").unwrap().to_owned()
    }
}

/// Checks status and `code` of a refusal, and that it has the shape of SPEC "Errors".
pub(crate) fn assert_refused(reply: &Reply, status: u16, code: &str) {
    assert_eq!(reply.status, status, "{:?}", String::from_utf8_lossy(&reply.body));
    let body = reply.json();
    assert_eq!(body["code"], code);
    if code != "invalid" {
        assert!(body["detail"].is_string());
        assert_eq!(body.as_object().map(|body| body.len()), Some(2), "{body}");
    }
    assert_eq!(reply.header("cache-control"), None);
}

/// Checks a refusal with its text.
pub(crate) fn assert_detail(reply: &Reply, status: u16, code: &str, detail: &str) {
    assert_refused(reply, status, code);
    assert_eq!(reply.json()["detail"], Value::from(detail));
}
