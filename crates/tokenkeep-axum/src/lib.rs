//! tokenkeep over HTTP: authentik's token API as a router that a service merges into its own.
//!
//! ```
//! # async fn serve(tokens: tokenkeep::TokenService) {
//! let app: axum::Router = axum::Router::new().merge(tokenkeep_axum::router(tokens));
//! # drop(app);
//! # }
//! ```
//!
//! | what | where |
//! |---|---|
//! | the ten operations of SPEC | under `/api/v3/core/tokens/`, with and without the last slash |
//! | the OpenAPI 3.1 document | `/api/v3/schema/`, for everybody |
//!
//! [`TokenApi`] takes another prefix, and callers whom the host has authenticated itself.
//! [`Bearer`] authenticates requests to the host's own routes, and [`Refusal`] answers with
//! tokenkeep's errors there.
//!
//! # What it adds to the core
//!
//! Bytes and status codes; all that decides is in `tokenkeep`.
//!
//! - A body is read up to [`MAX_BODY_BYTES`](tokenkeep::MAX_BODY_BYTES). It must be
//!   `application/json`, with any parameters; one without a media type is refused unless it is
//!   empty.
//! - Every answer that shows one token, or follows on a new key of one, has its `ETag`. `If-Match` is
//!   honoured where a token is changed or deleted. One that holds weak tags only, as a proxy that
//!   compresses may make them, is refused with a `detail` that says so.
//! - Where the host names the callers, requests from other origins and from HTML forms are refused:
//!   see [`callers_from_host`](TokenApi::callers_from_host).
//! - Answers that carry a key say `Cache-Control: no-store`.
//! - `HEAD` is answered as `GET`, without the body. `OPTIONS` is not: CORS is a layer of the host's,
//!   and so are time limits.
//! - A failure that passes by itself is a 503 with `Retry-After`.
//!
//! # What it tells the operator
//!
//! A span `tokenkeep` at level INFO for every request, with `operation`, `identifier`, `outcome` and
//! `latency` in seconds, and in it an event at DEBUG at the end, and one at ERROR with the cause
//! where the service has failed. An identifier that names no token is left out: it might be a key
//! in the wrong place. Through the `metrics` facade:
//!
//! - `tokenkeep_requests_total`, a counter with `operation` and `outcome`;
//! - `tokenkeep_request_seconds`, a histogram with `operation`.
//!
//! The operation is named as in the OpenAPI document, `none` for paths and methods that do not
//! exist. The outcome is `ok`, the `code` of the error, or `dropped` where there was no answer,
//! because the client left or the service panicked.
#![forbid(unsafe_code)]

mod answer;
mod body;
mod caller;
mod etag;
mod observe;
mod openapi;
mod operations;
mod origin;
mod prefix;
mod route;
mod router;
mod schema;
mod status;

pub use caller::{Bearer, HostUser};
pub use prefix::PrefixError;
pub use router::{DEFAULT_PREFIX, TokenApi, router};
pub use status::Refusal;
