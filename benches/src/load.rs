//! A hundred thousand tokens of a thousand users.

use std::sync::Arc;

use tokenkeep::{
    Change, Commit, Intent, KeyDigest, Revision, Timestamp, Token, TokenId, TokenKey, TokenStore,
    User, UserId, UserStore,
};

/// How many tokens there are.
pub const TOKENS: u64 = 100_000;

/// How many users own them.
pub const USERS: u64 = 1_000;

/// Fills an empty store.
pub async fn fill(tokens: &dyn TokenStore, users: &dyn UserStore) {
    for number in 0..USERS {
        let uuid = uuid::Uuid::from_u128(number.into());
        let name = format!("user-{number}");
        users.put_user(User::new(user(number), uuid, name, Timestamp::MIN)).await.unwrap();
    }
    let numbers: Vec<_> = (0..TOKENS).collect();
    for batch in numbers.chunks(1_000) {
        let insert = |number: &u64| Change::Insert(Arc::new(token(*number)));
        let changes = batch.iter().map(insert).collect();
        tokens.commit(Commit { changes, events: Vec::new() }).await.unwrap();
    }
}

/// The token of that number: an app password where it is odd.
pub fn token(number: u64) -> Token {
    let created = Timestamp::from_micros(1_700_000_000_000_000).unwrap();
    Token {
        id: TokenId::from_bytes(scattered(number).to_be_bytes()),
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

pub fn identifier(number: u64) -> String {
    format!("token-{number:08}")
}

/// A key of the length that is generated.
pub fn key(number: u64) -> String {
    format!("{number:060}")
}

pub fn user(number: u64) -> UserId {
    UserId::new(i64::try_from(number).unwrap())
}

/// The number of the token that call `call` takes: all over the store, in no order.
pub fn pick(call: u64) -> u64 {
    u64::try_from(scattered(call) % u128::from(TOKENS)).unwrap()
}

fn scattered(number: u64) -> u128 {
    (u128::from(number) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)
}
