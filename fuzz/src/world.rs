//! The state that the vectors start from.

use std::sync::Arc;

use pollster::block_on;
use serde::Deserialize;
use tokenkeep::{
    Change, Commit, KeyScheme, ManualClock, Policy, SealingKey, SeededRandom, Timestamp, Token,
    TokenQuery, TokenService, TokenStore, UserStore, Window,
};
use tokenkeep_memory::MemoryStore;

use crate::seed::Seed;

const FIXTURE: &str = include_str!("../../tests/vectors/fixture.json");

#[derive(Deserialize)]
struct Settings {
    now: String,
    installation_id: String,
    default_token_duration: String,
    minimum_key_length: usize,
}

/// The fixture in memory, with a service on it.
#[derive(Debug)]
pub struct World {
    pub store: Arc<MemoryStore>,
    pub service: TokenService,
}

thread_local! {
    static WORLD: World = World::new();
}

/// Does something in the world, which is as the fixture has it, and must be left so.
pub fn visit(run: impl FnOnce(&World)) {
    WORLD.with(run);
}

impl World {
    fn new() -> Self {
        let store = Arc::new(MemoryStore::new());
        load(&*store, &*store);
        Self { service: service(store.clone(), store.clone()), store }
    }

    /// Every token, in the order of the identifiers.
    pub fn tokens(&self) -> Vec<Arc<Token>> {
        let window = Window::After { cursor: None, limit: 1_000 };
        block_on(self.store.list(&TokenQuery { window, ..TokenQuery::default() })).unwrap().tokens
    }

    /// Makes the tokens what they were, and drops all events.
    pub fn bring_back(&self, before: &[Arc<Token>]) {
        let after = self.tokens();
        let gone = after.iter().filter(|token| !before.contains(token));
        let gone = gone.map(|token| Change::Delete { id: token.id, expected: token.revision });
        let back = before.iter().filter(|token| !after.contains(token)).cloned();
        let changes = gone.chain(back.map(Change::Insert)).collect();
        block_on(self.store.commit(Commit { changes, events: Vec::new() })).unwrap();
        block_on(self.store.prune_events(Timestamp::MAX)).unwrap();
    }
}

/// How keys are kept: sealed, since some are viewed.
pub fn key_scheme() -> KeyScheme {
    KeyScheme::sealing(SealingKey::new(1, [7; 32]))
}

/// What the clock reads.
pub fn now() -> Timestamp {
    settings().now.parse().unwrap()
}

fn settings() -> Settings {
    serde_json::from_str(FIXTURE).unwrap()
}

/// Writes the fixture into an empty store.
pub fn load(tokens: &dyn TokenStore, users: &dyn UserStore) {
    let random = SeededRandom::new(1);
    let seed = Seed::parse(FIXTURE).unwrap();
    block_on(seed.load(tokens, users, &key_scheme(), &random, now())).unwrap();
}

/// A service with the fixture's settings, the same on every run.
pub fn service(tokens: Arc<dyn TokenStore>, users: Arc<dyn UserStore>) -> TokenService {
    let settings = settings();
    let builder = TokenService::builder(tokens, users)
        .clock(Arc::new(ManualClock::at(now())))
        .random(Arc::new(SeededRandom::new(2)))
        .policy(Policy {
            default_duration: tokenkeep::parse_duration(&settings.default_token_duration).unwrap(),
            minimum_key_length: settings.minimum_key_length,
            ..Policy::default()
        })
        .keys(key_scheme())
        .installation_id(settings.installation_id);
    block_on(builder.open()).unwrap()
}
