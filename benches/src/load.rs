//! Tokens of a thousand users, and a service on them.

use std::sync::Arc;

use tokenkeep::{
    Caller, Change, Commit, Intent, KeyDigest, Revision, Timestamp, Token, TokenChange, TokenId,
    TokenKey, TokenService, TokenStore, User, UserId, UserStore,
};
pub use tokenkeep_load::{USERS, identifier, key, pick};

/// Fills an empty store, users first.
pub async fn fill(tokens: &dyn TokenStore, users: &dyn UserStore, count: u64) {
    fill_users(users).await;
    fill_tokens(tokens, (0..count).map(token)).await;
}

/// Fills an empty directory.
pub async fn fill_users(users: &dyn UserStore) {
    for number in 0..USERS {
        let uuid = uuid::Uuid::from_u128(number.into());
        let name = format!("user-{number}");
        users.put_user(User::new(user(number), uuid, name, Timestamp::MIN)).await.unwrap();
    }
}

/// Commits tokens, a thousand at a time.
pub async fn fill_tokens(store: &dyn TokenStore, tokens: impl Iterator<Item = Token>) {
    let mut changes = tokens.map(|token| Change::Insert(Arc::new(token))).peekable();
    while changes.peek().is_some() {
        let changes = changes.by_ref().take(1_000).collect();
        store.commit(Commit { changes, events: Vec::new() }).await.unwrap();
    }
}

/// The token of that number: an app password where it is odd.
pub fn token(number: u64) -> Token {
    let created = Timestamp::from_micros(1_700_000_000_000_000).unwrap();
    Token {
        id: TokenId::from_bytes(tokenkeep_load::scattered(number).to_be_bytes()),
        identifier: identifier(number).parse().unwrap(),
        intent: if number.is_multiple_of(2) { Intent::Api } else { Intent::AppPassword },
        owner: user(number % USERS),
        description: format!("deploys service {number} from the pipeline").into(),
        expires: Some(Timestamp::MAX),
        expiring: true,
        managed: None,
        revision: Revision::FIRST,
        created,
        updated: created,
        last_used: None,
        owner_may_view_key: true,
        key_digest: KeyDigest::of(&TokenKey::from(key(number))),
        sealed_key: None,
    }
}

/// The user of that number.
pub fn user(number: u64) -> UserId {
    UserId::new(i64::try_from(number).unwrap())
}

/// A service on a store that keeps the users, too.
pub fn service<S: TokenStore + UserStore>(store: &Arc<S>) -> TokenService {
    pollster::block_on(TokenService::builder(store.clone(), store.clone()).open()).unwrap()
}

/// The number of the `api` token that a call authenticates with.
pub fn picked_to_authenticate(call: u64, tokens: u64) -> u64 {
    pick(call, tokens) & !1
}

/// The number of the app password that a call updates: its expiry is left alone.
pub fn picked_to_update(call: u64, tokens: u64) -> u64 {
    pick(call, tokens) | 1
}

/// Authenticates by the key of one of so many tokens.
pub async fn authenticate(service: &TokenService, call: u64, tokens: u64) {
    let header = format!("Bearer {}", key(picked_to_authenticate(call, tokens)));
    service.authenticate(Some(header.as_bytes())).await.unwrap();
}

/// Changes the description of one of so many tokens, as its owner.
pub async fn update(service: &TokenService, call: u64, tokens: u64) {
    let number = picked_to_update(call, tokens);
    let caller = Caller::User(user(number % USERS));
    let change = TokenChange::new().description(format!("changed by call {call}"));
    service.partial_update(&caller, &identifier(number), change).await.unwrap();
}
