//! Requests to a router, and what it answers.

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use serde_json::Value;
use tower::ServiceExt;

use crate::vectors::{Answer, Case};

/// An answer of a router, read to its end.
#[derive(Debug)]
pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Reply {
    /// The body, which must be JSON and say so, or be empty.
    pub fn json(&self) -> Value {
        if self.body.is_empty() {
            return Value::Null;
        }
        assert_eq!(self.header("content-type"), Some("application/json"));
        serde_json::from_slice(&self.body).unwrap()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// As the vectors write it.
    pub fn answer(&self) -> Answer {
        Answer { status: self.status.as_u16(), body: self.json() }
    }
}

/// A request without a body, by a method, with a key.
pub fn request(method: &str, path: &str, key: &str) -> axum::http::request::Builder {
    let request = Request::builder().method(method).uri(path);
    request.header("authorization", format!("Bearer {key}"))
}

/// Sends a request to a router.
pub async fn send(router: &Router, request: Request<Body>) -> Reply {
    let response = router.clone().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap().to_vec();
    Reply { status: parts.status, headers: parts.headers, body }
}

/// A case as a request.
pub fn request_of(case: &Case) -> Request<Body> {
    let mut request = Request::builder().method(&*case.method).uri(&case.path);
    if let Some(value) = &case.authorization {
        // HTTP takes away the white space around a header's value (RFC 9110, section 5.5).
        request = request.header("authorization", value.trim());
    }
    if let Some(value) = &case.content_type {
        request = request.header("content-type", value);
    }
    request.body(case.body.clone().unwrap_or_default().into()).unwrap()
}
