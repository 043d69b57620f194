//! Answers: JSON, with what a client's or a proxy's cache has to know.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tokenkeep::TokenView;

use crate::etag;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// An answer with a body.
pub(crate) fn json(status: StatusCode, value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(body) => (status, [(header::CONTENT_TYPE, JSON)], body).into_response(),
        // Nothing that is answered with has keys that are not strings.
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// An answer without a body.
pub(crate) fn no_content() -> Response {
    StatusCode::NO_CONTENT.into_response()
}

/// The answer with the tag of the token that it is about.
pub(crate) fn tagged(view: &TokenView, mut response: Response) -> Response {
    if let Some(tag) = etag::of(view) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

/// The answer with a key in it, which nobody may keep on the way.
pub(crate) fn secret(mut response: Response) -> Response {
    response.headers_mut().insert(header::CACHE_CONTROL, NO_STORE);
    response
}
