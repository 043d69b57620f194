//! Whatever bytes arrive, reading them does not panic and leaves a change or a reason.

use proptest::prelude::*;
use serde_json::{Map, Value};
use tokenkeep::{Caller, SeededRandom, TokenChange, TokenError};
use tokenkeep_tests::backend::{Loaded, LoadedMemory};
use tokenkeep_tests::fixture::{Fixture, key_scheme};
use tokenkeep_tests::properties::cases_at_least;
use tokenkeep_tests::vectors::cases;

/// Bytes that look like bodies, and bytes that do not.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let names = "identifier|intent|user|description|expires|expiring|managed|x|\\\\u0065xpires";
    let values = "null|true|-?[0-9]{1,30}(\\.[0-9]{1,5})?([eE][-+]?[0-9]{1,4})?|\
                  \"([a-zA-Z0-9_ -]|\\\\u[0-9a-fA-F]{4}|\\\\[nt\"]|é|😀){0,300}\"|\
                  \"20[0-9]{2}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(:[0-9]{2})?Z?\"|\
                  \\[[1-9](,\\{\\})?\\]|\\{\"a\":1\\}";
    let member = format!("\"({names})\":({values})");
    let object = prop::collection::vec(proptest::string::string_regex(&member).unwrap(), 0..8)
        .prop_map(|members| format!("{{{}}}", members.join(",")).into_bytes())
        .boxed();
    let cut = (object.clone(), any::<prop::sample::Index>(), any::<u8>()).prop_map(
        |(mut bytes, place, byte)| {
            let place = place.index(bytes.len());
            bytes[place] = byte;
            bytes
        },
    );
    prop_oneof![
        4 => object,
        3 => cut,
        2 => prop::collection::vec(any::<u8>(), 0..200),
        1 => "[\\[{\"a:,0-9]{0,300}".prop_map(String::into_bytes),
    ]
}

/// Whether the change says why it is refused.
fn has_reason(change: &TokenChange) -> bool {
    change.body_error().is_some() || !change.refusals().is_empty()
}

/// Whether `serde_json` refuses what is JSON all the same: a number or a surrogate that its values
/// cannot hold. In a field that nobody reads they do no harm.
fn only_here(reason: &serde_json::Error) -> bool {
    let reason = reason.to_string();
    ["number out of range", "lone leading surrogate", "unexpected end of hex escape"]
        .iter()
        .any(|allowed| reason.starts_with(allowed))
}

proptest! {
    #![proptest_config(cases_at_least(4096))]

    #[test]
    fn any_bytes_are_a_change_or_have_a_reason(bytes in bytes()) {
        let change = TokenChange::from_json(&bytes);
        let elsewhere = match &bytes[..] {
            b"" => Ok(Value::Object(Map::new())),
            bytes => serde_json::from_slice(bytes),
        };
        match elsewhere {
            Ok(value) => prop_assert_eq!(value.is_object(), change.body_error().is_none()),
            Err(reason) if change.body_error().is_none() => prop_assert!(only_here(&reason)),
            Err(_) => {}
        }
        prop_assert!(change.refusals().iter().all(|(_, errors)| !errors.is_empty()));
    }

    #[test]
    fn what_has_no_reason_is_carried_out_and_what_has_one_is_not(bytes in bytes()) {
        let fixture = Fixture::read();
        let backend = LoadedMemory(&fixture).fresh();
        let builder = backend.builder()
            .random(std::sync::Arc::new(SeededRandom::new(1)))
            .keys(key_scheme());
        let service = pollster::block_on(builder.open()).unwrap();
        let change = TokenChange::from_json(&bytes);
        let refused = has_reason(&change);
        let updated =
            pollster::block_on(service.partial_update(&Caller::System, "alice-app", change));
        match updated {
            Ok(updated) => {
                prop_assert!(!refused);
                prop_assert!(updated.view.token.identifier.as_str().len() <= 255);
                prop_assert!(!updated.view.token.description.contains('\0'));
            }
            Err(TokenError::Body(_)) => prop_assert!(refused),
            Err(TokenError::Invalid(errors)) => prop_assert!(!errors.is_empty()),
            Err(other) => prop_assert!(false, "{other:?}"),
        }
    }
}

#[test]
fn every_body_of_the_vectors_can_be_cut_anywhere() {
    for case in cases() {
        let body = case.body.unwrap_or_default();
        let step = 1 + body.len() / 64;
        for end in (0..body.len()).step_by(step) {
            let cut = TokenChange::from_json(&body.as_bytes()[..end]);
            assert!(end == 0 || has_reason(&cut), "{}", &body[..end.min(100)]);
        }
    }
}
