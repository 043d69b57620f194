//! Filling an empty store: all of it or nothing, whatever comes in between.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]
#![allow(clippy::indexing_slicing)]

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use rusqlite::Connection;
use tempfile::{TempDir, tempdir};
use tokenkeep::{
    Change, Commit, CommitError, Intent, KeyDigest, Lookup, Revision, SealedKey, Timestamp, Token,
    TokenId, TokenKey, TokenQuery, TokenStore, UniqueField, UserId, Window,
};
use tokenkeep_sqlite::{ImportError, Sharing, SqliteOptions, SqliteStore};

const FILE: &str = "TOKENKEEP_IMPORT_FILE";

/// Every field differs from token to token, and every other one is null where it can be.
fn token(number: u32) -> Token {
    let at = |offset: u32| Timestamp::from_micros(i64::from(number * 10 + offset)).unwrap();
    let odd = number % 2 == 1;
    Token {
        id: TokenId::from_bytes(u128::from(number.reverse_bits()).to_le_bytes()),
        identifier: format!("token-{number}").parse().unwrap(),
        intent: if odd { Intent::Api } else { Intent::AppPassword },
        owner: UserId::new(number.into()),
        description: format!("description {number}").into(),
        expires: odd.then(|| at(1)),
        expiring: odd,
        managed: odd.then(|| format!("marker/{number}").parse().unwrap()),
        revision: Revision::new(i64::from(number) + 1).unwrap(),
        created: at(2),
        updated: at(3),
        last_used: odd.then(|| at(4)),
        owner_may_view_key: !odd,
        key_digest: KeyDigest::of(&TokenKey::from(number.to_string())),
        sealed_key: odd.then(|| SealedKey::from_bytes(&number.to_be_bytes())),
    }
}

fn place() -> (TempDir, PathBuf) {
    let directory = tempdir().unwrap();
    let path = directory.path().join("tokens.db");
    (directory, path)
}

fn import(
    store: &SqliteStore,
    tokens: impl IntoIterator<Item = Token> + Send + 'static,
) -> Result<u64, ImportError> {
    pollster::block_on(store.import(tokens))
}

fn count(store: &SqliteStore) -> u64 {
    let query = TokenQuery { count: true, ..TokenQuery::default() };
    pollster::block_on(store.list(&query)).unwrap().total.unwrap()
}

fn insert(store: &SqliteStore, token: Token) -> Result<(), CommitError> {
    let changes = vec![Change::Insert(Arc::new(token))];
    pollster::block_on(store.commit(Commit { changes, events: Vec::new() }))
}

/// Names and definitions of all that is in the file.
fn schema(path: &PathBuf) -> Vec<(String, Option<String>)> {
    let connection = Connection::open(path).unwrap();
    let mut select =
        connection.prepare("SELECT name, sql FROM sqlite_schema ORDER BY name").unwrap();
    let rows = select.query_map((), |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    rows.collect::<Result<_, _>>().unwrap()
}

#[test]
fn what_is_imported_is_there_as_it_was_given() {
    for sharing in [Sharing::Shared, Sharing::SingleProcess] {
        let (_directory, path) = place();
        let store = SqliteOptions::new().sharing(sharing).open(&path).unwrap();
        assert_eq!(import(&store, (0..3_000).map(token)).unwrap(), 3_000);
        for number in 0..3_000 {
            let token = token(number);
            let marker = token.managed.as_ref().map(Lookup::Marker);
            let lookups = [
                Lookup::Id(token.id),
                Lookup::Identifier(&token.identifier),
                Lookup::KeyDigest(&token.key_digest),
            ];
            for lookup in lookups.into_iter().chain(marker) {
                let found = pollster::block_on(store.find(lookup)).unwrap();
                assert_eq!(found.as_deref(), Some(&token));
            }
        }
        store.check().unwrap();
        let all = TokenQuery {
            window: Window::Offset { offset: 0, limit: 10_000 },
            ..TokenQuery::default()
        };
        assert_eq!(pollster::block_on(store.list(&all)).unwrap().tokens.len(), 3_000);
    }
}

#[test]
fn a_store_works_after_an_import_as_before() {
    let (_directory, path) = place();
    let store = SqliteStore::open(&path).unwrap();
    let before = schema(&path);
    import(&store, (0..10).map(token)).unwrap();
    assert_eq!(schema(&path), before);
    for (field, taken) in [
        (UniqueField::Id, Token { id: token(1).id, ..token(10) }),
        (UniqueField::Identifier, Token { identifier: token(1).identifier, ..token(10) }),
        (UniqueField::Managed, Token { managed: token(1).managed, ..token(10) }),
        (UniqueField::Key, Token { key_digest: token(1).key_digest, ..token(10) }),
    ] {
        let refused = insert(&store, taken).unwrap_err();
        let expected = |error| matches!(error, CommitError::Taken { field: f, .. } if f == field);
        assert!(expected(refused), "{field:?}");
    }
    insert(&store, token(10)).unwrap();
    assert_eq!(count(&SqliteStore::open(&path).unwrap()), 11);
}

#[test]
fn a_store_that_has_tokens_is_refused() {
    let (_directory, path) = place();
    let store = SqliteStore::open(&path).unwrap();
    insert(&store, token(0)).unwrap();
    assert!(matches!(import(&store, [token(1)]), Err(ImportError::NotEmpty)));
    assert_eq!(count(&store), 1);
}

#[test]
fn what_is_not_unique_leaves_an_empty_store() {
    let (_directory, path) = place();
    let store = SqliteStore::open(&path).unwrap();
    let before = schema(&path);
    for (expected, twin) in [
        (UniqueField::Id, Token { id: token(1).id, ..token(500) }),
        (UniqueField::Identifier, Token { identifier: token(1).identifier, ..token(500) }),
        (UniqueField::Managed, Token { managed: token(1).managed, ..token(500) }),
        (UniqueField::Key, Token { key_digest: token(1).key_digest, ..token(500) }),
        (UniqueField::Id, token(1)),
    ] {
        let error = import(&store, (0..500).map(token).chain([twin])).unwrap_err();
        assert!(matches!(error, ImportError::Taken { field } if field == expected), "{error:?}");
        assert_eq!(count(&store), 0);
        assert_eq!(schema(&path), before);
    }
    assert_eq!(import(&store, (0..500).map(token)).unwrap(), 500);
}

#[test]
fn a_panic_on_the_way_leaves_an_empty_store() {
    let (_directory, path) = place();
    let store = SqliteStore::open(&path).unwrap();
    let before = schema(&path);
    let cut_off = (0..500).map(|number| {
        assert!(number < 400, "cut off");
        token(number)
    });
    assert!(matches!(import(&store, cut_off), Err(ImportError::Store(_))));
    assert_eq!(count(&store), 0);
    assert_eq!(schema(&path), before);
    insert(&store, token(0)).unwrap();
}

#[test]
fn others_find_the_store_empty_until_all_is_there() {
    let (_directory, path) = place();
    let store = SqliteStore::open(&path).unwrap();
    let other = SqliteStore::open(&path).unwrap();
    let looking = (0..20_000).map(move |number| {
        if number % 1_000 == 999 {
            assert_eq!(count(&other), 0, "seen before it was committed");
        }
        token(number)
    });
    assert_eq!(import(&store, looking).unwrap(), 20_000);
    assert_eq!(count(&store), 20_000);
}

/// What the child process runs; nothing by itself. Ends without any clean-up in the middle of an
/// import, when much of it is in the log.
#[test]
fn child_process() {
    if let Some(path) = std::env::var_os(FILE) {
        let store = SqliteStore::open(PathBuf::from(path)).unwrap();
        let killed = (0..150_000).map(|number| {
            if number == 140_000 {
                std::process::abort();
            }
            token(number)
        });
        import(&store, killed).unwrap();
    }
}

#[test]
fn a_process_that_dies_in_the_middle_leaves_an_empty_store() {
    let (_directory, path) = place();
    let before = {
        drop(SqliteStore::open(&path).unwrap());
        schema(&path)
    };
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_process", "--nocapture"])
        .env(FILE, &path)
        .output()
        .unwrap();
    assert!(!child.status.success());
    let log = path.with_extension("db-wal").metadata().unwrap().len();
    assert!(log > 1_000_000, "it died in the middle: {log} bytes were written");
    let store = SqliteStore::open(&path).unwrap();
    assert_eq!(count(&store), 0);
    store.check().unwrap();
    assert_eq!(schema(&path), before);
    assert_eq!(import(&store, (0..500).map(token)).unwrap(), 500);
}
