//! The state that the vectors start from.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use tokenkeep::{
    KeyDigest, KeyScheme, ManualClock, Policy, SealingKey, SeededRandom, Timestamp, Token,
    TokenKey, TokenService, TokenStore, UserStore,
};

use crate::backend::Backend;
use crate::seed::Seed;

const FIXTURE: &str = include_str!("../vectors/fixture.json");

/// `vectors/fixture.json`: the settings, and the tokens with their plain keys to compare with. It
/// is loaded as `serve --seed` loads it.
#[derive(Debug, Deserialize)]
pub struct Fixture {
    now: String,
    installation_id: String,
    default_token_duration: String,
    minimum_key_length: usize,
    tokens: Vec<TokenRow>,
}

/// How the service of the vectors keeps keys: sealed, since they view them.
pub fn key_scheme() -> KeyScheme {
    KeyScheme::sealing(SealingKey::new(1, [7; 32]))
}

/// A token as the vectors write it, with its plain key.
#[derive(Debug, Clone, Deserialize, PartialEq)]
pub struct TokenRow {
    pub pk: String,
    pub managed: Option<String>,
    pub identifier: String,
    pub key: String,
    pub intent: String,
    pub user: i64,
    pub description: String,
    pub expires: Option<String>,
    pub expiring: bool,
}

impl Fixture {
    /// The fixture that the project keeps.
    pub fn read() -> Self {
        serde_json::from_str(FIXTURE).unwrap()
    }

    /// What the clock reads for a whole case.
    pub fn now(&self) -> Timestamp {
        self.now.parse().unwrap()
    }

    /// The tokens by their `pk`.
    pub fn rows(&self) -> BTreeMap<String, TokenRow> {
        self.tokens.iter().map(|row| (row.pk.clone(), row.clone())).collect()
    }

    /// A service with the fixture's settings and a clock that stands still.
    pub fn service(&self, backend: &Backend) -> TokenService {
        let duration = tokenkeep::parse_duration(&self.default_token_duration).unwrap();
        let builder = backend
            .builder()
            .clock(Arc::new(ManualClock::at(self.now())))
            .policy(Policy {
                default_duration: duration,
                minimum_key_length: self.minimum_key_length,
                ..Policy::default()
            })
            .keys(key_scheme())
            .installation_id(self.installation_id.as_str());
        pollster::block_on(builder.open()).unwrap()
    }

    /// Writes everything into an empty store.
    pub async fn load(&self, tokens: &dyn TokenStore, users: &dyn UserStore) {
        let seed = Seed::parse(FIXTURE).unwrap();
        // The same fixture everywhere, seals included.
        let random = SeededRandom::new(1);
        seed.load(tokens, users, &key_scheme(), &random, self.now()).await.unwrap();
    }
}

impl TokenRow {
    /// Whether the stored token is what this row says. A key of `<generated>` stands for any.
    pub fn is(&self, token: &Token) -> bool {
        let key_is_right = self.key == "<generated>"
            || token.key_digest == KeyDigest::of(&TokenKey::from(self.key.clone()));
        key_is_right
            && (self.pk == "<new>" || self.pk == token.id.to_string())
            && self.managed.as_deref() == token.managed.as_ref().map(|marker| marker.as_str())
            && self.identifier == token.identifier.as_str()
            && self.intent == token.intent.as_str()
            && self.user == token.owner.get()
            && *self.description == *token.description
            && self.expires == token.expires.map(|at| at.to_string())
            && self.expiring == token.expiring
    }
}
