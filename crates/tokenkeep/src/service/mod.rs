//! The operations, one file each.

mod authenticate;
mod cache;
mod commit;
mod consume;
mod create;
mod delete;
mod events;
mod last_used;
mod list;
mod open;
mod owner_deleted;
mod reconcile;
mod rekey;
mod retrieve;
mod rotate;
mod session;
mod set_key;
mod sweep;
mod update;
mod used_by;
mod view_key;

use std::fmt::Display;
use std::sync::Arc;

pub use authenticate::Authenticated;
pub use cache::{Caching, VerifyCache};
pub use create::Created;
pub use list::{Pagination, TokenListing, TokenSlice};
pub use open::OpenError;
pub use rekey::RekeyReport;
pub use rotate::Rotated;
pub use sweep::SweepReport;
pub use update::Updated;
pub use used_by::UsedBy;

use crate::clock::{Clock, SystemClock};
use crate::directory::UserDirectory;
use crate::event::{Event, EventMaker};
use crate::identifier::Identifier;
use crate::key::KeyScheme;
use crate::managed::Marker;
use crate::policy::{Conflicts, Policy};
use crate::random::{Random, SystemRandom};
use crate::service::cache::Cache;
use crate::service::last_used::PendingTouches;
use crate::store::{
    EventPage, EventQuery, Lookup, StoreError, StoreErrorKind, TokenPage, TokenQuery, TokenStore,
    Window,
};
use crate::token::{Token, TokenId};

/// Keeps tokens: every operation, with its checks and its event.
///
/// One concrete type over any store and any directory. Cheap to clone; share it as it is. It
/// starts no task and no timer.
///
/// ```
/// # pollster::block_on(async {
/// use std::sync::Arc;
/// use tokenkeep::{Caller, Intent, Timestamp, TokenChange, TokenService, User, UserId, UserStore};
/// use tokenkeep_memory::MemoryStore;
///
/// let store = Arc::new(MemoryStore::new());
/// let alice = User::new(UserId::new(2), uuid::Uuid::from_u128(2), "alice", Timestamp::MIN);
/// store.put_user(alice).await?;
/// let tokens = TokenService::builder(store.clone(), store).open().await?;
///
/// let alice = Caller::User(UserId::new(2));
/// let created = tokens.create(&alice, TokenChange::new().identifier("ci")).await?;
/// let header = format!("Bearer {}", created.key.expose());
/// let caller = tokens.authenticate(Some(header.as_bytes())).await?.caller();
/// assert_eq!(caller, alice);
///
/// let change = TokenChange::new().description("deploys");
/// let updated = tokens.partial_update(&caller, "ci", change).await?;
/// assert_eq!(&*updated.view.token.description, "deploys");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct TokenService {
    parts: Arc<Parts>,
}

#[derive(Debug)]
struct Parts {
    store: Arc<dyn TokenStore>,
    directory: Arc<dyn UserDirectory>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    keys: KeyScheme,
    policy: Policy,
    installation_id: Arc<str>,
    events: EventMaker,
    last_used: PendingTouches,
    cache: Option<Cache>,
}

impl Parts {
    /// Finds one token, and believes no store that returns another one: an index that is damaged, or
    /// a collation that takes two texts for the same, would hand a caller somebody else's token.
    async fn find(&self, lookup: Lookup<'_>) -> Result<Option<Arc<Token>>, StoreError> {
        match self.store.find(lookup).await? {
            Some(token) if !lookup.names(&token) => Err(led_astray("token", token.id)),
            found => Ok(found),
        }
    }

    /// Lists tokens, and believes no store that lists another one, which would be shown to whom it does
    /// not belong, or be swept; nor one that lists a token twice or goes back, which hides others.
    async fn list(&self, query: &TokenQuery) -> Result<TokenPage, StoreError> {
        let page = self.store.list(query).await?;
        let order = query.token_order();
        let mut before: Option<&Token> = None;
        for token in &page.tokens {
            let follows = match (before, &query.window) {
                (Some(before), _) => order.compare(before, token).is_lt(),
                (None, Window::After { cursor: Some(cursor), .. }) => {
                    order.is_behind(token, cursor)
                }
                (None, _) => true,
            };
            if !follows || !query.matches(token, |_, _| true) {
                return Err(led_astray("token", token.id));
            }
            before = Some(token);
        }
        Ok(page)
    }

    /// Reads events, and checks that the store returned the requested ones.
    async fn events(&self, query: &EventQuery) -> Result<EventPage, StoreError> {
        let page = self.store.events(query).await?;
        let mut newer: Option<&Event> = None;
        for event in &page.events {
            // The revisions of one token only rise.
            let follows =
                query.token.is_none() || newer.is_none_or(|newer| newer.revision >= event.revision);
            if !follows || !query.matches(event) {
                return Err(led_astray("event", event.id));
            }
            newer = Some(event);
        }
        Ok(page)
    }
}

/// The store has led to a row that was not asked for.
fn led_astray(table: &'static str, id: impl Display) -> StoreError {
    let (column, id) = ("index", id.to_string());
    StoreError::new("service", StoreErrorKind::Corrupt { table, column, id })
}

/// How often an operation is tried before it fails as contended. Of those who race for a token one
/// wins each time, so that as many can change it once each without anybody failing.
pub const MAX_ATTEMPTS: u32 = 32;

/// Puts a [`TokenService`] together. What is not set is the system's clock and randomness, the
/// default [`Policy`], digests only, an empty installation id, and no [`VerifyCache`].
///
/// ```
/// # pollster::block_on(async {
/// use std::sync::Arc;
/// use tokenkeep::{ManualClock, SeededRandom, Timestamp, TokenService};
/// use tokenkeep_memory::MemoryStore;
///
/// let store = Arc::new(MemoryStore::new());
/// let service = TokenService::builder(store.clone(), store)
///     .clock(Arc::new(ManualClock::at(Timestamp::MIN)))
///     .random(Arc::new(SeededRandom::new(1)))
///     .installation_id("5f0a1c1e7e1c4f0e9a7f3f5a4a4a4a4a")
///     .open()
///     .await?;
/// # drop(service);
/// # Ok::<(), tokenkeep::OpenError>(())
/// # }).unwrap();
/// ```
#[derive(Debug)]
pub struct TokenServiceBuilder {
    parts: Parts,
    cache: Option<VerifyCache>,
}

impl TokenService {
    /// Starts a service that keeps its tokens in `store` and finds its users in `directory`.
    #[must_use]
    pub fn builder(
        store: Arc<dyn TokenStore>,
        directory: Arc<dyn UserDirectory>,
    ) -> TokenServiceBuilder {
        TokenServiceBuilder {
            parts: Parts {
                store,
                directory,
                clock: Arc::new(SystemClock),
                random: Arc::new(SystemRandom),
                keys: KeyScheme::default(),
                policy: Policy::default(),
                installation_id: "".into(),
                events: EventMaker::default(),
                last_used: PendingTouches::default(),
                cache: None,
            },
            cache: None,
        }
    }

    /// Whether authentication uses a cache, and how exactly.
    #[must_use]
    pub fn caching(&self) -> Caching {
        self.parts.cache.as_ref().map_or(Caching::Off, Cache::caching)
    }

    /// Which of the wanted values belong to tokens other than `to`.
    async fn conflicts(
        &self,
        identifier: Option<&Identifier>,
        marker: Option<&Marker>,
        to: Option<TokenId>,
    ) -> Result<Conflicts, StoreError> {
        let mut conflicts = Conflicts::default();
        if let Some(identifier) = identifier {
            conflicts.identifier_taken =
                self.belongs_to_other(Lookup::Identifier(identifier), to).await?;
        }
        if let Some(marker) = marker {
            conflicts.marker_taken = self.belongs_to_other(Lookup::Marker(marker), to).await?;
        }
        Ok(conflicts)
    }

    async fn belongs_to_other(
        &self,
        lookup: Lookup<'_>,
        to: Option<TokenId>,
    ) -> Result<bool, StoreError> {
        let found = self.parts.find(lookup).await?;
        Ok(found.is_some_and(|token| Some(token.id) != to))
    }
}

impl TokenServiceBuilder {
    /// Where the time comes from.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.parts.clock = clock;
        self
    }

    /// Where keys and ids come from.
    #[must_use]
    pub fn random(mut self, random: Arc<dyn Random>) -> Self {
        self.parts.random = random;
        self
    }

    /// The host's settings.
    #[must_use]
    pub fn policy(mut self, policy: Policy) -> Self {
        self.parts.policy = policy;
        self
    }

    /// How keys are kept.
    #[must_use]
    pub fn keys(mut self, keys: KeyScheme) -> Self {
        self.parts.keys = keys;
        self
    }

    /// What the `uid` of users is derived from: any text that no other installation has. Changing
    /// it changes every `uid`.
    #[must_use]
    pub fn installation_id(mut self, installation_id: impl Into<Arc<str>>) -> Self {
        self.parts.installation_id = installation_id.into();
        self
    }

    /// What authentication has read is kept for the next one.
    #[must_use]
    pub fn cache(mut self, cache: VerifyCache) -> Self {
        self.cache = Some(cache);
        self
    }
}
