//! Who is asking: by bearer key, or as the host says.

use std::borrow::Cow;

use axum::extract::{FromRef, FromRequestParts};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use tokenkeep::{Authenticated, Caller, TokenError, TokenService, UserId};

use crate::status::Refusal;

/// Somebody who has shown a valid key: an extractor for the host's own routes, on any state that
/// gives a [`TokenService`]. It refuses a request as tokenkeep's own routes do (SPEC
/// "Authenticate").
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
/// use tokenkeep_axum::Bearer;
/// use tokenkeep_memory::MemoryStore;
/// use tower::ServiceExt;
///
/// async fn whoami(Bearer(shown): Bearer) -> String {
///     shown.caller().to_string()
/// }
///
/// let store = Arc::new(MemoryStore::new());
/// let tokens = TokenService::builder(store.clone(), store).open().await?;
/// let app = Router::new().route("/whoami", get(whoami)).with_state(tokens);
///
/// let answer = app.oneshot(Request::get("/whoami").body(Body::empty())?).await?;
/// assert_eq!(answer.status(), StatusCode::FORBIDDEN);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bearer(pub Authenticated);

impl<S> FromRequestParts<S> for Bearer
where
    TokenService: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let service = TokenService::from_ref(state);
        Ok(Self(service.authenticate(authorization(&parts.headers).as_deref()).await?))
    }
}

/// The user on whose behalf a request comes, as the host's own authentication has found out: put it
/// into the extensions of the request. It counts only where
/// [`callers_from_host`](crate::TokenApi::callers_from_host) says so.
///
/// There is none for the system: what a request asks for is never done on its behalf.
///
/// See [`TokenApi`](crate::TokenApi) for an example.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostUser(pub UserId);

/// How the router finds the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Callers {
    Bearer,
    Host,
}

impl Callers {
    pub(crate) async fn find(
        self,
        service: &TokenService,
        parts: &Parts,
    ) -> Result<Caller, TokenError> {
        match self {
            Self::Bearer => {
                let header = authorization(&parts.headers);
                Ok(service.authenticate(header.as_deref()).await?.caller())
            }
            Self::Host => match parts.extensions.get() {
                Some(HostUser(id)) => Ok(Caller::User(*id)),
                None => Err(TokenError::NotAuthenticated),
            },
        }
    }
}

/// The value of `Authorization`. Several are one list (RFC 9110, section 5.3), which is no key.
fn authorization(headers: &HeaderMap) -> Option<Cow<'_, [u8]>> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter().map(|value| value.as_bytes());
    let first = values.next()?;
    Some(values.fold(Cow::Borrowed(first), |list, value| [&*list, value].join(&b", "[..]).into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_headers_are_one_list() {
        let mut headers = HeaderMap::new();
        assert_eq!(authorization(&headers), None);
        headers.append(header::AUTHORIZATION, "Bearer a".parse().unwrap());
        assert_eq!(authorization(&headers).as_deref(), Some(&b"Bearer a"[..]));
        headers.append(header::AUTHORIZATION, "Bearer b".parse().unwrap());
        assert_eq!(authorization(&headers).as_deref(), Some(&b"Bearer a, Bearer b"[..]));
    }
}
