//! `ETag` and `If-Match`.

use tokenkeep_tests::http::{Reply, request};

use crate::app::{ADMIN, App, TOKENS, assert_detail, assert_refused};

const ID: &str = "00000000-0000-4000-8000-000000000103";

/// Every operation that changes bob's token, with a body that it takes.
const CHANGES: [(&str, &str, &str); 5] = [
    ("PUT", "bob-api/", r#"{"identifier": "bob-api", "description": "changed"}"#),
    ("PATCH", "bob-api/", r#"{"description": "changed"}"#),
    ("DELETE", "bob-api/", ""),
    ("POST", "bob-api/set_key/", r#"{"key": "a key that nobody else has set"}"#),
    ("POST", "bob-api/rotate/", ""),
];

/// Makes one of the changes as an administrator, with these values of `If-Match`.
async fn change(app: &App, (method, path, body): (&str, &str, &str), tags: &[&str]) -> Reply {
    let mut request = request(method, &format!("{TOKENS}{path}"), ADMIN);
    for tag in tags {
        request = request.header("if-match", *tag);
    }
    app.send(request.header("content-type", "application/json"), body.to_owned()).await
}

#[pollster::test]
async fn every_answer_with_one_token_has_its_tag() {
    let app = App::new();
    let tag = |revision: u32| format!("\"{ID}-{revision}\"");
    assert_eq!(app.tag("bob-api").await, tag(1));
    for (revision, index) in [(2, 0), (2, 1), (3, 3), (4, 4)] {
        let reply = change(&app, CHANGES[index], &[]).await;
        assert!(reply.status.is_success(), "{:?}", CHANGES[index]);
        assert_eq!(reply.header("etag"), Some(&*tag(revision)), "{:?}", CHANGES[index]);
    }
    assert_eq!(app.tag("bob-api").await, tag(4));
    let body = r#"{"identifier": "new"}"#;
    let created = app.tell("POST", "", ADMIN, body).await;
    let pk = created.json()["pk"].as_str().unwrap().to_owned();
    assert_eq!(created.header("etag"), Some(&*format!("\"{pk}-1\"")));
}

#[pollster::test]
async fn other_answers_have_none() {
    let app = App::new();
    for path in ["", "bob-api/used_by/", "bob-api/view_key/", "nothing/"] {
        assert_eq!(app.ask("GET", path, ADMIN).await.header("etag"), None, "{path}");
    }
    assert_eq!(app.ask("DELETE", "bob-api/", ADMIN).await.header("etag"), None);
}

#[pollster::test]
async fn a_change_that_expects_what_is_there_is_made() {
    let current = format!("\"{ID}-1\"");
    let list = format!("\"other\", W/\"{ID}-1\", {current}");
    for tags in [&[&*current][..], &[&list], &["\"other\"", &current], &["*"]] {
        for what in CHANGES {
            let app = App::new();
            let reply = change(&app, what, tags).await;
            assert!(reply.status.is_success(), "{what:?} {tags:?}: {}", reply.status);
        }
    }
}

#[pollster::test]
async fn a_change_that_expects_something_else_is_refused() {
    let (weak, later) = (format!("W/\"{ID}-1\""), format!("\"{ID}-2\""));
    let other = "\"00000000-0000-4000-8000-000000000101-1\"";
    let app = App::new();
    for tag in [&*weak, &later, other, "nonsense", "\"", "", "1", "\"*\""] {
        for what in CHANGES {
            assert_refused(&change(&app, what, &[tag]).await, 412, "precondition_failed");
        }
    }
    assert_eq!(app.tag("bob-api").await, format!("\"{ID}-1\""), "nothing has changed");
}

/// A proxy that compresses an answer makes its strong tag weak.
#[pollster::test]
async fn change_if_match_says_why_no_tag_matches() {
    let (weak, later) = (format!("W/\"{ID}-1\""), format!("\"{ID}-2\""));
    let stale = "The token is at another revision than expected.";
    let only_weak =
        "If-Match has only weak entity tags, which never match: use the strong tag of the token.";
    let no_tag = "If-Match has no entity tag of a token.";
    let app = App::new();
    for (tags, detail) in [
        (&[&*weak][..], only_weak),
        (&[&format!("{weak}, W/\"{ID}-2\"")], only_weak),
        (&["\"other\"", &weak], only_weak),
        (&["W/\"other\""], only_weak),
        (&[&later], stale),
        (&[&weak, &later], stale),
        (&["nonsense"], no_tag),
        (&[""], no_tag),
        (&[&format!("{ID}-1")], no_tag),
        (&["\"*\""], no_tag),
    ] {
        for what in CHANGES {
            let reply = change(&app, what, tags).await;
            assert_detail(&reply, 412, "precondition_failed", detail);
        }
    }
    // Access is judged before.
    let request = request("PATCH", &format!("{TOKENS}bob-api/"), "key-alice-api");
    assert_refused(&app.send(request.header("if-match", weak), "{}").await, 404, "not_found");
}

#[pollster::test]
async fn reading_and_creating_expect_nothing() {
    let app = App::new();
    let request = |method, path: &str| {
        request(method, &format!("{TOKENS}{path}"), ADMIN).header("if-match", "\"other\"")
    };
    assert_eq!(app.send(request("GET", "bob-api/"), "").await.status, 200);
    let create = request("POST", "").header("content-type", "application/json");
    assert_eq!(app.send(create, r#"{"identifier": "new"}"#).await.status, 201);
}
