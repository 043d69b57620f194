//! Small random rows, which often get in each other's way.

use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use tokenkeep::{
    Caller, Event, EventId, EventKind, Intent, KeyDigest, Revision, SealedKey, Timestamp, Token,
    TokenField, TokenFields, TokenId, TokenKey, UserId,
};

/// One of six times.
pub fn time() -> impl Strategy<Value = Timestamp> {
    (0_i64..6).prop_map(|n| Timestamp::from_micros(1_700_000_000_000_000 + n).unwrap())
}

/// One of five ids.
pub fn id() -> impl Strategy<Value = TokenId> {
    (0_u8..5).prop_map(|n| TokenId::from_bytes([n; 16]))
}

/// One of three users.
pub fn user() -> impl Strategy<Value = UserId> {
    (0_i64..3).prop_map(UserId::new)
}

/// A token at its first revision, whose names others may have.
pub fn token() -> impl Strategy<Value = Token> {
    let names = select(vec!["a", "A", "b", "ab", "-"]);
    let markers = select(vec![None, None, Some("m"), Some("M"), Some("m/1")]);
    let texts = select(vec!["", "a", "B", "ä", "%"]);
    let unique = (id(), names, markers, 0_u8..6);
    let shown =
        (select(Intent::ALL.to_vec()), user(), texts, prop::option::of(time()), any::<bool>());
    let kept =
        (time(), prop::option::of(time()), any::<bool>(), prop::option::of(any::<[u8; 2]>()));
    (unique, shown, kept).prop_map(|(unique, shown, kept)| Token {
        id: unique.0,
        identifier: unique.1.parse().unwrap(),
        managed: unique.2.map(|marker| marker.parse().unwrap()),
        key_digest: KeyDigest::of(&TokenKey::from(unique.3.to_string())),
        intent: shown.0,
        owner: shown.1,
        description: shown.2.into(),
        expires: shown.3,
        expiring: shown.4,
        revision: Revision::FIRST,
        created: kept.0,
        updated: kept.0,
        last_used: kept.1,
        owner_may_view_key: kept.2,
        sealed_key: kept.3.map(|bytes| SealedKey::from_bytes(&bytes)),
    })
}

/// Any fields.
pub fn fields() -> impl Strategy<Value = TokenFields> {
    subsequence(TokenField::ALL.to_vec(), 0..=TokenField::ALL.len())
        .prop_map(|fields| fields.into_iter().collect())
}

/// An event, seldom one that fits a token.
pub fn event() -> impl Strategy<Value = Event> {
    let what = (token(), 0_u8..60, time(), 1_i64..4);
    let how = (select(EventKind::ALL.to_vec()), fields(), prop::option::of(user()));
    (what, how).prop_map(|((token, id, at, revision), (kind, changed, actor))| Event {
        id: EventId::from_bytes([id; 16]),
        at,
        token: token.id,
        identifier: token.identifier,
        owner: token.owner,
        revision: Revision::new(revision).unwrap(),
        kind,
        changed,
        actor: actor.map_or(Caller::System, Caller::User),
    })
}
