//! What an automated process wants is brought about as a whole, once, and as it was predicted.

use std::num::NonZeroU8;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::select;
use tokenkeep::{
    Caller, Event, EventKind, EventQuery, Field, FieldError, Identifier, Intent, KeyDigest,
    KeyScheme, Lookup, ManagedToken, ManualClock, Marker, Pepper, Reconcile, ReconcileError,
    ReconcileReport, RequestField, StoreErrorKind, Timestamp, Token, TokenChange, TokenError,
    TokenField, TokenKey, TokenService, User, UserId,
};
use tokenkeep_memory::FailingStore;
use tokenkeep_tests::backend::Backend;
use tokenkeep_tests::meddling::{MeddledStore, change};
use tokenkeep_tests::properties::cases_at_least;
use tokenkeep_tests::vectors::all_tokens;
use uuid::Uuid;

const ALICE: UserId = UserId::new(2);
const BOB: UserId = UserId::new(3);

/// A service on a backend, with two users.
struct Scene {
    backend: Backend,
    clock: Arc<ManualClock>,
    service: TokenService,
}

impl Scene {
    async fn on(backend: Backend) -> Self {
        for (id, name) in [(ALICE, "alice"), (BOB, "bob")] {
            let user = User::new(id, Uuid::from_u128(1), name, Timestamp::MIN);
            backend.users.put_user(user).await.unwrap();
        }
        let clock = Arc::new(ManualClock::at("2024-09-27T14:00Z".parse().unwrap()));
        let builder = backend.builder();
        let service = builder.clock(clock.clone()).open().await.unwrap();
        Self { backend, clock, service }
    }

    async fn new() -> Self {
        Self::on(Backend::memory()).await
    }

    async fn rows(&self) -> (Vec<Token>, Vec<Event>) {
        let every = EventQuery { limit: 10_000, ..EventQuery::default() };
        (all_tokens(&*self.backend.tokens).await, self.service.events(&every).await.unwrap().events)
    }

    async fn create(&self, change: TokenChange) -> Token {
        let created = self.service.create(&Caller::System, change).await.unwrap();
        Token::clone(&created.view.token)
    }

    async fn of_marker(&self, name: &str) -> Token {
        let found = self.backend.tokens.find(Lookup::Marker(&marker(name))).await.unwrap();
        Token::clone(&found.unwrap())
    }

    /// Reconciles what cannot be, and returns why not.
    async fn refused(&self, wanted: &Reconcile) -> Vec<(Marker, RequestField, FieldError)> {
        let before = self.rows().await;
        let Err(ReconcileError::Refused(report)) = self.service.reconcile(wanted).await else {
            panic!("it was not refused");
        };
        assert_eq!(self.rows().await, before, "nothing may have been changed");
        let refused = report.refused.iter().flat_map(|(marker, errors)| {
            let errors = errors
                .iter()
                .flat_map(|(field, errors)| errors.iter().map(move |error| (field, error.clone())));
            errors.map(|(field, error)| (marker.clone(), field, error))
        });
        refused.collect()
    }
}

fn marker(name: &str) -> Marker {
    name.parse().unwrap()
}

fn alices(identifier: &str) -> TokenChange {
    TokenChange::new().identifier(identifier).owner(ALICE)
}

fn present(name: &str, change: TokenChange) -> ManagedToken {
    ManagedToken::present(marker(name), change)
}

#[pollster::test]
async fn a_token_that_differs_is_brought_back_in_what_is_wanted_only() {
    let scene = Scene::new().await;
    let wanted = Reconcile::new([present("m/a", alices("a").description("as wanted"))]);
    scene.service.reconcile(&wanted).await.unwrap();
    let first = scene.of_marker("m/a").await;

    let edit = TokenChange::new().identifier("b").description("edited").intent(Intent::AppPassword);
    scene.service.partial_update(&Caller::System, "a", edit).await.unwrap();
    scene.clock.advance(Duration::from_secs(3600));
    let again = scene.service.reconcile(&wanted).await.unwrap();
    let fields = [TokenField::Identifier, TokenField::Description].into_iter().collect();
    assert_eq!(again.report.updated, [(marker("m/a"), fields)]);
    assert_eq!(again.keys.len(), 0, "its key is as it was");

    let second = scene.of_marker("m/a").await;
    assert_eq!((&*second.description, second.intent), ("as wanted", Intent::AppPassword));
    assert_eq!((second.id, second.revision.get()), (first.id, 3));
    assert_eq!(second.key_digest, first.key_digest);
}

#[pollster::test]
async fn the_expiry_of_an_api_token_is_not_looked_at() {
    let scene = Scene::new().await;
    let expires: Timestamp = "2030-01-01T00:00Z".parse().unwrap();
    let body = br#"{"identifier": "api", "user": 2, "expires": "2030-01-01T00:00Z"}"#;
    let from_json = TokenChange::from_json(body);
    let wanted = Reconcile::new([
        present("m/api", from_json),
        present("m/app", alices("app").intent(Intent::AppPassword).expires(expires)),
    ]);
    scene.service.reconcile(&wanted).await.unwrap();
    for identifier in ["api", "app"] {
        let change = TokenChange::from_json(br#"{"expires": null}"#);
        scene.service.partial_update(&Caller::System, identifier, change).await.unwrap();
    }
    scene.clock.advance(Duration::from_secs(3600));
    let report = scene.service.reconcile(&wanted).await.unwrap().report;
    assert_eq!(report.unchanged, [marker("m/api")]);
    assert_eq!(report.updated, [(marker("m/app"), [TokenField::Expires].into_iter().collect())]);
    assert_eq!(scene.of_marker("m/app").await.expires, Some(expires));
}

#[pollster::test]
async fn reconcile_api_expiry_set_in_code_fails() {
    let scene = Scene::new().await;
    let expires: Timestamp = "2030-01-01T00:00Z".parse().unwrap();
    let refused = |wanted: ManagedToken| {
        let wanted = Reconcile::new([wanted]);
        let result = pollster::block_on(scene.service.reconcile(&wanted));
        let Err(ReconcileError::Refused(report)) = result else { panic!("{result:?}") };
        report.refused[0].1.get(TokenField::Expires).to_vec()
    };
    let missing = present("m/a", alices("a").expires(expires));
    assert_eq!(refused(missing), [FieldError::ExpiryNotChosen]);
    // The system chooses the expiry of a token that it creates.
    let created = ManagedToken::created(marker("m/a"), alices("a").expires(expires));
    scene.service.reconcile(&Reconcile::new([created])).await.unwrap();
    assert_eq!(scene.of_marker("m/a").await.expires, Some(expires));
    let there = present("m/a", alices("a").expires(expires));
    assert_eq!(refused(there), [FieldError::ExpiryNotChosen]);
    let becomes = present("m/a", alices("a").intent(Intent::AppPassword).expires(expires));
    scene.service.reconcile(&Reconcile::new([becomes])).await.unwrap();
}

#[pollster::test]
async fn an_api_token_that_is_brought_back_is_renewed() {
    let scene = Scene::new().await;
    let wanted = Reconcile::new([present("m/a", alices("a").description("as wanted"))]);
    scene.service.reconcile(&wanted).await.unwrap();
    let edit = TokenChange::new().description("edited");
    scene.service.partial_update(&Caller::System, "a", edit).await.unwrap();
    scene.clock.advance(Duration::from_secs(3600));
    scene.service.reconcile(&wanted).await.unwrap();
    let renewed = "2024-09-28T15:00Z".parse().unwrap();
    assert_eq!(scene.of_marker("m/a").await.expires, Some(renewed));
}

#[pollster::test]
async fn a_token_gets_back_its_intent_and_what_is_wanted_of_its_expiry() {
    let scene = Scene::new().await;
    let change = alices("a").intent(Intent::AppPassword).expiring(false).expires(Field::Clear);
    let wanted = Reconcile::new([present("m/a", change)]);
    scene.service.reconcile(&wanted).await.unwrap();
    let edit = TokenChange::new().intent(Intent::Api).expiring(true);
    scene.service.partial_update(&Caller::System, "a", edit).await.unwrap();

    let report = scene.service.reconcile(&wanted).await.unwrap().report;
    let fields = [TokenField::Intent, TokenField::Expires, TokenField::Expiring];
    assert_eq!(report.updated, [(marker("m/a"), fields.into_iter().collect())]);
    let token = scene.of_marker("m/a").await;
    assert_eq!((token.intent, token.expiring, token.expires), (Intent::AppPassword, false, None));
}

#[pollster::test]
async fn a_wanted_null_is_the_expiry_that_a_token_has_which_expires() {
    let scene = Scene::new().await;
    let change = alices("a").intent(Intent::AppPassword).expires(Field::Clear);
    let wanted = Reconcile::new([present("m/a", change)]);
    scene.service.reconcile(&wanted).await.unwrap();
    scene.clock.advance(Duration::from_secs(3600));
    let report = scene.service.reconcile(&wanted).await.unwrap().report;
    assert_eq!(report.unchanged, [marker("m/a")]);
}

#[pollster::test]
async fn created_means_only_if_missing_and_absent_means_gone() {
    let scene = Scene::new().await;
    let created = |description| {
        let change = alices("a").description(description);
        Reconcile::new([ManagedToken::created(marker("m/a"), change)])
    };
    scene.service.reconcile(&created("first")).await.unwrap();
    let again = scene.service.reconcile(&created("second")).await.unwrap();
    assert_eq!(again.report.unchanged, [marker("m/a")]);
    assert_eq!(&*scene.of_marker("m/a").await.description, "first");

    let absent = Reconcile::new([ManagedToken::absent(marker("m/a"))]);
    assert_eq!(scene.service.reconcile(&absent).await.unwrap().report.deleted, [marker("m/a")]);
    assert_eq!(scene.service.reconcile(&absent).await.unwrap().report.unchanged, [marker("m/a")]);
    let (tokens, events) = scene.rows().await;
    assert_eq!(tokens, []);
    let kinds: Vec<_> = events.iter().map(|event| (event.kind, event.actor)).collect();
    assert_eq!(kinds, [(EventKind::Created, Caller::System), (EventKind::Deleted, Caller::System)]);
}

#[pollster::test]
async fn pruning_takes_what_nobody_wants_under_a_prefix() {
    let scene = Scene::new().await;
    for (name, identifier) in [("m/a", "a"), ("m/b", "b"), ("M/c", "c"), ("n", "d"), ("m", "e")] {
        scene.create(alices(identifier).managed(name)).await;
    }
    scene.create(alices("unmanaged")).await;
    let wanted = Reconcile::new([present("m/b", TokenChange::new())]).pruning("m/");
    let report = scene.service.reconcile(&wanted).await.unwrap().report;
    assert_eq!((report.deleted, report.unchanged), (vec![marker("m/a")], vec![marker("m/b")]));
    assert_eq!(scene.rows().await.0.len(), 5);

    let everything = Reconcile::new([]).pruning("");
    let refused = scene.service.reconcile(&everything).await.unwrap_err();
    assert!(matches!(refused, ReconcileError::EmptyPrefix));
    assert!(scene.service.reconcile_dry_run(&everything).await.is_err());
}

#[pollster::test]
async fn an_unmanaged_token_is_taken_over_only_where_that_is_asked_for() {
    let scene = Scene::new().await;
    let before = scene.create(alices("a").description("by hand")).await;
    let wanted = || Reconcile::new([present("m/a", alices("a").description("as wanted"))]);
    let taken = (marker("m/a"), TokenField::Identifier.into(), FieldError::IdentifierTaken);
    assert_eq!(scene.refused(&wanted()).await, [taken]);

    let report = scene.service.reconcile(&wanted().taking_over()).await.unwrap().report;
    let fields = [TokenField::Managed, TokenField::Description].into_iter().collect();
    assert_eq!(report.updated, [(marker("m/a"), fields)]);
    let after = scene.of_marker("m/a").await;
    assert_eq!((after.id, &after.key_digest), (before.id, &before.key_digest));

    // One token cannot be two, and what another marker has is not free.
    let twice = [present("m/x", alices("b")), present("m/y", alices("b"))];
    scene.create(alices("b")).await;
    let refused = scene.refused(&Reconcile::new(twice).taking_over()).await;
    assert_eq!(
        refused,
        [(marker("m/y"), TokenField::Identifier.into(), FieldError::IdentifierTaken)]
    );
    let other = Reconcile::new([present("m/other", alices("a"))]).taking_over();
    assert_eq!(scene.refused(&other).await.len(), 1);
}

#[pollster::test]
async fn what_cannot_be_says_why_and_takes_everything_back() {
    let scene = Scene::new().await;
    let bobs = scene.create(TokenChange::new().identifier("b").owner(BOB).managed("m/b")).await;
    let recovery = alices("r").intent(Intent::Recovery).managed("m/r");
    scene.create(recovery).await;
    let wanted = Reconcile::new([
        present("m/good", alices("good")),
        present("m/b", TokenChange::new().owner(ALICE)),
        present("m/r", TokenChange::new().intent(Intent::Api)),
        present("m/nobody", TokenChange::new().identifier("n").owner(UserId::new(99))),
        present("m/nameless", TokenChange::new().owner(ALICE).description("a\0")),
        present("m/short", alices("short")).key("short"),
        present("m/good", alices("again")),
    ]);
    let field = |name: &str, field: TokenField, error| (marker(name), field.into(), error);
    assert_eq!(
        scene.refused(&wanted).await,
        [
            field("m/b", TokenField::User, FieldError::OwnerFixed),
            field("m/r", TokenField::Intent, FieldError::IntentFixed(Intent::Recovery)),
            field("m/nobody", TokenField::User, FieldError::UnknownUser("99".into())),
            field("m/nameless", TokenField::Identifier, FieldError::Required),
            field("m/nameless", TokenField::Description, FieldError::NullCharacter),
            field("m/short", TokenField::Key, FieldError::KeyTooShort { min: 32 }),
            field("m/good", TokenField::Managed, FieldError::MarkerTaken),
        ]
    );
    assert_eq!(scene.of_marker("m/b").await, bobs);
}

#[pollster::test]
async fn a_wanted_key_is_set_and_one_that_another_token_has_is_not() {
    let scene = Scene::new().await;
    let key = |letter: &str| letter.repeat(40);
    let wanted = |letter| Reconcile::new([present("m/a", alices("a")).key(key(letter))]);
    assert_eq!(scene.service.reconcile(&wanted("x")).await.unwrap().keys.len(), 0);
    assert_eq!(scene.service.reconcile(&wanted("x")).await.unwrap().report.unchanged.len(), 1);
    let report = scene.service.reconcile(&wanted("y")).await.unwrap().report;
    assert!(report.updated[0].1.contains(TokenField::Key));
    let header = |letter| format!("Bearer {}", key(letter));
    assert!(scene.service.authenticate(Some(header("y").as_bytes())).await.is_ok());
    assert!(scene.service.authenticate(Some(header("x").as_bytes())).await.is_err());

    let taken = Reconcile::new([present("m/b", alices("b")).key(key("y"))]);
    let refused = scene.refused(&taken).await;
    assert_eq!(refused, [(marker("m/b"), TokenField::Key.into(), FieldError::KeyTaken)]);
}

#[pollster::test]
async fn a_key_is_handed_on_whatever_pepper_it_was_digested_with() {
    let scene = Scene::new().await;
    let pepper = |id| Pepper::new(NonZeroU8::new(id).unwrap(), [id; 32]);
    let with = async |keys: KeyScheme| scene.backend.builder().keys(keys).open().await.unwrap();
    let key = |letter: &str| letter.repeat(40);
    let token = |name: &str, key| present(&format!("m/{name}"), alices(name)).key(key);
    let first = with(KeyScheme::digest_only().peppered(pepper(1))).await;
    let old = ["a", "b", "c"].map(|name| token(name, key(name)));
    first.reconcile(&Reconcile::new(old)).await.unwrap();

    let scheme = KeyScheme::digest_only().peppered(pepper(2)).also_accepting(pepper(1));
    let second = with(scheme).await;
    // Who keeps it, though changed in other ways, stands in the way.
    let changed = present("m/a", alices("a").description("changed")).key(key("a"));
    let taken = Reconcile::new([changed, token("d", key("a"))]);
    let Err(ReconcileError::Refused(report)) = second.reconcile(&taken).await else {
        panic!("two tokens would have one key");
    };
    let errors: Vec<_> = report.refused.iter().map(|(marker, _)| marker.clone()).collect();
    assert_eq!(errors, [marker("m/d")]);

    let handed_on = Reconcile::new([
        ManagedToken::absent(marker("m/a")),
        token("b", key("x")),
        token("c", key("a")),
        token("d", key("b")),
    ]);
    let report = second.reconcile(&handed_on).await.unwrap().report;
    assert_eq!((report.created.len(), report.updated.len(), report.deleted.len()), (1, 2, 1));
    for (name, letter) in [("b", "x"), ("c", "a"), ("d", "b")] {
        let header = format!("Bearer {}", key(letter));
        let bearer = second.authenticate(Some(header.as_bytes())).await.unwrap();
        assert_eq!(bearer.token.identifier.as_str(), name);
    }
}

#[pollster::test]
async fn json_that_cannot_be_read_wants_nothing_and_is_not_taken_for_that() {
    let scene = Scene::new().await;
    scene.create(alices("there").managed("m/there")).await;
    for name in ["m/there", "m/missing"] {
        let cut_off = TokenChange::from_json(b"{\"description\": \"x\"");
        let wanted = Reconcile::new([present("m/new", alices("new")), present(name, cut_off)]);
        let before = scene.rows().await;
        for refused in [
            scene.service.reconcile_dry_run(&wanted).await.map(drop),
            scene.service.reconcile(&wanted).await.map(drop),
        ] {
            let Err(ReconcileError::Failed { error: TokenError::Body(_), .. }) = refused else {
                panic!("{refused:?}");
            };
        }
        assert_eq!(scene.rows().await, before);
    }
}

#[pollster::test]
async fn names_are_handed_on_in_one_commit() {
    let scene = Scene::new().await;
    for name in ["a", "b", "c"] {
        scene.create(alices(name).managed(format!("m/{name}").as_str())).await;
    }
    // Each takes what the one behind it gives up, and the last is pruned.
    let wanted = Reconcile::new([
        present("m/a", TokenChange::new().identifier("b")),
        present("m/b", TokenChange::new().identifier("c")),
        present("m/new", alices("a")),
    ]);
    let report = scene.service.reconcile(&wanted.pruning("m/")).await.unwrap().report;
    assert_eq!(
        (report.updated.len(), report.deleted, report.created.len()),
        (2, vec![marker("m/c")], 1)
    );
    assert_eq!(scene.of_marker("m/b").await.identifier.as_str(), "c");
}

#[pollster::test]
async fn tokens_exchange_identifiers_and_keys() {
    for backend in Backend::all() {
        let scene = Scene::on(backend).await;
        let key = |letter: &str| letter.repeat(32);
        let named =
            |marker: &str, name: &str, letter: &str| present(marker, alices(name)).key(key(letter));
        let wanted = |names: [&str; 3], letters: [&str; 3]| {
            let markers = ["m/a", "m/b", "m/c"].into_iter().zip(names).zip(letters);
            Reconcile::new(markers.map(|((marker, name), letter)| named(marker, name, letter)))
        };
        scene.service.reconcile(&wanted(["a", "b", "c"], ["k", "l", "m"])).await.unwrap();
        for (names, letters) in [
            (["b", "a", "c"], ["k", "l", "m"]),
            (["b", "a", "c"], ["l", "k", "m"]),
            (["a", "c", "b"], ["m", "k", "l"]),
            (["c", "b", "a"], ["k", "m", "l"]),
            (["d", "c", "b"], ["l", "k", "m"]),
        ] {
            let wanted = wanted(names, letters);
            let predicted = scene.service.reconcile_dry_run(&wanted).await.unwrap();
            let report = scene.service.reconcile(&wanted).await.unwrap().report;
            assert_eq!(report, predicted);
            for ((marker, name), letter) in ["m/a", "m/b", "m/c"].iter().zip(names).zip(letters) {
                let token = scene.of_marker(marker).await;
                assert_eq!(token.identifier.as_str(), name, "{}", scene.backend.name);
                let of_letter = KeyDigest::of(&TokenKey::from(key(letter)));
                assert_eq!(token.key_digest, of_letter, "{}", scene.backend.name);
            }
        }
        let again = wanted(["d", "c", "b"], ["l", "k", "m"]);
        assert_eq!(scene.service.reconcile(&again).await.unwrap().report.unchanged.len(), 3);
        // Two cannot have one name, nor can one have what a token keeps that is not in the plan.
        let two = Reconcile::new([
            present("m/a", TokenChange::new().identifier("c")),
            present("m/b", TokenChange::new().identifier("d")),
            present("m/c", TokenChange::new().identifier("d")),
        ]);
        assert_eq!(scene.refused(&two).await.len(), 1);
        let kept = Reconcile::new([
            present("m/a", TokenChange::new().identifier("c")),
            present("m/b", TokenChange::new().identifier("b")),
        ]);
        assert_eq!(scene.refused(&kept).await.len(), 2);
    }
}

/// The token changes after each look-up, so that whatever was read is stale.
#[pollster::test]
async fn reconcile_of_a_token_that_its_owner_keeps_changing_succeeds() {
    for backend in Backend::all() {
        let scene = Scene::on(backend).await;
        let wanted = |text: &str| {
            Reconcile::new([present("m/a", alices("a").description(text))]).pruning("m/")
        };
        scene.service.reconcile(&wanted("first")).await.unwrap();
        scene.create(alices("old").managed("m/old")).await;
        let meddled = Arc::new(MeddledStore::new(scene.backend.tokens.clone()));
        for _ in 0..500 {
            let inner = scene.backend.tokens.clone();
            meddled.after_next_find(move || async move {
                change(&*inner, "a", |token| token.description = "by its owner".into()).await;
            });
        }
        let service = scene.backend.builder_on(meddled).clock(scene.clock.clone());
        let service = service.open().await.unwrap();
        let report = service.reconcile(&wanted("second")).await.unwrap().report;
        assert_eq!(report.deleted, [marker("m/old")]);
        assert_eq!(report.updated.len(), 1);
        assert_eq!(&*scene.of_marker("m/a").await.description, "second");
    }
}

/// More tokens than a lost race is tried again.
#[pollster::test]
async fn reconcile_of_many_tokens_changed_meanwhile_succeeds() {
    for backend in Backend::all() {
        let scene = Scene::on(backend).await;
        let names: Vec<_> = (0..40).map(|number| format!("n{number}")).collect();
        let wanted = |text: &str| {
            let one = |name: &String| present(&format!("m/{name}"), alices(name).description(text));
            Reconcile::new(names.iter().map(one).collect::<Vec<_>>())
        };
        scene.service.reconcile(&wanted("first")).await.unwrap();
        let meddled = Arc::new(MeddledStore::new(scene.backend.tokens.clone()));
        let (inner, changed) = (scene.backend.tokens.clone(), names.clone());
        meddled.before_next_commit(move || async move {
            for name in changed {
                change(&*inner, &name, |token| token.description = "by its owner".into()).await;
            }
        });
        let service = scene.backend.builder_on(meddled).clock(scene.clock.clone());
        let report = service.open().await.unwrap().reconcile(&wanted("second")).await;
        assert_eq!(report.unwrap().report.updated.len(), 40, "{}", scene.backend.name);
    }
}

#[pollster::test]
async fn token_that_is_renamed_meanwhile_is_not_taken_over() {
    for backend in Backend::all() {
        let scene = Scene::on(backend).await;
        let own = scene.create(alices("ci")).await;
        let meddled = Arc::new(MeddledStore::new(scene.backend.tokens.clone()));
        let inner = scene.backend.tokens.clone();
        meddled.before_next_commit(move || async move {
            change(&*inner, "ci", |token| token.identifier = "mine".parse().unwrap()).await;
        });
        let service = scene.backend.builder_on(meddled).clock(scene.clock.clone());
        let wanted = Reconcile::new([present("m/ci", alices("ci"))]).taking_over();
        let report = service.open().await.unwrap().reconcile(&wanted).await.unwrap().report;
        assert_eq!(report.created, [marker("m/ci")], "{}", scene.backend.name);
        let left = scene.backend.tokens.find(Lookup::Id(own.id)).await.unwrap().unwrap();
        assert_eq!((left.identifier.as_str(), &left.managed), ("mine", &None));
    }
}

/// A superuser renames both tokens after the first has been read.
#[pollster::test]
async fn reconcile_of_tokens_renamed_between_its_reads_writes_what_it_reports() {
    for backend in Backend::all() {
        let scene = Scene::on(backend).await;
        for (name, identifier) in [("m/1", "c"), ("m/2", "d")] {
            scene.create(alices(identifier).managed(name)).await;
        }
        let meddled = Arc::new(MeddledStore::new(scene.backend.tokens.clone()));
        let inner = scene.backend.tokens.clone();
        meddled.after_next_find(|| async {});
        meddled.after_next_find(move || async move {
            change(&*inner, "c", |token| token.identifier = "b".parse().unwrap()).await;
            change(&*inner, "d", |token| token.identifier = "e".parse().unwrap()).await;
        });
        let service = scene.backend.builder_on(meddled).clock(scene.clock.clone());
        let wanted = [("m/1", "d"), ("m/2", "b")].map(|(name, to)| present(name, alices(to)));
        let wanted = Reconcile::new(wanted);
        let report = service.open().await.unwrap().reconcile(&wanted).await.unwrap().report;
        assert_eq!(report.updated.len(), 2, "{}", scene.backend.name);
        for (name, identifier) in [("m/1", "d"), ("m/2", "b")] {
            assert_eq!(scene.of_marker(name).await.identifier.as_str(), identifier);
        }
    }
}

#[pollster::test]
async fn reconcile_that_is_refused_has_deleted_first() {
    for backend in Backend::all() {
        let scene = Scene::on(backend).await;
        for name in ["old", "gone"] {
            scene.create(alices(name).managed(format!("m/{name}").as_str())).await;
        }
        scene.create(alices("squatted")).await;
        let wanted = Reconcile::new([
            ManagedToken::absent(marker("m/gone")),
            present("m/new", alices("squatted")),
            present("m/other", alices("other")),
        ]);
        let wanted = wanted.pruning("m/");
        let before = scene.rows().await;
        assert!(scene.service.reconcile_dry_run(&wanted).await.is_err());
        assert_eq!(scene.rows().await, before);
        let Err(ReconcileError::Refused(report)) = scene.service.reconcile(&wanted).await else {
            panic!("it was not refused");
        };
        assert_eq!(report.deleted, [marker("m/gone"), marker("m/old")]);
        assert_eq!((report.refused.len(), report.created), (1, vec![marker("m/other")]));
        let left: Vec<_> =
            scene.rows().await.0.iter().map(|token| token.identifier.to_string()).collect();
        assert_eq!(left, ["squatted"]);

        // A failure says the same.
        scene.create(alices("old").managed("m/old")).await;
        let store = Arc::new(FailingStore::new(scene.backend.tokens.clone()));
        let meddled = Arc::new(MeddledStore::new(store.clone()));
        meddled.before_next_commit(|| async {});
        meddled.before_next_commit(
            move || async move { store.fail_next_commit(StoreErrorKind::Full) },
        );
        let service = scene.backend.builder_on(meddled).clock(scene.clock.clone());
        let wanted = Reconcile::new([present("m/other", alices("other"))]).pruning("m/");
        let failed = service.open().await.unwrap().reconcile(&wanted).await;
        let Err(ReconcileError::Failed { error: TokenError::Store(_), deleted }) = failed else {
            panic!("{failed:?}");
        };
        assert_eq!(deleted, [marker("m/old")]);
    }
}

#[pollster::test]
async fn squatter_is_renamed_where_that_is_asked_for() {
    for backend in Backend::all() {
        let scene = Scene::on(backend).await;
        let bobs = TokenChange::new().identifier("mail").owner(BOB);
        let squatter = scene.service.create(&Caller::System, bobs).await.unwrap();
        let wanted = || Reconcile::new([present("m/mail", alices("mail"))]);
        assert_eq!(scene.refused(&wanted()).await.len(), 1);
        assert_eq!(scene.refused(&wanted().taking_over()).await.len(), 1, "of another owner");

        // The squatter changes its token at the last moment, again and again.
        let meddled = Arc::new(MeddledStore::new(scene.backend.tokens.clone()));
        for _ in 0..10 {
            let inner = scene.backend.tokens.clone();
            meddled.before_next_commit(move || async move {
                change(&*inner, "mail", |token| token.description = "mine".into()).await;
            });
        }
        let service = scene.backend.builder_on(meddled).clock(scene.clock.clone());
        let service = service.open().await.unwrap();
        let wanted = wanted().taking_over().evicting();
        let report = service.reconcile(&wanted).await.unwrap().report;
        assert_eq!(report.created, [marker("m/mail")]);
        let [(from, to)] = report.evicted.as_slice() else { panic!("{report:?}") };
        assert!(from.as_str() == "mail" && to.as_str().starts_with("mail-evicted-"));
        let renamed = scene.backend.tokens.find(Lookup::Id(squatter.view.token.id)).await;
        let renamed = renamed.unwrap().unwrap();
        assert_eq!((&renamed.identifier, &*renamed.description), (to, "mine"));
        let header = format!("Bearer {}", squatter.key.expose());
        assert!(service.authenticate(Some(header.as_bytes())).await.is_ok(), "it stays valid");
        assert_eq!(service.reconcile(&wanted).await.unwrap().report.unchanged.len(), 1);
        // The longest name has room for no more, and a token of the wanted owner is taken over.
        let long = "x".repeat(Identifier::MAX_CHARS);
        scene.create(TokenChange::new().identifier(&long).owner(BOB)).await;
        scene.create(alices("own")).await;
        let wanted =
            Reconcile::new([present("m/long", alices(&long)), present("m/own", alices("own"))]);
        let report = service.reconcile(&wanted.taking_over().evicting()).await.unwrap().report;
        assert_eq!((report.evicted.len(), report.updated.len()), (1, 1));
    }
}

/// An owner who renames its managed token could keep the name of another one from the process.
#[pollster::test]
async fn only_a_superuser_renames_a_managed_token() {
    for backend in Backend::all() {
        let scene = Scene::on(backend).await;
        scene.service.reconcile(&Reconcile::new([present("m/a", alices("a"))])).await.unwrap();
        let owner = Caller::User(ALICE);
        let rename = || TokenChange::new().identifier("b");
        let refused = scene.service.partial_update(&owner, "a", rename()).await.unwrap_err();
        let errors = refused.field_errors().unwrap().get(TokenField::Identifier).to_vec();
        assert_eq!(errors, [FieldError::ManagedIdentifierForSuperusers]);
        let same = TokenChange::new().identifier("a").description("edited");
        scene.service.update(&owner, "a", same).await.unwrap();
        scene.service.partial_update(&Caller::System, "a", rename()).await.unwrap();
    }
}

/// The owner of a token that is taken over could view the key that the process sets.
#[pollster::test]
async fn owner_of_a_token_that_is_taken_over_views_its_key_no_more() {
    for backend in Backend::all() {
        let scene = Scene::on(backend).await;
        let own = scene.service.create(&Caller::User(ALICE), TokenChange::new().identifier("a"));
        assert!(own.await.unwrap().view.token.owner_may_view_key);
        let wanted = Reconcile::new([present("m/a", alices("a")).key("k".repeat(32))]);
        let report = scene.service.reconcile(&wanted.taking_over()).await.unwrap().report;
        let fields = [TokenField::Managed, TokenField::Key, TokenField::OwnerMayViewKey];
        assert_eq!(report.updated, [(marker("m/a"), fields.into_iter().collect())]);
        assert!(!scene.of_marker("m/a").await.owner_may_view_key);
    }
}

/// A world to start from and what is wanted of it, in few names so that they meet often.
#[derive(Debug, Clone)]
struct Wish {
    marker: &'static str,
    state: u8,
    identifier: Option<&'static str>,
    intent: Option<Intent>,
    owner: Option<i64>,
    description: Option<&'static str>,
    /// Hours from the start.
    expires: Field<u64>,
    expiring: Option<bool>,
    key: Option<char>,
}

impl Wish {
    fn change(&self) -> TokenChange {
        let mut change = TokenChange::new();
        if let Some(identifier) = self.identifier {
            change = change.identifier(identifier);
        }
        if let Some(intent) = self.intent {
            change = change.intent(intent);
        }
        if let Some(owner) = self.owner {
            change = change.owner(UserId::new(owner));
        }
        if let Some(description) = self.description {
            change = change.description(description);
        }
        change = change.expires(match self.expires {
            Field::Keep => Field::Keep,
            Field::Clear => Field::Clear,
            Field::Set(hours) => {
                Field::Set(start().saturating_add(Duration::from_secs(hours * 3600)))
            }
        });
        match self.expiring {
            Some(expiring) => change.expiring(expiring),
            None => change,
        }
    }

    fn managed(&self) -> ManagedToken {
        let (marker, change) = (marker(self.marker), self.change());
        let token = match self.state {
            0 => ManagedToken::absent(marker),
            1 => ManagedToken::created(marker, change),
            _ => ManagedToken::present(marker, change),
        };
        match self.key {
            Some(letter) => token.key(letter.to_string().repeat(32)),
            None => token,
        }
    }
}

fn start() -> Timestamp {
    "2024-09-27T14:00Z".parse().unwrap()
}

fn wish() -> impl Strategy<Value = Wish> {
    let names = (select(vec!["m/a", "m/b", "m/c", "n"]), 0_u8..6);
    let identifier =
        prop_oneof![4 => select(vec!["a", "b", "c", "d"]).prop_map(Some), 1 => Just(None)];
    let intents =
        vec![None, None, Some(Intent::Api), Some(Intent::AppPassword), Some(Intent::Recovery)];
    let owners = vec![None, Some(2), Some(2), Some(2), Some(2), Some(3), Some(99)];
    let texts = select(vec![None, Some("x"), Some("y")]);
    let expires =
        select(vec![Field::Keep, Field::Keep, Field::Clear, Field::Set(1), Field::Set(2)]);
    let key = prop::option::weighted(0.2, select(vec!['k', 'l', 'm']));
    let fields =
        (identifier, select(intents), select(owners), texts, expires, any::<Option<bool>>(), key);
    (names, fields).prop_map(|((marker, state), fields)| {
        let (identifier, intent, owner, description, expires, expiring, key) = fields;
        Wish { marker, state, identifier, intent, owner, description, expires, expiring, key }
    })
}

/// What is wanted, as a reconcile.
fn reconcile(wishes: &[Wish], prunes: bool, takes_over: bool) -> Reconcile {
    let mut reconcile = Reconcile::new(wishes.iter().map(Wish::managed));
    if prunes {
        reconcile = reconcile.pruning("m/");
    }
    if takes_over { reconcile.taking_over() } else { reconcile }
}

/// The report of a reconcile that was done or refused, and whether it was done.
fn report(result: Result<ReconcileReport, ReconcileError>) -> (bool, ReconcileReport) {
    match result {
        Ok(report) => (true, report),
        Err(ReconcileError::Refused(report)) => (false, *report),
        Err(error) => panic!("{error}"),
    }
}

async fn check(scene: &Scene, before: &[Wish], wishes: &[Wish], prunes: bool, takes_over: bool) {
    // Whatever can be created of these is there before, managed or not.
    for (place, wish) in before.iter().enumerate() {
        let change = wish.change();
        let change = if place % 2 == 0 { change.managed(wish.marker) } else { change };
        let _ = scene.service.create(&Caller::System, change).await;
    }
    let wanted = reconcile(wishes, prunes, takes_over);
    let start = scene.rows().await;
    let predicted = report(scene.service.reconcile_dry_run(&wanted).await);
    assert_eq!(scene.rows().await, start, "a dry run changes nothing");

    let real = report(scene.service.reconcile(&wanted).await.map(|done| done.report));
    assert_eq!(real, predicted, "a dry run predicts what is done");
    let once = scene.rows().await;
    let (done, real) = real;
    if !done {
        // What was not to be there is gone, and nothing else has changed.
        let (mut tokens, events) = start;
        tokens.retain(|token| token.managed.as_ref().is_none_or(|m| !real.deleted.contains(m)));
        assert_eq!(once.0, tokens, "one bad entry takes all the rest back");
        assert_eq!(once.1.len() - events.len(), real.deleted.len());
        return;
    }
    let changes = real.created.len() + real.updated.len() + real.deleted.len();
    assert_eq!(once.1.len() - start.1.len(), changes, "each change has its event");
    for wish in wishes {
        assert_is_as_wanted(scene, wish).await;
    }

    scene.clock.advance(Duration::from_secs(3600));
    let again = report(scene.service.reconcile(&wanted).await.map(|done| done.report)).1;
    assert_eq!(again.unchanged.len(), wishes.len(), "{again:?}");
    assert_eq!(scene.rows().await, once, "twice is once");
}

async fn assert_is_as_wanted(scene: &Scene, wish: &Wish) {
    let found = scene.backend.tokens.find(Lookup::Marker(&marker(wish.marker))).await.unwrap();
    assert_eq!(found.is_some(), wish.state != 0, "{wish:?}");
    let Some(token) = found.filter(|_| wish.state > 1) else { return };
    let identifier = wish.identifier.map(|text| text.parse::<Identifier>().unwrap());
    assert!(identifier.is_none_or(|wanted| wanted == token.identifier), "{wish:?} {token:?}");
    assert!(wish.intent.is_none_or(|wanted| wanted == token.intent), "{wish:?} {token:?}");
    assert!(wish.owner.is_none_or(|wanted| wanted == token.owner.get()), "{wish:?} {token:?}");
    assert!(wish.description.is_none_or(|wanted| *wanted == *token.description));
    assert!(wish.expiring.is_none_or(|wanted| wanted == token.expiring), "{wish:?} {token:?}");
    assert!(!token.expiring || token.expires.is_some(), "{wish:?} {token:?}");
    if let Some(letter) = wish.key {
        let key = letter.to_string().repeat(32).into();
        assert_eq!(token.key_digest, tokenkeep::KeyDigest::of(&key));
    }
}

proptest! {
    #![proptest_config(cases_at_least(512))]

    #[test]
    fn a_reconcile_is_predicted_whole_and_done_once(
        before in prop::collection::vec(wish(), 0..5),
        wishes in prop::collection::vec(wish(), 0..4),
        prunes in any::<bool>(),
        takes_over in any::<bool>(),
    ) {
        pollster::block_on(async {
            check(&Scene::new().await, &before, &wishes, prunes, takes_over).await;
        });
    }
}

proptest! {
    #![proptest_config(cases_at_least(64))]

    #[test]
    fn so_it_is_on_sqlite(
        before in prop::collection::vec(wish(), 0..5),
        wishes in prop::collection::vec(wish(), 0..4),
        prunes in any::<bool>(),
        takes_over in any::<bool>(),
    ) {
        pollster::block_on(async {
            let scene = Scene::on(Backend::sqlite()).await;
            check(&scene, &before, &wishes, prunes, takes_over).await;
        });
    }
}

#[pollster::test]
async fn a_prefix_is_compared_byte_by_byte() {
    let scene = Scene::new().await;
    for (name, identifier) in [("100%/a", "a"), ("100x/a", "b"), ("100%", "c")] {
        scene.create(alices(identifier).managed(name)).await;
    }
    let report =
        scene.service.reconcile(&Reconcile::new([]).pruning("100%/")).await.unwrap().report;
    assert_eq!(report.deleted, [marker("100%/a")]);
}
