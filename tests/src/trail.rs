//! Whether tokens and their events fit together.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokenkeep::{
    Event, EventKind, EventQuery, Token, TokenId, TokenQuery, TokenStore, Visibility, Window,
};

/// Every token, in the order of their names.
pub async fn tokens(store: &dyn TokenStore) -> Vec<Arc<Token>> {
    let mut query = TokenQuery {
        visibility: Visibility::All,
        window: Window::After { cursor: None, limit: 1_000 },
        ..TokenQuery::default()
    };
    let mut tokens = Vec::new();
    loop {
        let page = store.list(&query).await.unwrap();
        tokens.extend(page.tokens);
        let Some(next) = page.next else { break };
        query.window = Window::After { cursor: Some(next), limit: 1_000 };
    }
    tokens.sort_by(|a, b| a.identifier.as_str().cmp(b.identifier.as_str()));
    tokens
}

/// Every change has its event and every event its change: the revisions of a token's events are
/// those that it has had, without a gap, and the last event tells whether it is there.
pub async fn trail_is_whole(store: &dyn TokenStore) {
    let mut of_token: BTreeMap<TokenId, Vec<Event>> = BTreeMap::new();
    let mut query = EventQuery::default();
    loop {
        let page = store.events(&query).await.unwrap();
        query.after = page.next;
        if page.events.is_empty() {
            break;
        }
        for event in page.events {
            of_token.entry(event.token).or_default().push(event);
        }
    }
    let mut there: BTreeMap<_, _> =
        tokens(store).await.into_iter().map(|token| (token.id, token)).collect();
    for (id, mut events) in of_token {
        events.sort_by_key(|event| event.revision);
        // Who sees a key changes nothing, unless it is sealed anew.
        events.retain(|event| event.kind != EventKind::KeyViewed || !event.changed.is_empty());
        let ends = |event: &Event| {
            matches!(event.kind, EventKind::Deleted | EventKind::Expired | EventKind::Consumed)
        };
        let (writes, end): (Vec<_>, Vec<_>) = events.into_iter().partition(|event| !ends(event));
        let revisions: Vec<_> = writes.iter().map(|event| event.revision.get()).collect();
        match (there.remove(&id), end.as_slice()) {
            (Some(token), []) => {
                assert_eq!(revisions, (1..=token.revision.get()).collect::<Vec<_>>(), "{token:?}");
            }
            (None, [end]) => {
                // Those that had expired were put there without events.
                let all: Vec<_> = (1..=end.revision.get()).collect();
                let was_put = end.kind == EventKind::Expired && revisions.is_empty();
                assert!(was_put || revisions == all, "{end:?}: {revisions:?}");
            }
            (token, end) => panic!("{token:?} {end:?}"),
        }
    }
    let is_put = |token: &&Arc<Token>| token.identifier.as_str().starts_with("expired-");
    let untold: Vec<_> = there.values().filter(|token| !is_put(token)).collect();
    assert!(untold.is_empty(), "changes without events: {untold:?}");
}
