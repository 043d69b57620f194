//! Updates that meet others, failing stores, and callers who lose their rights on the way.

use std::sync::Arc;

use tokenkeep::{
    Caller, Change, Commit, EventKind, EventQuery, Expected, FieldError, Intent, Lookup,
    ManualClock, Revision, StoreErrorKind, Token, TokenChange, TokenError, TokenField, TokenId,
    TokenService, TokenStore, UserId, UserStore,
};
use tokenkeep_memory::{FailingStore, MemoryStore};
use tokenkeep_tests::backend::{Backend, KeptPostgres, Loaded, LoadedMemory, LoadedSqlite};
use tokenkeep_tests::fixture::{Fixture, key_scheme};
use tokenkeep_tests::meddling::{MeddledStore, change};
use tokenkeep_tests::vectors::all_tokens;

const ALICE: Caller = Caller::User(UserId::new(2));
const ADMIN: Caller = Caller::User(UserId::new(1));
const AUDITOR: Caller = Caller::User(UserId::new(6));

/// The fixture on a memory store that others meddle with.
struct Scene {
    users: Arc<dyn UserStore>,
    inner: Arc<dyn TokenStore>,
    store: Arc<MeddledStore>,
    service: TokenService,
}

impl Scene {
    fn new() -> Self {
        let fixture = Fixture::read();
        let Backend { tokens: inner, users, .. } = LoadedMemory(&fixture).fresh();
        let store = Arc::new(MeddledStore::new(inner.clone()));
        let builder = TokenService::builder(store.clone(), users.clone())
            .clock(Arc::new(ManualClock::at(fixture.now())))
            .keys(key_scheme());
        let service = pollster::block_on(builder.open()).unwrap();
        Self { users, inner, store, service }
    }

    /// Somebody else changes `alice-app` before the next commit.
    fn meddle(&self, description: &'static str) {
        let inner = self.inner.clone();
        self.store.before_next_commit(move || async move {
            change(&*inner, "alice-app", |token| token.description = description.into()).await;
        });
    }

    async fn set_active(&self, id: i64, active: bool) {
        set_active(&*self.users, id, active).await;
    }

    async fn event_count(&self) -> usize {
        self.inner.events(&EventQuery::default()).await.unwrap().events.len()
    }
}

async fn set_active(users: &dyn UserStore, id: i64, active: bool) {
    let mut profiles = users.profiles(&[UserId::new(id)]).await.unwrap();
    let user = tokenkeep::User::clone(&profiles.remove(0).user);
    users.put_user(tokenkeep::User { is_active: active, ..user }).await.unwrap();
}

#[pollster::test]
async fn a_lost_race_is_tried_again_and_loses_nothing() {
    let scene = Scene::new();
    scene.meddle("first");
    scene.meddle("second");
    let wanted = TokenChange::new().identifier("renamed");
    let updated = scene.service.partial_update(&ALICE, "alice-app", wanted).await.unwrap();
    assert_eq!(&*updated.view.token.description, "second", "the changes of others are kept");
    assert_eq!(updated.view.revision().get(), 4);
    assert_eq!(updated.changed.to_string(), "identifier");
    assert_eq!(scene.event_count().await, 1, "only the attempt that won has an event");
}

#[pollster::test]
async fn an_update_that_always_loses_is_contended_and_has_changed_nothing() {
    let scene = Scene::new();
    for _ in 0..tokenkeep::MAX_ATTEMPTS {
        scene.meddle("theirs");
    }
    let wanted = TokenChange::new().identifier("renamed");
    let error = scene.service.partial_update(&ALICE, "alice-app", wanted).await.unwrap_err();
    assert!(matches!(error, TokenError::Contended) && error.is_retryable(), "{error:?}");
    assert_eq!(scene.event_count().await, 0);
    let there = scene.service.retrieve(&ALICE, "alice-app").await.unwrap();
    assert_eq!(there.revision().get(), 1 + i64::from(tokenkeep::MAX_ATTEMPTS));
}

#[pollster::test]
async fn an_expected_revision_that_is_lost_fails_at_once() {
    let scene = Scene::new();
    scene.meddle("theirs");
    scene.meddle("never happens");
    let first = scene.service.retrieve(&ALICE, "alice-app").await.unwrap().version();
    let wanted = TokenChange::new().description("mine").expecting(first);
    let error = scene.service.partial_update(&ALICE, "alice-app", wanted).await.unwrap_err();
    assert!(matches!(error, TokenError::Stale { current } if current.get() == 2), "{error:?}");
    let there = scene.service.retrieve(&ALICE, "alice-app").await.unwrap();
    assert_eq!(&*there.token.description, "theirs");
}

#[pollster::test]
async fn a_token_that_takes_the_place_of_another_meanwhile_is_updated_in_its_stead() {
    let scene = Scene::new();
    for expects in [false, true] {
        let inner = scene.inner.clone();
        scene.store.before_next_commit(move || async move {
            let identifier = "alice-app".parse().unwrap();
            let before = inner.find(Lookup::Identifier(&identifier)).await.unwrap().unwrap();
            let heir =
                Token { id: TokenId::from_bytes([u8::from(expects); 16]), ..Token::clone(&before) };
            let delete = Change::Delete { id: before.id, expected: before.revision };
            let changes = vec![delete, Change::Insert(Arc::new(heir))];
            inner.commit(Commit { changes, events: Vec::new() }).await.unwrap();
        });
        let there = scene.service.retrieve(&ALICE, "alice-app").await.unwrap();
        let mut wanted = TokenChange::new().description(format!("wanted {expects}"));
        if expects {
            // The revision belongs to the token that was seen.
            wanted = wanted.expecting(there.version());
        }
        let updated = scene.service.partial_update(&ALICE, "alice-app", wanted).await;
        match updated {
            Ok(updated) => assert!(!expects && updated.view.token.id != there.token.id),
            Err(error) => assert!(expects && matches!(error, TokenError::NotFound), "{error:?}"),
        }
    }
}

#[pollster::test]
async fn what_is_wrong_with_fields_is_told_together_whatever_it_takes_to_find_out() {
    let scene = Scene::new();
    let body = br#"{"identifier": "alice-api", "managed": "m-1", "user": 99, "description": null}"#;
    let change = || TokenChange::from_json(body);
    let error = scene.service.update(&ADMIN, "alice-app", change()).await.unwrap_err();
    let told = error.field_errors().unwrap();
    assert_eq!(told.get(TokenField::Identifier), [FieldError::IdentifierTaken]);
    assert_eq!(told.get(TokenField::Managed), [FieldError::MarkerTaken]);
    assert_eq!(told.get(TokenField::User), [FieldError::UnknownUser("99".into())]);
    assert_eq!(told.get(TokenField::Description), [FieldError::Null]);
    let error = scene.service.create(&ADMIN, change()).await.unwrap_err();
    assert_eq!(error.field_errors(), Some(told));

    // An owner who is gone is nobody, also for the token that it left.
    scene.users.remove_user(UserId::new(2)).await.unwrap();
    let change = TokenChange::new().owner(UserId::new(2));
    let error = scene.service.partial_update(&ADMIN, "alice-app", change).await.unwrap_err();
    let told = error.field_errors().unwrap().get(TokenField::User);
    assert_eq!(told, [FieldError::UnknownUser("2".into())]);
    let view = scene.service.retrieve(&ADMIN, "alice-app").await.unwrap();
    assert_eq!(view.owner, None);
}

#[pollster::test]
async fn only_a_superuser_makes_the_service_look_for_a_marker() {
    let scene = Scene::new();
    let change = || TokenChange::new().identifier("x").managed("m-1");
    for (caller, looks) in [(ALICE, false), (ADMIN, true)] {
        scene.store.forget_lookups();
        let _ = scene.service.partial_update(&caller, "alice-app", change()).await.unwrap_err();
        let _ = scene.service.create(&caller, change()).await.unwrap_err();
        assert_eq!(scene.store.has_looked_for_markers(), looks, "{caller}");
    }
}

#[pollster::test]
async fn a_revision_that_cannot_be_raised_is_a_damaged_row() {
    let scene = Scene::new();
    change(&*scene.inner, "alice-app", |token| token.revision = Revision::new(i64::MAX).unwrap())
        .await;
    let wanted = TokenChange::new().description("x");
    let error = scene.service.partial_update(&ALICE, "alice-app", wanted).await.unwrap_err();
    let TokenError::Store(error) = error else { panic!("{error:?}") };
    assert!(matches!(error.kind(), StoreErrorKind::Corrupt { column: "revision", .. }));
}

#[pollster::test]
async fn a_token_that_is_deleted_or_renamed_meanwhile_is_not_found() {
    let scene = Scene::new();
    let inner = scene.inner.clone();
    scene.store.before_next_commit(move || async move {
        let id = inner.find(Lookup::Identifier(&"alice-app".parse().unwrap())).await;
        let id = id.unwrap().unwrap().id;
        let changes = vec![Change::Delete { id, expected: Revision::FIRST }];
        inner.commit(Commit { changes, events: Vec::new() }).await.unwrap();
    });
    let wanted = TokenChange::new().description("mine");
    let error = scene.service.partial_update(&ALICE, "alice-app", wanted.clone()).await;
    assert!(matches!(error, Err(TokenError::NotFound)), "{error:?}");

    let inner = scene.inner.clone();
    scene.store.before_next_commit(move || async move {
        change(&*inner, "bob_app", |token| token.identifier = "renamed".parse().unwrap()).await;
    });
    let error = scene.service.partial_update(&ADMIN, "bob_app", wanted).await;
    assert!(matches!(error, Err(TokenError::NotFound)), "{error:?}");
}

#[pollster::test]
async fn values_that_are_taken_meanwhile_are_refused_as_taken() {
    for (wanted, field, expected) in [
        (
            TokenChange::new().identifier("wanted"),
            TokenField::Identifier,
            FieldError::IdentifierTaken,
        ),
        (TokenChange::new().managed("wanted"), TokenField::Managed, FieldError::MarkerTaken),
    ] {
        let scene = Scene::new();
        let inner = scene.inner.clone();
        scene.store.before_next_commit(move || async move {
            change(&*inner, "bob_app", |token| {
                token.identifier = "wanted".parse().unwrap();
                token.managed = Some("wanted".parse().unwrap());
            })
            .await;
        });
        let error = scene.service.partial_update(&ADMIN, "alice-app", wanted.clone()).await;
        let error = error.unwrap_err();
        assert_eq!(error.field_errors().unwrap().get(field), std::slice::from_ref(&expected));

        let created = scene.service.create(&ADMIN, wanted.identifier("wanted")).await;
        let error = created.unwrap_err();
        assert!(error.field_errors().unwrap().get(field).contains(&expected), "{error:?}");
    }
}

#[pollster::test]
async fn rights_are_judged_anew_in_every_attempt() {
    let scene = Scene::new();
    let (inner, users) = (scene.inner.clone(), scene.users.clone());
    // The first attempt loses its race, and before the second its caller is deactivated.
    scene.store.before_next_commit(move || async move {
        set_active(&*users, 2, false).await;
        change(&*inner, "alice-app", |token| token.description = "theirs".into()).await;
    });
    let wanted = TokenChange::new().description("mine");
    let error = scene.service.partial_update(&ALICE, "alice-app", wanted).await.unwrap_err();
    assert!(matches!(error, TokenError::InactiveCaller), "{error:?}");
    let there = scene.service.retrieve(&ADMIN, "alice-app").await.unwrap();
    assert_eq!(&*there.token.description, "theirs");
}

#[pollster::test]
async fn an_update_that_changes_nothing_commits_nothing() {
    let scene = Scene::new();
    scene.meddle("a commit");
    let same = TokenChange::new().identifier("alice-app").description("").expiring(true);
    let updated = scene.service.update(&ALICE, "alice-app", same).await.unwrap();
    assert!(updated.changed.is_empty());
    assert_eq!((updated.view.revision(), scene.event_count().await), (Revision::FIRST, 0));
}

#[pollster::test]
async fn an_inactive_or_unknown_caller_is_refused_everything() {
    let scene = Scene::new();
    scene.set_active(2, false).await;
    for caller in [ALICE, Caller::User(UserId::new(99))] {
        let change = || TokenChange::new().identifier("x");
        let results = [
            scene.service.retrieve(&caller, "alice-app").await.map(drop),
            scene.service.update(&caller, "alice-app", change()).await.map(drop),
            scene.service.partial_update(&caller, "alice-app", change()).await.map(drop),
            scene.service.create(&caller, change()).await.map(drop),
        ];
        for result in results {
            assert!(matches!(result, Err(TokenError::InactiveCaller)), "{result:?}");
        }
    }
}

#[pollster::test]
async fn a_refusal_says_no_more_than_the_caller_may_know() {
    let scene = Scene::new();
    let unreadable = || TokenChange::from_json(b"{");
    let stale = || unreadable().expecting(Expected::OneOf(Vec::new()));
    let bob = Caller::User(UserId::new(3));
    for (caller, change, code) in [
        (bob, stale(), "not_found"),
        (AUDITOR, stale(), "permission_denied"),
        (ALICE, stale(), "precondition_failed"),
        (ALICE, unreadable(), "parse_error"),
    ] {
        let error = scene.service.update(&caller, "alice-app", change).await.unwrap_err();
        assert_eq!(error.code(), code, "{caller}");
    }
}

#[pollster::test]
async fn a_managed_token_says_who_may_overwrite_the_change() {
    let scene = Scene::new();
    let change = || TokenChange::new().description("edited");
    let updated = scene.service.partial_update(&ADMIN, "outpost-embedded", change()).await.unwrap();
    let marker = updated.managed_by().unwrap();
    assert_eq!(marker.as_str(), "goauthentik.io/outposts/embedded");
    let updated = scene.service.partial_update(&ADMIN, "alice-app", change()).await.unwrap();
    assert_eq!(updated.managed_by(), None);
}

#[pollster::test]
async fn every_change_has_its_event() {
    let scene = Scene::new();
    let recovery =
        TokenChange::new().identifier("r").intent(Intent::Recovery).owner(UserId::new(2));
    let id = scene.service.create(&Caller::System, recovery).await.unwrap().view.token.id;
    let renamed = TokenChange::new().identifier("s").description("text");
    scene.service.update(&ALICE, "r", renamed).await.unwrap();
    let query = EventQuery { token: Some(id), ..EventQuery::default() };
    let mut events = scene.inner.events(&query).await.unwrap().events;
    events.reverse();
    let told: Vec<_> = events.iter().map(|e| (e.kind, e.changed.to_string(), e.actor)).collect();
    assert_eq!(
        told,
        [
            (EventKind::Created, String::new(), Caller::System),
            (EventKind::Updated, "identifier, description".into(), ALICE),
        ]
    );
    assert_eq!(events[1].identifier.as_str(), "s");
    assert_eq!(
        events[1].to_string(),
        "2024-09-27T14:26:18.090000Z revision 2 of \"s\": updated (identifier, description) by user 2"
    );
}

#[pollster::test]
async fn a_store_that_fails_is_reported_and_changes_nothing() {
    let fixture = Fixture::read();
    let memory: Arc<MemoryStore> = Arc::new(MemoryStore::new());
    fixture.load(&*memory, &*memory).await;
    let store = Arc::new(FailingStore::new(memory.clone()));
    let builder = TokenService::builder(store.clone(), memory.clone()).keys(key_scheme());
    let service = builder.open().await.unwrap();
    let before = all_tokens(&*memory).await;
    for (kind, retryable) in [
        (StoreErrorKind::Busy, true),
        (StoreErrorKind::Full, true),
        (StoreErrorKind::Unavailable, true),
        (StoreErrorKind::Other, false),
    ] {
        for fail in [FailingStore::fail_next, FailingStore::fail_next_commit] {
            let change = || TokenChange::new().description("x").identifier("x");
            fail(&store, kind.clone());
            let updated = service.partial_update(&ALICE, "alice-app", change()).await.map(drop);
            fail(&store, kind.clone());
            let created = service.create(&ALICE, change()).await.map(drop);
            for error in [updated.unwrap_err(), created.unwrap_err()] {
                assert!(matches!(error, TokenError::Store(_)), "{error:?}");
                assert_eq!(error.is_retryable(), retryable, "{kind:?}");
                assert!(!error.is_outcome_unknown());
                let told = error.to_json().to_string();
                assert!(!told.contains("failing"), "the inside stays inside: {told}");
            }
            assert_eq!(all_tokens(&*memory).await, before);
            assert_eq!(memory.events(&EventQuery::default()).await.unwrap().events, []);
        }
    }
}

#[test]
fn every_acknowledged_update_of_many_callers_is_in_the_end() {
    let fixture = Fixture::read();
    let memory = LoadedMemory(&fixture);
    let (sqlite, alone) = (LoadedSqlite::new(&fixture), LoadedSqlite::alone(&fixture));
    let postgres = KeptPostgres::loaded(&fixture);
    let mut everywhere: Vec<&dyn Loaded> = vec![&memory, &sqlite, &alone];
    everywhere.extend(postgres.as_ref().map(|kept| kept as &dyn Loaded));
    for loaded in everywhere {
        let backend = loaded.fresh();
        let builder = backend.builder().keys(key_scheme());
        let service = pollster::block_on(builder.open()).unwrap();
        let acknowledged: usize = std::thread::scope(|scope| {
            let callers: Vec<_> = (0..16)
                .map(|caller| {
                    let service = &service;
                    scope.spawn(move || {
                        (0..20)
                            .filter(|round| {
                                let text = format!("{caller}/{round}");
                                let change = TokenChange::new().description(text);
                                pollster::block_on(service.partial_update(
                                    &ALICE,
                                    "alice-app",
                                    change,
                                ))
                                .is_ok()
                            })
                            .count()
                    })
                })
                .collect();
            callers.into_iter().map(|caller| caller.join().unwrap()).sum()
        });
        let there = pollster::block_on(service.retrieve(&ALICE, "alice-app")).unwrap();
        let revisions = usize::try_from(there.revision().get()).unwrap() - 1;
        assert_eq!(revisions, acknowledged, "{}", backend.name);
        let query = EventQuery { limit: 1_000, ..EventQuery::default() };
        let events = pollster::block_on(backend.tokens.events(&query)).unwrap();
        assert_eq!(events.events.len(), acknowledged, "{}", backend.name);
        assert!(acknowledged >= 16, "{}: {acknowledged}", backend.name);
    }
}
