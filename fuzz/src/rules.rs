//! What must hold of whatever the product lets in or answers.

use tokenkeep::{Token, TokenError};
use tokenkeep_axum::Refusal;

use crate::text::{identifier_refused, strip};
use crate::time;

/// What holds of a token from whatever row. A store does not look for NUL in descriptions.
pub fn check_token(token: &Token) {
    assert_eq!(identifier_refused(token.identifier.as_str()), []);
    if let Some(marker) = &token.managed {
        assert!(!marker.as_str().contains('\0'), "NUL in {token:?}");
        assert!(!strip(marker.as_str()).is_empty(), "blank marker in {token:?}");
    }
    for at in [token.expires, token.last_used].into_iter().flatten() {
        assert_eq!(time::read(&at.to_string()), Some(at.as_micros()));
    }
}

/// What holds of a token that came from a request.
pub fn check_requested(token: &Token) {
    check_token(token);
    assert!(!token.description.contains('\0'), "NUL in {token:?}");
    assert_eq!(strip(&token.description), &*token.description);
    let marker = token.managed.as_ref().map(|marker| marker.as_str());
    assert_eq!(marker.map(strip), marker);
}

/// A refusal is the caller's doing, says so, and blames something.
pub fn check_refusal(error: TokenError) {
    if let TokenError::Invalid(errors) = &error {
        assert!(!errors.is_empty());
        assert!(errors.iter().all(|(_, errors)| !errors.is_empty()), "{errors:?}");
    }
    let json = error.to_json();
    assert!(json["code"].is_string(), "{json}");
    let refusal = Refusal::from(error);
    assert!(refusal.status().is_client_error(), "{:?}", refusal.error());
}
