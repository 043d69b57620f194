//! Finding one token.

use tokenkeep::{
    Intent, Lookup, Revision, SealedKey, Timestamp, Token, TokenField, TokenId, UserId,
};

use crate::harness::Harness;
use crate::sample::{
    assert_is, changes, commit, digest, found, identifier, insert_all, marker, revised, time, token,
};

pub(crate) async fn finds_a_token_by_each_of_its_names(harness: &dyn Harness) {
    let store = harness.open().await;
    let wanted = Token { managed: Some(marker("m/1")), ..token(1) };
    insert_all(&*store, &[wanted.clone(), token(2)]).await;
    for lookup in [
        Lookup::Id(wanted.id),
        Lookup::Identifier(&wanted.identifier),
        Lookup::Marker(&marker("m/1")),
        Lookup::KeyDigest(&wanted.key_digest),
    ] {
        assert_eq!(found(&*store, lookup).await.as_deref(), Some(&wanted), "{lookup:?}");
    }
}

pub(crate) async fn answers_none_for_a_token_that_is_not_there(harness: &dyn Harness) {
    let store = harness.open().await;
    insert_all(&*store, &[token(1)]).await;
    for lookup in [
        Lookup::Id(TokenId::from_bytes([2; 16])),
        Lookup::Identifier(&identifier("token-2")),
        Lookup::Marker(&marker("m/1")),
        Lookup::KeyDigest(&digest("key-2")),
    ] {
        assert_eq!(found(&*store, lookup).await, None, "{lookup:?}");
    }
}

pub(crate) async fn tells_names_apart_that_differ_in_case(harness: &dyn Harness) {
    let store = harness.open().await;
    let names = ["straße", "STRASSE", "Strasse", "strasse"];
    let slugs = ["ci", "CI", "Ci", "cI"];
    let numbered = (1..).zip(names.into_iter().zip(slugs));
    let tokens: Vec<_> = numbered
        .map(|(number, (name, slug))| Token {
            managed: Some(marker(name)),
            identifier: identifier(slug),
            ..token(number)
        })
        .collect();
    insert_all(&*store, &tokens).await;
    for token in &tokens {
        let by_identifier = found(&*store, Lookup::Identifier(&token.identifier)).await;
        assert_eq!(by_identifier.as_deref(), Some(token));
        let marker = token.managed.as_ref().expect("every token has one");
        assert_eq!(found(&*store, Lookup::Marker(marker)).await.as_deref(), Some(token));
    }
}

pub(crate) async fn returns_every_field_as_it_was_written(harness: &dyn Harness) {
    let store = harness.open().await;
    let odd = "ünï😀\u{200b}\u{feff}\r\n\t'\"\\%_;--\u{7f}\u{10ffff}";
    let highest = Token {
        identifier: identifier(&"y".repeat(255)),
        intent: Intent::AppPassword,
        owner: UserId::new(i64::MAX),
        description: odd.repeat(1_000).into(),
        expires: Some(Timestamp::MAX),
        managed: Some(marker(&odd.repeat(1_000))),
        revision: Revision::new(i64::MAX).expect("a revision"),
        created: Timestamp::MAX,
        updated: Timestamp::MAX,
        last_used: Some(Timestamp::MAX),
        owner_may_view_key: true,
        sealed_key: Some(SealedKey::from_bytes(&(0..=255).collect::<Vec<u8>>())),
        ..token(255)
    };
    let lowest = Token {
        identifier: identifier("-"),
        intent: Intent::Verification,
        owner: UserId::new(i64::MIN),
        expires: Some(Timestamp::MIN),
        expiring: false,
        managed: Some(marker("x")),
        created: Timestamp::MIN,
        updated: Timestamp::MIN,
        last_used: Some(Timestamp::MIN),
        sealed_key: Some(SealedKey::from_bytes(&[])),
        ..token(0)
    };
    let plain = Token { intent: Intent::Recovery, expires: None, ..token(7) };
    let to_the_microsecond = Token { expires: Some(time(0)), ..token(8) };
    let tokens = [highest, lowest, plain, to_the_microsecond];
    insert_all(&*store, &tokens).await;
    for token in &tokens {
        assert_is(&*store, token).await;
    }
}

pub(crate) async fn forgets_names_that_were_given_up(harness: &dyn Harness) {
    let store = harness.open().await;
    let before = Token { managed: Some(marker("old")), ..token(1) };
    insert_all(&*store, std::slice::from_ref(&before)).await;
    let after = revised(&before, |token| {
        token.identifier = identifier("new");
        token.managed = Some(marker("new"));
        token.key_digest = digest("new");
    });
    let replace = tokenkeep::Change::replace(&before, after.clone());
    commit(&*store, changes([replace])).await;
    for lookup in [
        Lookup::Identifier(&before.identifier),
        Lookup::Marker(&marker("old")),
        Lookup::KeyDigest(&before.key_digest),
    ] {
        assert_eq!(found(&*store, lookup).await, None, "{lookup:?}");
    }
    for lookup in [
        Lookup::Identifier(&after.identifier),
        Lookup::Marker(&marker("new")),
        Lookup::KeyDigest(&after.key_digest),
    ] {
        assert_eq!(found(&*store, lookup).await.as_deref(), Some(&after), "{lookup:?}");
    }

    let unmarked = revised(&after, |token| token.managed = None);
    let replace = tokenkeep::Change::replace(&after, unmarked.clone());
    assert!(after.changed_fields(&unmarked).contains(TokenField::Managed));
    commit(&*store, changes([replace])).await;
    assert_eq!(found(&*store, Lookup::Marker(&marker("new"))).await, None);
    assert_is(&*store, &unmarked).await;
}
