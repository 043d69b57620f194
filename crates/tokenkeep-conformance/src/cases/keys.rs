//! Secrets, owners and the identity of a store.

use std::collections::BTreeSet;
use std::num::NonZeroU8;

use tokenkeep::{KeyCheck, KeyDigest, SealedKey, SecretId, Token, TokenId, UserId};

use crate::harness::Harness;
use crate::sample::{changes, commit, delete, insert_all, token};

const FIRST: KeyCheck = KeyCheck { secret: SecretId::SealingKey(7), value: [1; 32] };
const SECOND: KeyCheck = KeyCheck { secret: SecretId::SealingKey(7), value: [2; 32] };
const PEPPER: KeyCheck = KeyCheck { secret: SecretId::Pepper(NonZeroU8::MAX), value: [3; 32] };

pub(crate) async fn returns_the_peppers_of_its_digests(harness: &dyn Harness) {
    let store = harness.open().await;
    let peppers = async || store.key_usage().await.expect("the store can be read").peppers;
    let with = |number: u8, id: u8| {
        let bytes: Vec<u8> = [id].into_iter().chain([number; 32]).collect();
        let key_digest = KeyDigest::from_bytes(&bytes).expect("33 bytes");
        Token { key_digest, ..token(number) }
    };
    let ids = |ids: &[u8]| ids.iter().filter_map(|id| NonZeroU8::new(*id)).collect::<BTreeSet<_>>();
    insert_all(&*store, &[with(1, 0), with(2, 0)]).await;
    assert_eq!(peppers().await, ids(&[]));
    insert_all(&*store, &[with(3, 255), with(4, 7), with(5, 7), with(6, 1), with(9, 8)]).await;
    assert_eq!(peppers().await, ids(&[1, 7, 8, 255]));
    commit(&*store, changes([delete(&with(6, 1)), delete(&with(4, 7))])).await;
    assert_eq!(peppers().await, ids(&[7, 8, 255]));
}

pub(crate) async fn returns_the_sealing_keys_of_its_seals(harness: &dyn Harness) {
    let store = harness.open().await;
    let sealing_keys =
        async || store.key_usage().await.expect("the store can be read").sealing_keys;
    let with = |number: u8, id: u8| {
        let sealed_key = Some(SealedKey::from_bytes(&[id, number, number]));
        Token { sealed_key, ..token(number) }
    };
    insert_all(&*store, &[token(1), token(2)]).await;
    assert_eq!(sealing_keys().await, BTreeSet::new());
    insert_all(&*store, &[with(3, 255), with(4, 7), with(5, 7), with(6, 0), with(9, 8)]).await;
    assert_eq!(sealing_keys().await, BTreeSet::from([0, 7, 8, 255]));
    commit(&*store, changes([delete(&with(6, 0)), delete(&with(4, 7))])).await;
    assert_eq!(sealing_keys().await, BTreeSet::from([7, 8, 255]));
}

pub(crate) async fn keeps_the_first_check_value_of_a_secret(harness: &dyn Harness) {
    let store = harness.open().await;
    let record = async |check| store.record_key_check(check).await.expect("it can be written");
    assert_eq!(record(FIRST).await, FIRST);
    assert_eq!(record(SECOND).await, FIRST);
    assert_eq!(record(PEPPER).await, PEPPER);
    let other = harness.open().await;
    let usage = other.key_usage().await.expect("the store can be read");
    assert_eq!(usage.checks.len(), 2);
    assert_eq!(usage.check_of(FIRST.secret), Some(FIRST));
    assert_eq!(usage.check_of(PEPPER.secret), Some(PEPPER));
    assert_eq!(usage.check_of(SecretId::SealingKey(255)), None, "of another kind");
}

pub(crate) async fn returns_the_owners_of_tokens(harness: &dyn Harness) {
    let store = harness.open().await;
    let of = |number, owner| Token { owner: UserId::new(owner), ..token(number) };
    insert_all(&*store, &[of(1, 5), of(2, 5), of(3, -7), of(4, 9)]).await;
    let ids = [1, 2, 3, 8].map(|number| TokenId::from_bytes([number; 16]));
    let mut owners = store.owners(&ids).await.expect("the store can be read");
    owners.sort_unstable();
    assert_eq!(owners, [UserId::new(-7), UserId::new(5)]);
    assert_eq!(store.owners(&[]).await.expect("the store can be read"), []);
}

pub(crate) async fn has_one_id_on_every_handle(harness: &dyn Harness) {
    let (store, other) = (harness.open().await, harness.open().await);
    insert_all(&*store, &[token(1)]).await;
    assert_eq!(store.store_id(), other.store_id());
    drop(store);
    assert_eq!(other.store_id(), harness.open().await.store_id());
}
