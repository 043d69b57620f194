//! The shapes of requests and answers, from which the OpenAPI document is generated. Comments here
//! are its descriptions. Tests read real answers into these types, and lose nothing.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, OpenApi, ToSchema};
use uuid::Uuid;

/// Every schema, under its name.
#[derive(OpenApi)]
#[openapi(components(schemas(
    BadRequest,
    CreatedToken,
    GenericError,
    PaginatedTokenList,
    PatchedTokenRequest,
    Token,
    TokenRequest,
    TokenSetKeyRequest,
    TokenView,
    UsedBy
)))]
pub(crate) struct Schemas;

/// A token.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct Token {
    pk: Uuid,
    /// Set when an automated process owns the token: it may overwrite changes.
    #[schema(required)]
    managed: Option<String>,
    #[schema(max_length = 255, pattern = "^[-a-zA-Z0-9_]+$")]
    identifier: String,
    intent: IntentEnum,
    /// The owner. It never changes.
    user: i64,
    /// The owner in full; null when it does not exist any more.
    #[schema(required)]
    user_obj: Option<User>,
    description: String,
    #[schema(required, format = DateTime)]
    expires: Option<String>,
    /// Whether the expiry counts.
    expiring: bool,
}

/// What a token may be used for.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum IntentEnum {
    Verification,
    Api,
    Recovery,
    AppPassword,
}

/// The owner of a token.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct User {
    pk: i64,
    username: String,
    name: String,
    is_active: bool,
    #[schema(required, format = DateTime)]
    last_login: Option<String>,
    #[schema(format = DateTime)]
    date_joined: String,
    /// Whether one of the groups, or of their ancestors, is a superuser group.
    is_superuser: bool,
    /// The groups that the user is in directly.
    groups: Vec<Uuid>,
    groups_obj: Vec<PartialGroup>,
    roles: Vec<Uuid>,
    roles_obj: Vec<Role>,
    email: String,
    avatar: String,
    #[schema(value_type = Object)]
    attributes: Map<String, Value>,
    /// What stands for the user towards others, different in every installation.
    uid: String,
    path: String,
    #[serde(rename = "type")]
    user_type: UserTypeEnum,
    uuid: Uuid,
    #[schema(format = DateTime)]
    password_change_date: String,
    #[schema(format = DateTime)]
    last_updated: String,
}

/// What kind of account a user is.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum UserTypeEnum {
    Internal,
    External,
    ServiceAccount,
    InternalServiceAccount,
}

/// A group of users.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct PartialGroup {
    pk: Uuid,
    /// A number for systems that need one.
    num_pk: i64,
    name: String,
    is_superuser: bool,
    #[schema(required)]
    parent: Option<Uuid>,
    #[schema(required)]
    parent_name: Option<String>,
    #[schema(value_type = Object)]
    attributes: Map<String, Value>,
}

/// A role. tokenkeep has none.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct Role {
    pk: Uuid,
    name: String,
}

/// A token that has been created.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct CreatedToken {
    #[serde(flatten)]
    token: Token,
    /// The key, where the service does not retain it: this is the only time that it is shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    key: Option<String>,
}

/// A page of tokens.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct PaginatedTokenList {
    pagination: Pagination,
    #[schema(value_type = Object)]
    autocomplete: Map<String, Value>,
    results: Vec<Token>,
}

/// Where a page is among the others.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct Pagination {
    /// The next page, 0 when there is none.
    next: u64,
    /// The previous page, 0 when there is none.
    previous: u64,
    /// How many tokens there are on all pages.
    count: u64,
    current: u64,
    total_pages: u64,
    start_index: u64,
    end_index: u64,
}

/// A key.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct TokenView {
    key: String,
}

/// An object that needs the token. There is none so far.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct UsedBy {
    app: String,
    model_name: String,
    pk: String,
    name: String,
    action: UsedByActionEnum,
}

/// What happens to an object when the token that it needs is deleted.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum UsedByActionEnum {
    Cascade,
    CascadeMany,
    SetNull,
    SetDefault,
    LeftDangling,
}

/// What a token is to be. Fields that are absent keep their values, or get their defaults.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"identifier": "ci", "intent": "app_password", "description": "deploys"}))]
pub(crate) struct TokenRequest {
    #[schema(min_length = 1, max_length = 255, pattern = "^[-a-zA-Z0-9_]+$")]
    identifier: String,
    #[serde(flatten)]
    rest: OtherFields,
}

/// What of a token is to be changed. Fields that are absent keep their values.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"description": "deploys"}))]
pub(crate) struct PatchedTokenRequest {
    #[schema(min_length = 1, max_length = 255, pattern = "^[-a-zA-Z0-9_]+$", nullable = false)]
    identifier: Option<String>,
    #[serde(flatten)]
    rest: OtherFields,
}

/// The fields that are never required.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct OtherFields {
    /// Only a superuser may change it.
    #[schema(min_length = 1)]
    managed: Option<String>,
    #[schema(nullable = false)]
    intent: Option<IntentEnum>,
    /// The owner. It never changes.
    #[schema(nullable = false)]
    user: Option<i64>,
    #[schema(nullable = false)]
    description: Option<String>,
    #[schema(format = DateTime)]
    expires: Option<String>,
    #[schema(nullable = false)]
    expiring: Option<bool>,
}

/// A new key.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"key": "a key of at least 32 characters …"}))]
pub(crate) struct TokenSetKeyRequest {
    #[schema(min_length = 1)]
    key: String,
}

/// Which tokens to list, and in which order.
#[derive(Debug, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListQuery {
    #[param(nullable = false)]
    description: Option<String>,
    #[param(nullable = false, format = DateTime)]
    expires: Option<String>,
    #[param(nullable = false)]
    expiring: Option<bool>,
    #[param(nullable = false)]
    identifier: Option<String>,
    #[param(nullable = false, inline)]
    intent: Option<IntentEnum>,
    #[param(nullable = false)]
    managed: Option<String>,
    /// Field names, each with `-` before it for the opposite order, between commas.
    #[param(nullable = false)]
    ordering: Option<String>,
    /// The number of a page, or `last`.
    #[param(nullable = false)]
    page: Option<String>,
    /// How many tokens a page has, at most 100.
    #[param(nullable = false)]
    page_size: Option<u32>,
    /// Words that must all occur in identifier, intent, description or the owner's username.
    #[param(nullable = false)]
    search: Option<String>,
    #[serde(rename = "user__username")]
    #[param(nullable = false)]
    username: Option<String>,
}

/// An error.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct GenericError {
    detail: String,
    code: String,
}

/// A request that is refused: under the name of each refused field, its messages. A body that is no
/// object has them under `non_field_errors`.
// One object: generated clients cannot choose between two that have `code` in common.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct BadRequest {
    /// `invalid`, or `parse_error` for a body that is not JSON.
    code: String,
    /// Why a body is not JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    detail: Option<String>,
    #[serde(flatten)]
    fields: BTreeMap<String, Vec<String>>,
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use axum::Router;
    use axum::body::{Body, to_bytes};
    use axum::http::Request;
    use serde::de::DeserializeOwned;
    use tokenkeep::{
        Group, GroupId, KeyScheme, SealingKey, Timestamp, TokenService, UserId, UserStore,
    };
    use tokenkeep_memory::MemoryStore;
    use tower::ServiceExt;

    use super::*;
    use crate::{HostUser, TokenApi};

    const ADMIN: UserId = UserId::new(1);

    /// An API with one user, a superuser in a group within a group.
    async fn api(keys: KeyScheme) -> Router {
        let store = Arc::new(MemoryStore::new());
        let id = |n| GroupId::from_bytes([n; 16]);
        let admins = Group { is_superuser: true, ..Group::new(id(1), "admins") };
        let helpdesk = Group { parent: Some(id(1)), ..Group::new(id(2), "helpdesk") };
        store.put_group(admins).await.unwrap();
        store.put_group(helpdesk).await.unwrap();
        let admin = tokenkeep::User::new(ADMIN, Uuid::from_u128(1), "root", Timestamp::MIN);
        let admin = tokenkeep::User { groups: [id(2)].into(), ..admin };
        store.put_user(admin).await.unwrap();
        let service = TokenService::builder(store.clone(), store).keys(keys).open().await.unwrap();
        TokenApi::new(service).callers_from_host().into_router()
    }

    async fn answer(api: &Router, method: &str, path: &str, body: &str) -> Value {
        let request = Request::builder().method(method).uri(format!("/api/v3/core/tokens/{path}"));
        let request = request.header("content-type", "application/json").extension(HostUser(ADMIN));
        let request = request.body(Body::from(body.to_owned())).unwrap();
        let answer = api.clone().oneshot(request).await.unwrap();
        serde_json::from_slice(&to_bytes(answer.into_body(), 100_000).await.unwrap()).unwrap()
    }

    /// Reads an answer as what the document says that it is, and finds nothing lost or made up.
    fn assert_is<T: Serialize + DeserializeOwned>(answer: &Value) {
        let read: T = serde_json::from_value(answer.clone()).unwrap();
        assert_eq!(serde_json::to_value(read).unwrap(), *answer);
    }

    #[pollster::test]
    async fn answers_are_what_the_document_says() {
        let api = api(KeyScheme::sealing(SealingKey::new(1, [1; 32]))).await;
        let body = r#"{"identifier": "ci", "managed": "m", "description": "d"}"#;
        assert_is::<CreatedToken>(&answer(&api, "POST", "", body).await);
        let token = answer(&api, "GET", "ci/", "").await;
        assert_eq!(token["user_obj"]["groups_obj"][0]["parent_name"], "admins");
        assert_is::<Token>(&token);
        assert_is::<PaginatedTokenList>(&answer(&api, "GET", "?search=ci", "").await);
        assert_is::<TokenView>(&answer(&api, "GET", "ci/view_key/", "").await);
        assert_is::<TokenView>(&answer(&api, "POST", "ci/rotate/", "").await);
        assert_is::<Vec<UsedBy>>(&answer(&api, "GET", "ci/used_by/", "").await);
    }

    #[pollster::test]
    async fn a_key_that_is_not_retained_is_in_the_document_too() {
        let api = api(KeyScheme::digest_only()).await;
        let created = answer(&api, "POST", "", r#"{"identifier": "ci"}"#).await;
        assert!(created["key"].is_string());
        assert_is::<CreatedToken>(&created);
    }

    #[pollster::test]
    async fn errors_are_what_the_document_says() {
        let api = api(KeyScheme::digest_only()).await;
        let fields = r#"{"identifier": "", "intent": "x", "user": 7}"#;
        assert_is::<BadRequest>(&answer(&api, "POST", "", fields).await);
        assert_is::<BadRequest>(&answer(&api, "POST", "", "[]").await);
        assert_is::<BadRequest>(&answer(&api, "POST", "", "{").await);
        assert_is::<BadRequest>(&answer(&api, "GET", "?search=%00&intent=x", "").await);
        assert_is::<GenericError>(&answer(&api, "GET", "nothing/", "").await);
    }

    #[test]
    fn requests_of_the_document_are_understood() {
        let body = r#"{"identifier": "ci", "managed": null, "intent": "app_password", "user": 1,
            "description": "d", "expires": "2024-09-27T14:26:18Z", "expiring": true}"#;
        let change = tokenkeep::TokenChange::from_json(body.as_bytes());
        assert!(change.refusals().is_empty() && change.body_error().is_none());
        let request: TokenRequest = serde_json::from_str(body).unwrap();
        let (request, body) = (serde_json::to_value(request).unwrap(), body.parse::<Value>());
        assert_eq!(request, body.unwrap());
    }
}
