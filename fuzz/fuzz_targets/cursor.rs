//! Behind a cursor, made for any token, there or not, come those that the order puts there, page after
//! page, from memory and from a file alike; a cursor of another order gets an answer, too.
#![no_main]

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use pollster::block_on;
use tempfile::TempDir;
use tokenkeep::{
    Cursor, Filter, Intent, OwnerMatch, SearchWord, SortField, SortKey, Timestamp, Token, TokenId,
    TokenQuery, TokenStore, UserId, UserStore, Visibility, Window,
};
use tokenkeep_fuzz::bytes::Bytes;
use tokenkeep_fuzz::{is_broken, world};
use tokenkeep_memory::MemoryStore;
use tokenkeep_sqlite::SqliteStore;

/// The fixture in both, and every token of it.
struct Stores {
    both: [Arc<dyn TokenStore>; 2],
    all: Vec<Arc<Token>>,
    usernames: BTreeMap<UserId, String>,
    _directory: TempDir,
}

static STORES: LazyLock<Stores> = LazyLock::new(|| {
    let directory = tempfile::tempdir().unwrap();
    let memory = Arc::new(MemoryStore::new());
    let file = Arc::new(SqliteStore::open(directory.path().join("tokens.db")).unwrap());
    world::load(&*memory, &*memory);
    world::load(&*file, &*file);
    let window = Window::After { cursor: None, limit: 1_000 };
    let all = block_on(memory.list(&TokenQuery { window, ..TokenQuery::default() })).unwrap();
    let users = block_on(memory.users(None, 1_000)).unwrap();
    let usernames = users.into_iter().map(|user| (user.id, user.username)).collect();
    Stores { both: [memory, file], all: all.tokens, usernames, _directory: directory }
});

fuzz_target!(|input: &[u8]| {
    let mut input = Bytes(input);
    let Stores { both, all, usernames, .. } = &*STORES;
    let query = query(&mut input);
    let pivot = token(&mut input, all);
    let foreign = TokenQuery { order: order(&mut input), ..TokenQuery::default() };
    let cursor = query.token_order().behind(&pivot);
    let expected = expected(&query, &pivot, all, usernames);
    for store in both {
        let found = walk(&**store, &query, cursor.clone(), all.len());
        assert_eq!(found, expected, "{query:?} behind {pivot:?}");
        page(&**store, &query, foreign.token_order().behind(&pivot));
    }
});

fn query(input: &mut Bytes<'_>) -> TokenQuery {
    let order = order(input);
    let mut filter = Filter::default();
    let mut visibility = Visibility::All;
    let mut search = Vec::new();
    match input.below(9) {
        0 => filter.intent = Some(Intent::ALL[input.below(4)]),
        1 => filter.expiring = Some(input.flag()),
        2 => filter.expired_before = Timestamp::from_micros(input.integer()),
        3 => filter.managed_prefix = Some(text(input)),
        4 => visibility = Visibility::Limited { owner: owner(input), also: BTreeSet::new() },
        5 => {
            let owners = OwnerMatch::Listed([owner(input)].into());
            search.push(SearchWord { text: text(input), owners });
        }
        6 => search.push(SearchWord { text: text(input), owners: OwnerMatch::Directory }),
        _ => {}
    }
    let limit = u32::try_from(1 + input.below(9)).unwrap();
    let window = Window::After { cursor: None, limit };
    TokenQuery { visibility, filter, search, order, window, count: false }
}

fn order(input: &mut Bytes<'_>) -> Vec<SortKey> {
    let keys = (0..input.below(5))
        .map(|_| SortKey { field: SortField::ALL[input.below(8)], descending: input.flag() });
    keys.collect()
}

fn owner(input: &mut Bytes<'_>) -> UserId {
    UserId::new(i64::from(input.byte()))
}

/// Without NUL, which no store is given.
fn text(input: &mut Bytes<'_>) -> String {
    String::from_utf8_lossy(input.some()).replace('\0', "")
}

/// One that is there, or one like it that is not.
fn token(input: &mut Bytes<'_>, all: &[Arc<Token>]) -> Token {
    let mut token = Token::clone(&all[input.below(all.len())]);
    for _ in 0..input.below(4) {
        match input.below(8) {
            0 => token.id = TokenId::from_bytes([input.byte(); 16]),
            1 => token.identifier = text(input).parse().unwrap_or(token.identifier),
            2 => token.description = text(input).into(),
            3 => token.managed = text(input).parse().ok(),
            4 => token.expires = Timestamp::from_micros(input.integer()),
            5 => token.owner = UserId::new(input.integer()),
            6 => token.expiring = input.flag(),
            _ => token.intent = Intent::ALL[input.below(4)],
        }
    }
    token
}

/// Those behind the pivot, in order.
fn expected(
    query: &TokenQuery,
    pivot: &Token,
    all: &[Arc<Token>],
    usernames: &BTreeMap<UserId, String>,
) -> Vec<TokenId> {
    let keys = keys(query);
    let named = |owner, text: &str| {
        let username = usernames.get(&owner).map(|name| name.to_ascii_lowercase());
        username.is_some_and(|username| username.contains(&text.to_ascii_lowercase()))
    };
    let mut behind: Vec<_> = all
        .iter()
        .filter(|token| query.matches(token, named))
        .filter(|token| match compare(&keys, token, pivot) {
            Ordering::Greater => true,
            // A product that shows the last token of a page again.
            Ordering::Equal => is_broken(),
            Ordering::Less => false,
        })
        .collect();
    behind.sort_by(|a, b| compare(&keys, a, b));
    behind.iter().map(|token| token.id).collect()
}

/// The identifier sorts where nothing is said, and the id behind all; what follows on one of the two
/// never matters.
fn keys(query: &TokenQuery) -> Vec<SortKey> {
    let by = |field| SortKey { field, descending: false };
    let mut keys = query.order.clone();
    if keys.is_empty() {
        keys.push(by(SortField::Identifier));
    }
    keys.push(by(SortField::Id));
    let is_unique = |key: &SortKey| matches!(key.field, SortField::Id | SortField::Identifier);
    let end = keys.iter().position(is_unique).map_or(keys.len(), |first| first + 1);
    keys.truncate(end);
    keys
}

fn compare(keys: &[SortKey], a: &Token, b: &Token) -> Ordering {
    let sides = keys.iter().map(|key| {
        let (a_is_null, b_is_null) = (is_null(key.field, a), is_null(key.field, b));
        let side = ascending(key.field, a, b);
        match (a_is_null, b_is_null) {
            (false, false) if key.descending => side.reverse(),
            (false, false) => side,
            _ => a_is_null.cmp(&b_is_null),
        }
    });
    sides.fold(Ordering::Equal, Ordering::then)
}

fn is_null(field: SortField, token: &Token) -> bool {
    match field {
        SortField::Managed => token.managed.is_none(),
        SortField::Expires => token.expires.is_none(),
        _ => false,
    }
}

fn ascending(field: SortField, a: &Token, b: &Token) -> Ordering {
    match field {
        SortField::Id => a.id.as_bytes().cmp(b.id.as_bytes()),
        SortField::Managed => a.managed.cmp(&b.managed),
        SortField::Identifier => {
            a.identifier.as_str().as_bytes().cmp(b.identifier.as_str().as_bytes())
        }
        SortField::Intent => a.intent.as_str().cmp(b.intent.as_str()),
        SortField::Owner => a.owner.get().cmp(&b.owner.get()),
        SortField::Description => a.description.as_bytes().cmp(b.description.as_bytes()),
        SortField::Expires => a.expires.map(micros).cmp(&b.expires.map(micros)),
        SortField::Expiring => a.expiring.cmp(&b.expiring),
    }
}

fn micros(at: Timestamp) -> i64 {
    at.as_micros()
}

/// All that comes, page after page.
fn walk(store: &dyn TokenStore, query: &TokenQuery, from: Cursor, most: usize) -> Vec<TokenId> {
    let mut found = Vec::new();
    let mut next = Some(from);
    while let Some(cursor) = next {
        let shown;
        (shown, next) = page(store, query, cursor);
        assert!(!shown.is_empty() || next.is_none());
        found.extend(shown);
        assert!(found.len() <= most, "it goes in circles: {query:?}");
    }
    found
}

fn page(
    store: &dyn TokenStore,
    query: &TokenQuery,
    cursor: Cursor,
) -> (Vec<TokenId>, Option<Cursor>) {
    let limit = query.window.limit();
    let window = Window::After { cursor: Some(cursor), limit };
    let page = block_on(store.list(&TokenQuery { window, ..query.clone() })).unwrap();
    assert!(page.tokens.len() <= limit as usize);
    (page.tokens.iter().map(|token| token.id).collect(), page.next)
}
