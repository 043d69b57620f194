//! The access table through the router: each cell of it that a request can ask for.

use std::io::Write;

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use serde_json::Value;
use tokenkeep::Caller;
use tokenkeep_axum::{HostUser, TokenApi};
use tokenkeep_tests::access::{Asked, Door, Findings, Operation, Stage, acts};
use tokenkeep_tests::backend::Backend;
use tokenkeep_tests::http::send;

use crate::app::TOKENS;

/// A router whose host names the caller: some callers of the table have no key that lets them in.
struct RouterDoor(Router);

#[async_trait]
impl Door for RouterDoor {
    async fn ask(&self, caller: Caller, asked: &Asked) -> Option<Result<Value, Value>> {
        // The system does not come by requests.
        let Caller::User(user) = caller else { return None };
        let (method, path) = request_line(asked);
        let request = axum::http::Request::builder()
            .method(method)
            .uri(format!("{TOKENS}{path}"))
            .extension(HostUser(user))
            .header("content-type", "application/json");
        let body = if asked.body.is_null() { String::new() } else { asked.body.to_string() };
        let reply = send(&self.0, request.body(Body::from(body)).unwrap()).await;
        Some(if reply.status.is_success() { Ok(reply.json()) } else { Err(reply.json()) })
    }
}

/// Method and path of what is asked.
fn request_line(asked: &Asked) -> (&'static str, String) {
    let name = &asked.identifier;
    match asked.operation {
        Operation::List => ("GET", format!("?identifier={name}")),
        Operation::Create => ("POST", String::new()),
        Operation::Retrieve => ("GET", format!("{name}/")),
        Operation::Update => ("PUT", format!("{name}/")),
        Operation::PartialUpdate => ("PATCH", format!("{name}/")),
        Operation::Delete => ("DELETE", format!("{name}/")),
        Operation::ViewKey => ("GET", format!("{name}/view_key/")),
        Operation::SetKey => ("POST", format!("{name}/set_key/")),
        Operation::Rotate => ("POST", format!("{name}/rotate/")),
        Operation::UsedBy => ("GET", format!("{name}/used_by/")),
    }
}

#[pollster::test]
async fn every_cell_of_the_access_table_holds_through_the_router() {
    let mut findings = Findings::default();
    for act in acts() {
        let stage = Stage::set(&act, Backend::memory()).await;
        let api = TokenApi::new(stage.service.clone()).callers_from_host();
        stage.play(&act, &RouterDoor(api.into_router()), &mut findings).await;
    }
    let Findings { asked, wrong } = findings;
    // What is written to the handle itself is not captured.
    writeln!(std::io::stdout().lock(), "router: {asked} cells of the access table").unwrap();
    assert!(wrong.is_empty(), "{} wrong\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(asked, 53_600, "all but those of the system");
}
