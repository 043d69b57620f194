//! An identifier is taken exactly if a loop over its characters finds nothing wrong, with the same
//! reasons otherwise, and as part of a body it is the same once it has been trimmed.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::json;
use tokenkeep::{FieldError, Identifier, TokenChange, TokenField};
use tokenkeep_fuzz::is_broken;
use tokenkeep_fuzz::text::{identifier_refused, strip};

fuzz_target!(|text: &str| {
    match parse(text) {
        Ok(identifier) => {
            assert_eq!(identifier.as_str(), text);
            assert_eq!(identifier_refused(text), []);
        }
        Err(reasons) => assert_eq!(reasons, identifier_refused(text)),
    }
    let expected = identifier_refused(strip(text));
    let body = json!({"identifier": text}).to_string();
    for change in [TokenChange::from_json(body.as_bytes()), TokenChange::new().identifier(text)] {
        assert_eq!(change.refusals().get(TokenField::Identifier), expected);
    }
});

/// As the product does; the broken one lets in one character too many.
fn parse(text: &str) -> Result<String, Vec<FieldError>> {
    let cut = if is_broken() && text.len() == 256 { text.get(1..).unwrap_or(text) } else { text };
    let parsed: Result<Identifier, _> = cut.parse();
    parsed.map(|_| text.to_owned()).map_err(|refused| refused.reasons)
}
