//! Last-used times.

use tokenkeep::{Token, Touch};

use crate::harness::Harness;
use crate::sample::{assert_is, insert_all, time, token};

pub(crate) async fn records_when_a_token_was_used(harness: &dyn Harness) {
    let store = harness.open().await;
    let other_handle = harness.open().await;
    let (used, unused) = (token(1), token(2));
    insert_all(&*store, &[used.clone(), unused.clone()]).await;
    for at in [time(10), time(11)] {
        let touch = Touch { token: used.id, at };
        store.touch(&[touch]).await.expect("the store can be written");
        for store in [&store, &other_handle] {
            assert_is(&**store, &Token { last_used: Some(at), ..used.clone() }).await;
        }
    }
    assert_is(&*store, &unused).await;
}

pub(crate) async fn never_moves_a_last_used_time_back(harness: &dyn Harness) {
    let store = harness.open().await;
    let used = token(1);
    insert_all(&*store, std::slice::from_ref(&used)).await;
    let touch = |seconds| Touch { token: used.id, at: time(seconds) };
    let later = Token { last_used: Some(time(10)), ..used.clone() };
    store.touch(&[touch(5), touch(10), touch(7)]).await.expect("the store can be written");
    assert_is(&*store, &later).await;
    store.touch(&[touch(9)]).await.expect("the store can be written");
    assert_is(&*store, &later).await;
}

pub(crate) async fn passes_over_tokens_that_are_gone(harness: &dyn Harness) {
    let store = harness.open().await;
    let used = token(1);
    insert_all(&*store, std::slice::from_ref(&used)).await;
    let touches = [token(2).id, used.id].map(|token| Touch { token, at: time(10) });
    store.touch(&touches).await.expect("the store can be written");
    store.touch(&[]).await.expect("the store can be written");
    assert_is(&*store, &Token { last_used: Some(time(10)), ..used }).await;
}
