//! Tokens and events for the cases.

use std::sync::Arc;

use tokenkeep::{
    Caller, Change, Commit, CommitError, Event, EventId, EventKind, Identifier, Intent, KeyDigest,
    Lookup, Marker, Revision, Timestamp, Token, TokenFields, TokenId, TokenKey, TokenStore, UserId,
};

/// The time `seconds` after a moment of 2024, with microseconds.
pub(crate) fn time(seconds: i64) -> Timestamp {
    let micros = 1_727_447_178_090_001 + seconds * 1_000_000;
    Timestamp::from_micros(micros).expect("a time of this century")
}

/// A token that differs from those of other numbers in all that is unique.
pub(crate) fn token(number: u8) -> Token {
    Token {
        id: TokenId::from_bytes([number; 16]),
        identifier: identifier(&format!("token-{number}")),
        intent: Intent::Api,
        owner: UserId::new(1),
        description: "".into(),
        expires: Some(time(3_600)),
        expiring: true,
        managed: None,
        revision: Revision::FIRST,
        created: time(0),
        updated: time(0),
        last_used: None,
        owner_may_view_key: false,
        key_digest: digest(&format!("key-{number}")),
        sealed_key: None,
    }
}

pub(crate) fn identifier(text: &str) -> Identifier {
    text.parse().expect("an identifier")
}

pub(crate) fn marker(text: &str) -> Marker {
    text.parse().expect("a marker")
}

pub(crate) fn digest(key: &str) -> KeyDigest {
    KeyDigest::of(&TokenKey::from(key.to_owned()))
}

/// The token one revision on.
pub(crate) fn revised(token: &Token, change: impl FnOnce(&mut Token)) -> Token {
    let mut after = Token {
        revision: token.revision.next().expect("a revision behind it"),
        updated: token.updated.saturating_add(std::time::Duration::from_secs(1)),
        ..token.clone()
    };
    change(&mut after);
    after
}

/// The event with this number that says that `token` is at its revision.
pub(crate) fn event(number: u8, token: &Token) -> Event {
    numbered_event(number.into(), token)
}

/// The same for more numbers than a byte has. Ids are in the order of the numbers.
pub(crate) fn numbered_event(number: u128, token: &Token) -> Event {
    Event {
        id: EventId::from_bytes((number << 120 | number).to_be_bytes()),
        at: token.updated,
        token: token.id,
        identifier: token.identifier.clone(),
        owner: token.owner,
        revision: token.revision,
        kind: EventKind::Updated,
        changed: TokenFields::NONE,
        actor: Caller::System,
    }
}

/// A commit of changes without events.
pub(crate) fn changes(changes: impl IntoIterator<Item = Change>) -> Commit {
    Commit { changes: changes.into_iter().collect(), events: Vec::new() }
}

/// A commit of events without changes.
pub(crate) fn events(events: impl IntoIterator<Item = Event>) -> Commit {
    Commit { changes: Vec::new(), events: events.into_iter().collect() }
}

pub(crate) fn insert(token: &Token) -> Change {
    Change::Insert(Arc::new(token.clone()))
}

pub(crate) fn delete(token: &Token) -> Change {
    Change::Delete { id: token.id, expected: token.revision }
}

pub(crate) fn expect(token: &Token) -> Change {
    Change::Expect { id: token.id, expected: token.revision }
}

/// Commits changes that must succeed.
pub(crate) async fn commit(store: &dyn TokenStore, commit: Commit) {
    let committed = store.commit(commit).await;
    assert!(committed.is_ok(), "the commit failed: {committed:?}");
}

/// Inserts tokens, which must succeed.
pub(crate) async fn insert_all(store: &dyn TokenStore, tokens: &[Token]) {
    commit(store, changes(tokens.iter().map(insert))).await;
}

/// The token of that id.
pub(crate) async fn by_id(store: &dyn TokenStore, id: TokenId) -> Option<Arc<Token>> {
    found(store, Lookup::Id(id)).await
}

/// What a look-up finds.
pub(crate) async fn found(store: &dyn TokenStore, lookup: Lookup<'_>) -> Option<Arc<Token>> {
    store.find(lookup).await.expect("the store can be read")
}

/// Asserts that a token is in the store exactly like this.
pub(crate) async fn assert_is(store: &dyn TokenStore, token: &Token) {
    assert_eq!(by_id(store, token.id).await.as_deref(), Some(token));
}

/// Asserts that a commit was stale at that change, with that token there.
pub(crate) fn assert_stale(
    committed: Result<(), CommitError>,
    place: usize,
    there: Option<&Token>,
) {
    match committed {
        Err(CommitError::Stale { change, current }) => {
            assert_eq!((change, current.as_deref()), (place, there));
        }
        other => panic!("{other:?} instead of a stale change {place}"),
    }
}
