//! What does it cost to turn the bytes of a request into a change with all its fields checked?
//!
//! Beside it, `serde_json` reads the same bytes into a `Value` and checks nothing.

use tokenkeep::TokenChange;

use crate::compare::compare;
use crate::finding::{Findings, Row};
use crate::goal::Unit;
use crate::scale::Scale;

/// Every field that a client sends back of a token that it has read, 221 bytes.
const BODY: &[u8] = br#"{"managed": null, "identifier": "deploy-pipeline-42", "intent": "app_password", "user": 4711, "description": "deploys service 42 from the pipeline", "expires": "2027-09-27T14:26:18.091000Z", "expiring": true, "extra": [1]}"#;

/// Measures it.
pub fn measure(scale: &Scale) -> Findings {
    assert!(TokenChange::from_json(BODY).refusals().is_empty());
    let paired = compare(
        scale,
        100_000,
        |_| TokenChange::from_json(BODY),
        |_| serde_json::from_slice::<serde_json::Value>(BODY).unwrap(),
    );
    let row = Row::ratio("body", paired, Unit::Seconds);
    Findings { rows: vec![row.noting(format!("{} bytes", BODY.len()))], ..Findings::default() }
}
