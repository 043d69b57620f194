//! Commits of which the store cannot tell whether they were done: the audit trail may.

use std::sync::Arc;

use tokenkeep::{
    Caller, EventKind, EventQuery, Expected, KeyScheme, Lookup, Revision, SealingKey,
    StoreErrorKind, Timestamp, TokenChange, TokenError, TokenService, TokenStore, UserId,
};
use tokenkeep_memory::{FailingStore, MemoryStore};
use tokenkeep_tests::fixture::{Fixture, key_scheme};
use tokenkeep_tests::meddling::MeddledStore;
use tokenkeep_tests::vectors::all_tokens;

const ALICE: Caller = Caller::User(UserId::new(2));

/// A service on a loaded store whose commits can be lost and pruned, and whose rows others change.
async fn shaky() -> (Arc<MemoryStore>, Arc<FailingStore>, Arc<MeddledStore>, TokenService) {
    let fixture = Fixture::read();
    let memory = Arc::new(MemoryStore::new());
    fixture.load(&*memory, &*memory).await;
    let failing = Arc::new(FailingStore::new(memory.clone()));
    let meddled = Arc::new(MeddledStore::new(failing.clone()));
    let builder = TokenService::builder(meddled.clone(), memory.clone()).keys(key_scheme());
    let service = builder.open().await.unwrap();
    (memory, failing, meddled, service)
}

/// The first version of "alice-app".
async fn first_version(store: &MemoryStore) -> Expected {
    let identifier = "alice-app".parse().unwrap();
    let token = store.find(Lookup::Identifier(&identifier)).await.unwrap().unwrap();
    Expected::from((token.id, Revision::FIRST))
}

/// Has the system change "alice-app" behind the back of a service.
async fn describe(store: Arc<MemoryStore>, description: &str) {
    let other = TokenService::builder(store.clone(), store).keys(key_scheme());
    let other = other.open().await.unwrap();
    let change = TokenChange::new().description(description);
    other.partial_update(&Caller::System, "alice-app", change).await.unwrap();
}

#[pollster::test]
async fn a_commit_whose_answer_was_lost_is_found_in_the_trail() {
    let (memory, failing, _, service) = shaky().await;
    let change = TokenChange::new().description("x").expecting(first_version(&memory).await);
    failing.lose_next_answer();
    let updated = service.partial_update(&ALICE, "alice-app", change).await.unwrap();
    assert_eq!(updated.view.revision().get(), 2);
    failing.lose_next_answer();
    let created = service.create(&ALICE, TokenChange::new().identifier("new")).await.unwrap();
    let bearer = format!("Bearer {}", created.key.expose());
    assert!(service.authenticate(Some(bearer.as_bytes())).await.is_ok());
    failing.lose_next_answer();
    service.delete(&ALICE, "new", Expected::Anything).await.unwrap();
    let events = memory.events(&EventQuery::default()).await.unwrap().events;
    let kinds: Vec<_> = events.iter().map(|event| event.kind).collect();
    assert_eq!(kinds, [EventKind::Updated, EventKind::Created, EventKind::Deleted]);
}

#[pollster::test]
async fn a_commit_that_may_still_arrive_is_told_apart() {
    let (memory, failing, _, service) = shaky().await;
    let before = all_tokens(&*memory).await;
    let change = TokenChange::new().description("x").expecting(first_version(&memory).await);
    failing.fail_next_commit(StoreErrorKind::OutcomeUnknown);
    let error = service.partial_update(&ALICE, "alice-app", change).await.unwrap_err();
    assert!(error.is_outcome_unknown() && !error.is_retryable(), "{error:?}");
    failing.fail_next_commit(StoreErrorKind::OutcomeUnknown);
    let created = service.create(&ALICE, TokenChange::new().identifier("new")).await;
    assert!(created.unwrap_err().is_outcome_unknown());
    assert_eq!(all_tokens(&*memory).await, before);
}

#[pollster::test]
async fn a_lost_commit_that_another_has_overtaken_was_not_done() {
    let (memory, failing, meddled, service) = shaky().await;
    let before = memory.clone();
    meddled.before_next_commit(move || describe(before, "theirs"));
    failing.fail_next_commit(StoreErrorKind::OutcomeUnknown);
    let change = TokenChange::new().description("mine").expecting(first_version(&memory).await);
    let error = service.partial_update(&ALICE, "alice-app", change).await.unwrap_err();
    assert!(matches!(error, TokenError::Stale { current } if current.get() == 2), "{error:?}");

    // What expects nothing is tried again.
    let before = memory.clone();
    meddled.before_next_commit(move || describe(before, "theirs again"));
    failing.fail_next_commit(StoreErrorKind::OutcomeUnknown);
    let change = TokenChange::new().description("mine");
    let updated = service.partial_update(&ALICE, "alice-app", change).await.unwrap();
    assert_eq!(updated.view.revision().get(), 4);

    // Somebody else's view shows no key to this one, and is not taken for its deletion.
    let somebody_views = || {
        let before = memory.clone();
        meddled.before_next_commit(move || async move {
            let other = TokenService::builder(before.clone(), before);
            let other = other.keys(key_scheme()).open().await.unwrap();
            other.view_key(&Caller::System, "alice-app").await.unwrap();
        });
        failing.fail_next_commit(StoreErrorKind::OutcomeUnknown);
    };
    somebody_views();
    let viewing = TokenService::builder(meddled.clone(), memory.clone()).keys(key_scheme());
    let shown = viewing.open().await.unwrap().view_key(&Caller::System, "alice-app").await;
    let shown = shown.unwrap_err();
    assert!(shown.is_outcome_unknown(), "{shown:?}");
    somebody_views();
    let deleted = service.delete(&ALICE, "alice-app", Expected::Anything).await;
    assert!(deleted.unwrap_err().is_outcome_unknown(), "the view took nothing away");
}

#[pollster::test]
async fn nothing_is_concluded_from_events_that_were_pruned() {
    let (memory, failing, meddled, service) = shaky().await;
    let before = memory.clone();
    meddled.before_next_commit(move || async move {
        describe(before.clone(), "theirs").await;
        before.prune_events(Timestamp::MAX).await.unwrap();
    });
    failing.fail_next_commit(StoreErrorKind::OutcomeUnknown);
    let change = TokenChange::new().description("mine");
    let error = service.partial_update(&ALICE, "alice-app", change).await.unwrap_err();
    assert!(error.is_outcome_unknown(), "{error:?}");
}

/// Has the system view the key of "alice-app" behind the back of a service, and keep it so.
async fn view(store: Arc<MemoryStore>, keys: KeyScheme) {
    let other = TokenService::builder(store.clone(), store).keys(keys).open().await.unwrap();
    other.view_key(&Caller::System, "alice-app").await.unwrap();
}

#[pollster::test]
async fn a_commit_is_found_however_much_has_happened_to_its_token() {
    let (memory, failing, _, service) = shaky().await;
    for number in 0..1_100 {
        let change = TokenChange::new().description(number.to_string());
        service.partial_update(&ALICE, "alice-app", change).await.unwrap();
    }
    for _ in 0..500 {
        view(memory.clone(), key_scheme()).await;
    }
    failing.lose_next_answer();
    let change = TokenChange::new().description("x");
    let updated = service.partial_update(&ALICE, "alice-app", change).await.unwrap();
    assert_eq!(updated.view.revision().get(), 1_102);
}

#[pollster::test]
async fn a_lost_commit_to_a_token_that_another_has_deleted_was_not_done() {
    for expects in [false, true] {
        let (memory, failing, meddled, service) = shaky().await;
        let first = first_version(&memory).await;
        let expected = if expects { first } else { Expected::Anything };
        meddled.before_next_commit(move || async move {
            let other = TokenService::builder(memory.clone(), memory).keys(key_scheme());
            let other = other.open().await.unwrap();
            other.delete(&Caller::System, "alice-app", Expected::Anything).await.unwrap();
        });
        failing.fail_next_commit(StoreErrorKind::OutcomeUnknown);
        let change = TokenChange::new().description("mine").expecting(expected);
        let error = service.partial_update(&ALICE, "alice-app", change).await.unwrap_err();
        assert!(matches!(error, TokenError::NotFound), "{error:?}");
    }
}

#[pollster::test]
async fn a_view_overtakes_a_lost_commit_where_it_has_sealed_the_key_anew() {
    let (memory, failing, meddled, service) = shaky().await;
    let first = first_version(&memory).await;
    let newer = KeyScheme::sealing(SealingKey::new(2, [8; 32]));
    let newer = newer.also_opening(SealingKey::new(1, [7; 32]));
    meddled.before_next_commit(move || view(memory, newer));
    failing.fail_next_commit(StoreErrorKind::OutcomeUnknown);
    let change = TokenChange::new().description("mine").expecting(first);
    let error = service.partial_update(&ALICE, "alice-app", change).await.unwrap_err();
    assert!(matches!(error, TokenError::Stale { current } if current.get() == 2), "{error:?}");
}

#[pollster::test]
async fn nothing_is_concluded_from_a_view_of_what_the_lost_commit_may_have_made() {
    let (memory, failing, meddled, service) = shaky().await;
    let first = first_version(&memory).await;
    meddled.before_next_commit(move || async move {
        describe(memory.clone(), "whose?").await;
        memory.prune_events(Timestamp::MAX).await.unwrap();
        view(memory, key_scheme()).await;
    });
    failing.fail_next_commit(StoreErrorKind::OutcomeUnknown);
    let change = TokenChange::new().description("mine").expecting(first);
    let error = service.partial_update(&ALICE, "alice-app", change).await.unwrap_err();
    assert!(error.is_outcome_unknown(), "{error:?}");
}

#[pollster::test]
async fn a_commit_that_failed_for_certain_is_looked_for_nowhere() {
    let (memory, failing, meddled, service) = shaky().await;
    let first = first_version(&memory).await;
    meddled.before_next_commit(move || describe(memory, "theirs"));
    failing.fail_next_commit(StoreErrorKind::Full);
    let change = TokenChange::new().description("mine").expecting(first);
    let error = service.partial_update(&ALICE, "alice-app", change).await.unwrap_err();
    let is_full =
        matches!(&error, TokenError::Store(error) if *error.kind() == StoreErrorKind::Full);
    assert!(is_full, "{error:?}");
}
