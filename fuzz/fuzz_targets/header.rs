//! Whatever stands in `Authorization`, only `Bearer`, one space and the exact key of a token that is
//! valid gets in, as that token; all else is refused, with the error that SPEC gives.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pollster::block_on;
use tokenkeep::{KeyDigest, TokenError, TokenKey};
use tokenkeep_fuzz::is_broken;
use tokenkeep_fuzz::world::visit;

/// The keys that open. Those of other intents, of expired tokens and of inactive owners do not.
const VALID: [&str; 14] = [
    "key-admin",
    "key-alice-api",
    "key-auditor",
    "key-bob-api",
    "key-dave-api",
    "key-erin-api",
    "key-frank-api",
    "key-grace-api",
    "key-heidi-api",
    "key-ivan-api",
    "key-notexpiring",
    "key-operator",
    "key-peer-api",
    "key-svc",
];

fuzz_target!(|header: &[u8]| visit(|world| {
    let shown = if is_broken() { forgiving(header) } else { header };
    let answer = block_on(world.service.authenticate(Some(shown)));
    match (read(header), answer) {
        (Shown::Key(key), Ok(who)) => {
            let digest = KeyDigest::of(&TokenKey::from(key.to_owned()));
            assert_eq!(who.token.key_digest, digest, "let in as somebody else");
        }
        (Shown::Nothing, Err(TokenError::NotAuthenticated))
        | (Shown::OtherScheme, Err(TokenError::UnsupportedScheme))
        | (Shown::NoKey, Err(TokenError::InvalidKey)) => {}
        (shown, answer) => panic!("{shown:?} is answered by {answer:?}"),
    }
}));

/// What a header shows.
#[derive(Debug)]
enum Shown {
    Nothing,
    OtherScheme,
    NoKey,
    Key(&'static str),
}

fn read(header: &[u8]) -> Shown {
    let Some(space) = header.iter().position(|byte| *byte == b' ') else { return Shown::Nothing };
    let (scheme, key) = (&header[..space], &header[space + 1..]);
    if key.is_empty() {
        return Shown::Nothing;
    }
    if !scheme.eq_ignore_ascii_case(b"bearer") {
        return Shown::OtherScheme;
    }
    let valid = VALID.into_iter().find(|valid| valid.as_bytes() == key);
    valid.map_or(Shown::NoKey, Shown::Key)
}

/// What a product would read that takes white space away.
fn forgiving(header: &[u8]) -> &[u8] {
    header.trim_ascii()
}
