//! How keys are kept: sealed or as digests only, with peppers that change, and how they are set,
//! rotated and viewed.

use std::collections::BTreeSet;
use std::num::NonZeroU8;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokenkeep::{
    Caller, Change, Commit, EventKind, Expected, FieldError, Intent, KeyChange, KeyDigest,
    KeyScheme, OpenError, Pepper, Policy, RekeyReport, Revision, SealingKey, SecretId,
    StoreErrorKind, Token, TokenChange, TokenError, TokenField, TokenId, TokenKey, TokenService,
    UnsealError, User,
};
use tokenkeep_memory::FailingStore;
use tokenkeep_tests::backend::Backend;
use tokenkeep_tests::meddling::{MeddledStore, change};
use tokenkeep_tests::scene::{ADMIN, ALICE, BOB, HOUR, Scene, bearer, row, sealing, shifted, user};

const ALICES: Caller = Caller::User(ALICE);

/// Keys that are long enough to be set.
const CHOSEN: &str = "a key that was chosen somewhere else";
const OTHER: &str = "another key that was chosen elsewhere";

fn pepper(id: u8) -> Pepper {
    Pepper::new(NonZeroU8::new(id).unwrap(), [id; 32])
}

fn sealing_key(id: u8) -> SealingKey {
    SealingKey::new(id, [id; 32])
}

fn key(text: &str) -> TokenKey {
    TokenKey::from(text.to_owned())
}

async fn opens(service: &TokenService, key: &TokenKey) -> bool {
    service.authenticate(Some(&bearer(key))).await.is_ok()
}

/// Sets a key as the superuser.
async fn set(service: &TokenService, name: &str, key: &str) -> Result<Revision, TokenError> {
    let view = service.set_key(&ADMIN, name, KeyChange::new(key)).await?;
    Ok(view.revision())
}

/// Why a key was refused.
fn refusals(result: Result<Revision, TokenError>) -> Vec<FieldError> {
    let error = result.unwrap_err();
    assert_eq!(error.code(), "invalid");
    error.field_errors().unwrap().get(TokenField::Key).to_vec()
}

#[pollster::test]
async fn what_is_made_or_set_opens_and_is_what_is_shown() {
    let peppered = sealing().peppered(pepper(1));
    for scene in Scene::everywhere().await {
        for (name, scheme) in [("plain", sealing()), ("peppered", peppered.clone())] {
            let service = scene.keeping(scheme).await;
            let created = service.create(&ALICES, TokenChange::new().identifier(name)).await;
            let created = created.unwrap();
            assert!(created.is_key_retained());
            let shown = async || service.view_key(&ALICES, name).await.unwrap();
            assert_eq!(shown().await, created.key);
            assert!(opens(&service, &created.key).await);

            let rotated = service.rotate(&ALICES, name, Expected::Anything).await.unwrap().key;
            assert_eq!(shown().await, rotated);
            assert!(opens(&service, &rotated).await && !opens(&service, &created.key).await);

            let chosen = format!("{CHOSEN}, {name}");
            set(&service, name, &chosen).await.unwrap();
            assert_eq!(shown().await, key(&chosen));
            assert!(opens(&service, &key(&chosen)).await && !opens(&service, &rotated).await);
            let told: Vec<_> = scene.kinds(name).await.iter().map(|kind| kind.as_str()).collect();
            let done = ["created", "key_viewed", "rotated", "key_viewed", "key_set", "key_viewed"];
            assert_eq!(told, done, "{}", scene.name());
        }
    }
}

#[pollster::test]
async fn a_key_of_which_only_a_digest_is_kept_opens_and_is_never_shown() {
    for scene in Scene::everywhere().await {
        for scheme in [KeyScheme::digest_only(), KeyScheme::digest_only().peppered(pepper(1))] {
            let service = scene.keeping(scheme).await;
            let created =
                service.create(&ALICES, TokenChange::new().identifier("ci")).await.unwrap();
            assert!(!created.is_key_retained() && created.view.token.sealed_key.is_none());
            let rotated = service.rotate(&ALICES, "ci", Expected::Anything).await.unwrap().key;
            assert!(opens(&service, &rotated).await && !opens(&service, &created.key).await);
            set(&service, "ci", CHOSEN).await.unwrap();
            assert!(opens(&service, &key(CHOSEN)).await && !opens(&service, &rotated).await);

            let before = scene.state().await;
            for caller in [ALICES, ADMIN, Caller::System] {
                let error = service.view_key(&caller, "ci").await.unwrap_err();
                assert!(matches!(error, TokenError::KeyNotRetained), "{error:?}");
                assert_eq!(error.to_json()["code"], "key_not_retained");
            }
            let stranger = service.view_key(&Caller::User(BOB), "ci").await;
            assert!(matches!(stranger, Err(TokenError::NotFound)), "access is judged first");
            assert_eq!(scene.state().await, before, "what was not shown has no event");
            service.delete(&ALICES, "ci", Expected::Anything).await.unwrap();
        }
    }
}

#[pollster::test]
async fn no_key_is_shown_before_its_event_is_committed() {
    for scene in Scene::everywhere().await {
        let created = scene.create_own("ci").await;
        scene.tick();
        let failing = Arc::new(FailingStore::new(scene.backend.tokens.clone()));
        let service = scene.over(failing.clone()).await;
        let before = scene.state().await;
        for kind in [StoreErrorKind::Busy, StoreErrorKind::Full, StoreErrorKind::Other] {
            failing.fail_next_commit(kind);
            let error = service.view_key(&ALICES, "ci").await.unwrap_err();
            assert!(matches!(error, TokenError::Store(_)), "{error:?}");
            assert_eq!(scene.state().await, before);
        }
        failing.fail_next_commit(StoreErrorKind::OutcomeUnknown);
        assert!(service.view_key(&ALICES, "ci").await.unwrap_err().is_outcome_unknown());
        assert_eq!(scene.state().await, before);
        // An event that is there lets the key be shown, whether or not the store said so.
        scene.tick();
        failing.lose_next_answer();
        assert_eq!(service.view_key(&ALICES, "ci").await.unwrap(), created.key);
        assert_eq!(scene.kinds("ci").await, [EventKind::Created, EventKind::KeyViewed]);
        scene.tick();

        assert_eq!(service.view_key(&ALICES, "ci").await.unwrap(), created.key);
        let event = scene.events().await.pop().unwrap();
        assert_eq!((event.kind, event.actor), (EventKind::KeyViewed, ALICES));
        assert_eq!((event.revision.get(), event.changed.to_string()), (1, String::new()));
        assert_eq!(scene.tokens().await, before.0, "looking changes nothing");
    }
}

#[pollster::test]
async fn the_key_that_is_shown_is_that_of_the_revision_in_the_event() {
    for scene in Scene::everywhere().await {
        let old = scene.create_own("ci").await.key;
        let meddled = Arc::new(MeddledStore::new(scene.backend.tokens.clone()));
        let service = scene.over(meddled.clone()).await;
        let rotator = scene.service.clone();
        meddled.before_next_commit(move || async move {
            rotator.rotate(&ADMIN, "ci", Expected::Anything).await.unwrap();
        });
        let shown = service.view_key(&ALICES, "ci").await.unwrap();
        assert!(shown != old && scene.opens(&shown).await);
        let told = scene.events().await.into_iter();
        let told: Vec<_> = told.filter(|event| event.kind == EventKind::KeyViewed).collect();
        assert_eq!((told.len(), told[0].revision.get()), (1, 2));

        for _ in 0..tokenkeep::MAX_ATTEMPTS {
            let inner = scene.backend.tokens.clone();
            meddled.before_next_commit(move || async move {
                change(&*inner, "ci", |_| {}).await;
            });
        }
        let error = service.view_key(&ALICES, "ci").await.unwrap_err();
        assert!(matches!(error, TokenError::Contended) && error.is_retryable(), "{error:?}");
    }
}

#[pollster::test]
async fn a_pepper_that_is_turned_on_or_changed_leaves_every_key_valid() {
    for scene in Scene::everywhere().await {
        let plain = KeyScheme::digest_only();
        let first = KeyScheme::digest_only().peppered(pepper(1));
        let second = KeyScheme::digest_only().peppered(pepper(2)).also_accepting(pepper(1));
        let mut keys = Vec::new();
        for (name, scheme) in [("plain", plain), ("first", first), ("second", second)] {
            let service = scene.keeping(scheme).await;
            keys.push(service.create(&ALICES, TokenChange::new().identifier(name)).await);
            let valid = async |key: &TokenKey| opens(&service, key).await;
            for created in &keys {
                assert!(valid(&created.as_ref().unwrap().key).await, "{name}");
            }
        }
        let peppers = [None, NonZeroU8::new(1), NonZeroU8::new(2)];
        for (name, pepper) in ["plain", "first", "second"].into_iter().zip(peppers) {
            let token = scene.find(name).await.unwrap();
            assert_eq!(token.key_digest.pepper_id(), pepper, "new keys have the current pepper");
        }
        let newest =
            scene.keeping(KeyScheme::digest_only().peppered(pepper(2)).also_accepting(pepper(1)));
        let rotated = newest.await.rotate(&ALICES, "plain", Expected::Anything).await.unwrap();
        assert_eq!(rotated.view.token.key_digest.pepper_id(), peppers[2]);
    }
}

#[pollster::test]
async fn a_key_is_unique_whatever_pepper_it_was_digested_with() {
    for scene in Scene::everywhere().await {
        for name in ["plain", "first", "other"] {
            scene.create_own(name).await;
        }
        set(&scene.service, "plain", CHOSEN).await.unwrap();
        let first = scene.keeping(sealing().peppered(pepper(1))).await;
        assert_eq!(refusals(set(&first, "other", CHOSEN).await), [FieldError::KeyTaken]);
        set(&first, "first", OTHER).await.unwrap();
        let second = sealing().peppered(pepper(2)).also_accepting(pepper(1));
        let second = scene.keeping(second).await;
        let before = scene.state().await;
        for taken in [CHOSEN, OTHER] {
            assert_eq!(refusals(set(&second, "other", taken).await), [FieldError::KeyTaken]);
        }
        // Its own key again, though digested with an older pepper, or none, changes nothing.
        assert_eq!(set(&second, "plain", CHOSEN).await.unwrap().get(), 2);
        assert_eq!(set(&second, "first", OTHER).await.unwrap().get(), 2);
        assert_eq!(scene.state().await, before);
    }
}

#[pollster::test]
async fn a_service_that_does_not_know_a_pepper_of_its_store_does_not_open() {
    for scene in Scene::everywhere().await {
        let peppered = scene.keeping(sealing().peppered(pepper(7))).await;
        let open = async |scheme| {
            let builder = scene.builder(scene.backend.tokens.clone()).keys(scheme);
            builder.open().await.map(drop)
        };
        assert!(open(sealing()).await.is_ok(), "no key has it yet");
        peppered.create(&ALICES, TokenChange::new().identifier("ci")).await.unwrap();
        for scheme in [sealing(), KeyScheme::digest_only(), sealing().peppered(pepper(1))] {
            let refused = open(scheme).await;
            assert!(matches!(refused, Err(OpenError::UnknownPepper(id)) if id.get() == 7));
        }
        assert!(open(sealing().peppered(pepper(1)).also_accepting(pepper(7))).await.is_ok());
        assert!(open(sealing().peppered(pepper(7))).await.is_ok());

        let failing = Arc::new(FailingStore::new(scene.backend.tokens.clone()));
        failing.fail_next(StoreErrorKind::Unavailable);
        let error = scene.builder(failing).keys(sealing()).open().await.unwrap_err();
        assert!(matches!(error, OpenError::Store(_)), "{error:?}");
    }
}

#[pollster::test]
async fn a_key_that_an_older_sealing_key_sealed_is_sealed_anew_when_it_is_viewed() {
    for scene in Scene::everywhere().await {
        let created = scene.create_own("ci").await;
        scene.tick();
        let both = KeyScheme::sealing(sealing_key(2)).also_opening(sealing_key(1));
        let both = scene.keeping(both.peppered(pepper(1))).await;
        assert_eq!(both.view_key(&ALICES, "ci").await.unwrap(), created.key);
        let resealed = scene.find("ci").await.unwrap();
        assert_eq!(resealed.revision.get(), 2);
        let event = scene.events().await.pop().unwrap();
        assert_eq!((event.kind, event.revision.get()), (EventKind::KeyViewed, 2));
        assert_eq!(event.changed.to_string(), "key");

        // From here on neither the older key nor the plain digest is needed.
        let new = KeyScheme::sealing(sealing_key(2)).peppered(pepper(1));
        let new = scene.keeping(new).await;
        assert_eq!(new.view_key(&ALICES, "ci").await.unwrap(), created.key);
        assert!(opens(&new, &created.key).await);
        assert_eq!(scene.find("ci").await.unwrap(), resealed, "once is enough");
    }
}

#[pollster::test]
async fn a_key_that_is_viewed_or_renewed_moves_to_a_pepper_that_was_turned_on() {
    for scene in Scene::everywhere().await {
        let viewed = scene.create_own("viewed").await.key;
        let renewed = scene.create_own("renewed").await.key;
        let peppered = scene.keeping(sealing().peppered(pepper(1))).await;
        peppered.view_key(&ALICES, "viewed").await.unwrap();
        assert_eq!(counts(peppered.rekey().await.unwrap()), (1, 0, 0));
        for (name, key) in [("viewed", viewed), ("renewed", renewed)] {
            let token = scene.find(name).await.unwrap();
            assert_eq!(token.key_digest.pepper_id(), NonZeroU8::new(1));
            assert_eq!(token.revision.get(), 2);
            assert!(opens(&peppered, &key).await);
        }
    }
}

#[pollster::test]
async fn a_rekey_goes_on_where_it_was_interrupted() {
    const TOKENS: u64 = 130;
    for scene in Scene::everywhere().await {
        let mut keys = Vec::new();
        for number in 0..TOKENS {
            keys.push(scene.create_own(&format!("ci-{number}")).await.key);
        }
        let digests = scene.keeping(KeyScheme::digest_only().also_opening(sealing_key(1))).await;
        digests.create(&ALICES, TokenChange::new().identifier("digest")).await.unwrap();
        let scheme = KeyScheme::sealing(sealing_key(2)).peppered(pepper(1));
        let failing = Arc::new(FailingStore::new(scene.backend.tokens.clone()));
        let meddled = Arc::new(MeddledStore::new(failing.clone()));
        let both = scheme.clone().also_opening(sealing_key(1));
        let both = scene.builder(meddled.clone()).keys(both).open().await.unwrap();
        for _ in 0..40 {
            meddled.before_next_commit(|| async {});
        }
        meddled.before_next_commit(move || async move {
            failing.fail_next_commit(StoreErrorKind::Unavailable);
        });
        assert!(both.rekey().await.unwrap_err().is_retryable());

        let report = both.rekey().await.unwrap();
        assert_eq!(counts(report), (TOKENS - 40, 0, 1), "{}", scene.name());
        assert_eq!(counts(both.rekey().await.unwrap()), (0, 0, 1), "once is enough");
        let new = scene.keeping(scheme).await;
        for (number, key) in keys.iter().enumerate() {
            let name = format!("ci-{number}");
            assert_eq!(scene.find(&name).await.unwrap().revision.get(), 2);
            assert_eq!(new.view_key(&ALICES, &name).await.unwrap(), *key);
            assert!(opens(&new, key).await);
        }
        let told = scene.events().await;
        let renewed = told.iter().filter(|event| event.kind == EventKind::Updated);
        assert!(renewed.clone().all(|event| event.actor == Caller::System));
        assert!(renewed.clone().all(|event| event.changed.to_string() == "key"));
        assert_eq!(renewed.count() as u64, TOKENS);
    }
}

#[pollster::test]
async fn a_rekey_meets_what_is_renamed_between_two_pages() {
    for scene in Scene::everywhere().await {
        for number in 0..130 {
            scene.create_own(&format!("ci-{number:03}")).await;
        }
        let meddled = Arc::new(MeddledStore::new(scene.backend.tokens.clone()));
        let both = KeyScheme::sealing(sealing_key(2)).also_opening(sealing_key(1));
        let service = scene.builder(meddled.clone()).keys(both).open().await.unwrap();
        let inner = scene.backend.tokens.clone();
        meddled.between_lists(move || async move {
            change(&*inner, "ci-129", |token| token.identifier = "ci".parse().unwrap()).await;
        });
        assert_eq!(counts(service.rekey().await.unwrap()), (130, 0, 0), "{}", scene.name());
        assert_eq!(scene.find("ci").await.unwrap().revision.get(), 3);
    }
}

#[pollster::test]
async fn the_events_of_a_long_rekey_tell_when_each_happened() {
    let scene = Scene::on(Backend::memory()).await;
    let began = scene.now();
    for number in 0..130 {
        scene.create_own(&format!("ci-{number}")).await;
    }
    let meddled = Arc::new(MeddledStore::new(scene.backend.tokens.clone()));
    let both = KeyScheme::sealing(sealing_key(2)).also_opening(sealing_key(1));
    let service = scene.builder(meddled.clone()).keys(both).open().await.unwrap();
    let clock = scene.clock.clone();
    meddled.between_lists(move || async move { clock.advance(Duration::from_secs(3_600)) });
    assert_eq!(service.rekey().await.unwrap().renewed, 130);
    let renewed = scene.events().await.into_iter().filter(|event| event.kind == EventKind::Updated);
    let times: BTreeSet<_> = renewed.map(|event| event.at).collect();
    assert_eq!(times, [began, scene.now()].into());
    let updated: BTreeSet<_> = scene.tokens().await.iter().map(|token| token.updated).collect();
    assert_eq!(updated, times);
}

fn counts(report: RekeyReport) -> (u64, u64, u64) {
    (report.renewed, report.left_alone, report.digest_only)
}

#[pollster::test]
async fn a_rekey_leaves_alone_what_is_changed_in_between() {
    for scene in Scene::everywhere().await {
        scene.create_own("ci").await;
        let meddled = Arc::new(MeddledStore::new(scene.backend.tokens.clone()));
        let both = KeyScheme::sealing(sealing_key(2)).also_opening(sealing_key(1));
        let service = scene.builder(meddled.clone()).keys(both).open().await.unwrap();
        let inner = scene.backend.tokens.clone();
        meddled.before_next_commit(move || async move {
            change(&*inner, "ci", |token| token.description = "theirs".into()).await;
        });
        assert_eq!(counts(service.rekey().await.unwrap()), (0, 1, 0));
        assert_eq!(&*scene.find("ci").await.unwrap().description, "theirs");

        assert_eq!(counts(service.rekey().await.unwrap()), (1, 0, 0));
    }
}

#[pollster::test]
async fn rekey_that_seals_nothing_deletes_sealed_keys() {
    for scene in Scene::everywhere().await {
        let key = scene.create_own("ci").await.key;
        let opening = KeyScheme::digest_only().also_opening(sealing_key(1)).peppered(pepper(1));
        let opening = scene.keeping(opening).await;
        let report = opening.rekey().await.unwrap();
        assert_eq!((report.unsealed, counts(report)), (1, (0, 0, 0)));
        let token = scene.find("ci").await.unwrap();
        assert_eq!((token.sealed_key, token.key_digest.pepper_id()), (None, NonZeroU8::new(1)));
        assert!(opens(&opening, &key).await);
        assert_eq!(opening.rekey().await.unwrap().unsealed, 0);

        // Of a sealing key that is lost, the seals go, and the digests stay as they are.
        let key = scene.create_own("other").await.key;
        let lost = KeyScheme::digest_only().lost_sealing_key(1).peppered(pepper(1));
        let lost = scene.keeping(lost).await;
        let report = lost.rekey().await.unwrap();
        assert_eq!((report.unsealed, counts(report)), (1, (0, 0, 1)));
        assert_eq!(scene.find("other").await.unwrap().sealed_key, None);
        assert!(opens(&lost, &key).await);
    }
}

#[pollster::test]
async fn service_with_a_missing_or_wrong_secret_does_not_open() {
    for scene in Scene::everywhere().await {
        let created = scene.create_own("ci").await;
        let peppered = sealing().peppered(pepper(3));
        drop(scene.keeping(peppered.clone()).await);
        let before = scene.state().await;
        let open = async |scheme: KeyScheme| {
            scene.builder(scene.backend.tokens.clone()).keys(scheme).open().await
        };
        let wrong = |id: u8| Pepper::new(NonZeroU8::new(id).unwrap(), [99; 32]);
        let other = || SealingKey::new(1, [99; 32]);
        for scheme in [
            KeyScheme::digest_only(),
            KeyScheme::sealing(sealing_key(2)),
            KeyScheme::digest_only().also_opening(sealing_key(2)),
        ] {
            let refused = open(scheme).await;
            assert!(matches!(refused, Err(OpenError::UnknownSealingKey(1))), "{refused:?}");
        }
        for scheme in
            [KeyScheme::sealing(other()), KeyScheme::sealing(sealing_key(2)).also_opening(other())]
        {
            let refused = open(scheme).await;
            assert!(matches!(refused, Err(OpenError::WrongSealingKey(1))), "{refused:?}");
        }
        for scheme in [sealing().peppered(wrong(3)), sealing().also_accepting(wrong(3))] {
            let refused = open(scheme).await;
            let is_wrong = matches!(&refused, Err(OpenError::WrongPepper(id)) if id.get() == 3);
            assert!(is_wrong, "{refused:?}");
        }
        for (scheme, twice) in [
            (
                peppered.clone().also_accepting(wrong(3)),
                SecretId::Pepper(NonZeroU8::new(3).unwrap()),
            ),
            (
                peppered.clone().also_accepting(pepper(3)),
                SecretId::Pepper(NonZeroU8::new(3).unwrap()),
            ),
            (sealing().also_opening(other()), SecretId::SealingKey(1)),
        ] {
            let refused = open(scheme).await;
            let is_twice = matches!(&refused, Err(OpenError::DuplicateSecret(id)) if *id == twice);
            assert!(is_twice, "{refused:?}");
        }
        assert_eq!(scene.state().await, before);
        // The same ids, one of a pepper and one of a sealing key, are two secrets.
        open(sealing().peppered(pepper(1))).await.unwrap();
        assert!(opens(&open(peppered).await.unwrap(), &created.key).await);
    }
}

#[pollster::test]
async fn key_that_a_lost_sealing_key_sealed_stays_closed() {
    for scene in Scene::everywhere().await {
        let created = scene.create_own("ci").await;
        let before = scene.state().await;
        for scheme in [
            KeyScheme::sealing(sealing_key(2)).lost_sealing_key(1),
            KeyScheme::digest_only().also_opening(sealing_key(2)).lost_sealing_key(1),
        ] {
            let service = scene.keeping(scheme).await;
            for caller in [ALICES, ADMIN, Caller::System] {
                let error = service.view_key(&caller, "ci").await.unwrap_err();
                let is_unknown = matches!(&error, TokenError::Unseal(UnsealError::UnknownKey(1)));
                assert!(is_unknown, "{error:?}");
                let told =
                    json!({"detail": "The key of this token cannot be read.", "code": "error"});
                assert_eq!(error.to_json(), told);
            }
            assert!(opens(&service, &created.key).await, "the digest is enough to let in");
            assert_eq!(scene.state().await, before);
        }
        let none = scene.keeping(KeyScheme::digest_only().lost_sealing_key(1)).await;
        let error = none.view_key(&ADMIN, "ci").await.unwrap_err();
        assert!(matches!(error, TokenError::KeyNotRetained), "without sealing keys, none is kept");
        let scheme = KeyScheme::sealing(sealing_key(2)).lost_sealing_key(1);
        let report = scene.keeping(scheme).await.rekey().await.unwrap();
        assert_eq!((report.renewed, report.failed), (0, 1), "the others would be renewed");
        assert_eq!(scene.state().await, before);
    }
}

#[pollster::test]
async fn a_sealed_key_that_is_copied_to_another_token_does_not_open() {
    for scene in Scene::everywhere().await {
        let rich = scene.create("rich", Intent::Api).await;
        scene.create_own("own").await;
        let sealed = rich.view.token.sealed_key.clone();
        change(&*scene.backend.tokens, "own", |token| token.sealed_key = sealed).await;
        let events = scene.events().await;
        let error = scene.service.view_key(&ALICES, "own").await.unwrap_err();
        assert!(matches!(error, TokenError::Unseal(UnsealError::Damaged)), "{error:?}");
        assert_eq!(scene.events().await, events);
    }
}

#[pollster::test]
async fn a_key_that_is_set_is_trimmed_and_long_enough() {
    for scene in Scene::everywhere().await {
        scene.create_own("ci").await;
        let before = scene.state().await;
        let (short, long) = ("k".repeat(31), "k".repeat(32));
        let too_short = FieldError::KeyTooShort { min: 32 };
        assert_eq!(too_short.to_string(), "This key is too short: at least 32 characters");
        for (refused, why) in [
            (short.as_str(), too_short.clone()),
            (&format!("  {short}  "), too_short.clone()),
            ("é".repeat(31).as_str(), too_short),
            (" \t ", FieldError::Blank),
            (&format!("{long}\0"), FieldError::NullCharacter),
        ] {
            assert_eq!(refusals(set(&scene.service, "ci", refused).await), [why]);
        }
        let unreadable = KeyChange::from_json(b"{");
        let error = scene.service.set_key(&ADMIN, "ci", unreadable).await.unwrap_err();
        assert_eq!(error.code(), "parse_error");
        assert_eq!(scene.state().await, before);

        assert_eq!(set(&scene.service, "ci", &format!(" {long}\n")).await.unwrap().get(), 2);
        assert!(scene.opens(&key(&long)).await && !scene.opens(&key(&format!(" {long}\n"))).await);
        let event = scene.events().await.pop().unwrap();
        assert_eq!((event.kind, event.actor), (EventKind::KeySet, ADMIN));
        assert_eq!((event.revision.get(), event.changed.to_string()), (2, "key".to_owned()));
        assert_eq!(set(&scene.service, "ci", &"é".repeat(32)).await.unwrap().get(), 3);

        let policy = Policy { minimum_key_length: 1, ..Policy::default() };
        let lenient = scene.builder(scene.backend.tokens.clone()).policy(policy).keys(sealing());
        set(&lenient.open().await.unwrap(), "ci", "k").await.unwrap();
        assert!(scene.opens(&key("k")).await, "as the host has it");
    }
}

#[pollster::test]
async fn a_key_that_belongs_to_another_token_is_refused_and_the_own_one_changes_nothing() {
    for scene in Scene::everywhere().await {
        scene.create_own("one").await;
        let created = scene.create_own("two").await;
        set(&scene.service, "one", CHOSEN).await.unwrap();
        let before = scene.state().await;
        for taken in [CHOSEN.to_owned(), format!(" {CHOSEN} ")] {
            assert_eq!(refusals(set(&scene.service, "two", &taken).await), [FieldError::KeyTaken]);
        }
        let error = set(&scene.service, "two", CHOSEN).await.unwrap_err();
        let told = json!({"key": ["This key is already in use"], "code": "invalid"});
        assert_eq!(error.to_json(), told);
        assert_eq!(set(&scene.service, "one", CHOSEN).await.unwrap().get(), 2);
        assert_eq!(scene.state().await, before, "no event, no revision");
        assert!(scene.opens(&created.key).await);

        // A key that is taken in between is refused too.
        let meddled = Arc::new(MeddledStore::new(scene.backend.tokens.clone()));
        let service = scene.over(meddled.clone()).await;
        let others = scene.service.clone();
        meddled.before_next_commit(move || async move {
            set(&others, "one", OTHER).await.unwrap();
        });
        assert_eq!(refusals(set(&service, "two", OTHER).await), [FieldError::KeyTaken]);
        assert!(scene.opens(&created.key).await);
    }
}

#[pollster::test]
async fn a_rotation_moves_the_expiry_as_far_as_it_may() {
    for scene in Scene::everywhere().await {
        let policy = Policy {
            default_duration: std::time::Duration::from_secs(36_000),
            ..Policy::default()
        };
        let builder = scene.builder(scene.backend.tokens.clone()).keys(sealing());
        let service = builder.policy(policy).open().await.unwrap();
        let lifetime = "goauthentik.io/user/token-maximum-lifetime";
        let bob = User {
            attributes: [(lifetime.to_owned(), json!("hours=2"))].into_iter().collect(),
            ..user(BOB, "bob")
        };
        scene.backend.users.put_user(bob).await.unwrap();
        for (owner, intent, hours) in [
            (ALICE, Intent::Api, 10),
            (ALICE, Intent::AppPassword, 10),
            (BOB, Intent::Api, 10),
            (BOB, Intent::AppPassword, 2),
        ] {
            for expiring in [true, false] {
                let name = format!("{owner}-{intent}-{expiring}");
                let new = TokenChange::new()
                    .identifier(&name)
                    .intent(intent)
                    .owner(owner)
                    .expiring(expiring);
                service.create(&Caller::System, new).await.unwrap();
                let rotated = service.rotate(&ADMIN, &name, Expected::Anything).await.unwrap();
                let token = rotated.view.token;
                let due = shifted(scene.now(), hours * HOUR);
                assert_eq!((token.expires, token.expiring), (Some(due), expiring), "{name}");
                assert_eq!(scene.find(&name).await, Some(Token::clone(&token)));
            }
        }
        scene.clock.set(shifted(scene.now(), HOUR));
        let again = service.rotate(&ADMIN, "2-api-true", Expected::Anything).await.unwrap();
        assert_eq!(again.view.token.expires, Some(shifted(scene.now(), 10 * HOUR)));
        assert_eq!((again.view.token.updated, again.view.revision().get()), (scene.now(), 3));
        let event = scene.events().await.pop().unwrap();
        assert_eq!((event.kind, event.actor, event.at), (EventKind::Rotated, ADMIN, scene.now()));
        assert_eq!((event.revision.get(), event.changed.to_string().as_str()), (3, "expires, key"));
    }
}

#[pollster::test]
async fn single_use_tokens_are_not_rotated() {
    for scene in Scene::everywhere().await {
        for intent in [Intent::Recovery, Intent::Verification] {
            scene.create(intent.as_str(), intent).await;
            let before = scene.state().await;
            for caller in [ADMIN, Caller::System] {
                let rotated = scene.service.rotate(&caller, intent.as_str(), Expected::Anything);
                let error = rotated.await.unwrap_err();
                let told = error.field_errors().unwrap().get(TokenField::Intent);
                assert_eq!(told, [FieldError::IntentNotRotatable]);
                assert_eq!(error.code(), "invalid");
            }
            assert_eq!(scene.state().await, before);
        }
    }
}

/// The operations that can be told which version they are meant for.
#[derive(Debug, Clone, Copy)]
enum Conditional {
    Update,
    PartialUpdate,
    SetKey,
    Rotate,
    Delete,
}

impl Conditional {
    const ALL: [Self; 5] =
        [Self::Update, Self::PartialUpdate, Self::SetKey, Self::Rotate, Self::Delete];

    async fn run(self, service: &TokenService, expected: Expected) -> Result<(), TokenError> {
        let change =
            TokenChange::new().identifier("ci").description("new").expecting(expected.clone());
        match self {
            Self::Update => service.update(&ADMIN, "ci", change).await.map(drop),
            Self::PartialUpdate => service.partial_update(&ADMIN, "ci", change).await.map(drop),
            Self::SetKey => {
                let change = KeyChange::new(CHOSEN).expecting(expected);
                service.set_key(&ADMIN, "ci", change).await.map(drop)
            }
            Self::Rotate => service.rotate(&ADMIN, "ci", expected).await.map(drop),
            Self::Delete => service.delete(&ADMIN, "ci", expected).await.map(drop),
        }
    }
}

#[pollster::test]
async fn an_operation_is_done_to_the_version_that_it_is_meant_for_only() {
    for scene in Scene::everywhere().await {
        for operation in Conditional::ALL {
            let id = scene.create_own("ci").await.view.token.id;
            change(&*scene.backend.tokens, "ci", |_| {}).await;
            let revision = |number| Revision::new(number).unwrap();
            let other = TokenId::from_bytes([9; 16]);
            let before = scene.state().await;
            for (expected, why) in [
                (Expected::from((id, revision(1))), "an older revision"),
                (Expected::from((id, revision(3))), "one that is not there yet"),
                (Expected::OneOf(Vec::new()), "nothing that can be there"),
                (Expected::from((other, revision(2))), "another token at the same revision"),
                (Expected::OneOf(vec![(id, revision(1)), (other, revision(2))]), "none of them"),
            ] {
                let error = operation.run(&scene.service, expected).await.unwrap_err();
                let stale = matches!(error, TokenError::Stale { current } if current.get() == 2);
                assert!(stale, "{operation:?}, {why}: {error:?}");
                assert_eq!(error.code(), "precondition_failed");
                assert_eq!(scene.state().await, before, "{operation:?}, {why}");
            }
            let right = match operation {
                Conditional::Update => Expected::from((id, revision(2))),
                Conditional::SetKey => Expected::OneOf(vec![(id, revision(2))]),
                _ => Expected::OneOf(vec![
                    (other, revision(1)),
                    (id, revision(1)),
                    (id, revision(2)),
                ]),
            };
            operation.run(&scene.service, right).await.unwrap();
            assert_ne!(scene.state().await, before);
            let _ = scene.service.delete(&ADMIN, "ci", Expected::Anything).await;
        }
    }
}

#[pollster::test]
async fn a_version_that_is_lost_on_the_way_fails_at_once_and_any_other_is_tried_again() {
    for scene in Scene::everywhere().await {
        for operation in Conditional::ALL {
            let first = scene.create_own("ci").await.view.version();
            let meddled = Arc::new(MeddledStore::new(scene.backend.tokens.clone()));
            let service = scene.over(meddled.clone()).await;
            let meddle = || {
                let inner = scene.backend.tokens.clone();
                meddled.before_next_commit(move || async move {
                    change(&*inner, "ci", |token| token.description = "theirs".into()).await;
                });
            };
            meddle();
            let error = operation.run(&service, first.into()).await.unwrap_err();
            let stale = matches!(error, TokenError::Stale { current } if current.get() == 2);
            assert!(stale, "{operation:?}: {error:?}");
            assert_eq!(&*scene.find("ci").await.unwrap().description, "theirs");

            meddle();
            operation.run(&service, Expected::Anything).await.unwrap();
            let left = scene.find("ci").await;
            let revision = left.map(|token| token.revision.get());
            let deleted = matches!(operation, Conditional::Delete);
            assert_eq!(revision, (!deleted).then_some(4), "{operation:?}");
            let _ = scene.service.delete(&ADMIN, "ci", Expected::Anything).await;
        }
    }
}

#[pollster::test]
async fn a_revision_is_that_of_the_token_which_was_seen_and_not_of_its_heir() {
    for scene in Scene::everywhere().await {
        for (operation, number) in Conditional::ALL.into_iter().zip(1..) {
            let first = scene.create_own("ci").await.view.version();
            let meddled = Arc::new(MeddledStore::new(scene.backend.tokens.clone()));
            let service = scene.over(meddled.clone()).await;
            let (others, inner) = (scene.service.clone(), scene.backend.tokens.clone());
            let heir = row(number, "ci", ALICE, "the key of the heir");
            let insert = Change::Insert(Arc::new(heir.clone()));
            meddled.before_next_commit(move || async move {
                others.delete(&ADMIN, "ci", Expected::Anything).await.unwrap();
                inner.commit(Commit { changes: vec![insert], events: Vec::new() }).await.unwrap();
            });
            let refused = operation.run(&service, first.into()).await;
            assert!(matches!(refused, Err(TokenError::NotFound)), "{operation:?}: {refused:?}");
            assert_eq!(scene.find("ci").await, Some(heir));
            scene.service.delete(&ADMIN, "ci", Expected::Anything).await.unwrap();
        }
    }
}

/// The name of a deleted token can be anybody's, and its first revision has the same number.
#[pollster::test]
async fn version_of_a_deleted_token_matches_no_later_token_of_the_name() {
    for scene in Scene::everywhere().await {
        for operation in Conditional::ALL {
            let seen = scene.create_own("ci").await.view.version();
            scene.service.delete(&ADMIN, "ci", Expected::Anything).await.unwrap();
            let heir = scene.create_own("ci").await;
            assert_eq!(heir.view.revision(), seen.1);
            let before = scene.state().await;
            let refused = operation.run(&scene.service, seen.into()).await;
            assert!(matches!(refused, Err(TokenError::Stale { .. })), "{operation:?}: {refused:?}");
            assert_eq!(scene.state().await, before);
            scene.service.delete(&ADMIN, "ci", Expected::Anything).await.unwrap();
        }
    }
}

#[pollster::test]
async fn a_key_that_moves_to_the_current_pepper_opens_all_the_time() {
    for scene in Scene::everywhere().await {
        let api = scene.create_own("api").await.key;
        let link = scene.create("link", Intent::Recovery).await.key;
        let peppered = sealing().peppered(pepper(1));
        let rekeying = scene.keeping(peppered.clone()).await;
        let meddled = Arc::new(MeddledStore::new(scene.backend.tokens.clone()));
        let service = scene.builder(meddled.clone()).keys(peppered).open().await.unwrap();
        let meddle = || {
            let rekeying = rekeying.clone();
            meddled.between_finds(move || async move {
                rekeying.rekey().await.unwrap();
            });
        };
        meddle();
        assert!(opens(&service, &api).await, "{}: refused while it was renewed", scene.name());
        change(&*scene.backend.tokens, "link", |token| {
            token.key_digest = KeyScheme::digest_only().digest(&link);
        })
        .await;
        meddle();
        let consumed = service.consume(Intent::Recovery, &link).await;
        assert!(consumed.is_ok(), "{}: {consumed:?}", scene.name());
    }
}

#[pollster::test]
async fn a_key_that_two_tokens_got_under_two_peppers_is_viewed_and_stops_nobody() {
    for scene in Scene::everywhere().await {
        let key = scene.create_own("old").await.key;
        scene.create_own("other").await;
        // A process that does not know of the first digest: its key is given out again.
        let current = scene.keeping(sealing().peppered(pepper(1))).await;
        change(&*scene.backend.tokens, "other", |token| {
            token.key_digest = KeyDigest::peppered(&key, &pepper(1));
        })
        .await;
        for _ in 0..2 {
            assert_eq!(current.view_key(&ADMIN, "old").await.unwrap(), key);
        }
        let report = current.rekey().await.unwrap();
        assert_eq!((report.renewed, report.failed), (0, 1), "{}", scene.name());
    }
}
