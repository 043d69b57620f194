//! Whether a request may come from a web page of another origin.

use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, Uri, header};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Returns whether a page of another origin may have sent the request. A sibling domain is another
/// origin, too: it may have another owner. Each current browser sends one of the two headers.
pub(crate) fn is_other(parts: &Parts, trusted: &[String]) -> bool {
    let headers = &parts.headers;
    let is_trusted = |origin: &[u8]| trusted.iter().any(|trusted| trusted.as_bytes() == origin);
    if headers.contains_key(header::ORIGIN) && all(headers, header::ORIGIN, is_trusted) {
        return false;
    }
    if headers.contains_key(&SEC_FETCH_SITE) {
        return !all(headers, SEC_FETCH_SITE, |site| matches!(site, b"same-origin" | b"none"));
    }
    !all(headers, header::ORIGIN, |origin| is_of_host(origin, parts))
}

/// Whether each value of a header is as it should be.
fn all(headers: &HeaderMap, name: HeaderName, is_right: impl Fn(&[u8]) -> bool) -> bool {
    headers.get_all(name).iter().all(|value| is_right(value.as_bytes()))
}

/// Whether an origin has the host, and the port, that the request is for.
fn is_of_host(origin: &[u8], parts: &Parts) -> bool {
    let origin = Uri::try_from(origin).ok();
    let host = parts.headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let host = host.or_else(|| parts.uri.authority().map(|authority| authority.as_str()));
    match (origin.as_ref().and_then(Uri::authority), host) {
        (Some(origin), Some(host)) => origin.as_str().eq_ignore_ascii_case(host),
        _ => false,
    }
}
