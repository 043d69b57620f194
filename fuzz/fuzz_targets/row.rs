//! Whatever stands in a token's row, of whatever type, it is read as a token that obeys SPEC, or the
//! row is said to be corrupt, in words that do not show what stands there; nothing panics, and nobody
//! gets in by a key that is not the row's.
#![no_main]

use std::cell::LazyCell;
use std::error::Error;
use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use pollster::block_on;
use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};
use tempfile::TempDir;
use tokenkeep::{
    Caller, KeyDigest, Lookup, StoreError, StoreErrorKind, TokenChange, TokenError, TokenId,
    TokenKey, TokenList, TokenQuery, TokenService, TokenStore,
};
use tokenkeep_fuzz::bytes::Bytes;
use tokenkeep_fuzz::rules::check_token;
use tokenkeep_fuzz::{is_broken, world};
use tokenkeep_sqlite::{Durability, SqliteOptions, SqliteStore};
use uuid::Uuid;

const COLUMNS: [&str; 16] = [
    "id",
    "identifier",
    "intent",
    "owner",
    "description",
    "expires",
    "expiring",
    "managed",
    "revision",
    "created",
    "updated",
    "last_used",
    "owner_may_view_key",
    "key_digest",
    "sealed_key",
    "last_event",
];

/// The row that is written to, and its key.
const IDENTIFIER: &str = "alice-api";
const KEY: &str = "key-alice-api";

thread_local! {
    static FILE: LazyCell<File> = LazyCell::new(File::new);
}

fuzz_target!(|input: &[u8]| FILE.with(|file| {
    let mut input = Bytes(input);
    for _ in 0..3 {
        if !input.is_empty() {
            file.write(COLUMNS[input.below(COLUMNS.len())], &value(&mut input));
        }
    }
    file.read_through_the_store();
    file.read_through_the_service();
    file.restore();
}));

/// A file in which the table of tokens takes anything.
struct File {
    service: TokenService,
    store: Arc<SqliteStore>,
    connection: Connection,
    row: Vec<Value>,
    _directory: TempDir,
}

/// A value, and whether it is to be a text, whatever its bytes.
struct Written(Value, bool);

fn value(input: &mut Bytes<'_>) -> Written {
    match input.below(5) {
        0 => Written(Value::Null, false),
        1 => Written(Value::Integer(input.integer()), false),
        2 => Written(Value::Real(f64::from_bits(input.integer().cast_unsigned())), false),
        kind => Written(Value::Blob(input.some().to_vec()), kind == 3),
    }
}

impl File {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tokens.db");
        let store = SqliteStore::open(&path).unwrap();
        world::load(&store, &store);
        drop(store);
        let connection = Connection::open(&path).unwrap();
        loosen(&connection);
        let options = SqliteOptions::new().durability(Durability::Normal).readers(1);
        let store = Arc::new(options.open(&path).unwrap());
        let sql = format!("SELECT {} FROM token WHERE identifier = ?1", COLUMNS.join(", "));
        let read = |row: &rusqlite::Row<'_>| (0..COLUMNS.len()).map(|i| row.get(i)).collect();
        let row: Vec<Value> = connection.query_row(&sql, [IDENTIFIER], read).unwrap();
        connection.execute("CREATE TEMP TABLE place (number)", ()).unwrap();
        let sql = "INSERT INTO place SELECT rowid FROM token WHERE identifier = ?1";
        assert_eq!(connection.execute(sql, [IDENTIFIER]).unwrap(), 1);
        let service = world::service(store.clone(), store.clone());
        Self { service, store, connection, row, _directory: directory }
    }

    /// Writes a column, unless an index forbids it.
    fn write(&self, column: &str, Written(value, is_text): &Written) {
        let new = if *is_text { "CAST(?1 AS TEXT)" } else { "?1" };
        let sql =
            format!("UPDATE token SET {column} = {new} WHERE rowid = (SELECT number FROM place)");
        let _ = self.connection.prepare_cached(&sql).unwrap().execute([value]);
    }

    /// Brings the row back, and drops what has been recorded meanwhile.
    fn restore(&self) {
        let places: Vec<_> = COLUMNS.iter().map(|column| format!("{column} = ?")).collect();
        let sql = format!(
            "UPDATE token SET {} WHERE rowid = (SELECT number FROM place)",
            places.join(", ")
        );
        let mut statement = self.connection.prepare_cached(&sql).unwrap();
        assert_eq!(statement.execute(params_from_iter(&self.row)).unwrap(), 1);
        self.connection.execute("DELETE FROM event", ()).unwrap();
    }

    fn read_through_the_store(&self) {
        let (identifier, digest) = (IDENTIFIER.parse().unwrap(), digest());
        let Value::Blob(id) = &self.row[0] else { unreachable!() };
        let id = TokenId::from_bytes(id.as_slice().try_into().unwrap());
        let lookups = [Lookup::Id(id), Lookup::Identifier(&identifier), Lookup::KeyDigest(&digest)];
        for lookup in lookups {
            match block_on(self.store.find(lookup)) {
                Ok(found) => found.iter().for_each(|token| check_token(token)),
                Err(error) => check_error(&error),
            }
        }
        match block_on(self.store.list(&TokenQuery::default())) {
            Ok(page) => page.tokens.iter().for_each(|token| check_token(token)),
            Err(error) => check_error(&error),
        }
        if let Err(error) = block_on(self.store.key_usage()) {
            check_error(&error);
        }
    }

    fn read_through_the_service(&self) {
        let header = format!("Bearer {KEY}");
        let shown = block_on(self.service.authenticate(Some(header.as_bytes())));
        if let Some(shown) = check(shown) {
            assert_eq!(shown.token.key_digest, digest());
            check_token(&shown.token);
        }
        let system = &Caller::System;
        check(block_on(self.service.list(system, &TokenList::new().page_size(100))));
        check(block_on(self.service.retrieve(system, IDENTIFIER)));
        let key = check(block_on(self.service.view_key(system, IDENTIFIER)));
        assert!(key.is_none_or(|key| key.expose() == KEY));
        let change = TokenChange::new().description("seen");
        let updated = block_on(self.service.partial_update(system, IDENTIFIER, change));
        if let Some(updated) = check(updated) {
            check_token(&updated.view.token);
        }
    }
}

/// Takes away what the table demands of its values, as somebody could who can write to the file.
fn loosen(connection: &Connection) {
    let sql = format!("CREATE TABLE token ({})", COLUMNS.join(", "));
    connection.pragma_update(None, "writable_schema", true).unwrap();
    let update = "UPDATE sqlite_schema SET sql = ?1 WHERE type = 'table' AND name = 'token'";
    assert_eq!(connection.execute(update, [sql]).unwrap(), 1);
    connection.execute_batch("PRAGMA writable_schema = RESET; PRAGMA synchronous = OFF").unwrap();
}

fn digest() -> KeyDigest {
    KeyDigest::of(&TokenKey::from(KEY.to_owned()))
}

/// The answer, or nothing where it is a refusal that a row can cause.
fn check<T>(answer: Result<T, TokenError>) -> Option<T> {
    match answer {
        Ok(answer) => return Some(answer),
        Err(TokenError::Store(error)) => check_error(&error),
        Err(
            TokenError::NotFound
            | TokenError::InvalidKey
            | TokenError::KeyNotRetained
            | TokenError::Unseal(_),
        ) => {}
        Err(other) => panic!("{other:?}"),
    }
    None
}

/// What is stored is at fault, and is not shown: all that an error tells is where.
fn check_error(error: &StoreError) {
    assert!(!is_broken(), "a product that does not expect this: {error}");
    let StoreErrorKind::Corrupt { table, column, id } = error.kind() else { panic!("{error:?}") };
    let is_place = *table == "token" && (COLUMNS.contains(column) || *column == "index");
    assert!(is_place, "{error:?}");
    assert!(id == "a row" || Uuid::try_parse(id).is_ok(), "{error:?}");
    let cause = error.source().map(ToString::to_string);
    assert!(cause.is_none_or(|cause| cause == "not what was written"), "{error:?}");
}
