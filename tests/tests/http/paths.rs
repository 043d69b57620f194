//! Which paths are the router's, and how they are read.

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::routing::get;
use tokenkeep_axum::TokenApi;
use tokenkeep_tests::backend::{Loaded, LoadedMemory};
use tokenkeep_tests::fixture::Fixture;
use tokenkeep_tests::http::{request, send};

use crate::app::{ADMIN, App, TOKENS, assert_detail};

#[pollster::test]
async fn the_last_slash_makes_no_difference() {
    let body = r#"{"identifier": "new", "key": "a key that nobody else has set"}"#;
    for (method, path, status) in [
        ("GET", "", 200),
        ("POST", "", 201),
        ("GET", "/bob-api", 200),
        ("PUT", "/bob-api", 200),
        ("PATCH", "/bob-api", 200),
        ("DELETE", "/bob-api", 204),
        ("GET", "/bob-api/view_key", 200),
        ("POST", "/bob-api/set_key", 204),
        ("GET", "/bob-api/used_by", 200),
        ("POST", "/bob-api/rotate", 200),
    ] {
        for end in ["", "/"] {
            let app = App::new();
            let path = format!("/api/v3/core/tokens{path}{end}");
            let request = request(method, &path, ADMIN).header("content-type", "application/json");
            let body = if method == "GET" { "" } else { body };
            assert_eq!(app.send(request, body).await.status, status, "{method} {path}");
        }
    }
}

#[pollster::test]
async fn identifiers_are_percent_decoded_and_compared_exactly() {
    let app = App::new();
    for path in ["%61lice-api/", "alice%2Dapi", "%2D/", "-/"] {
        assert_eq!(app.ask("GET", path, ADMIN).await.status, 200, "{path}");
    }
    let none = "No Token matches the given query.";
    for path in [
        "Alice-api/",
        "alice-api%20/",
        "%20alice-api/",
        "alice-api%2F",
        "alice-api%2Fview_key/",
        "%2561lice-api/",
        "alice-api%00/",
        "%FF/",
        "%",
        "alice-api%",
        "%E2%82/",
        "../",
    ] {
        assert_detail(&app.ask("GET", path, ADMIN).await, 404, "not_found", none);
    }
}

#[pollster::test]
async fn other_paths_are_not_found_by_those_who_are_let_in() {
    let app = App::new();
    for path in
        ["/", "/view_key/", "alice-api//", "alice-api/other/", "alice-api/view_key/x", "a/b/c"]
    {
        for method in ["GET", "PUT", "BREW"] {
            let reply = app.ask(method, path, ADMIN).await;
            assert_detail(&reply, 404, "not_found", "Not found.");
        }
        assert_eq!(app.ask("GET", path, "nobody").await.status, 403, "{path}");
    }
}

#[pollster::test]
async fn head_is_get_without_the_body() {
    let app = App::new();
    for path in ["", "alice-api/", "alice-api/used_by/"] {
        let (get, head) = (app.ask("GET", path, ADMIN).await, app.ask("HEAD", path, ADMIN).await);
        assert_eq!(get.status, head.status);
        assert_eq!(get.headers, head.headers);
        assert!(head.body.is_empty() && !get.body.is_empty());
    }
}

#[pollster::test]
async fn the_host_keeps_its_routes_its_fallback_and_its_state() {
    let fixture = Fixture::read();
    let backend = LoadedMemory(&fixture).fresh();
    let host = Router::new()
        .route("/", get(async |state: axum::extract::State<&'static str>| state.0))
        .route("/api/v3/core/users/", get(async || "users"))
        .fallback(async || "the host's fallback")
        .merge(tokenkeep_axum::router(fixture.service(&backend)))
        .with_state("the host's state");
    for (path, text) in [
        ("/", "the host's state"),
        ("/api/v3/core/users/", "users"),
        ("/nowhere", "the host's fallback"),
        ("/api/v3/core/tokensx", "the host's fallback"),
        ("/api/v3/core", "the host's fallback"),
    ] {
        let reply = send(&host, Request::get(path).body(Body::empty()).unwrap()).await;
        assert_eq!(String::from_utf8(reply.body).unwrap(), text, "{path}");
    }
    let reply = send(&host, request("GET", TOKENS, ADMIN).body(Body::empty()).unwrap()).await;
    assert_eq!(reply.status, 200);
}

#[pollster::test]
async fn the_prefix_is_the_hosts_choice() {
    let fixture = Fixture::read();
    let backend = LoadedMemory(&fixture).fresh();
    let api = TokenApi::new(fixture.service(&backend));
    for (prefix, base) in [
        ("/a/b", "/a/b"),
        ("/a/b/", "/a/b"),
        ("", ""),
        ("/", ""),
        ("/%7Bx%7D", "/%7Bx%7D"),
        ("/%7E", "/%7E"),
        ("/v3:beta/a*", "/v3:beta/a*"),
    ] {
        let router: Router = api.clone().prefix(prefix).unwrap().into_router();
        let get = async |path: &str, key| {
            let request = request("GET", &format!("{base}{path}"), key);
            let request = request.body(Body::empty()).unwrap();
            send(&router, request).await
        };
        assert_eq!(get("/core/tokens/alice-api/", ADMIN).await.status, 200, "{prefix}");
        let document = get("/schema/", "").await.json();
        assert!(document["paths"].get(format!("{base}/core/tokens/")).is_some());
        assert_eq!(get("/api/v3/core/tokens/", ADMIN).await.status, 404);
    }
    for prefix in ["/:v3", "/{*x}", "/{a}", "/*x", "//", "/a//b", "a", "/\u{fc}", "/a b", "/%"] {
        assert!(api.clone().prefix(prefix).is_err(), "{prefix}");
    }
    let nested: Router = Router::new().nest("/outside", api.into_router());
    let request = request("GET", "/outside/api/v3/core/tokens/alice-api", ADMIN);
    assert_eq!(send(&nested, request.body(Body::empty()).unwrap()).await.status, 200);
}
