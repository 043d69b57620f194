//! Reading the body of a request, no further than it may be.

use std::error::Error;

use axum::body::{Body, HttpBody};
use axum::http::{HeaderMap, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tokenkeep::{BodyError, MAX_BODY_BYTES};

/// Reads a whole body of JSON. One that is empty has no media type to be judged by; any other must
/// say that it is `application/json`, in any case and with any parameters.
pub(crate) async fn read(headers: &HeaderMap, body: Body) -> Result<Vec<u8>, BodyError> {
    let read = collect(body).await;
    if matches!(&read, Ok(body) if body.is_empty()) {
        return read;
    }
    let value = headers.get(header::CONTENT_TYPE).map(|value| value.as_bytes());
    let media_type = String::from_utf8_lossy(value.unwrap_or_default());
    if is_json(&media_type) {
        read
    } else {
        Err(BodyError::UnsupportedMediaType(media_type.into()))
    }
}

/// Refuses what an HTML form or a beacon can send: a media type other than JSON, even of an empty
/// body, or a body without one.
pub(crate) fn check_not_a_form(headers: &HeaderMap, body: &Body) -> Result<(), BodyError> {
    let mut values = headers.get_all(header::CONTENT_TYPE).iter();
    let first = values.next().map(|value| String::from_utf8_lossy(value.as_bytes()));
    match (first, values.next()) {
        (None, _) if body.is_end_stream() => Ok(()),
        (Some(media_type), None) if is_json(&media_type) => Ok(()),
        (first, _) => Err(BodyError::UnsupportedMediaType(first.unwrap_or_default().into_owned())),
    }
}

fn is_json(media_type: &str) -> bool {
    let essence = media_type.split_once(';').map_or(media_type, |(essence, _)| essence);
    essence.trim().eq_ignore_ascii_case("application/json")
}

/// A body that is too long is refused by the length that it claims, or where the limit is passed.
async fn collect(body: Body) -> Result<Vec<u8>, BodyError> {
    if HttpBody::size_hint(&body).lower() > MAX_BODY_BYTES as u64 {
        return Err(BodyError::TooLarge);
    }
    match Limited::new(body, MAX_BODY_BYTES).collect().await {
        Ok(read) => Ok(read.to_bytes().into()),
        Err(error) if is_too_large(&*error) => Err(BodyError::TooLarge),
        Err(_) => Err(BodyError::NotJson("the request body broke off".into())),
    }
}

/// Whether a limit was passed: this one, or one that the host has set below it.
fn is_too_large(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.is::<LengthLimitError>() {
            return true;
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_as(media_type: Option<&str>, body: impl Into<Body>) -> Result<Vec<u8>, BodyError> {
        let headers = media_type.map(|value| (header::CONTENT_TYPE, value.parse().unwrap()));
        pollster::block_on(read(&headers.into_iter().collect(), body.into()))
    }

    #[test]
    fn json_is_read_whatever_its_parameters_and_case() {
        for media_type in
            ["application/json", "Application/JSON ; charset=utf-8", "application/json;"]
        {
            assert_eq!(read_as(Some(media_type), "{}").unwrap(), b"{}");
        }
    }

    #[test]
    fn other_media_types_are_quoted_whole() {
        for media_type in ["application/vnd.api+json", "multipart/form-data; boundary=x", "*/*", ""]
        {
            let refused = BodyError::UnsupportedMediaType(media_type.into());
            assert_eq!(read_as(Some(media_type), "{}"), Err(refused));
        }
        assert_eq!(read_as(None, "{}"), Err(BodyError::UnsupportedMediaType(String::new())));
        let large = "x".repeat(MAX_BODY_BYTES + 1);
        let refused = Err(BodyError::UnsupportedMediaType("text/plain".into()));
        assert_eq!(read_as(Some("text/plain"), large), refused, "before the size");
    }

    #[test]
    fn an_empty_body_has_no_media_type() {
        for media_type in [None, Some("text/plain"), Some("application/json")] {
            assert_eq!(read_as(media_type, "").unwrap(), b"");
        }
    }

    #[test]
    fn the_size_is_limited_to_the_byte() {
        let body = |len| "x".repeat(len);
        let json = Some("application/json");
        assert_eq!(read_as(json, body(MAX_BODY_BYTES)).unwrap().len(), MAX_BODY_BYTES);
        assert_eq!(read_as(json, body(MAX_BODY_BYTES + 1)), Err(BodyError::TooLarge));
    }
}
