//! What caches are told. A store that tells nothing has nothing to be held to.

use std::sync::Arc;

use tokenkeep::{Change, ChangeCounters, Changes, Timestamp, TokenId, Touch, User, UserId};
use uuid::Uuid;

use crate::harness::{Harness, UserHarness};
use crate::sample::{changes, commit, delete, insert_all, revised, time, token};

pub(crate) async fn counts_every_change_of_a_token(harness: &dyn Harness) {
    // Each changes the token, and both are told.
    for changer in [0, 1] {
        let handles = [harness.open().await, harness.open().await];
        let [Some(one), Some(other)] = handles.each_ref().map(|handle| handle.changes()) else {
            return;
        };
        let again = handles[0].changes().expect("they were there before");
        assert!(std::ptr::addr_eq(Arc::as_ptr(&again), Arc::as_ptr(&one)), "others each time");
        let told = [one, other];
        let store = &*handles[changer];
        let before = token(1);
        insert_all(store, std::slice::from_ref(&before)).await;

        let stamps = stamps(&told, before.id, before.owner);
        let after = revised(&before, |token| token.description = "changed".into());
        commit(store, changes([Change::replace(&before, after.clone())])).await;
        let stamps = all_differ(stamps, &told, before.id, before.owner, "a replace");

        let touch = Touch { token: before.id, at: time(10) };
        store.touch(&[touch]).await.expect("the store can be written");
        let stamps = all_differ(stamps, &told, before.id, before.owner, "a touch");

        commit(store, changes([delete(&after)])).await;
        all_differ(stamps, &told, before.id, before.owner, "a delete");
    }
}

pub(crate) async fn counts_every_change_of_a_user(harness: &dyn UserHarness) {
    for changer in [0, 1] {
        let handles = [harness.open().await, harness.open().await];
        let [Some(one), Some(other)] = handles.each_ref().map(|handle| handle.changes()) else {
            return;
        };
        let told = [one, other];
        let directory = &*handles[changer];
        let token = TokenId::from_bytes([1; 16]);
        let alice = User::new(UserId::new(2), Uuid::from_u128(2), "alice", Timestamp::MIN);
        directory.put_user(alice.clone()).await.expect("a user that can be");

        let stamps = stamps(&told, token, alice.id);
        let inactive = User { is_active: false, ..alice.clone() };
        directory.put_user(inactive).await.expect("the same user");
        let stamps = all_differ(stamps, &told, token, alice.id, "a deactivation");

        directory.remove_user(alice.id).await.expect("the directory can be written");
        all_differ(stamps, &told, token, alice.id, "a removal");
    }
}

type Told = [Arc<dyn Changes>; 2];

/// What each handle says.
fn stamps(told: &Told, token: TokenId, owner: UserId) -> [Option<u64>; 2] {
    let counters = |changes: &Arc<dyn Changes>| -> Option<u64> {
        let counters: &ChangeCounters = changes.now().expect("the store can be read");
        counters.stamp(token, owner)
    };
    told.each_ref().map(counters)
}

/// What each handle says, which is something else than before.
fn all_differ(
    before: [Option<u64>; 2],
    told: &Told,
    token: TokenId,
    owner: UserId,
    what: &str,
) -> [Option<u64>; 2] {
    let after = stamps(told, token, owner);
    let ended = before.iter().chain(&after).all(Option::is_some);
    assert!(ended, "{what} was acknowledged and is under way: {before:?}, {after:?}");
    let all = before.iter().zip(&after).all(|(before, after)| before != after);
    assert!(all, "{what} was acknowledged and not counted: {before:?}, {after:?}");
    after
}
