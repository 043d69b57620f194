//! Where a key travels, and what is said about it.

use axum::Router;
use axum::body::Body;
use tokenkeep::KeyScheme;
use tokenkeep_tests::backend::{Loaded, LoadedMemory};
use tokenkeep_tests::fixture::Fixture;
use tokenkeep_tests::http::{request, send};

use crate::app::{ADMIN, App, TOKENS, assert_refused};

#[pollster::test]
async fn nobody_may_keep_an_answer_with_a_key() {
    let app = App::new();
    let viewed = app.ask("GET", "bob-api/view_key/", ADMIN).await;
    assert_eq!(viewed.json()["key"], "key-bob-api");
    let rotated = app.ask("POST", "bob-api/rotate/", ADMIN).await;
    assert_eq!(rotated.json()["key"].as_str().map(str::len), Some(60));
    for reply in [viewed, rotated] {
        assert_eq!(reply.status, 200);
        assert_eq!(reply.header("cache-control"), Some("no-store"));
        assert_eq!(reply.json().as_object().map(|body| body.len()), Some(1));
    }
    let created = app.tell("POST", "", ADMIN, r#"{"identifier": "new"}"#).await;
    assert_eq!((created.json().get("key"), created.header("cache-control")), (None, None));
}

#[pollster::test]
async fn the_keys_that_are_answered_with_open_doors() {
    let app = App::new();
    let rotated = app.ask("POST", "bob-api/rotate/", ADMIN).await.json();
    assert_refused(&app.ask("GET", "", "key-bob-api").await, 403, "authentication_failed");
    assert_eq!(app.ask("GET", "", rotated["key"].as_str().unwrap()).await.status, 200);

    let body = r#"{"key": " a key that was set by hand, all of it "}"#;
    assert_eq!(app.tell("POST", "bob-api/set_key/", ADMIN, body).await.status, 204);
    assert_eq!(app.ask("GET", "", "a key that was set by hand, all of it").await.status, 200);
}

#[pollster::test]
async fn a_service_that_retains_no_keys_shows_a_new_one_once() {
    let fixture = Fixture::read();
    let backend = LoadedMemory(&fixture).fresh();
    let service = backend.builder();
    let service = service.keys(KeyScheme::digest_only().lost_sealing_key(1)).open().await.unwrap();
    // The fixture's clock has stopped; this one has not, and only this key never expires.
    let router: Router = tokenkeep_axum::router(service);
    let create = request("POST", TOKENS, ADMIN).header("content-type", "application/json");
    let reply = send(&router, create.body(r#"{"identifier": "new"}"#.into()).unwrap()).await;
    assert_eq!(reply.status, 201);
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    let body = reply.json();
    assert_eq!(
        (&body["identifier"], &body["user_obj"]["username"]),
        (&"new".into(), &"akadmin".into())
    );
    let key = body["key"].as_str().unwrap();
    let own = request("GET", &format!("{TOKENS}new"), key).body(Body::empty()).unwrap();
    assert_eq!(send(&router, own).await.status, 200);
    let view = request("GET", &format!("{TOKENS}new/view_key"), ADMIN).body(Body::empty()).unwrap();
    assert_refused(&send(&router, view).await, 404, "key_not_retained");
}
