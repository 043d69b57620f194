//! Who is asking.

use axum::Router;
use axum::body::Body;
use axum::extract::{FromRef, Request, State};
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::{Next, from_fn};
use axum::routing::get;
use tokenkeep::{Caller, TokenService, UserId};
use tokenkeep_axum::{Bearer, HostUser, Refusal, TokenApi};
use tokenkeep_tests::backend::{Backend, Loaded, LoadedMemory};
use tokenkeep_tests::fixture::Fixture;
use tokenkeep_tests::http::{Reply, request, send};

use crate::app::{ADMIN, App, TOKENS, assert_detail, assert_refused};

fn service() -> (TokenService, Backend) {
    let fixture = Fixture::read();
    let backend = LoadedMemory(&fixture).fresh();
    (fixture.service(&backend), backend)
}

/// Asks for a token of alice's.
async fn get_token(router: &Router, extension: Option<HostUser>, key: &str) -> Reply {
    let mut request =
        request("GET", &format!("{TOKENS}alice-api/"), key).body(Body::empty()).unwrap();
    if let Some(user) = extension {
        request.extensions_mut().insert(user);
    }
    send(router, request).await
}

#[pollster::test]
async fn a_host_that_names_the_caller_is_believed_and_nobody_else() {
    let (service, _backend) = service();
    let router: Router = TokenApi::new(service).callers_from_host().into_router();
    let user = |id| Some(HostUser(UserId::new(id)));
    assert_eq!(get_token(&router, user(2), "").await.status, 200);
    assert_eq!(get_token(&router, user(1), "nobody's key").await.status, 200);
    assert_refused(&get_token(&router, user(3), ADMIN).await, 404, "not_found");
    for inactive_or_missing in [5, 99] {
        let reply = get_token(&router, user(inactive_or_missing), ADMIN).await;
        assert_refused(&reply, 403, "authentication_failed");
    }
    // A valid key does not stand in for the host.
    let detail = "Authentication credentials were not provided.";
    assert_detail(&get_token(&router, None, ADMIN).await, 403, "not_authenticated", detail);
}

#[pollster::test]
async fn nobody_becomes_the_system_or_another_by_an_extension() {
    let (service, _backend) = service();
    let by_bearer: Router = tokenkeep_axum::router(service.clone());
    let by_host: Router = TokenApi::new(service).callers_from_host().into_router();
    let reply = get_token(&by_bearer, Some(HostUser(UserId::new(1))), "key-bob-api").await;
    assert_refused(&reply, 404, "not_found");
    for router in [by_bearer, by_host] {
        let mut request = Request::get(TOKENS).body(Body::empty()).unwrap();
        request.extensions_mut().insert(Caller::System);
        request.extensions_mut().insert(UserId::new(1));
        assert_refused(&send(&router, request).await, 403, "not_authenticated");
    }
}

#[pollster::test]
async fn the_hosts_middleware_sees_requests_first() {
    let (service, _backend) = service();
    let session = from_fn(async |mut request: Request, next: Next| {
        request.extensions_mut().insert(HostUser(UserId::new(2)));
        next.run(request).await
    });
    let api = TokenApi::new(service).callers_from_host();
    let router: Router = Router::new().merge(api.into_router()).layer(session);
    assert_eq!(get_token(&router, None, "").await.status, 200);
}

/// A host's state, which has the service in it.
#[derive(Clone, FromRef)]
struct HostState {
    tokens: TokenService,
    greeting: &'static str,
}

async fn hello(Bearer(shown): Bearer, State(greeting): State<&'static str>) -> String {
    format!("{greeting}, {}", shown.caller())
}

async fn description(
    Bearer(shown): Bearer,
    State(tokens): State<TokenService>,
) -> Result<String, Refusal> {
    let view = tokens.retrieve(&shown.caller(), "alice-app").await?;
    Ok(view.token.intent.to_string())
}

#[pollster::test]
async fn a_hosts_own_routes_know_the_bearer() {
    let (tokens, _backend) = service();
    let router = Router::new()
        .route("/hello", get(hello))
        .route("/description", get(description))
        .with_state(HostState { tokens, greeting: "Hello" });
    let get = async |path, key| {
        send(&router, request("GET", path, key).body(Body::empty()).unwrap()).await
    };
    assert_eq!(get("/hello", "key-alice-api").await.body, b"Hello, user 2");
    assert_eq!(get("/description", "key-alice-api").await.body, b"app_password");
    assert_refused(&get("/description", "key-bob-api").await, 404, "not_found");
    for key in ["key-alice-app", "key-expired", "key-carol", "nobody's key"] {
        let reply = get("/hello", key).await;
        assert_detail(&reply, 403, "authentication_failed", "Token invalid/expired");
    }
    let reply = send(&router, Request::get("/hello").body(Body::empty()).unwrap()).await;
    assert_refused(&reply, 403, "not_authenticated");
}

/// What a refusal tells: all of it.
async fn told(app: &App, authorization: &[u8]) -> (u16, Vec<(String, Vec<u8>)>, Vec<u8>) {
    let request = Request::get(TOKENS).header("authorization", authorization);
    let reply = send(&app.router, request.body(Body::empty()).unwrap()).await;
    let header =
        |(name, value): (&HeaderName, &HeaderValue)| (name.to_string(), value.as_bytes().to_vec());
    (reply.status.as_u16(), reply.headers.iter().map(header).collect(), reply.body)
}

#[pollster::test]
async fn a_bearer_who_is_refused_is_not_told_why() {
    let app = App::new();
    let unknown = told(&app, b"Bearer nobody's key").await;
    let long = format!("Bearer {}", "x".repeat(7_000));
    let refused: [&[u8]; 7] = [
        b"Bearer key-alice-app",
        b"Bearer key-expired",
        b"Bearer key-carol",
        b"Bearer key-alice-apx",
        b"Bearer x",
        b"Bearer \xff\xfe",
        long.as_bytes(),
    ];
    for authorization in refused {
        let told = told(&app, authorization).await;
        assert_eq!(told, unknown, "{}", String::from_utf8_lossy(authorization));
    }
    // The control: whoever is refused for another reason is told so.
    assert_ne!(told(&app, b"Basic x").await, unknown);
}

#[pollster::test]
async fn two_authorization_headers_are_no_key() {
    let app = App::new();
    for (first, second) in [(ADMIN, "x"), ("x", ADMIN), (ADMIN, ADMIN)] {
        let request = request("GET", TOKENS, first);
        let request = request.header("authorization", format!("Bearer {second}"));
        assert_refused(&app.send(request, "").await, 403, "authentication_failed");
    }
}

#[pollster::test]
async fn a_deactivated_owner_is_out_at_once() {
    let app = App::new();
    assert_eq!(app.ask("GET", "", "key-alice-api").await.status, 200);
    let profile = app.backend.users.profiles(&[UserId::new(2)]).await.unwrap().remove(0);
    let user = tokenkeep::User { is_active: false, ..tokenkeep::User::clone(&profile.user) };
    app.backend.users.put_user(user).await.unwrap();
    assert_refused(&app.ask("GET", "", "key-alice-api").await, 403, "authentication_failed");
}
