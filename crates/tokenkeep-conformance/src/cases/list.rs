//! Listing tokens.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokenkeep::{
    Filter, Intent, OwnerMatch, SearchWord, SortField, SortKey, Token, TokenId, TokenPage,
    TokenQuery, TokenStore, UserId, Visibility, Window,
};

use crate::harness::Harness;
use crate::sample::{changes, commit, delete, identifier, insert_all, marker, time, token};

/// What a query returns.
async fn list(store: &dyn TokenStore, query: &TokenQuery) -> TokenPage {
    store.list(query).await.expect("the store can be read")
}

/// The identifiers of what a query returns, in order.
async fn names(store: &dyn TokenStore, query: &TokenQuery) -> Vec<String> {
    names_of(&list(store, query).await.tokens)
}

fn names_of(tokens: &[Arc<Token>]) -> Vec<String> {
    tokens.iter().map(|token| token.identifier.to_string()).collect()
}

fn named(number: u8, name: &str) -> Token {
    Token { identifier: identifier(name), ..token(number) }
}

pub(crate) async fn filters_by_exact_values(harness: &dyn Harness) {
    let store = harness.open().await;
    let wanted = Token {
        intent: Intent::Recovery,
        owner: UserId::new(7),
        description: "wanted".into(),
        expires: Some(time(0)),
        expiring: false,
        managed: Some(marker("wanted")),
        ..named(1, "wanted")
    };
    let close = Token {
        description: "Wanted".into(),
        expires: Some(time(1)),
        managed: Some(marker("wanted/too")),
        ..named(2, "Wanted")
    };
    let bare = Token { expires: None, ..named(3, "wanted-too") };
    insert_all(&*store, &[wanted, close, bare]).await;
    let wanted_only = [
        Filter { identifier: Some("wanted".into()), ..Filter::default() },
        Filter { intent: Some(Intent::Recovery), ..Filter::default() },
        Filter { owner: Some(UserId::new(7)), ..Filter::default() },
        Filter { description: Some("wanted".into()), ..Filter::default() },
        Filter { expires: Some(time(0)), ..Filter::default() },
        Filter { expiring: Some(false), ..Filter::default() },
        Filter { managed: Some("wanted".into()), ..Filter::default() },
        Filter { expiring: Some(false), owner: Some(UserId::new(7)), ..Filter::default() },
    ];
    for filter in wanted_only {
        let query = TokenQuery { filter: filter.clone(), ..TokenQuery::default() };
        assert_eq!(names(&*store, &query).await, ["wanted"], "{filter:?}");
    }
    let none = Filter { expiring: Some(true), owner: Some(UserId::new(7)), ..Filter::default() };
    let query = TokenQuery { filter: none, ..TokenQuery::default() };
    assert_eq!(names(&*store, &query).await, [""; 0]);
    let empty = Filter { description: Some(String::new()), ..Filter::default() };
    let query = TokenQuery { filter: empty, ..TokenQuery::default() };
    assert_eq!(names(&*store, &query).await, ["wanted-too"]);
}

pub(crate) async fn filters_by_expiry_and_by_prefix(harness: &dyn Harness) {
    let store = harness.open().await;
    let tokens = [
        Token { expires: Some(time(9)), ..named(1, "before") },
        Token { expires: Some(time(10)), ..named(2, "now") },
        Token { expires: Some(time(9)), expiring: false, ..named(3, "off") },
        Token { expires: None, managed: Some(marker("a/ü/1")), ..named(4, "never") },
        Token { managed: Some(marker("a/Ü/1")), ..named(5, "upper") },
        Token { managed: Some(marker("a/%/1")), ..named(6, "wild") },
    ];
    insert_all(&*store, &tokens).await;
    let expired = Filter { expired_before: Some(time(10)), ..Filter::default() };
    let query = TokenQuery { filter: expired, ..TokenQuery::default() };
    assert_eq!(names(&*store, &query).await, ["before"]);
    let prefixes: [(&str, &[&str]); 5] = [
        ("a/", &["never", "upper", "wild"]),
        ("a/ü", &["never"]),
        ("a/%", &["wild"]),
        ("a/_", &[]),
        ("a/ü/1/more", &[]),
    ];
    for (prefix, expected) in prefixes {
        let filter = Filter { managed_prefix: Some(prefix.into()), ..Filter::default() };
        let query = TokenQuery { filter, ..TokenQuery::default() };
        assert_eq!(names(&*store, &query).await, expected, "{prefix}");
    }
}

pub(crate) async fn shows_only_what_is_visible(harness: &dyn Harness) {
    let store = harness.open().await;
    let of =
        |number: u8, name: &str, owner| Token { owner: UserId::new(owner), ..named(number, name) };
    let tokens = [of(1, "own", 1), of(2, "also", 2), of(3, "hidden", 2), of(4, "own-too", 1)];
    insert_all(&*store, &tokens).await;
    let also = BTreeSet::from([2, 9].map(|id| TokenId::from_bytes([id; 16])));
    let query = |owner, also| TokenQuery {
        visibility: Visibility::Limited { owner: UserId::new(owner), also },
        count: true,
        ..TokenQuery::default()
    };
    let page = list(&*store, &query(1, also.clone())).await;
    assert_eq!(names_of(&page.tokens), ["also", "own", "own-too"]);
    assert_eq!(page.total, Some(3));
    assert_eq!(names(&*store, &query(1, BTreeSet::new())).await, ["own", "own-too"]);
    assert_eq!(names(&*store, &query(3, also)).await, ["also"]);
    assert_eq!(names(&*store, &TokenQuery::default()).await.len(), 4);
}

pub(crate) async fn searches_for_every_word(harness: &dyn Harness) {
    let store = harness.open().await;
    let tokens = [
        Token { description: "Nightly BACKUP of 100%".into(), ..named(1, "svc") },
        Token { intent: Intent::AppPassword, ..named(2, "backup_x") },
        Token { owner: UserId::new(9), description: "Äpfel".into(), ..named(3, "other") },
    ];
    insert_all(&*store, &tokens).await;
    let word =
        |text: &str| SearchWord { text: text.into(), owners: OwnerMatch::Listed(BTreeSet::new()) };
    let owned = |text: &str, owner| SearchWord {
        text: text.into(),
        owners: OwnerMatch::Listed([UserId::new(77), UserId::new(owner)].into()),
    };
    let searches: [(Vec<SearchWord>, &[&str]); 12] = [
        (vec![word("backup")], &["backup_x", "svc"]),
        (vec![word("bAcKuP")], &["backup_x", "svc"]),
        (vec![word("backup"), word("nightly")], &["svc"]),
        (vec![word("APP_")], &["backup_x"]),
        (vec![word("%")], &["svc"]),
        (vec![word("_")], &["backup_x"]),
        (vec![word("\\")], &[]),
        (vec![word("Äpfel")], &["other"]),
        (vec![word("äpfel")], &[]),
        (vec![owned("nobody", 9)], &["other"]),
        (vec![owned("nobody", 9), word("svc")], &[]),
        (vec![owned("svc", 9)], &["other", "svc"]),
    ];
    for (search, expected) in searches {
        let query = TokenQuery { search: search.clone(), ..TokenQuery::default() };
        assert_eq!(names(&*store, &query).await, expected, "{search:?}");
    }
}

/// Six tokens with ties and nulls in every field that can have them. In the order of their ids:
/// d, b, F, a, é (not an identifier, so e), c.
fn tied() -> [Token; 6] {
    let of =
        |number: u8, name: &str, owner: i64, managed: Option<&str>, expires: Option<i64>| Token {
            owner: UserId::new(owner),
            managed: managed.map(marker),
            expires: expires.map(time),
            ..named(number, name)
        };
    [
        Token { intent: Intent::Verification, ..of(1, "d", 2, Some("b"), None) },
        Token { description: "é".into(), ..of(2, "b", -1, None, Some(5)) },
        Token { description: "z".into(), expiring: false, ..of(3, "F", 2, Some("a"), Some(-5)) },
        Token { intent: Intent::AppPassword, ..of(4, "a", 10, None, Some(5)) },
        Token { description: "Z".into(), ..of(5, "e", 2, Some("B"), None) },
        Token { intent: Intent::Recovery, ..of(6, "c", -1, None, Some(7)) },
    ]
}

/// Each field with the order of [`tied`], ascending and descending.
const ORDERS: [(SortField, &str, &str); 8] = [
    (SortField::Id, "d b F a e c", "c e a F b d"),
    (SortField::Identifier, "F a b c d e", "e d c b a F"),
    (SortField::Managed, "e F d b a c", "d F e b a c"),
    (SortField::Intent, "b F e a c d", "d c a b F e"),
    (SortField::Owner, "b c d F e a", "a d F e b c"),
    (SortField::Description, "d a c e F b", "b F e d a c"),
    (SortField::Expires, "F b a c d e", "c b a F d e"),
    (SortField::Expiring, "F d b a e c", "d b a e c F"),
];

fn by(field: SortField, descending: bool) -> SortKey {
    SortKey { field, descending }
}

pub(crate) async fn orders_by_each_field(harness: &dyn Harness) {
    let store = harness.open().await;
    insert_all(&*store, &tied()).await;
    for (field, ascending, descending) in ORDERS {
        for (is_descending, expected) in [(false, ascending), (true, descending)] {
            let order = vec![by(field, is_descending)];
            let query = TokenQuery { order, ..TokenQuery::default() };
            let found = names(&*store, &query).await.join(" ");
            assert_eq!(found, expected, "{field:?}, descending: {is_descending}");
        }
    }
    let by_default = names(&*store, &TokenQuery::default()).await.join(" ");
    assert_eq!(by_default, "F a b c d e", "by identifier");
}

pub(crate) async fn orders_by_several_fields(harness: &dyn Harness) {
    let store = harness.open().await;
    insert_all(&*store, &tied()).await;
    let orders = [
        (vec![by(SortField::Owner, false), by(SortField::Expires, true)], "c b F d e a"),
        (vec![by(SortField::Expires, true), by(SortField::Identifier, true)], "c b a F e d"),
        (vec![by(SortField::Expiring, false), by(SortField::Managed, false)], "F e d b a c"),
        (vec![by(SortField::Identifier, false), by(SortField::Id, true)], "F a b c d e"),
    ];
    for (order, expected) in orders {
        let query = TokenQuery { order: order.clone(), ..TokenQuery::default() };
        assert_eq!(names(&*store, &query).await.join(" "), expected, "{order:?}");
    }
}

pub(crate) async fn cuts_windows_by_offset_and_counts_the_rest(harness: &dyn Harness) {
    let store = harness.open().await;
    insert_all(&*store, &tied()).await;
    let query = |offset, limit| TokenQuery {
        filter: Filter { expiring: Some(true), ..Filter::default() },
        window: Window::Offset { offset, limit },
        count: true,
        ..TokenQuery::default()
    };
    let windows = [
        (0, 2, "a b", true),
        (1, 2, "b c", true),
        (3, 2, "d e", false),
        (4, 2, "e", false),
        (5, 2, "", false),
        (u64::MAX, 2, "", false),
        (0, 5, "a b c d e", false),
        (0, u32::MAX, "a b c d e", false),
        (0, 0, "", false),
    ];
    for (offset, limit, expected, goes_on) in windows {
        let page = list(&*store, &query(offset, limit)).await;
        assert_eq!(names_of(&page.tokens).join(" "), expected, "{offset}, {limit}");
        assert_eq!(page.total, Some(5), "{offset}, {limit}");
        assert_eq!(page.next.is_some(), goes_on, "{offset}, {limit}");
    }
    let uncounted = TokenQuery { count: false, ..query(0, 2) };
    assert_eq!(list(&*store, &uncounted).await.total, None);
}

/// Reads a query to its end by cursors.
async fn walk(store: &dyn TokenStore, order: &[SortKey], limit: u32) -> String {
    let mut names = Vec::new();
    let mut cursor = None;
    loop {
        let window = Window::After { cursor, limit };
        let query = TokenQuery { order: order.to_vec(), window, ..TokenQuery::default() };
        let page = list(store, &query).await;
        assert!(page.tokens.len() <= limit as usize);
        names.extend(names_of(&page.tokens));
        assert!(names.len() < 100, "the pages come to no end: {names:?}");
        cursor = page.next;
        if cursor.is_none() {
            return names.join(" ");
        }
        assert_eq!(page.tokens.len(), limit as usize, "a page that goes on is full");
    }
}

pub(crate) async fn walks_by_cursor_in_every_order(harness: &dyn Harness) {
    let store = harness.open().await;
    insert_all(&*store, &tied()).await;
    for limit in [1, 2, 3, 6, 7] {
        for (field, ascending, descending) in ORDERS {
            for (is_descending, expected) in [(false, ascending), (true, descending)] {
                let walked = walk(&*store, &[by(field, is_descending)], limit).await;
                assert_eq!(walked, expected, "{field:?} by {limit}, descending: {is_descending}");
            }
        }
        let two = [by(SortField::Owner, false), by(SortField::Expires, true)];
        assert_eq!(walk(&*store, &two, limit).await, "c b F d e a", "by {limit}");
        let two = [by(SortField::Managed, true), by(SortField::Expires, false)];
        assert_eq!(walk(&*store, &two, limit).await, "d F e b a c", "by {limit}");
    }
}

pub(crate) async fn walks_on_when_the_token_at_the_cursor_is_gone(harness: &dyn Harness) {
    let store = harness.open().await;
    let tokens = tied();
    insert_all(&*store, &tokens).await;
    let order = vec![by(SortField::Managed, false)];
    let window = Window::After { cursor: None, limit: 4 };
    let query = TokenQuery { order, window, ..TokenQuery::default() };
    let page = list(&*store, &query).await;
    assert_eq!(names_of(&page.tokens).join(" "), "e F d b");

    let [_, last_shown, ..] = &tokens;
    commit(&*store, changes([delete(last_shown)])).await;
    let window = Window::After { cursor: page.next, limit: 4 };
    let rest = names(&*store, &TokenQuery { window, ..query }).await;
    assert_eq!(rest.join(" "), "a c");
}
