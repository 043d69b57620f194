//! The router: which requests come here, and in which order they are judged.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::Method;
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use tokenkeep::{TokenError, TokenService};
use tracing::Instrument;

use crate::caller::Callers;
use crate::observe::{self, Watch};
use crate::operations::Call;
use crate::prefix::{self, PrefixError};
use crate::route::Route;
use crate::status::Failure;
use crate::{body, etag, openapi, origin};

/// Where authentik's API is.
pub const DEFAULT_PREFIX: &str = "/api/v3";

/// The token API under [`DEFAULT_PREFIX`], for callers who show a bearer key. See [`TokenApi`] for
/// another prefix or another way to find the caller.
///
/// ```
/// # pollster::block_on(async {
/// use std::sync::Arc;
///
/// use axum::Router;
/// use axum::body::Body;
/// use axum::http::{Request, StatusCode};
/// use axum::routing::get;
/// use tokenkeep::TokenService;
/// use tokenkeep_memory::MemoryStore;
/// use tower::ServiceExt;
///
/// let store = Arc::new(MemoryStore::new());
/// let tokens = TokenService::builder(store.clone(), store).open().await?;
/// let app: Router =
///     Router::new().route("/", get(|| async { "my service" })).merge(tokenkeep_axum::router(tokens));
///
/// let request = Request::get("/api/v3/core/tokens/").body(Body::empty())?;
/// assert_eq!(app.oneshot(request).await?.status(), StatusCode::FORBIDDEN);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
pub fn router<S>(service: TokenService) -> Router<S>
where
    S: Clone + Send + Sync + 'static,
{
    TokenApi::new(service).into_router()
}

/// The token API with the host's choices.
///
/// ```
/// # pollster::block_on(async {
/// # use std::sync::Arc;
/// use axum::Router;
/// use axum::body::Body;
/// use axum::extract::Request;
/// use axum::http::StatusCode;
/// use axum::middleware::{Next, from_fn};
/// # use tokenkeep::{Timestamp, TokenService, User, UserStore};
/// use tokenkeep::UserId;
/// # use tokenkeep_memory::MemoryStore;
/// use tokenkeep_axum::{HostUser, TokenApi};
/// # use tower::ServiceExt;
///
/// # let store = Arc::new(MemoryStore::new());
/// # let alice = User::new(UserId::new(2), uuid::Uuid::from_u128(2), "alice", Timestamp::MIN);
/// # store.put_user(alice).await?;
/// # let tokens = TokenService::builder(store.clone(), store).open().await?;
/// // The host's own authentication: a session, a client certificate, …
/// let session = from_fn(async |mut request: Request, next: Next| {
///     request.extensions_mut().insert(HostUser(UserId::new(2)));
///     next.run(request).await
/// });
/// let api = TokenApi::new(tokens).prefix("/account")?.callers_from_host().into_router();
/// let app: Router = Router::new().merge(api).layer(session);
///
/// let request = Request::get("/account/core/tokens/").body(Body::empty())?;
/// assert_eq!(app.oneshot(request).await?.status(), StatusCode::OK);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct TokenApi {
    service: TokenService,
    prefix: String,
    callers: Callers,
    trusted_origins: Vec<String>,
}

impl TokenApi {
    /// The API of `service`, with the defaults of [`router`].
    #[must_use]
    pub fn new(service: TokenService) -> Self {
        Self {
            service,
            prefix: DEFAULT_PREFIX.to_owned(),
            callers: Callers::Bearer,
            trusted_origins: Vec::new(),
        }
    }

    /// Sets the path under which the API is, instead of [`DEFAULT_PREFIX`], as it stands in a
    /// request. It starts with a slash; one at the end makes no difference, and `""` is the root.
    /// A router can be nested instead, but its document does not contain the outer path.
    ///
    /// # Errors
    ///
    /// [`PrefixError`] for a path that no request has or that [`Router`] does not take literally: one
    /// without a leading slash, with an empty segment, a segment `.` or `..`, one that starts with `:`
    /// or `*`, or a character that has to be percent-encoded, such as a brace.
    pub fn prefix(mut self, prefix: &str) -> Result<Self, PrefixError> {
        self.prefix = prefix::parse(prefix)?;
        Ok(self)
    }

    /// The caller is the [`HostUser`](crate::HostUser) that the host has put into the request, and
    /// nobody else: bearer keys do not count any more, and a request without it is refused as not
    /// authenticated.
    ///
    /// Browsers add cookies and client certificates to what other web pages send, so that such a page
    /// could act as the caller. Two kinds of requests are refused for that reason, before a token is
    /// looked up (SPEC "Order of refusals"):
    ///
    /// - A request from another origin: `Sec-Fetch-Site` is neither `same-origin` nor `none`. In a
    ///   request without it, `Origin` is compared with `Host`. See
    ///   [`trust_origin`](Self::trust_origin).
    /// - A request other than `GET` with a body or a `Content-Type` that is not JSON. An HTML form
    ///   cannot send JSON.
    #[must_use]
    pub fn callers_from_host(mut self) -> Self {
        self.callers = Callers::Host;
        self
    }

    /// Accepts requests from pages of this origin, as browsers write it in `Origin`, where
    /// [the host names the callers](Self::callers_from_host): a page on another host name than the
    /// API, or behind a proxy that changes `Host`.
    ///
    /// ```
    /// # fn of(api: tokenkeep_axum::TokenApi) -> tokenkeep_axum::TokenApi {
    /// api.callers_from_host().trust_origin("https://app.example.com")
    /// # }
    /// ```
    #[must_use]
    pub fn trust_origin(mut self, origin: impl Into<String>) -> Self {
        self.trusted_origins.push(origin.into());
        self
    }

    /// The router, to be merged into the host's own. It claims what is under `core/tokens` and
    /// `schema`, and leaves the host its fallback.
    pub fn into_router<S>(self) -> Router<S>
    where
        S: Clone + Send + Sync + 'static,
    {
        let document = openapi::document(&self.prefix, self.callers);
        let schema = get(async move || openapi::answer(&document)).fallback(schema_is_read_only);
        let prefix = &self.prefix;
        let tokens = format!("{prefix}/core/tokens");
        Router::new()
            .route(&tokens, any(answer))
            .route(&format!("{tokens}/"), any(answer))
            .route(&format!("{tokens}/{{*rest}}"), any(answer))
            .route(&format!("{prefix}/schema"), schema.clone())
            .route(&format!("{prefix}/schema/"), schema)
            .with_state(Arc::new(self))
    }

    /// Where a request leads.
    fn route_of(&self, request: &Request) -> Route {
        let path = request.uri().path();
        let rest = path.strip_prefix(&*self.prefix);
        let rest = rest.and_then(|rest| rest.strip_prefix("/core/tokens"));
        rest.map_or(Route::Nowhere, |rest| Route::of(request.method(), rest))
    }
}

async fn schema_is_read_only(method: Method) -> Response {
    Failure::MethodNotAllowed(method, "GET, HEAD".to_owned()).into_response()
}

/// Answers a request, and watches how it goes.
async fn answer(State(api): State<Arc<TokenApi>>, request: Request) -> Response {
    let route = api.route_of(&request);
    let watch = Watch::begin(route.operation_id());
    let result = judge(&api, &route, request).instrument(watch.span()).await;
    watch.end(&result);
    result.unwrap_or_else(IntoResponse::into_response)
}

/// The order of refusals (SPEC): who is asking, from where, then whether there is such an operation;
/// what comes after is the core's.
async fn judge(api: &TokenApi, route: &Route, request: Request) -> Result<Response, Failure> {
    let (parts, body) = request.into_parts();
    let service = &api.service;
    let caller = &api.callers.find(service, &parts).await.inspect_err(observe::failure)?;
    let by_host = api.callers == Callers::Host;
    if by_host && origin::is_other(&parts, &api.trusted_origins) {
        return Err(Failure::CrossOrigin);
    }
    let Route::To(operation, identifier) = route else {
        return Err(Failure::of(route, &parts.method));
    };
    if by_host && operation.method() != Method::GET {
        body::check_not_a_form(&parts.headers, &body).map_err(TokenError::Body)?;
    }
    let call = Call { service, caller, identifier, parts: &parts, body };
    let result = call.run(*operation).await.inspect_err(observe::failure);
    result.map_err(|error| match (&error, etag::mismatch(&parts.headers)) {
        (TokenError::Stale { .. }, Some(detail)) => Failure::NoMatch(detail),
        _ => error.into(),
    })
}
