//! Updates of single-use tokens.

use crate::app::{App, assert_refused};

#[pollster::test]
async fn update_single_use_token_names_its_intent() {
    let app = App::new();
    for intent in ["recovery", "verification"] {
        let path = if intent == "recovery" { "alice-recovery/" } else { "alice-verify/" };
        let of_intent = format!("Intent of a {intent} token cannot be changed");
        let of_expiry = format!("Only a superuser may prolong a {intent} token");
        for (field, body, message) in [
            ("intent", r#"{"intent": "api"}"#, &of_intent),
            ("expires", r#"{"expires": "2024-09-27T15:26:18Z"}"#, &of_expiry),
            ("expires", r#"{"expires": null}"#, &of_expiry),
        ] {
            let reply = app.tell("PATCH", path, "key-alice-api", body).await;
            assert_refused(&reply, 400, "invalid");
            assert_eq!(reply.json()[field][0], **message, "{body}");
        }
    }
}
