//! authentik's own generated client, over a socket, cannot tell the difference.

use std::collections::BTreeSet;

use authentik_client::apis::configuration::Configuration;
use authentik_client::apis::core_api::{
    CoreTokensCreateError, CoreTokensUpdateError, core_tokens_create, core_tokens_destroy,
    core_tokens_list, core_tokens_partial_update, core_tokens_retrieve, core_tokens_set_key_create,
    core_tokens_update, core_tokens_used_by_list, core_tokens_view_key_retrieve,
};
use authentik_client::apis::{Error, ResponseContent};
use authentik_client::models::{
    GenericError, IntentEnum, PaginatedTokenList, PatchedTokenRequest, TokenRequest,
    TokenSetKeyRequest, UserTypeEnum,
};
use tokenkeep_tests::backend::{Backend, Loaded, LoadedSqlite};
use tokenkeep_tests::fixture::Fixture;
use tokio::net::TcpListener;

/// The router on the fixture, behind a socket.
struct Server {
    url: String,
    _backend: Backend,
}

impl Server {
    async fn start() -> Self {
        let fixture = Fixture::read();
        let backend = LoadedSqlite::new(&fixture).fresh();
        let router: axum::Router = tokenkeep_axum::router(fixture.service(&backend));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/api/v3", listener.local_addr().unwrap());
        tokio::spawn(async { axum::serve(listener, router).await });
        Self { url, _backend: backend }
    }

    /// A client that shows a key.
    fn client(&self, key: &str) -> Configuration {
        Configuration {
            base_path: self.url.clone(),
            bearer_access_token: Some(key.to_owned()),
            ..Configuration::default()
        }
    }
}

/// The answer that an error is about.
fn refusal<T: std::fmt::Debug>(error: Error<T>) -> ResponseContent<T> {
    match error {
        Error::ResponseError(refusal) => refusal,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_token_lives_its_life() {
    let server = Server::start().await;
    let client = server.client("key-admin");
    let request = TokenRequest {
        intent: Some(IntentEnum::AppPassword),
        description: Some("made by the generated client".into()),
        user: Some(2),
        managed: Some(Some("goauthentik.io/client".into())),
        expires: Some(Some("2024-09-28T02:26:18.5+02:00".parse().unwrap())),
        ..TokenRequest::new("client".into())
    };
    let created = core_tokens_create(&client, request.clone()).await.unwrap();
    assert_eq!(
        (&*created.identifier, created.user, created.expiring),
        ("client", Some(2), Some(true))
    );
    assert_eq!(created.expires, request.expires, "in another offset");
    assert_eq!(created.managed, request.managed);

    let retrieved = core_tokens_retrieve(&client, "client").await.unwrap();
    assert_eq!(retrieved, created);
    let owner = &retrieved.user_obj;
    assert_eq!((&*owner.username, owner.r#type), ("alice", Some(UserTypeEnum::Internal)));

    let renamed = TokenRequest { identifier: "renamed".into(), user: None, ..request };
    let updated = core_tokens_update(&client, "client", renamed).await.unwrap();
    assert_eq!((&*updated.identifier, updated.pk), ("renamed", created.pk));
    let change = PatchedTokenRequest { managed: Some(None), ..PatchedTokenRequest::new() };
    let patched = core_tokens_partial_update(&client, "renamed", Some(change)).await.unwrap();
    assert_eq!(patched.managed, Some(None));
    assert_eq!(patched.description.as_deref(), Some("made by the generated client"));

    let key = "a key that was set by the generated client".to_owned();
    core_tokens_set_key_create(&client, "renamed", TokenSetKeyRequest::new(key.clone()))
        .await
        .unwrap();
    assert_eq!(core_tokens_view_key_retrieve(&client, "renamed").await.unwrap().key, key);
    assert_eq!(core_tokens_used_by_list(&client, "renamed").await.unwrap(), []);
    core_tokens_destroy(&client, "renamed").await.unwrap();
    let gone = refusal(core_tokens_retrieve(&client, "renamed").await.unwrap_err());
    assert_eq!(gone.status.as_u16(), 404);
}

/// A page of a list without filters but these.
async fn page(
    client: &Configuration,
    page: i32,
    search: Option<&str>,
    username: Option<&str>,
) -> PaginatedTokenList {
    let (ordering, size) = (Some("-identifier"), Some(15));
    core_tokens_list(
        client,
        None,
        None,
        None,
        None,
        None,
        None,
        ordering,
        Some(page),
        size,
        search,
        username,
    )
    .await
    .unwrap()
}

#[tokio::test]
async fn lists_are_filtered_and_have_pages() {
    let server = Server::start().await;
    let client = server.client("key-admin");
    let (first, second) = (page(&client, 1, None, None).await, page(&client, 2, None, None).await);
    assert_eq!((first.pagination.count, first.pagination.next), (26.0, 2.0));
    assert_eq!((second.pagination.previous, second.pagination.next), (1.0, 0.0));
    assert_eq!((first.results.len(), second.results.len()), (15, 11));
    let all: BTreeSet<_> = first.results.iter().chain(&second.results).map(|t| t.pk).collect();
    assert_eq!(all.len(), 26);
    assert!(first.results.is_sorted_by(|a, b| a.identifier >= b.identifier));

    let found = page(&client, 1, Some("alice recovery"), None).await.results;
    assert_eq!(
        found.iter().map(|token| &*token.identifier).collect::<Vec<_>>(),
        ["alice-recovery"]
    );
    let of_bob = page(&client, 1, None, Some("bob")).await.results;
    assert!(of_bob.len() == 2 && of_bob.iter().all(|token| token.user == Some(3)));
}

#[tokio::test]
async fn every_filter_of_the_client_is_understood() {
    let server = Server::start().await;
    let client = server.client("key-admin");
    let one = core_tokens_retrieve(&client, "outpost-embedded").await.unwrap();
    let alice = core_tokens_retrieve(&client, "alice-api").await.unwrap();
    let (expires, managed) = (alice.expires.flatten(), one.managed.clone().flatten());
    let found = core_tokens_list(
        &client,
        Some("CI"),
        expires,
        Some(true),
        Some("alice-api"),
        Some(IntentEnum::Api),
        None,
        None,
        None,
        None,
        None,
        Some("alice"),
    );
    assert_eq!(found.await.unwrap().results[0].pk, alice.pk);
    let found = core_tokens_list(
        &client,
        None,
        None,
        Some(false),
        None,
        None,
        managed.as_deref(),
        None,
        None,
        None,
        None,
        None,
    );
    assert_eq!(found.await.unwrap().results, [one]);
}

#[tokio::test]
async fn errors_are_read() {
    let server = Server::start().await;
    let client = server.client("key-alice-api");
    let taken = TokenRequest::new("bob-api".into());
    let refused = refusal(core_tokens_create(&client, taken).await.unwrap_err());
    assert_eq!(refused.status.as_u16(), 400);
    assert!(refused.content.contains("Token with this identifier already exists."));
    let Some(CoreTokensCreateError::Status400(error)) = refused.entity else {
        panic!("{:?}", refused.entity)
    };
    assert_eq!(error.code.as_deref(), Some("invalid"));

    let client = server.client("key-auditor");
    let change = TokenRequest::new("alice-api".into());
    let refused = refusal(core_tokens_update(&client, "alice-api", change).await.unwrap_err());
    assert_eq!(refused.status.as_u16(), 403);
    assert!(!matches!(refused.entity, None | Some(CoreTokensUpdateError::UnknownValue(_))));
    let error: GenericError = serde_json::from_str(&refused.content).unwrap();
    assert_eq!(error.code.as_deref(), Some("permission_denied"));
    assert_eq!(error.detail, "You do not have permission to perform this action.");

    let nobody = server.client("nobody's key");
    let refused = refusal(core_tokens_retrieve(&nobody, "alice-api").await.unwrap_err());
    let error: GenericError = serde_json::from_str(&refused.content).unwrap();
    assert_eq!((error.detail.as_str(), refused.status.as_u16()), ("Token invalid/expired", 403));
}
