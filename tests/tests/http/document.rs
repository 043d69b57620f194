//! The OpenAPI document.

use std::collections::BTreeSet;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use serde_json::Value;
use tokenkeep_axum::TokenApi;
use tokenkeep_tests::backend::{Loaded, LoadedMemory};
use tokenkeep_tests::fixture::Fixture;
use tokenkeep_tests::http::send;

use crate::app::App;

/// Every operation of the document: method, path and the operation itself.
fn operations(document: &Value) -> Vec<(String, String, Value)> {
    let paths = document["paths"].as_object().unwrap();
    let of_path = |(path, item): (&String, &Value)| {
        let item = item.as_object().unwrap().clone();
        let path = path.clone();
        item.into_iter().map(move |(method, operation)| (method, path.clone(), operation))
    };
    paths.iter().flat_map(of_path).collect()
}

async fn document(router: &Router, path: &str) -> Value {
    let reply = send(router, Request::get(path).body(Body::empty()).unwrap()).await;
    assert_eq!(reply.status, 200);
    reply.json()
}

#[pollster::test]
async fn it_is_served_to_everybody_and_names_operations_as_authentik_does() {
    let app = App::new();
    let served = document(&app.router, "/api/v3/schema/").await;
    assert_eq!(document(&app.router, "/api/v3/schema").await, served);
    assert_eq!(served["openapi"], "3.1.0");
    let tokens = "/api/v3/core/tokens/";
    let found: BTreeSet<_> = operations(&served)
        .into_iter()
        .map(|(method, path, operation)| {
            let id = operation["operationId"].as_str().unwrap().to_owned();
            (id, format!("{method} {}", path.replace(tokens, "…/")))
        })
        .collect();
    let wanted = [
        ("core_tokens_create", "post …/"),
        ("core_tokens_destroy", "delete …/{identifier}/"),
        ("core_tokens_list", "get …/"),
        ("core_tokens_partial_update", "patch …/{identifier}/"),
        ("core_tokens_retrieve", "get …/{identifier}/"),
        ("core_tokens_rotate_create", "post …/{identifier}/rotate/"),
        ("core_tokens_set_key_create", "post …/{identifier}/set_key/"),
        ("core_tokens_update", "put …/{identifier}/"),
        ("core_tokens_used_by_list", "get …/{identifier}/used_by/"),
        ("core_tokens_view_key_retrieve", "get …/{identifier}/view_key/"),
        ("schema_retrieve", "get /api/v3/schema/"),
    ];
    assert_eq!(found, wanted.map(|(id, at)| (id.to_owned(), at.to_owned())).into());
}

#[pollster::test]
async fn every_reference_leads_somewhere() {
    let app = App::new();
    let document = document(&app.router, "/api/v3/schema/").await;
    let text = document.to_string();
    let references = text.split("\"$ref\":\"#").skip(1).map(|rest| rest.split('"').next().unwrap());
    let mut count = 0;
    for reference in references {
        assert!(document.pointer(reference).is_some(), "{reference}");
        count += 1;
    }
    assert!(count > 50, "{count} references");
}

#[pollster::test]
async fn who_authenticates_callers_otherwise_promises_no_bearer() {
    let fixture = Fixture::read();
    let backend = LoadedMemory(&fixture).fresh();
    let api = TokenApi::new(fixture.service(&backend));
    for (router, bearer) in
        [(api.clone().into_router(), true), (api.callers_from_host().into_router(), false)]
    {
        let document = document(&router, "/api/v3/schema/").await;
        assert_eq!(document["components"].get("securitySchemes").is_some(), bearer);
        for (_, path, operation) in operations(&document) {
            let secured = bearer && path.contains("core/tokens");
            assert_eq!(operation.get("security").is_some(), secured, "{path}");
        }
    }
}
