//! The OpenAPI document: from the routes of [`Operation`] and the shapes of [`schema`].

use axum::http::StatusCode;
use axum::response::Response;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::{
    HttpMethod, OperationBuilder, ParameterBuilder, ParameterIn, PathItem, PathsBuilder,
};
use utoipa::openapi::request_body::{RequestBody, RequestBodyBuilder};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{
    Array, Content, Header, InfoBuilder, ObjectBuilder, OpenApi, Ref, RefOr, Required,
    Response as Answer, ResponseBuilder, Schema, Type,
};
use utoipa::{IntoParams, OpenApi as _, ToSchema};

use crate::answer;
use crate::caller::Callers;
use crate::route::{Operation, Place};
use crate::schema;

const JSON: &str = "application/json";
const BEARER: &str = "bearer";

/// The document as it is served.
pub(crate) fn answer(document: &OpenApi) -> Response {
    answer::json(StatusCode::OK, document)
}

/// The document of an API at that prefix.
pub(crate) fn document(prefix: &str, callers: Callers) -> OpenApi {
    let mut document = schema::Schemas::openapi();
    document.info = InfoBuilder::new()
        .title("tokenkeep")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some("API tokens: authentik's /core/tokens/."))
        .build();
    let mut paths = PathsBuilder::new();
    for operation in Operation::ALL {
        let item = PathItem::new(http_method(operation), describe(operation, callers));
        paths = paths.path(path(prefix, operation.place()), item);
    }
    let schema = PathItem::new(HttpMethod::Get, schema_retrieve());
    document.paths = paths.path(format!("{prefix}/schema/"), schema).build();
    if callers == Callers::Bearer {
        let scheme = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
        let components = document.components.get_or_insert_default();
        components.security_schemes.insert(BEARER.to_owned(), scheme.into());
    }
    document
}

fn path(prefix: &str, place: Place) -> String {
    match place {
        Place::Tokens => format!("{prefix}/core/tokens/"),
        Place::Token => format!("{prefix}/core/tokens/{{identifier}}/"),
        Place::Under(word) => format!("{prefix}/core/tokens/{{identifier}}/{word}/"),
    }
}

const fn http_method(operation: Operation) -> HttpMethod {
    match operation {
        Operation::List | Operation::Retrieve | Operation::ViewKey | Operation::UsedBy => {
            HttpMethod::Get
        }
        Operation::Create | Operation::SetKey | Operation::Rotate => HttpMethod::Post,
        Operation::Update => HttpMethod::Put,
        Operation::PartialUpdate => HttpMethod::Patch,
        Operation::Destroy => HttpMethod::Delete,
    }
}

/// One operation.
fn describe(operation: Operation, callers: Callers) -> OperationBuilder {
    let (status, success) = success(operation);
    let mut described = OperationBuilder::new()
        .operation_id(Some(operation.id()))
        .tag("core")
        .summary(Some(summary(operation)))
        .response(status, success)
        .request_body(request_body(operation));
    for (status, refusal) in refusals(operation, callers) {
        described = described.response(status, refusal);
    }
    if operation == Operation::List {
        let parameters = schema::ListQuery::into_params(|| Some(ParameterIn::Query));
        described = described.parameters(Some(parameters));
    }
    if operation.place() != Place::Tokens {
        described = described.parameter(identifier());
    }
    if changes_a_token(operation) {
        described = described.parameter(if_match());
    }
    if callers == Callers::Bearer {
        described = described.security(SecurityRequirement::new(BEARER, [""; 0]));
    }
    described
}

const fn summary(operation: Operation) -> &'static str {
    match operation {
        Operation::List => "List the tokens that the caller sees",
        Operation::Create => "Create a token",
        Operation::Retrieve => "Retrieve a token",
        Operation::Update => "Update a token",
        Operation::PartialUpdate => "Update some fields of a token",
        Operation::Destroy => "Delete a token",
        Operation::ViewKey => "View the key of a token, which is recorded",
        Operation::SetKey => "Set the key of a token",
        Operation::UsedBy => "List what needs a token",
        Operation::Rotate => "Give a token a new key and a new expiry",
    }
}

/// Whether the operation heeds `If-Match`.
const fn changes_a_token(operation: Operation) -> bool {
    matches!(
        operation,
        Operation::Update
            | Operation::PartialUpdate
            | Operation::Destroy
            | Operation::SetKey
            | Operation::Rotate
    )
}

fn request_body(operation: Operation) -> Option<RequestBody> {
    let schema = match operation {
        Operation::Create | Operation::Update => reference::<schema::TokenRequest>(),
        Operation::PartialUpdate => reference::<schema::PatchedTokenRequest>(),
        Operation::SetKey => reference::<schema::TokenSetKeyRequest>(),
        _ => return None,
    };
    let required =
        if operation == Operation::PartialUpdate { Required::False } else { Required::True };
    let body = RequestBodyBuilder::new().content(JSON, Content::new(Some(schema)));
    Some(body.required(Some(required)).build())
}

/// The answer when all is well.
fn success(operation: Operation) -> (&'static str, Answer) {
    let (status, answer) = match operation {
        Operation::List => {
            ("200", json(reference::<schema::PaginatedTokenList>(), "A page of tokens"))
        }
        Operation::Create => ("201", json(reference::<schema::CreatedToken>(), "The new token")),
        Operation::Retrieve | Operation::Update | Operation::PartialUpdate => {
            ("200", json(reference::<schema::Token>(), "The token"))
        }
        Operation::Destroy => ("204", ResponseBuilder::new().description("The token is gone")),
        Operation::ViewKey => ("200", json(reference::<schema::TokenView>(), "The key")),
        Operation::SetKey => ("204", ResponseBuilder::new().description("The key is set")),
        Operation::UsedBy => (
            "200",
            json(Schema::from(Array::new(reference::<schema::UsedBy>())), "What needs the token"),
        ),
        Operation::Rotate => ("200", json(reference::<schema::TokenView>(), "The new key")),
    };
    (status, with_headers(operation, answer).build())
}

fn with_headers(operation: Operation, mut answer: ResponseBuilder) -> ResponseBuilder {
    if !matches!(
        operation,
        Operation::List | Operation::Destroy | Operation::ViewKey | Operation::UsedBy
    ) {
        let pattern = "^\"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}-[1-9][0-9]*\"$";
        answer = answer.header("ETag", header("The token's id and revision", pattern));
    }
    if matches!(operation, Operation::ViewKey | Operation::Rotate) {
        answer = answer.header("Cache-Control", header("Nobody may keep a key", "^no-store$"));
    }
    answer
}

/// The answers to what is refused, or fails.
fn refusals(operation: Operation, callers: Callers) -> Vec<(&'static str, Answer)> {
    let has_body = request_body(operation).is_some();
    let changes = changes_a_token(operation);
    let judges_type = has_body || (changes && callers == Callers::Host);
    let refusable = has_body || matches!(operation, Operation::List | Operation::Rotate);
    let error = |description| json(reference::<schema::GenericError>(), description).build();
    let retry_after = header("Seconds to wait", "^[0-9]+$");
    let unavailable = json(reference::<schema::GenericError>(), "Try again later")
        .header("Retry-After", retry_after);
    let all = [
        (
            refusable,
            "400",
            json(reference::<schema::BadRequest>(), "The request is refused").build(),
        ),
        (true, "403", error("Not authenticated, or not permitted")),
        (operation != Operation::Create, "404", error("There is no such token, key or page")),
        (changes, "412", error("No entity tag in `If-Match` is that of the token")),
        (has_body, "413", error("The body is too large")),
        (judges_type, "415", error("The body is not JSON")),
        (true, "500", error("The service failed")),
        (true, "503", unavailable.build()),
    ];
    all.into_iter().filter(|(can_be, ..)| *can_be).map(|(_, code, answer)| (code, answer)).collect()
}

/// This document.
fn schema_retrieve() -> OperationBuilder {
    let object = ObjectBuilder::new().schema_type(Type::Object);
    let answer = ResponseBuilder::new()
        .description("This document")
        .content(JSON, Content::new(Some(Schema::from(object))));
    OperationBuilder::new()
        .operation_id(Some("schema_retrieve"))
        .tag("schema")
        .summary(Some("Retrieve this document"))
        .response("200", answer)
}

fn identifier() -> ParameterBuilder {
    let schema = ObjectBuilder::new().schema_type(Type::String).min_length(Some(1));
    ParameterBuilder::new()
        .name("identifier")
        .parameter_in(ParameterIn::Path)
        .required(Required::True)
        .example(Some("ci".into()))
        .schema(Some(Schema::from(schema)))
}

fn if_match() -> ParameterBuilder {
    ParameterBuilder::new()
        .name("If-Match")
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some("Entity tags of which one must be the token's, or `*`"))
        .schema(Some(Schema::from(ObjectBuilder::new().schema_type(Type::String))))
}

fn header(description: &str, pattern: &str) -> Header {
    let schema = ObjectBuilder::new().schema_type(Type::String).pattern(Some(pattern));
    HeaderBuilder::new().schema(Some(Schema::from(schema))).description(Some(description)).build()
}

fn json(schema: impl Into<RefOr<Schema>>, description: &str) -> ResponseBuilder {
    ResponseBuilder::new().description(description).content(JSON, Content::new(Some(schema)))
}

fn reference<T: ToSchema>() -> RefOr<Schema> {
    Ref::from_schema_name(T::name()).into()
}
