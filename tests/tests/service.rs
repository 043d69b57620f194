//! What a service writes, shows, tells and lets in, down to the last field.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::json;
use tokenkeep::{
    BodyError, Caching, Caller, Changes, Clock, Event, EventKind, EventQuery, FieldError,
    FieldErrors, Group, GroupId, Intent, KeyDigest, Lookup, ManualClock, Permission, Permissions,
    Policy, Profile, RandomError, Revision, SeededRandom, SortField, SortKey, StoreError,
    StoreErrorKind, StoreId, SystemClock, Timestamp, Token, TokenChange, TokenError, TokenField,
    TokenFields, TokenId, TokenKey, TokenList, TokenService, TokenStore, User, UserDirectory,
    UserId, UserStore, VerifyCache,
};
use tokenkeep_memory::{FailingDirectory, MemoryStore};
use tokenkeep_tests::broken::{BrokenStore, Bug};
use tokenkeep_tests::meddling::{MeddledStore, change};
use uuid::Uuid;

const ALICE: UserId = UserId::new(2);
const BOB: UserId = UserId::new(3);

fn at(time: &str) -> Timestamp {
    time.parse().unwrap()
}

fn user(id: UserId, name: &str) -> User {
    User::new(id, Uuid::from_u128(id.get().unsigned_abs().into()), name, at("2024-01-01T00:00Z"))
}

/// A memory store with alice and bob, and a clock that stands still.
struct Scene {
    store: Arc<MemoryStore>,
    clock: Arc<ManualClock>,
    service: TokenService,
}

impl Scene {
    async fn new() -> Self {
        let store = Arc::new(MemoryStore::new());
        store.put_user(user(ALICE, "alice")).await.unwrap();
        store.put_user(user(BOB, "bob")).await.unwrap();
        let clock = Arc::new(ManualClock::at(at("2024-09-27T14:26:18.090000Z")));
        let service = TokenService::builder(store.clone(), store.clone())
            .clock(clock.clone())
            .open()
            .await
            .unwrap();
        Self { store, clock, service }
    }

    async fn events(&self) -> Vec<Event> {
        self.store.events(&EventQuery::default()).await.unwrap().events
    }

    async fn find(&self, identifier: &str) -> Token {
        let identifier = identifier.parse().unwrap();
        let found = self.store.find(Lookup::Identifier(&identifier)).await.unwrap();
        Token::clone(&found.unwrap())
    }
}

fn alices(identifier: &str) -> TokenChange {
    TokenChange::new().identifier(identifier).owner(ALICE)
}

fn header(key: &TokenKey) -> Vec<u8> {
    format!("Bearer {}", key.expose()).into_bytes()
}

#[pollster::test]
async fn a_created_token_is_this_row_and_this_event() {
    let scene = Scene::new().await;
    for (caller, actor_owner, may_view) in
        [(Caller::User(ALICE), ALICE, true), (Caller::System, BOB, false)]
    {
        scene.clock.advance(Duration::from_secs(1));
        let now = scene.clock.now();
        let name = format!("by-{actor_owner}");
        let change = TokenChange::new()
            .identifier(&name)
            .intent(Intent::AppPassword)
            .owner(actor_owner)
            .description(" text ");
        let created = scene.service.create(&caller, change).await.unwrap();
        let row = scene.find(&name).await;
        let expected = Token {
            id: row.id,
            identifier: name.parse().unwrap(),
            intent: Intent::AppPassword,
            owner: actor_owner,
            description: "text".into(),
            expires: Some(now.saturating_add(Duration::from_secs(86_400))),
            expiring: true,
            managed: None,
            revision: Revision::FIRST,
            created: now,
            updated: now,
            last_used: None,
            owner_may_view_key: may_view,
            key_digest: KeyDigest::of(&created.key),
            sealed_key: None,
        };
        assert_eq!(row, expected);
        assert_eq!(*created.view.token, expected);
        assert_eq!(Uuid::from(row.id).get_version_num(), 4);
        let event = scene.events().await.pop().unwrap();
        let expected = Event {
            id: event.id,
            at: now,
            token: row.id,
            identifier: row.identifier,
            owner: actor_owner,
            revision: Revision::FIRST,
            kind: EventKind::Created,
            changed: TokenFields::NONE,
            actor: caller,
        };
        assert_eq!(event, expected);
    }
    assert_eq!(scene.events().await.len(), 2);
}

#[pollster::test]
async fn an_updated_token_is_this_row_and_this_event() {
    let scene = Scene::new().await;
    let new = TokenChange::new().identifier("ci").intent(Intent::AppPassword);
    scene.service.create(&Caller::User(ALICE), new).await.unwrap();
    for (caller, revision) in [(Caller::User(ALICE), 2), (Caller::System, 3)] {
        let before = scene.find("ci").await;
        scene.clock.advance(Duration::from_secs(60));
        let change = TokenChange::new().description(format!("by {caller}"));
        let updated = scene.service.partial_update(&caller, "ci", change).await.unwrap();
        let expected = Token {
            description: format!("by {caller}").into(),
            revision: Revision::new(revision).unwrap(),
            updated: scene.clock.now(),
            ..before
        };
        assert_eq!(scene.find("ci").await, expected);
        assert_eq!(*updated.view.token, expected);
        let event = scene.events().await.pop().unwrap();
        let expected = Event {
            id: event.id,
            at: scene.clock.now(),
            token: expected.id,
            identifier: expected.identifier,
            owner: ALICE,
            revision: expected.revision,
            kind: EventKind::Updated,
            changed: TokenFields::NONE.with(TokenField::Description),
            actor: caller,
        };
        assert_eq!(event, expected);
    }
}

#[pollster::test]
async fn a_token_is_shown_with_every_field_of_its_owner() {
    let scene = Scene::new().await;
    let group_id =
        |number: u128| GroupId::from(Uuid::from_u128(0x4000_8000_0000_0000_0000 + number));
    let attributes = |value: &str| [("a".to_owned(), json!(value))].into_iter().collect();
    let staff = Group { attributes: attributes("staff"), ..Group::new(group_id(2), "staff") };
    scene.store.put_group(staff.clone()).await.unwrap();
    let interns =
        Group { parent: Some(staff.id), is_superuser: true, ..Group::new(group_id(3), "interns") };
    scene.store.put_group(interns.clone()).await.unwrap();
    let alice = User {
        name: "Alice".into(),
        email: "alice@example.com".into(),
        avatar: Some("/alice.png".into()),
        user_type: tokenkeep::UserType::External,
        path: "users/alice".into(),
        attributes: attributes("own"),
        groups: [interns.id].into(),
        last_login: Some(at("2024-01-02T00:00Z")),
        date_joined: at("2024-01-03T00:00Z"),
        last_updated: at("2024-01-04T00:00Z"),
        password_change_date: at("2024-01-05T00:00Z"),
        ..user(ALICE, "alice")
    };
    scene.store.put_user(alice).await.unwrap();
    let service = TokenService::builder(scene.store.clone(), scene.store.clone())
        .clock(scene.clock.clone())
        .installation_id("5f0a1c1e7e1c4f0e9a7f3f5a4a4a4a4a")
        .open()
        .await
        .unwrap();
    let change = TokenChange::new().identifier("ci").description("d").managed("m");
    service.create(&Caller::User(ALICE), change).await.unwrap();
    let view = service.retrieve(&Caller::User(ALICE), "ci").await.unwrap();
    let expected = json!({
        "pk": view.token.id,
        "managed": "m",
        "identifier": "ci",
        "intent": "api",
        "user": 2,
        "user_obj": {
            "pk": 2,
            "username": "alice",
            "name": "Alice",
            "is_active": true,
            "last_login": "2024-01-02T00:00:00Z",
            "date_joined": "2024-01-03T00:00:00Z",
            "is_superuser": true,
            "groups": ["00000000-0000-4000-8000-000000000003"],
            "groups_obj": [{
                "pk": "00000000-0000-4000-8000-000000000003",
                "num_pk": 30224,
                "name": "interns",
                "is_superuser": true,
                "parent": "00000000-0000-4000-8000-000000000002",
                "parent_name": "staff",
                "attributes": {},
            }],
            "roles": [],
            "roles_obj": [],
            "email": "alice@example.com",
            "avatar": "/alice.png",
            "attributes": {"a": "own"},
            "uid": "f58239b83fa85c29ddda1a3102ed46c4e74a433496517dea2c3d5daabfbbf313",
            "path": "users/alice",
            "type": "external",
            "uuid": "00000000-0000-0000-0000-000000000002",
            "password_change_date": "2024-01-05T00:00:00Z",
            "last_updated": "2024-01-04T00:00:00Z",
        },
        "description": "d",
        "expires": "2024-09-28T14:26:18.090000Z",
        "expiring": true,
    });
    assert_eq!(json!(view), expected);
}

#[pollster::test]
async fn a_service_is_built_as_it_was_told() {
    let scene = Scene::new().await;
    let (store, alice) = (scene.store.clone(), Caller::User(ALICE));
    let builder = || TokenService::builder(store.clone(), store.clone());
    let create = async |service: TokenService, name: &str| {
        service.create(&alice, TokenChange::new().identifier(name)).await.unwrap()
    };
    let policy = Policy { default_duration: Duration::from_secs(1), ..Policy::default() };
    let service = builder().policy(policy).clock(scene.clock.clone()).open().await.unwrap();
    let created = create(service, "policy").await.view.token;
    assert_eq!(created.expires, Some(at("2024-09-27T14:26:19.090000Z")));

    let seeded =
        async |seed| builder().random(Arc::new(SeededRandom::new(seed))).open().await.unwrap();
    let seven = create(seeded(7).await, "seeded").await.key;
    assert_eq!(seven, TokenKey::generate(&SeededRandom::new(7)).unwrap());

    let before = SystemClock.now();
    let (first, second) = (
        create(builder().open().await.unwrap(), "a").await,
        create(builder().open().await.unwrap(), "b").await,
    );
    assert_ne!(first.key, second.key, "the default randomness is the system's");
    let created = first.view.token.created;
    assert!(before <= created && created <= SystemClock.now(), "so is the default clock");

    // The same seed draws the same id and key again: the service goes on until they are new.
    let again = create(seeded(7).await, "again").await;
    assert_ne!(again.key, seven);
}

#[pollster::test]
async fn a_key_opens_as_long_as_nothing_stands_against_it() {
    let scene = Scene::new().await;
    let created =
        scene.service.create(&Caller::User(ALICE), TokenChange::new().identifier("ci")).await;
    let key = header(&created.unwrap().key);
    let authenticate = || scene.service.authenticate(Some(&key));
    let assert_refused = async |why: &str| {
        let refused = authenticate().await;
        assert!(matches!(refused, Err(TokenError::InvalidKey)), "{why}: {refused:?}");
    };
    assert_eq!(authenticate().await.unwrap().caller(), Caller::User(ALICE));
    assert_eq!(scene.events().await.len(), 1, "using a key changes nothing");

    scene.store.put_user(User { is_active: false, ..user(ALICE, "alice") }).await.unwrap();
    assert_refused("the owner is inactive").await;
    scene.store.remove_user(ALICE).await.unwrap();
    assert_refused("the owner is gone").await;
    scene.store.put_user(user(ALICE, "alice")).await.unwrap();
    for intent in Intent::ALL {
        change(&*scene.store, "ci", |token| token.intent = intent).await;
        match intent {
            Intent::Api => assert!(authenticate().await.is_ok()),
            _ => assert_refused("of another intent").await,
        }
    }
    change(&*scene.store, "ci", |token| token.intent = Intent::Api).await;

    let expires = scene.find("ci").await.expires.unwrap();
    scene.clock.set(expires);
    assert!(authenticate().await.is_ok(), "at its expiry it is not expired");
    scene.clock.advance(Duration::from_micros(1));
    assert_refused("expired").await;
    change(&*scene.store, "ci", |token| token.expiring = false).await;
    assert!(authenticate().await.is_ok(), "it does not expire");
    change(&*scene.store, "ci", |token| token.key_digest = KeyDigest::of(&"x".to_owned().into()))
        .await;
    assert_refused("of another key").await;
}

#[pollster::test]
async fn a_directory_that_fails_lets_nobody_in() {
    let scene = Scene::new().await;
    let created =
        scene.service.create(&Caller::User(ALICE), TokenChange::new().identifier("ci")).await;
    let key = header(&created.unwrap().key);
    let directory = Arc::new(FailingDirectory::new(scene.store.clone()));
    let service = TokenService::builder(scene.store.clone(), directory.clone())
        .clock(scene.clock.clone())
        .open()
        .await
        .unwrap();
    directory.fail_next(StoreErrorKind::Unavailable);
    let error = service.authenticate(Some(&key)).await.unwrap_err();
    assert!(matches!(error, TokenError::Store(_)) && error.is_retryable(), "{error:?}");
    assert!(service.authenticate(Some(&key)).await.is_ok());

    directory.fail_next(StoreErrorKind::Unavailable);
    let error = service.retrieve(&Caller::User(ALICE), "ci").await.unwrap_err();
    assert!(matches!(error, TokenError::Store(_)), "{error:?}");
}

/// A directory that counts how often it is asked whether somebody is active, and for profiles.
#[derive(Debug)]
struct CountingDirectory {
    inner: Arc<dyn UserDirectory>,
    asked: AtomicU32,
    read: AtomicU32,
}

impl CountingDirectory {
    fn new(inner: Arc<dyn UserDirectory>) -> Self {
        Self { inner, asked: AtomicU32::new(0), read: AtomicU32::new(0) }
    }
}

#[async_trait]
impl UserDirectory for CountingDirectory {
    async fn is_active(&self, user: UserId) -> Result<Option<bool>, StoreError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.inner.is_active(user).await
    }

    async fn profiles(&self, users: &[UserId]) -> Result<Vec<Profile>, StoreError> {
        self.read.fetch_add(1, Ordering::SeqCst);
        self.inner.profiles(users).await
    }

    async fn permissions(
        &self,
        user: UserId,
        on: Option<TokenId>,
    ) -> Result<Permissions, StoreError> {
        self.inner.permissions(user, on).await
    }

    async fn granted_tokens(
        &self,
        user: UserId,
        permission: Permission,
    ) -> Result<Vec<TokenId>, StoreError> {
        self.inner.granted_tokens(user, permission).await
    }

    async fn user_named(&self, username: &str) -> Result<Option<UserId>, StoreError> {
        self.inner.user_named(username).await
    }

    async fn users_matching(&self, word: &str) -> Result<Vec<UserId>, StoreError> {
        self.inner.users_matching(word).await
    }

    fn changes(&self) -> Option<Arc<dyn Changes>> {
        self.inner.changes()
    }

    fn store_id(&self) -> Option<StoreId> {
        self.inner.store_id()
    }
}

#[pollster::test]
async fn create_for_other_hides_whether_user_exists() {
    let scene = Scene::new().await;
    let directory = Arc::new(CountingDirectory::new(scene.store.clone()));
    let builder = TokenService::builder(scene.store.clone(), directory.clone());
    let service = builder.clock(scene.clock.clone()).open().await.unwrap();
    for id in [3, 99, i64::MAX] {
        let change = TokenChange::new().identifier("x").owner(UserId::new(id));
        let error = service.create(&Caller::User(ALICE), change).await.unwrap_err();
        let errors = error.field_errors().unwrap();
        assert_eq!(errors.get(TokenField::User), [FieldError::OwnerNotSelf], "{id}");
        assert_eq!(directory.read.swap(0, Ordering::SeqCst), 1, "only the caller is looked up");
    }
}

/// A service on the scene's tokens and on that directory, which caches so many.
async fn cached(
    scene: &Scene,
    users: Arc<dyn UserDirectory>,
    tokens: usize,
) -> (Arc<CountingDirectory>, Arc<MeddledStore>, TokenService) {
    let directory = Arc::new(CountingDirectory::new(users));
    let store = Arc::new(MeddledStore::new(scene.store.clone()).telling_caches());
    let cache = VerifyCache::of(tokens);
    let builder = TokenService::builder(store.clone(), directory.clone()).cache(cache);
    let service = builder.clock(scene.clock.clone()).open().await.unwrap();
    (directory, store, service)
}

#[pollster::test]
async fn what_is_cached_is_read_once_until_it_changes() {
    let scene = Scene::new().await;
    let created = scene.service.create(&Caller::System, alices("ci")).await.unwrap();
    let key = header(&created.key);
    let (directory, store, service) = cached(&scene, scene.store.clone(), 100).await;
    assert_eq!(service.caching(), Caching::Exact);
    service.authenticate(Some(&key)).await.unwrap();
    let has_read = Arc::new(AtomicBool::new(false));
    let reads = has_read.clone();
    store.after_next_find(|| async move { reads.store(true, Ordering::SeqCst) });
    service.authenticate(Some(&key)).await.unwrap();
    assert!(!has_read.load(Ordering::SeqCst));
    assert_eq!(directory.asked.load(Ordering::SeqCst), 1);

    scene.store.put_user(User { is_active: false, ..user(ALICE, "alice") }).await.unwrap();
    let refused = service.authenticate(Some(&key)).await;
    assert!(matches!(refused, Err(TokenError::InvalidKey)));
    assert!(has_read.load(Ordering::SeqCst));
    assert_eq!(directory.asked.load(Ordering::SeqCst), 2);
}

#[pollster::test]
async fn a_directory_that_is_not_part_of_the_store_is_asked_each_time() {
    let scene = Scene::new().await;
    let created = scene.service.create(&Caller::System, alices("ci")).await.unwrap();
    let key = header(&created.key);
    let elsewhere = Arc::new(MemoryStore::new());
    elsewhere.put_user(user(ALICE, "alice")).await.unwrap();
    let mute = Arc::new(FailingDirectory::new(elsewhere.clone()));
    let counting: Arc<dyn UserDirectory> = elsewhere.clone();
    for users in [counting, mute] {
        elsewhere.put_user(user(ALICE, "alice")).await.unwrap();
        let (directory, _, service) = cached(&scene, users, 100).await;
        assert_eq!(service.caching(), Caching::Exact);
        for _ in 0..2 {
            service.authenticate(Some(&key)).await.unwrap();
        }
        assert_eq!(directory.asked.load(Ordering::SeqCst), 2);
        elsewhere.put_user(User { is_active: false, ..user(ALICE, "alice") }).await.unwrap();
        let refused = service.authenticate(Some(&key)).await;
        assert!(matches!(refused, Err(TokenError::InvalidKey)), "{directory:?}");
    }
}

#[pollster::test]
async fn nobody_is_read_twice_in_one_operation() {
    let scene = Scene::new().await;
    let directory = Arc::new(CountingDirectory::new(scene.store.clone()));
    let builder = TokenService::builder(scene.store.clone(), directory.clone());
    let service = builder.clock(scene.clock.clone()).open().await.unwrap();
    service.create(&Caller::User(ALICE), alices("ci")).await.unwrap();
    assert_eq!(directory.read.swap(0, Ordering::SeqCst), 1, "who creates it is its owner");
    for caller in [Caller::User(ALICE), Caller::System] {
        service.partial_update(&caller, "ci", alices("ci")).await.unwrap();
        assert_eq!(directory.read.swap(0, Ordering::SeqCst), 1, "{caller}");
    }
}

#[pollster::test]
async fn a_cache_of_nothing_is_off() {
    let scene = Scene::new().await;
    let (_, _, service) = cached(&scene, scene.store.clone(), 0).await;
    assert_eq!(service.caching(), Caching::Off);
}

#[pollster::test]
async fn permissions_on_a_token_count_for_that_token() {
    let scene = Scene::new().await;
    let mut ids = Vec::new();
    for name in ["granted", "other"] {
        let new = TokenChange::new().identifier(name);
        let created = scene.service.create(&Caller::User(ALICE), new).await.unwrap();
        ids.push(created.view.token.id);
    }
    let bob = Caller::User(BOB);
    let sees = async |name: &str| scene.service.retrieve(&bob, name).await.map(drop);
    let changes = async |name: &str| {
        let change = TokenChange::new().description("x");
        scene.service.partial_update(&bob, name, change).await.map(drop)
    };
    let grant = async |permission, on| scene.store.grant(BOB, permission, on).await.unwrap();

    grant(Permission::ChangeToken, Some(ids[0])).await;
    assert!(matches!(changes("granted").await, Err(TokenError::NotFound)), "it is not seen");
    grant(Permission::ViewToken, Some(ids[0])).await;
    assert!(sees("granted").await.is_ok() && changes("granted").await.is_ok());
    assert!(matches!(sees("other").await, Err(TokenError::NotFound)));

    grant(Permission::ViewToken, None).await;
    assert!(sees("other").await.is_ok());
    assert!(matches!(changes("other").await, Err(TokenError::Forbidden)));
    grant(Permission::ChangeToken, None).await;
    assert!(changes("other").await.is_ok());
    let profile = scene.store.profiles(&[BOB]).await.unwrap().remove(0);
    scene.store.put_user(User { is_active: false, ..User::clone(&profile.user) }).await.unwrap();
    assert!(matches!(sees("granted").await, Err(TokenError::InactiveCaller)));
}

#[pollster::test]
async fn a_create_judges_its_caller_before_its_body() {
    let scene = Scene::new().await;
    let unreadable = || TokenChange::from_json(b"{");
    let nobody = scene.service.create(&Caller::User(UserId::new(9)), unreadable()).await;
    assert!(matches!(nobody, Err(TokenError::InactiveCaller)), "{nobody:?}");
    let refused = scene.service.create(&Caller::User(ALICE), unreadable()).await;
    assert!(matches!(refused, Err(TokenError::Body(BodyError::NotJson(_)))), "{refused:?}");
}

/// Every error as a caller from outside sees it.
#[test]
fn every_error_has_its_text_its_code_and_its_shape() {
    let store = |kind| TokenError::Store(StoreError::new("sqlite", kind));
    let detail = |text: &str, code: &str| json!({"detail": text, "code": code});
    let unavailable = || detail("The service is temporarily unavailable.", "unavailable");
    let fields = FieldErrors::of(TokenField::User, [FieldError::Null, FieldError::OwnerFixed]);
    let shapes = [
        (
            TokenError::NotAuthenticated,
            detail("Authentication credentials were not provided.", "not_authenticated"),
            false,
        ),
        (
            TokenError::UnsupportedScheme,
            detail("Unsupported authentication type", "authentication_failed"),
            false,
        ),
        (TokenError::InvalidKey, detail("Token invalid/expired", "authentication_failed"), false),
        (
            TokenError::InactiveCaller,
            detail("User inactive or deleted.", "authentication_failed"),
            false,
        ),
        (TokenError::NotFound, detail("No Token matches the given query.", "not_found"), false),
        (
            TokenError::Forbidden,
            detail("You do not have permission to perform this action.", "permission_denied"),
            false,
        ),
        (
            TokenError::Stale { current: Revision::FIRST },
            detail("The token is at another revision than expected.", "precondition_failed"),
            false,
        ),
        (
            TokenError::Body(BodyError::TooLarge),
            detail("Request body exceeds 65536 bytes.", "payload_too_large"),
            false,
        ),
        (
            TokenError::Body(BodyError::UnsupportedMediaType("text/html".into())),
            detail("Unsupported media type \"text/html\" in request.", "unsupported_media_type"),
            false,
        ),
        (
            TokenError::Body(BodyError::NotJson("why".into())),
            detail("JSON parse error - why", "parse_error"),
            false,
        ),
        (
            TokenError::Body(BodyError::Null),
            json!({"non_field_errors": ["No data provided"], "code": "invalid"}),
            false,
        ),
        (
            TokenError::Body(BodyError::NotAnObject { received: "list" }),
            json!({
                "non_field_errors": ["Invalid data. Expected a dictionary, but got list."],
                "code": "invalid",
            }),
            false,
        ),
        (
            TokenError::Invalid(fields),
            json!({
                "user": ["This field may not be null.", "User cannot be changed"],
                "code": "invalid",
            }),
            false,
        ),
        (
            TokenError::Contended,
            detail("The token is being changed by others.", "unavailable"),
            true,
        ),
        (TokenError::Random(RandomError("why".into())), unavailable(), true),
        (store(StoreErrorKind::Busy), unavailable(), true),
        (store(StoreErrorKind::Full), unavailable(), true),
        (store(StoreErrorKind::Unavailable), unavailable(), true),
        (store(StoreErrorKind::OutcomeUnknown), detail("The storage failed.", "error"), false),
        (store(StoreErrorKind::Other), detail("The storage failed.", "error"), false),
    ];
    for (error, shape, retryable) in shapes {
        assert_eq!(error.to_json(), shape);
        assert_eq!(error.is_retryable(), retryable, "{error:?}");
    }
    assert!(store(StoreErrorKind::OutcomeUnknown).is_outcome_unknown());
}

/// A store whose index leads to the wrong row: an error tells of it, and nobody gets the row.
#[pollster::test]
async fn nobody_gets_a_token_that_was_not_looked_up() {
    let store = Arc::new(BrokenStore::new(Bug::FindsAnyToken));
    let directory = Arc::new(MemoryStore::new());
    directory.put_user(user(ALICE, "alice")).await.unwrap();
    let service = TokenService::builder(store, directory).open().await.unwrap();
    let other = TokenChange::new().identifier("other").owner(ALICE);
    assert!(service.create(&Caller::System, other.clone()).await.is_ok());

    let by_name = service.retrieve(&Caller::System, "wanted").await.unwrap_err();
    let by_key = service.authenticate(Some(b"Bearer wanted")).await.unwrap_err();
    let by_marker = service.create(&Caller::System, other.identifier("wanted")).await;
    for error in [by_name, by_key, by_marker.unwrap_err()] {
        assert_corrupt(&error);
    }
}

#[track_caller]
fn assert_corrupt(error: &TokenError) {
    let TokenError::Store(error) = error else { panic!("{error:?}") };
    assert!(matches!(error.kind(), StoreErrorKind::Corrupt { .. }), "{error:?}");
}

/// The same of lists: nobody sees a token that is not for them, and none is swept before its time.
#[pollster::test]
async fn nobody_gets_a_token_that_was_not_to_be_listed() {
    for bug in [Bug::IgnoresVisibility, Bug::IgnoresFilters] {
        let directory = Arc::new(MemoryStore::new());
        for (id, name) in [(ALICE, "alice"), (BOB, "bob")] {
            directory.put_user(user(id, name)).await.unwrap();
        }
        let store = Arc::new(BrokenStore::new(bug));
        let service = TokenService::builder(store, directory).open().await.unwrap();
        let of_bob = TokenChange::new().identifier("other").owner(BOB);
        service.create(&Caller::System, of_bob).await.unwrap();
        let refused = if bug == Bug::IgnoresVisibility {
            service.list(&Caller::User(ALICE), &TokenList::new()).await.map(drop)
        } else {
            let of_alice = TokenList::new().owner(ALICE);
            assert_corrupt(&service.list(&Caller::System, &of_alice).await.unwrap_err());
            service.sweep().await.map(drop)
        };
        assert_corrupt(&refused.unwrap_err());
        service.retrieve(&Caller::System, "other").await.unwrap();
    }
}

/// Nor is a list believed that goes back: it hides others, and may come to no end.
#[pollster::test]
async fn a_list_that_goes_back_is_refused() {
    let directory = Arc::new(MemoryStore::new());
    directory.put_user(user(ALICE, "alice")).await.unwrap();
    for bug in [Bug::SortsNullsFirst, Bug::IgnoresCursors] {
        let store = Arc::new(BrokenStore::new(bug));
        let builder = TokenService::builder(store.clone(), directory.clone());
        let service = builder.open().await.unwrap();
        for name in ["a", "b"] {
            let token = TokenChange::new().identifier(name).owner(ALICE);
            service.create(&Caller::System, token).await.unwrap();
        }
        change(&*store, "b", |token| token.expires = None).await;
        let by_expiry = SortKey { field: SortField::Expires, descending: false };
        let list = TokenList::new().order([by_expiry]).page_size(2);
        if bug == Bug::SortsNullsFirst {
            assert_corrupt(&service.list(&Caller::System, &list).await.unwrap_err());
        } else {
            let list = list.page_size(1);
            let first = service.list_from(&Caller::System, &list, None).await.unwrap();
            let second = service.list_from(&Caller::System, &list, first.next).await;
            assert_corrupt(&second.unwrap_err());
        }
    }
}

/// The same of the audit trail.
#[pollster::test]
async fn nobody_gets_events_that_were_not_asked_for() {
    let directory = Arc::new(MemoryStore::new());
    directory.put_user(user(ALICE, "alice")).await.unwrap();
    let store = Arc::new(BrokenStore::new(Bug::IncludesTheEnd));
    let service = TokenService::builder(store, directory).open().await.unwrap();
    let created = service.create(&Caller::System, TokenChange::new().identifier("ci").owner(ALICE));
    let until = Some(created.await.unwrap().view.token.created);
    let query = EventQuery { until, ..EventQuery::default() };
    assert_corrupt(&service.events(&query).await.unwrap_err().into());

    // Nor in another order.
    let directory = Arc::new(MemoryStore::new());
    directory.put_user(user(ALICE, "alice")).await.unwrap();
    let store = Arc::new(BrokenStore::new(Bug::SortsEventsByTime));
    let clock = Arc::new(ManualClock::at(at("2024-09-27T14:25Z")));
    let builder = TokenService::builder(store, directory).clock(clock.clone());
    let service = builder.open().await.unwrap();
    let change = TokenChange::new().identifier("a").owner(ALICE);
    let created = service.create(&Caller::System, change).await.unwrap();
    clock.set(at("2024-09-27T14:26Z"));
    let change = TokenChange::new().description("changed");
    service.partial_update(&Caller::System, "a", change).await.unwrap();
    let token = Some(created.view.token.id);
    let query = EventQuery { token, ..EventQuery::default() };
    assert_corrupt(&service.events(&query).await.unwrap_err().into());
}
