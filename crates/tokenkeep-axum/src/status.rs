//! Refusals as answers: SPEC "Errors".

use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tokenkeep::TokenError;

use crate::answer;
use crate::route::Route;

/// How soon a client may try again after a failure that passes, in seconds.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

/// A refusal of tokenkeep as an answer, for a host's own handlers: the status and the body of SPEC
/// "Errors".
///
/// ```
/// use axum::http::StatusCode;
/// use axum::response::IntoResponse;
/// use tokenkeep::TokenError;
/// use tokenkeep_axum::Refusal;
///
/// // With `?` in a handler that returns `Result<_, Refusal>`.
/// let refusal = Refusal::from(TokenError::NotFound);
/// assert_eq!(refusal.status(), StatusCode::NOT_FOUND);
/// assert_eq!(refusal.into_response().headers()["content-type"], "application/json");
/// ```
#[derive(Debug)]
pub struct Refusal(TokenError);

impl Refusal {
    /// What was refused, and why.
    #[must_use]
    pub fn error(&self) -> &TokenError {
        &self.0
    }

    /// The status of the answer.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        status_of(self.0.code())
    }
}

impl From<TokenError> for Refusal {
    fn from(error: TokenError) -> Self {
        Self(error)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = answer::json(self.status(), &self.0.to_json());
        if self.status() == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER);
        }
        response
    }
}

/// The status that belongs to a code. One that is not known here is a failure of ours.
fn status_of(code: &str) -> StatusCode {
    match code {
        "invalid" | "parse_error" => StatusCode::BAD_REQUEST,
        "not_authenticated" | "authentication_failed" | "permission_denied" => {
            StatusCode::FORBIDDEN
        }
        "not_found" | "key_not_retained" => StatusCode::NOT_FOUND,
        "precondition_failed" => StatusCode::PRECONDITION_FAILED,
        "payload_too_large" => StatusCode::PAYLOAD_TOO_LARGE,
        "unsupported_media_type" => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "unavailable" => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// Why a request is not answered as it wishes.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The core refused it.
    Refused(Refusal),
    /// The path offers only the methods of that list.
    MethodNotAllowed(Method, String),
    /// There is no such path.
    NoSuchPath,
    /// `If-Match` cannot match, for that reason.
    NoMatch(&'static str),
    /// A web page of another origin may have sent it.
    CrossOrigin,
}

impl Failure {
    /// Why a request that leads to no operation fails.
    pub(crate) fn of(route: &Route, method: &Method) -> Self {
        match route {
            Route::OtherMethods(place) => Self::MethodNotAllowed(method.clone(), place.allow()),
            Route::To(..) | Route::Nowhere => Self::NoSuchPath,
        }
    }

    /// The `code` of SPEC "Errors".
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Refused(refusal) => refusal.0.code(),
            Self::MethodNotAllowed(..) => "method_not_allowed",
            Self::NoSuchPath => "not_found",
            Self::NoMatch(_) => "precondition_failed",
            Self::CrossOrigin => "permission_denied",
        }
    }
}

impl From<TokenError> for Failure {
    fn from(error: TokenError) -> Self {
        Self::Refused(error.into())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let code = self.code();
        let error =
            |status, detail: &str| answer::json(status, &json!({ "detail": detail, "code": code }));
        match self {
            Self::Refused(refusal) => refusal.into_response(),
            Self::MethodNotAllowed(method, allow) => {
                let detail = format!("Method \"{method}\" not allowed.");
                let response = error(StatusCode::METHOD_NOT_ALLOWED, &detail);
                ([(header::ALLOW, allow)], response).into_response()
            }
            Self::NoSuchPath => error(StatusCode::NOT_FOUND, "Not found."),
            Self::NoMatch(detail) => error(StatusCode::PRECONDITION_FAILED, detail),
            Self::CrossOrigin => {
                error(StatusCode::FORBIDDEN, "Requests from other origins are not accepted.")
            }
        }
    }
}
