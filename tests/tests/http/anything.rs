//! Whatever is sent, it is answered, and never with a failure of ours.

use axum::body::Body;
use axum::http::{HeaderValue, Request, Uri};
use proptest::collection::vec;
use proptest::prelude::{Strategy, any, prop_oneof, proptest};
use tokenkeep_tests::http::send;
use tokenkeep_tests::properties::cases_at_least;

use crate::app::{ADMIN, App, TOKENS};

/// A path below the tokens: some that exist, and any bytes.
fn paths() -> impl Strategy<Value = Uri> {
    let encoded = vec("%[0-9a-f]{2}", 0..20).prop_map(|bytes| bytes.concat());
    let word = prop_oneof![
        "alice-api|bob_app|view_key|set_key|used_by|rotate|[-a-z0-9%/.~!$&'()*+,;=:@]{0,12}",
        encoded,
    ];
    let query = "(\\?(page|page_size|search|ordering|expires|intent|expiring)=[!-\"$-~]{0,20})?";
    let uri = (vec(word, 0..4), query)
        .prop_map(|(words, query)| format!("{TOKENS}{}{query}", words.join("/")).parse());
    uri.prop_filter_map("not a URI", Result::ok)
}

/// The value of a header, among any that HTTP lets through.
fn values() -> impl Strategy<Value = HeaderValue> {
    let bytes = vec(prop_oneof![0x20_u8..0x7f, 0x80_u8..=0xff], 0..60);
    prop_oneof![
        "application/json".prop_map(|value| HeaderValue::try_from(value).unwrap()),
        "[ ,*W/\"]{0,4}\"?[-0-9a-f]{0,40}\"?"
            .prop_map(|value| HeaderValue::try_from(value).unwrap()),
        bytes.prop_map(|bytes| HeaderValue::from_bytes(&bytes).unwrap()),
    ]
}

fn bodies() -> impl Strategy<Value = Vec<u8>> {
    let field = "\"(identifier|intent|user|expires|key|x)\":(null|1e9|\"[ -~]{0,9}\"|\\[\\])";
    prop_oneof![
        vec(any::<u8>(), 0..100),
        vec(field, 0..4).prop_map(|fields| format!("{{{}}}", fields.join(",")).into_bytes()),
    ]
}

#[test]
fn every_request_is_answered_in_the_shape_of_the_spec() {
    let method = "GET|PUT|PATCH|DELETE|POST|HEAD|OPTIONS|[A-Z]{1,9}";
    let app = App::new();
    proptest!(cases_at_least(1024), |(method in method, path in paths(), media in values(), tag in values(), body in bodies())| {
        let mut request = Request::builder()
            .method(&*method)
            .uri(path)
            .header("authorization", format!("Bearer {ADMIN}"))
            .body(Body::from(body))
            .unwrap();
        request.headers_mut().insert("content-type", media);
        request.headers_mut().append("if-match", tag);
        let reply = pollster::block_on(send(&app.router, request));
        assert!(reply.status.as_u16() < 500, "{reply:?}");
        let body = reply.json();
        if !reply.status.is_success() && method != "HEAD" {
            assert!(body["code"].is_string(), "{reply:?}");
        }
    });
}
