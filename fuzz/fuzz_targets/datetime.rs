//! A date-time is read exactly if its places are those of the form, as the microsecond that a count
//! of days gives; what it is written as reads back equal, and a body and a filter agree.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::json;
use tokenkeep::{Timestamp, TokenChange, TokenField};
use tokenkeep_fuzz::{is_broken, time};

fuzz_target!(|text: &str| {
    let read = parse(text);
    assert_eq!(read.map(|at| at.as_micros()), time::read(text), "{text:?}");
    if let Some(at) = read {
        assert_eq!(at.to_string().parse(), Ok(at));
        assert_eq!(Timestamp::from_micros(at.as_micros()), Some(at));
        assert_eq!(Timestamp::from(at.to_datetime()), at);
    }
    let body = json!({"expires": text}).to_string();
    let refusals = TokenChange::from_json(body.as_bytes()).refusals();
    assert_eq!(refusals.get(TokenField::Expires).is_empty(), time::read(text).is_some());
});

/// As the product does; the broken one takes small letters, too.
fn parse(text: &str) -> Option<Timestamp> {
    let text = if is_broken() { text.to_ascii_uppercase() } else { text.to_owned() };
    text.parse().ok()
}
