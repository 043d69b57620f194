//! Tokens and users by number.

/// How many users own the tokens.
pub const USERS: u64 = 1_000;

/// What the token of that number is called.
pub fn identifier(number: u64) -> String {
    format!("token-{number:08}")
}

/// The key of the token of that number, as long as those that are generated.
pub fn key(number: u64) -> String {
    format!("{number:060}")
}

/// The number of the token that call `call` takes: anywhere among `tokens`, in no order.
pub fn pick(call: u64, tokens: u64) -> u64 {
    u64::try_from(((scattered(call) >> 64) * u128::from(tokens)) >> 64).unwrap()
}

/// A number without an order that follows from another, different for each.
pub fn scattered(number: u64) -> u128 {
    (u128::from(number) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)
}
