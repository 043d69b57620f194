//! A small cast on any backend: what the tests of single operations start from.

use std::sync::Arc;
use std::time::Duration;

use tokenkeep::{
    Caller, Change, Clock, Commit, Created, Event, EventKind, EventQuery, Group, GroupId, Intent,
    KeyScheme, Lookup, ManualClock, Revision, SealingKey, Timestamp, Token, TokenChange, TokenId,
    TokenKey, TokenService, TokenServiceBuilder, TokenStore, User, UserId,
};
use uuid::Uuid;

use crate::backend::Backend;
use crate::vectors::all_tokens;

/// A superuser.
pub const ADMIN: Caller = Caller::User(UserId::new(1));
pub const ALICE: UserId = UserId::new(2);
pub const BOB: UserId = UserId::new(3);

/// The time that the clock of a scene shows at first.
pub fn start() -> Timestamp {
    "2024-09-27T14:26:18.090000Z".parse().unwrap()
}

/// The time so many microseconds later, or earlier.
pub fn shifted(at: Timestamp, micros: i64) -> Timestamp {
    Timestamp::from_micros(at.as_micros() + micros).unwrap()
}

/// An hour in microseconds.
pub const HOUR: i64 = 3_600_000_000;

/// A scheme that seals.
pub fn sealing() -> KeyScheme {
    KeyScheme::sealing(SealingKey::new(1, [1; 32]))
}

/// A user without rights.
pub fn user(id: UserId, name: &str) -> User {
    User::new(id, Uuid::from_u128(id.get().unsigned_abs().into()), name, start())
}

/// An `api` token that does not expire, with the plain digest of `key`.
pub fn row(number: u128, identifier: &str, owner: UserId, key: &str) -> Token {
    Token {
        id: TokenId::from(Uuid::from_u128(number)),
        identifier: identifier.parse().unwrap(),
        intent: Intent::Api,
        owner,
        description: "".into(),
        expires: None,
        expiring: false,
        managed: None,
        revision: Revision::FIRST,
        created: start(),
        updated: start(),
        last_used: None,
        owner_may_view_key: false,
        key_digest: KeyScheme::digest_only().digest(&TokenKey::from(key.to_owned())),
        sealed_key: None,
    }
}

/// The value of an `Authorization` header.
pub fn bearer(key: &TokenKey) -> Vec<u8> {
    format!("Bearer {}", key.expose()).into_bytes()
}

/// Alice, Bob and a superuser, a clock that stands still, and a service that seals.
#[derive(Debug)]
pub struct Scene {
    pub backend: Backend,
    pub clock: Arc<ManualClock>,
    pub service: TokenService,
}

impl Scene {
    /// A scene on each backend.
    pub async fn everywhere() -> Vec<Self> {
        let mut scenes = Vec::new();
        for backend in Backend::all() {
            scenes.push(Self::on(backend).await);
        }
        scenes
    }

    pub async fn on(backend: Backend) -> Self {
        let superusers = GroupId::from_bytes([1; 16]);
        let group = Group { is_superuser: true, ..Group::new(superusers, "superusers") };
        backend.users.put_group(group).await.unwrap();
        let admin = User { groups: [superusers].into(), ..user(UserId::new(1), "admin") };
        for person in [admin, user(ALICE, "alice"), user(BOB, "bob")] {
            backend.users.put_user(person).await.unwrap();
        }
        let clock = Arc::new(ManualClock::at(start()));
        let builder = backend.builder().clock(clock.clone()).keys(sealing());
        let service = builder.open().await.unwrap();
        Self { backend, clock, service }
    }

    /// The backend's name, for messages.
    pub fn name(&self) -> &'static str {
        self.backend.name
    }

    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Lets a moment pass: events of several services are in the order of their times.
    pub fn tick(&self) {
        self.clock.advance(Duration::from_millis(1));
    }

    /// Another service with the people and the clock of this one.
    pub fn builder(&self, store: Arc<dyn TokenStore>) -> TokenServiceBuilder {
        TokenService::builder(store, self.backend.users.clone())
            .cache(self.backend.cache)
            .clock(self.clock.clone())
    }

    /// Another service on this store that keeps keys so.
    pub async fn keeping(&self, keys: KeyScheme) -> TokenService {
        self.builder(self.backend.tokens.clone()).keys(keys).open().await.unwrap()
    }

    /// The service on a store that wraps the backend's.
    pub async fn over(&self, store: Arc<dyn TokenStore>) -> TokenService {
        self.builder(store).keys(sealing()).open().await.unwrap()
    }

    /// A token of Alice's, as the system creates it.
    pub async fn create(&self, identifier: &str, intent: Intent) -> Created {
        let change = TokenChange::new().identifier(identifier).intent(intent).owner(ALICE);
        self.service.create(&Caller::System, change).await.unwrap()
    }

    /// A token of Alice's that she has created herself, and whose key she may view.
    pub async fn create_own(&self, identifier: &str) -> Created {
        let change = TokenChange::new().identifier(identifier);
        self.service.create(&Caller::User(ALICE), change).await.unwrap()
    }

    /// Puts rows into the store, without an event.
    pub async fn insert(&self, tokens: impl IntoIterator<Item = Token>) {
        let changes = tokens.into_iter().map(|token| Change::Insert(Arc::new(token))).collect();
        self.backend.tokens.commit(Commit { changes, events: Vec::new() }).await.unwrap();
    }

    pub async fn find(&self, identifier: &str) -> Option<Token> {
        let identifier = identifier.parse().unwrap();
        let found = self.backend.tokens.find(Lookup::Identifier(&identifier)).await.unwrap();
        found.map(|token| Token::clone(&token))
    }

    pub async fn tokens(&self) -> Vec<Token> {
        all_tokens(&*self.backend.tokens).await
    }

    /// Every event, oldest first.
    pub async fn events(&self) -> Vec<Event> {
        let query = EventQuery { limit: u32::MAX, ..EventQuery::default() };
        self.backend.tokens.events(&query).await.unwrap().events
    }

    /// What was done to the token that had this identifier when it was done.
    pub async fn kinds(&self, identifier: &str) -> Vec<EventKind> {
        let events = self.events().await.into_iter();
        events.filter(|event| event.identifier.as_str() == identifier).map(|e| e.kind).collect()
    }

    /// Everything that a refused operation must leave as it is.
    pub async fn state(&self) -> (Vec<Token>, Vec<Event>) {
        (self.tokens().await, self.events().await)
    }

    /// Whether a key opens an `api` token.
    pub async fn opens(&self, key: &TokenKey) -> bool {
        self.service.authenticate(Some(&bearer(key))).await.is_ok()
    }

    pub async fn set_active(&self, id: UserId, active: bool) {
        let mut profiles = self.backend.users.profiles(&[id]).await.unwrap();
        let person = User::clone(&profiles.remove(0).user);
        self.backend.users.put_user(User { is_active: active, ..person }).await.unwrap();
    }
}
