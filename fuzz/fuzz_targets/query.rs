//! Whatever stands behind `/core/tokens` in a GET, it is answered: with a page of what the caller sees
//! that adds up, with one token, or with a refusal of its own shape, and never with a failure of ours.
#![no_main]

use std::cell::OnceCell;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use libfuzzer_sys::fuzz_target;
use pollster::block_on;
use serde_json::Value;
use tokenkeep::{Timestamp, TokenStore};
use tokenkeep_fuzz::is_broken;
use tokenkeep_fuzz::world::{World, visit};
use tower::ServiceExt;

// The first line is the query. What follows is the rest of the path; without it, tokens are listed.
fuzz_target!(|input: &[u8]| {
    let end = input.iter().position(|byte| *byte == b'\n').unwrap_or(input.len());
    let (query, path) = input.split_at(end);
    let path =
        format!("/api/v3/core/tokens/{}?{}", encode(path.get(1..).unwrap_or(b"")), encode(query));
    for key in ["key-admin", "key-alice-api"] {
        visit(|world| ask(world, key, &path, end == input.len()));
    }
});

/// What no URI may hold is encoded, so that no input is for nothing.
fn encode(bytes: &[u8]) -> String {
    let is_allowed =
        |byte: &u8| byte.is_ascii_alphanumeric() || b"%-._~!$&'()*+,;=:@/".contains(byte);
    let encoded = bytes.iter().map(|byte| match byte {
        allowed if is_allowed(allowed) => char::from(*allowed).to_string(),
        other => format!("%{other:02x}"),
    });
    encoded.collect()
}

fn ask(world: &World, key: &str, path: &str, is_list: bool) {
    let request = Request::get(path).header("authorization", format!("Bearer {key}"));
    let answer = block_on(router(world).oneshot(request.body(Body::empty()).unwrap())).unwrap();
    let status = answer.status();
    let body = block_on(to_bytes(answer.into_body(), usize::MAX)).unwrap();
    let body: Value = serde_json::from_slice(&body).unwrap();
    match status {
        StatusCode::OK if is_list => check_page(&body["pagination"], &body["results"]),
        StatusCode::OK => {}
        // There is a page for everybody, in a world that is broken.
        StatusCode::NOT_FOUND if is_list => assert!(!is_broken(), "{path}"),
        StatusCode::BAD_REQUEST if is_list => assert_eq!(body["code"], "invalid"),
        StatusCode::NOT_FOUND | StatusCode::FORBIDDEN | StatusCode::METHOD_NOT_ALLOWED
            if !is_list =>
        {
            assert!(body["code"].is_string(), "{body}");
        }
        // A path of slashes alone lists, too.
        StatusCode::BAD_REQUEST => assert_eq!(body["code"], "invalid"),
        other => panic!("{other}: {body}"),
    }
    // Who looks at a key leaves an event.
    block_on(world.store.prune_events(Timestamp::MAX)).unwrap();
}

/// The same one each time: making it takes longer than all that it answers.
fn router(world: &World) -> Router {
    thread_local! {
        static ROUTER: OnceCell<Router> = const { OnceCell::new() };
    }
    ROUTER
        .with(|router| router.get_or_init(|| tokenkeep_axum::router(world.service.clone())).clone())
}

/// The numbers of a page fit each other and what is on it.
fn check_page(pagination: &Value, results: &Value) {
    let number = |name: &str| pagination[name].as_u64().unwrap();
    let shown = results.as_array().unwrap().len() as u64;
    let (first, last) = (number("start_index"), number("end_index"));
    assert!(shown <= 100);
    assert!(last <= number("count"));
    assert_eq!(shown, if first == 0 { 0 } else { last - first + 1 }, "{pagination}");
    assert!((1..=number("total_pages")).contains(&number("current")));
    assert_eq!(number("next") == 0, number("current") == number("total_pages"));
}
