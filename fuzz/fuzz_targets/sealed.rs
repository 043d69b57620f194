//! Of all that can stand where a sealed key is kept, only what was sealed for that very token opens,
//! as the key that was sealed; all else is refused as damaged, or as of an unknown sealing key.
#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use pollster::block_on;
use tokenkeep::{
    Caller, Change, Commit, Intent, KeyDigest, KeyScheme, Revision, SealedKey, SeededRandom,
    Timestamp, Token, TokenError, TokenId, TokenKey, TokenService, TokenStore, UnsealError, UserId,
};
use tokenkeep_fuzz::is_broken;
use tokenkeep_fuzz::world::key_scheme;
use tokenkeep_memory::MemoryStore;

const KEY: &str = "correct horse battery staple of the day";

/// What was sealed for the token of each number.
static SEALED: LazyLock<[SealedKey; 2]> = LazyLock::new(|| {
    let random = SeededRandom::new(3);
    [0, 1].map(|number| {
        let key = TokenKey::from(KEY.to_owned());
        key_scheme().seal(&key, id(number), &random).unwrap().unwrap()
    })
});

// The first byte says which token it is kept for.
fuzz_target!(|input: &[u8]| {
    let (number, sealed) = input.split_first().map_or((0, input), |(n, rest)| (n & 1, rest));
    let kept = if is_broken() { unchecked(sealed) } else { sealed.to_vec() };
    let opened = open(number, &kept);
    if sealed == SEALED[usize::from(number)].as_bytes() {
        assert_eq!(opened.unwrap().expose(), KEY);
        return;
    }
    match opened.unwrap_err() {
        TokenError::Unseal(UnsealError::Damaged) => {}
        TokenError::Unseal(UnsealError::UnknownKey(id)) => {
            assert!(id != 1 && sealed.first() == Some(&id));
        }
        other => panic!("{other:?}"),
    }
});

fn id(number: u8) -> TokenId {
    TokenId::from_bytes([number + 1; 16])
}

/// Views the key of a token that has this as its sealed key.
fn open(number: u8, sealed: &[u8]) -> Result<TokenKey, TokenError> {
    let store = Arc::new(MemoryStore::new());
    let token = Token {
        id: id(number),
        identifier: "ci".parse().unwrap(),
        intent: Intent::Api,
        owner: UserId::new(2),
        description: "".into(),
        expires: None,
        expiring: false,
        managed: None,
        revision: Revision::FIRST,
        created: Timestamp::MIN,
        updated: Timestamp::MIN,
        last_used: None,
        owner_may_view_key: false,
        key_digest: KeyDigest::of(&TokenKey::from(KEY.to_owned())),
        sealed_key: Some(SealedKey::from_bytes(sealed)),
    };
    let changes = vec![Change::Insert(Arc::new(token))];
    block_on(store.commit(Commit { changes, events: Vec::new() })).unwrap();
    // Whichever sealing key the bytes name.
    let keys = (0..=u8::MAX).fold(key_scheme(), KeyScheme::lost_sealing_key);
    let builder = TokenService::builder(store.clone(), store).keys(keys);
    let service = block_on(builder.open()).unwrap();
    block_on(service.view_key(&Caller::System, "ci"))
}

/// What a product would see that does not check the tag, which is the last 16 bytes.
fn unchecked(sealed: &[u8]) -> Vec<u8> {
    let genuine = SEALED.iter().find(|genuine| {
        let genuine = genuine.as_bytes();
        sealed.len() == genuine.len() && sealed.starts_with(&genuine[..genuine.len() - 16])
    });
    genuine.map_or(sealed, |genuine| genuine.as_bytes()).to_vec()
}
