//! Deletion, app passwords, single use, owners who go, the audit trail, and last-used times.

use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use tokenkeep::{
    Authenticated, Caller, Change, Commit, Event, EventKind, EventQuery, Expected, Intent,
    KeyChange, Lookup, StoreErrorKind, Timestamp, Token, TokenChange, TokenError, TokenKey,
    TokenService, UserId,
};
use tokenkeep_memory::{FailingDirectory, FailingStore};
use tokenkeep_tests::backend::Backend;
use tokenkeep_tests::meddling::{MeddledStore, change};
use tokenkeep_tests::scene::{ADMIN, ALICE, BOB, HOUR, Scene, bearer, row, sealing, shifted, user};

const ALICES: Caller = Caller::User(ALICE);
const SINGLE_USE: [Intent; 2] = [Intent::Recovery, Intent::Verification];

/// A scene's store behind one that fails and one that is meddled with, and a service on top.
async fn troubled(scene: &Scene) -> (Arc<FailingStore>, Arc<MeddledStore>, TokenService) {
    let failing = Arc::new(FailingStore::new(scene.backend.tokens.clone()));
    let meddled = Arc::new(MeddledStore::new(failing.clone()));
    let service = scene.over(meddled.clone()).await;
    (failing, meddled, service)
}

fn assert_refused(result: &Result<Authenticated, TokenError>, why: &str) {
    assert!(matches!(result, Err(TokenError::InvalidKey)), "{why}: {result:?}");
}

// Deletion

#[pollster::test]
async fn a_deleted_token_opens_nothing_and_its_name_is_free() {
    for scene in Scene::everywhere().await {
        let created = scene.create_own("ci").await;
        let deleted = scene.service.delete(&ALICES, "ci", Expected::Anything).await.unwrap();
        assert_eq!(deleted, created.view.token, "it is returned as it was");
        assert!(!scene.opens(&created.key).await && scene.find("ci").await.is_none());
        let event = scene.events().await.pop().unwrap();
        assert_eq!(
            (event.kind, event.actor, event.revision.get()),
            (EventKind::Deleted, ALICES, 1)
        );
        assert_eq!((event.identifier.as_str(), event.owner), ("ci", ALICE));
        assert!(event.changed.is_empty());
        let again = scene.service.delete(&ALICES, "ci", Expected::Anything).await;
        assert!(matches!(again, Err(TokenError::NotFound)), "{again:?}");
        assert_eq!(scene.events().await.len(), 2);

        scene.create_own("ci").await;
        change(&*scene.backend.tokens, "ci", |_| {}).await;
        scene.service.delete(&ADMIN, "ci", Expected::Anything).await.unwrap();
        let event = scene.events().await.pop().unwrap();
        assert_eq!((event.actor, event.revision.get()), (ADMIN, 2), "the last it had");
    }
}

#[pollster::test]
async fn a_deletion_that_fails_has_deleted_nothing() {
    for scene in Scene::everywhere().await {
        scene.create_own("ci").await;
        let (failing, meddled, service) = troubled(&scene).await;
        let before = scene.state().await;
        failing.fail_next_commit(StoreErrorKind::Full);
        let error = service.delete(&ALICES, "ci", Expected::Anything).await.unwrap_err();
        assert!(error.is_retryable() && scene.state().await == before, "{error:?}");
        let inner = scene.backend.tokens.clone();
        meddled.before_next_commit(move || async move { change(&*inner, "ci", |_| {}).await });
        let version = service.retrieve(&ALICES, "ci").await.unwrap().version();
        let error = service.delete(&ALICES, "ci", version).await.unwrap_err();
        assert!(matches!(error, TokenError::Stale { .. }), "{error:?}");
        assert!(scene.find("ci").await.is_some());

        // The rights are those of the attempt that commits.
        let (inner, users) = (scene.backend.tokens.clone(), scene.backend.users.clone());
        meddled.before_next_commit(move || async move {
            let alice = user(ALICE, "alice");
            users.put_user(tokenkeep::User { is_active: false, ..alice }).await.unwrap();
            change(&*inner, "ci", |_| {}).await;
        });
        let error = service.delete(&ALICES, "ci", Expected::Anything).await.unwrap_err();
        assert!(matches!(error, TokenError::InactiveCaller), "{error:?}");
        assert!(scene.find("ci").await.is_some());
    }
}

#[pollster::test]
async fn nothing_ever_uses_a_token() {
    for scene in Scene::everywhere().await {
        scene.create_own("ci").await;
        for caller in [ALICES, ADMIN, Caller::System] {
            assert_eq!(scene.service.used_by(&caller, "ci").await.unwrap(), []);
        }
        for (caller, name) in [(Caller::User(BOB), "ci"), (ALICES, "none"), (ALICES, "no slug")] {
            let refused = scene.service.used_by(&caller, name).await;
            assert!(matches!(refused, Err(TokenError::NotFound)), "{refused:?}");
        }
    }
}

// App passwords

#[pollster::test]
async fn an_app_password_opens_for_its_user_as_long_as_nothing_stands_against_it() {
    for scene in Scene::everywhere().await {
        let created = scene.create("mail", Intent::AppPassword).await;
        let api = scene.create("api", Intent::Api).await.key;
        let key = created.key;
        let login =
            async |username: &str| scene.service.authenticate_app_password(username, &key).await;
        let before = scene.state().await;
        let who = login("alice").await.unwrap();
        assert_eq!((who.caller(), who.token), (ALICES, created.view.token.clone()));
        for username in ["bob", "Alice", "alice ", "", "nobody"] {
            assert_refused(&login(username).await, username);
        }
        let wrong = scene.service.authenticate_app_password("alice", &api).await;
        assert_refused(&wrong, "an api token is no app password");
        let unknown = TokenKey::from("unknown".to_owned());
        let wrong = scene.service.authenticate_app_password("alice", &unknown).await;
        assert_refused(&wrong, "an unknown key");
        assert!(!scene.opens(&key).await, "nor is an app password a bearer's");
        assert_eq!(scene.state().await, before, "asking changes nothing");

        let expires = created.view.token.expires.unwrap();
        scene.clock.set(expires);
        assert!(login("alice").await.is_ok(), "at its expiry it is not expired");
        scene.clock.set(shifted(expires, 1));
        assert_refused(&login("alice").await, "expired");
        scene.clock.set(expires);

        scene.set_active(ALICE, false).await;
        assert_refused(&login("alice").await, "inactive");
        scene.backend.users.put_user(user(ALICE, "alicia")).await.unwrap();
        assert_refused(&login("alice").await, "renamed");
        assert!(login("alicia").await.is_ok());
        scene.backend.users.put_user(user(BOB, "alice")).await.unwrap();
        assert_refused(&login("alice").await, "another has the name now");
        scene.backend.users.remove_user(ALICE).await.unwrap();
        assert_refused(&login("alicia").await, "gone");
    }
}

#[pollster::test]
async fn a_login_that_cannot_be_judged_lets_nobody_in() {
    for scene in Scene::everywhere().await {
        let key = scene.create("mail", Intent::AppPassword).await.key;
        let store = Arc::new(FailingStore::new(scene.backend.tokens.clone()));
        let directory = Arc::new(FailingDirectory::new(scene.backend.users.clone()));
        let service = TokenService::builder(store.clone(), directory.clone())
            .clock(scene.clock.clone())
            .keys(sealing())
            .open()
            .await
            .unwrap();
        let login = || service.authenticate_app_password("alice", &key);
        for of_store in [true, false] {
            if of_store {
                store.fail_next(StoreErrorKind::Unavailable);
            } else {
                directory.fail_next(StoreErrorKind::Unavailable);
            }
            let error = login().await.unwrap_err();
            assert!(matches!(error, TokenError::Store(_)), "{error:?}");
            assert!(login().await.is_ok());
        }
    }
}

// Single use

#[pollster::test]
async fn a_single_use_token_opens_once() {
    for scene in Scene::everywhere().await {
        for intent in SINGLE_USE {
            let created = scene.create(intent.as_str(), intent).await;
            let consumed = scene.service.consume(intent, &created.key).await.unwrap();
            assert_eq!((consumed.caller(), consumed.token), (ALICES, created.view.token));
            assert!(scene.find(intent.as_str()).await.is_none());
            let told = scene.events().await.pop().unwrap();
            assert_eq!((told.kind, told.actor, told.owner), (EventKind::Consumed, ALICES, ALICE));
            assert_refused(&scene.service.consume(intent, &created.key).await, "used");
            assert_eq!(scene.kinds(intent.as_str()).await.len(), 2);
        }
    }
}

#[pollster::test]
async fn what_may_not_be_used_is_refused_and_stays() {
    for scene in Scene::everywhere().await {
        let recovery = scene.create("recovery", Intent::Recovery).await;
        let api = scene.create("api", Intent::Api).await.key;
        let app = scene.create("app", Intent::AppPassword).await.key;
        let consume = async |intent, key: &TokenKey| scene.service.consume(intent, key).await;
        let before = scene.state().await;
        for intent in Intent::ALL {
            for key in [&recovery.key, &api, &app] {
                if (intent, key) != (Intent::Recovery, &recovery.key) {
                    assert_refused(&consume(intent, key).await, intent.as_str());
                }
            }
        }
        scene.clock.set(shifted(recovery.view.token.expires.unwrap(), 1));
        assert_refused(&consume(Intent::Recovery, &recovery.key).await, "expired");
        scene.clock.set(recovery.view.token.expires.unwrap());
        scene.set_active(ALICE, false).await;
        assert_refused(&consume(Intent::Recovery, &recovery.key).await, "inactive");
        scene.backend.users.remove_user(ALICE).await.unwrap();
        assert_refused(&consume(Intent::Recovery, &recovery.key).await, "the owner is gone");
        assert_eq!(scene.state().await, before);
        scene.backend.users.put_user(user(ALICE, "alice")).await.unwrap();
        assert!(consume(Intent::Recovery, &recovery.key).await.is_ok(), "at its expiry");
    }
}

/// What somebody does to a recovery token while it is being used.
#[derive(Debug, Clone, Copy)]
enum Meddling {
    Edit,
    Delete,
    SetKey,
    Deactivate,
    Expire,
}

impl Meddling {
    async fn run(self, scene: Arc<Scene>) {
        match self {
            Self::Edit => change(&*scene.backend.tokens, "link", |_| {}).await,
            Self::Delete => {
                scene.service.delete(&ADMIN, "link", Expected::Anything).await.unwrap();
            }
            Self::SetKey => {
                let key = KeyChange::new("a new key, since the old link has leaked");
                scene.service.set_key(&ADMIN, "link", key).await.unwrap();
            }
            Self::Deactivate => {
                scene.set_active(ALICE, false).await;
                change(&*scene.backend.tokens, "link", |_| {}).await;
            }
            Self::Expire => {
                scene.clock.set(shifted(scene.now(), 25 * HOUR));
                change(&*scene.backend.tokens, "link", |_| {}).await;
            }
        }
    }
}

#[pollster::test]
async fn a_use_that_meets_somebody_else_is_judged_anew() {
    use Meddling::{Deactivate, Delete, Edit, Expire, SetKey};
    for meddling in [Edit, Delete, SetKey, Deactivate, Expire] {
        for scene in Scene::everywhere().await {
            let scene = Arc::new(scene);
            let key = scene.create("link", Intent::Recovery).await.key;
            let (_, meddled, service) = troubled(&scene).await;
            let others = scene.clone();
            meddled.before_next_commit(move || meddling.run(others));
            let consumed = service.consume(Intent::Recovery, &key).await;
            let told = scene.kinds("link").await;
            match meddling {
                Edit => {
                    assert_eq!(consumed.unwrap().token.revision.get(), 2);
                    assert!(scene.find("link").await.is_none());
                }
                _ => assert_refused(&consumed, &format!("{meddling:?}")),
            }
            let is_told = told.contains(&EventKind::Consumed);
            assert_eq!(is_told, matches!(meddling, Edit), "{meddling:?}: {told:?}");
        }
    }
}

#[pollster::test]
async fn a_use_that_is_not_committed_lets_nobody_in() {
    for scene in Scene::everywhere().await {
        let key = scene.create("link", Intent::Recovery).await.key;
        let (failing, meddled, service) = troubled(&scene).await;
        let before = scene.state().await;
        failing.fail_next_commit(StoreErrorKind::Unavailable);
        let error = service.consume(Intent::Recovery, &key).await.unwrap_err();
        assert!(error.is_retryable() && scene.state().await == before, "{error:?}");
        for _ in 0..tokenkeep::MAX_ATTEMPTS {
            let inner = scene.backend.tokens.clone();
            meddled
                .before_next_commit(move || async move { change(&*inner, "link", |_| {}).await });
        }
        let error = service.consume(Intent::Recovery, &key).await.unwrap_err();
        assert!(matches!(error, TokenError::Contended), "{error:?}");

        failing.fail_next_commit(StoreErrorKind::OutcomeUnknown);
        let error = service.consume(Intent::Recovery, &key).await.unwrap_err();
        assert!(error.is_outcome_unknown(), "{error:?}");
        failing.lose_next_answer();
        assert!(service.consume(Intent::Recovery, &key).await.is_ok(), "its event is there");
        assert_refused(&service.consume(Intent::Recovery, &key).await, "it was used");
    }
}

#[test]
fn of_two_who_show_the_same_key_one_gets_in() {
    for scene in pollster::block_on(Scene::everywhere()) {
        let handles = [scene.backend.tokens.clone(), scene.backend.another_handle()];
        let services = handles.map(|handle| pollster::block_on(scene.over(handle)));
        for round in 0..200 {
            let intent = SINGLE_USE[round % 2];
            let key = pollster::block_on(scene.create(&format!("link-{round}"), intent)).key;
            let start = &Barrier::new(2);
            let won: usize = thread::scope(|scope| {
                let racers = services.each_ref().map(|service| {
                    let key = &key;
                    scope.spawn(move || {
                        start.wait();
                        match pollster::block_on(service.consume(intent, key)) {
                            Ok(_) => 1,
                            Err(TokenError::InvalidKey) => 0,
                            Err(error) => panic!("{error:?}"),
                        }
                    })
                });
                racers.into_iter().map(|racer| racer.join().unwrap()).sum()
            });
            assert_eq!(won, 1, "{} round {round}", scene.name());
        }
        let events = pollster::block_on(scene.events());
        let consumed = events.iter().filter(|event| event.kind == EventKind::Consumed);
        assert_eq!((consumed.count(), pollster::block_on(scene.tokens()).len()), (200, 0));
    }
}

// Owners who go

#[pollster::test]
async fn all_tokens_of_an_owner_go_at_once_with_their_events() {
    const TOKENS: u128 = 250;
    for scene in Scene::everywhere().await {
        let name = |number: u128| format!("t-{number}");
        scene.insert((1..=TOKENS).map(|n| row(n, &name(n), ALICE, &name(n)))).await;
        scene.insert([row(900, "bobs", BOB, "bob's")]).await;
        scene.backend.users.remove_user(ALICE).await.unwrap();
        let before = scene.state().await;
        let (failing, meddled, service) = troubled(&scene).await;
        failing.fail_next_commit(StoreErrorKind::Unavailable);
        assert!(service.owner_deleted(ALICE).await.unwrap_err().is_retryable());
        assert_eq!(scene.state().await, before, "all or nothing");

        // A second commit would fail.
        meddled.before_next_commit(|| async {});
        let fails = failing.clone();
        meddled.before_next_commit(move || async move {
            fails.fail_next_commit(StoreErrorKind::Unavailable);
        });
        let deleted = service.owner_deleted(ALICE).await.unwrap();
        let mut names: Vec<_> = deleted.iter().map(|token| token.identifier.to_string()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len() as u128, TOKENS);
        let left = scene.tokens().await;
        assert_eq!((left.len(), left[0].identifier.as_str()), (1, "bobs"));
        let told = scene.events().await;
        assert_eq!(told.len() as u128, TOKENS);
        assert!(told.iter().all(|event| event.kind == EventKind::Deleted));
        assert!(told.iter().all(|e| e.actor == Caller::System && e.owner == ALICE));
        assert_eq!(scene.service.owner_deleted(ALICE).await.unwrap(), []);
        assert_eq!(scene.service.owner_deleted(UserId::new(77)).await.unwrap(), []);
        assert_eq!(scene.events().await, told);
    }
}

#[pollster::test]
async fn an_owner_who_goes_while_a_token_changes_takes_the_changed_token_along() {
    for scene in Scene::everywhere().await {
        for name in ["one", "two"] {
            scene.create_own(name).await;
        }
        let (_, meddled, service) = troubled(&scene).await;
        let (inner, others) = (scene.backend.tokens.clone(), scene.service.clone());
        meddled.before_next_commit(move || async move {
            change(&*inner, "one", |token| token.description = "changed".into()).await;
            others.delete(&ADMIN, "two", Expected::Anything).await.unwrap();
        });
        let deleted = service.owner_deleted(ALICE).await.unwrap();
        assert_eq!(deleted.len(), 1, "the other was deleted by somebody else");
        assert_eq!(scene.tokens().await, []);
        assert_eq!(scene.kinds("two").await, [EventKind::Created, EventKind::Deleted]);
        let events = scene.events().await;
        let of_one = events.iter().rfind(|event| event.identifier.as_str() == "one").unwrap();
        assert_eq!((of_one.kind, of_one.revision.get()), (EventKind::Deleted, 2), "as it was then");
    }
}

#[pollster::test]
async fn deletion_is_not_delayed_by_changes_of_the_token() {
    for scene in Scene::everywhere().await {
        scene.create_own("ci").await;
        let (_, meddled, service) = troubled(&scene).await;
        for _ in 0..9 {
            let inner = scene.backend.tokens.clone();
            meddled.before_next_commit(move || async move { change(&*inner, "ci", |_| {}).await });
        }
        service.delete(&ALICES, "ci", Expected::Anything).await.unwrap();
        assert_eq!(meddled.commits(), 9);
        assert!(scene.find("ci").await.is_none());
        let event = scene.events().await.pop().unwrap();
        assert_eq!((event.kind, event.revision.get()), (EventKind::Deleted, 10));

        // Rights that are lost before the last attempt are lost.
        scene.create_own("ci").await;
        let (_, meddled, service) = troubled(&scene).await;
        for race in 0..8 {
            let inner = scene.backend.tokens.clone();
            let users = scene.backend.users.clone();
            meddled.before_next_commit(move || async move {
                let alice = user(ALICE, "alice");
                let alice = tokenkeep::User { is_active: race < 7, ..alice };
                users.put_user(alice).await.unwrap();
                change(&*inner, "ci", |_| {}).await;
            });
        }
        let error = service.delete(&ALICES, "ci", Expected::Anything).await.unwrap_err();
        assert!(matches!(error, TokenError::InactiveCaller), "{error:?}");
        assert!(scene.find("ci").await.is_some());

        // A token that goes in between is not found, and no other takes its place.
        let (_, meddled, service) = troubled(&scene).await;
        for race in 0..9 {
            let inner = scene.backend.tokens.clone();
            meddled.before_next_commit(move || async move {
                let id = inner.find(Lookup::Identifier(&"ci".parse().unwrap())).await.unwrap();
                let id = id.unwrap().id;
                if race < 8 {
                    change(&*inner, "ci", |_| {}).await;
                } else {
                    let changes = vec![Change::Remove { id }];
                    inner.commit(Commit { changes, events: Vec::new() }).await.unwrap();
                }
            });
        }
        let error = service.delete(&ADMIN, "ci", Expected::Anything).await.unwrap_err();
        assert!(matches!(error, TokenError::NotFound), "{error:?}");
    }
}

/// A caller who changes its token again and again, however fast, keeps no deletion waiting.
#[pollster::test]
async fn owner_deletion_is_not_delayed_by_changes_of_the_tokens() {
    for scene in Scene::everywhere().await {
        scene.create_own("three").await;
        let (_, meddled, service) = troubled(&scene).await;
        for _ in 0..tokenkeep::MAX_ATTEMPTS {
            let inner = scene.backend.tokens.clone();
            meddled
                .before_next_commit(move || async move { change(&*inner, "three", |_| {}).await });
        }
        assert_eq!(service.owner_deleted(ALICE).await.unwrap().len(), 1);
        assert_eq!(scene.tokens().await, []);
        // A token that is created while the others are deleted goes, too.
        scene.create_own("first").await;
        let others = scene.service.clone();
        let late = TokenChange::new().identifier("late");
        let (_, meddled, service) = troubled(&scene).await;
        meddled.before_next_commit(move || async move {
            others.create(&ALICES, late).await.unwrap();
        });
        assert_eq!(service.owner_deleted(ALICE).await.unwrap().len(), 2);
        assert_eq!(scene.tokens().await, []);
    }
}

/// A commit for each of 256 tokens that another process has deleted would take as long as the deletion.
#[pollster::test]
async fn batch_of_which_many_tokens_are_gone_is_committed_twice() {
    for scene in Scene::everywhere().await {
        let tokens: Vec<Token> =
            (1..=40).map(|n| row(n, &format!("t{n}"), ALICE, &n.to_string())).collect();
        scene.insert(tokens.iter().cloned()).await;
        let gone = |tokens: &[Token]| {
            let removes = tokens.iter().map(|token| Change::Remove { id: token.id });
            Commit { changes: removes.collect(), events: Vec::new() }
        };
        let (_, meddled, service) = troubled(&scene).await;
        let (inner, others) = (scene.backend.tokens.clone(), gone(&tokens[1..30]));
        meddled.before_next_commit(move || async move { inner.commit(others).await.unwrap() });
        let before = meddled.commits();
        assert_eq!(service.owner_deleted(ALICE).await.unwrap().len(), 11, "{}", scene.name());
        assert_eq!(meddled.commits() - before, 2);
        assert_eq!(scene.tokens().await, []);

        let expired = tokens.iter().map(|token| Token {
            intent: Intent::AppPassword,
            expiring: true,
            expires: Some(shifted(scene.now(), -1)),
            ..token.clone()
        });
        scene.insert(expired).await;
        let (inner, others) = (scene.backend.tokens.clone(), gone(&tokens[1..30]));
        meddled.before_next_commit(move || async move {
            inner.commit(others).await.unwrap();
            change(&*inner, "t35", |_| {}).await;
        });
        let before = meddled.commits();
        let report = service.sweep().await.unwrap();
        assert_eq!((report.deleted, report.left_alone), (10, 30), "{}", scene.name());
        assert_eq!(meddled.commits() - before, 2);
        assert_eq!(scene.tokens().await.len(), 1);
    }
}

// The audit trail

/// Two tokens, each with three events, a minute apart.
async fn scene_with_a_past(scene: &Scene) -> [Timestamp; 6] {
    let mut times = Vec::new();
    for name in ["one", "two"] {
        scene.create_own(name).await;
        times.push(scene.now());
        scene.clock.advance(Duration::from_secs(60));
        let described = TokenChange::new().description("described");
        scene.service.partial_update(&ALICES, name, described).await.unwrap();
        times.push(scene.now());
        scene.clock.advance(Duration::from_secs(60));
        scene.service.delete(&ADMIN, name, Expected::Anything).await.unwrap();
        times.push(scene.now());
        scene.clock.advance(Duration::from_secs(60));
    }
    times.try_into().unwrap()
}

#[pollster::test]
async fn the_audit_trail_tells_what_happened_by_token_and_by_time() {
    for scene in Scene::everywhere().await {
        let times = scene_with_a_past(&scene).await;
        let all = EventQuery::default();
        let page = async |query: &EventQuery| scene.service.events(query).await.unwrap();
        let told = async |query: &EventQuery| page(query).await.events;
        let events = told(&all).await;
        assert_eq!(events, scene.events().await);
        assert!(events.iter().map(|event| event.at).eq(times));
        let of_two = EventQuery { token: Some(events[3].token), ..all.clone() };
        let kinds = |events: &[Event]| events.iter().map(|event| event.kind).collect::<Vec<_>>();
        let life = [EventKind::Deleted, EventKind::Updated, EventKind::Created];
        assert_eq!(kinds(&told(&of_two).await), life, "events outlive their token");
        let actors: Vec<_> = told(&of_two).await.iter().map(|event| event.actor).collect();
        assert_eq!(actors, [ADMIN, ALICES, ALICES]);

        let span = EventQuery { from: Some(times[1]), until: Some(times[4]), ..all.clone() };
        assert_eq!(told(&span).await, events[1..4], "from the first, up to the last");
        let four = EventQuery { limit: 4, ..all.clone() };
        let first = page(&four).await;
        assert_eq!(first.events, events[..4]);
        let rest = EventQuery { after: first.next, ..four };
        assert_eq!(told(&rest).await, events[4..]);
        let second = EventQuery { from: Some(shifted(times[4], 1)), ..of_two };
        assert_eq!(told(&second).await, events[5..]);
    }
}

#[pollster::test]
async fn what_is_pruned_is_what_happened_before() {
    for scene in Scene::everywhere().await {
        let times = scene_with_a_past(&scene).await;
        let created = scene.create_own("three").await;
        let (tokens, events) = scene.state().await;
        assert_eq!(scene.service.prune_events(Timestamp::MIN).await.unwrap(), 0);
        assert_eq!(scene.service.prune_events(times[2]).await.unwrap(), 2);
        assert_eq!(scene.state().await, (tokens.clone(), events[2..].to_vec()));
        assert_eq!(scene.service.prune_events(shifted(times[2], 1)).await.unwrap(), 1);
        assert_eq!(scene.service.prune_events(Timestamp::MAX).await.unwrap(), 4);
        assert_eq!(scene.state().await, (tokens, Vec::new()));
        assert!(scene.opens(&created.key).await);
    }
}

// Last-used times

async fn last_used(scene: &Scene, name: &str) -> Option<Timestamp> {
    scene.find(name).await.unwrap().last_used
}

#[pollster::test]
async fn the_newest_use_is_written_by_the_next_flush_and_nothing_else_changes() {
    for scene in Scene::everywhere().await {
        let api = scene.create_own("api").await.key;
        let mail = scene.create("mail", Intent::AppPassword).await.key;
        let before = scene.state().await;
        for _ in 0..3 {
            scene.clock.advance(Duration::from_secs(300));
            assert!(scene.opens(&api).await);
        }
        let newest = scene.now();
        scene.service.authenticate_app_password("alice", &mail).await.unwrap();
        scene.clock.advance(Duration::from_secs(300));
        assert!(!scene.opens(&mail).await, "no bearer's");
        let bob = scene.service.authenticate_app_password("bob", &mail).await;
        assert!(bob.is_err());
        assert_eq!(scene.state().await, before, "authenticating writes nothing");

        scene.service.flush().await.unwrap();
        let touched = |token: &Token| Token { last_used: Some(newest), ..token.clone() };
        let expected: Vec<_> = before.0.iter().map(touched).collect();
        assert_eq!(scene.state().await, (expected, before.1), "neither revision nor event");
    }
}

/// In microseconds.
const MINUTE: i64 = 60_000_000;

#[pollster::test]
async fn a_use_within_a_minute_of_the_last_one_is_not_noted() {
    for scene in Scene::everywhere().await {
        let key = scene.create_own("ci").await.key;
        let first = scene.now();
        let use_and_flush = async |at| {
            scene.clock.set(at);
            assert!(scene.opens(&key).await);
            scene.service.flush().await.unwrap();
            last_used(&scene, "ci").await
        };
        assert_eq!(use_and_flush(first).await, Some(first));
        assert_eq!(use_and_flush(shifted(first, 1)).await, Some(first));
        assert_eq!(use_and_flush(shifted(first, MINUTE - 1)).await, Some(first));
        let later = shifted(first, MINUTE);
        assert_eq!(use_and_flush(later).await, Some(later));
        assert_eq!(use_and_flush(shifted(first, -HOUR)).await, Some(later), "never back");
    }
}

#[pollster::test]
async fn a_flush_that_fails_keeps_what_it_was_to_write() {
    for scene in Scene::everywhere().await {
        let key = scene.create_own("ci").await.key;
        let other = scene.create_own("other").await.key;
        let (failing, _, service) = troubled(&scene).await;
        let used = async |key: &TokenKey| service.authenticate(Some(&bearer(key))).await.unwrap();
        used(&key).await;
        used(&other).await;
        let first = scene.now();
        failing.fail_next(StoreErrorKind::Unavailable);
        assert!(service.flush().await.unwrap_err().is_retryable());
        assert_eq!(last_used(&scene, "ci").await, None);
        scene.clock.advance(Duration::from_secs(120));
        used(&key).await;
        failing.fail_next(StoreErrorKind::Busy);
        assert!(service.flush().await.is_err());
        service.flush().await.unwrap();
        assert_eq!(last_used(&scene, "ci").await, Some(scene.now()), "the newer of both");
        assert_eq!(last_used(&scene, "other").await, Some(first));

        // Nothing waits any more: the store is not even asked.
        failing.fail_next(StoreErrorKind::Unavailable);
        service.flush().await.unwrap();
        assert!(service.retrieve(&ALICES, "ci").await.is_err(), "the failure is still to come");
    }
}

#[pollster::test]
async fn a_last_used_time_outlives_no_token_and_moves_only_forward() {
    for scene in Scene::everywhere().await {
        let gone = scene.create_own("gone").await.key;
        let key = scene.create_own("ci").await.key;
        let late = scene.keeping(sealing()).await;
        let used = async |service: &TokenService, key: &TokenKey| {
            service.authenticate(Some(&bearer(key))).await.unwrap();
        };
        used(&late, &key).await;
        scene.clock.advance(Duration::from_secs(600));
        used(&scene.service, &gone).await;
        used(&scene.service, &key).await;
        scene.service.delete(&ALICES, "gone", Expected::Anything).await.unwrap();
        let heir = scene.create_own("gone").await;
        let renamed = TokenChange::new().identifier("renamed");
        scene.service.partial_update(&ALICES, "ci", renamed).await.unwrap();

        scene.service.flush().await.unwrap();
        assert_eq!(last_used(&scene, "renamed").await, Some(scene.now()));
        assert_eq!(last_used(&scene, "gone").await, None, "the heir was never used");
        late.flush().await.unwrap();
        assert_eq!(last_used(&scene, "renamed").await, Some(scene.now()), "an older use is late");
        let token = scene.find("renamed").await.unwrap();
        assert_eq!(token.revision.get(), 2);
        assert!(scene.opens(&heir.key).await);
    }
}

#[pollster::test]
async fn a_host_that_never_flushes_loses_times_and_not_its_memory() {
    const KEPT: usize = 1 << 16;
    const TOKENS: u128 = KEPT as u128 + 1_000;
    let scene = Scene::on(Backend::memory()).await;
    let key = |number: u128| format!("key-{number}");
    scene.insert((0..TOKENS).map(|n| row(n, &format!("t-{n}"), ALICE, &key(n)))).await;
    for number in 0..TOKENS {
        assert!(scene.opens(&key(number).into()).await, "{number}");
    }
    scene.service.flush().await.unwrap();
    let tokens = scene.tokens().await;
    assert_eq!(tokens.iter().filter(|token| token.last_used.is_some()).count(), KEPT);
}
