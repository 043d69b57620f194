//! Filters in a query string.

use crate::app::{ADMIN, App, assert_refused};

/// The expiry of `alice-recovery` in other time zones and spellings, as clients encode a `+`.
#[pollster::test]
async fn list_expires_in_each_spelling_finds_token() {
    let app = App::new();
    let token = app.ask("GET", "alice-recovery/", ADMIN).await.json();
    assert_eq!(token["expires"], "2024-09-27T14:36:18.090000Z");
    for expires in [
        "2024-09-27T14:36:18.090000%2B00:00",
        "2024-09-27T14:36:18.090000%2B0000",
        "2024-09-27T14:36:18.090000%2B00",
        "2024-09-27T16:36:18.090000%2B0200",
        "2024-09-27T16:36:18,09%20%2B02",
        "2024-9-27+09:06:18.09-0530",
    ] {
        let query = format!("?identifier=alice-recovery&expires={expires}");
        let listing = app.ask("GET", &query, ADMIN).await.json();
        assert_eq!(listing["pagination"]["count"], 1, "{expires}");
    }
}

/// A `+` that is not encoded is a space.
#[pollster::test]
async fn list_expires_unencoded_plus_fails() {
    let app = App::new();
    for expires in ["2024-09-27T14:36:18.09+0000", "2024-09-27T14:36:18.09%2B2400"] {
        let reply = app.ask("GET", &format!("?expires={expires}"), ADMIN).await;
        assert_refused(&reply, 400, "invalid");
        assert_eq!(reply.json()["expires"][0], "Enter a valid date/time.", "{expires}");
    }
}
