//! Opening files: new ones, our own, and those that must be refused untouched.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]
#![allow(clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::Duration;

use rusqlite::Connection;
use tempfile::tempdir;
use tokenkeep::{
    Group, GroupId, StoreErrorKind, Timestamp, User, UserDirectory, UserId, UserStore,
};
use tokenkeep_sqlite::{CheckOnOpen, Durability, OpenError, Sharing, SqliteOptions, SqliteStore};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// Opening must fail, and leave the whole directory as it is.
fn refused(path: &Path) -> OpenError {
    refused_by(&SqliteOptions::new(), path)
}

fn refused_by(options: &SqliteOptions, path: &Path) -> OpenError {
    let files = || -> BTreeMap<_, _> {
        let files = fs::read_dir(path.parent().unwrap()).unwrap().map(|file| file.unwrap().path());
        files.map(|file| (file.clone(), fs::read(file).unwrap())).collect()
    };
    let before = files();
    let error = options.open(path).unwrap_err();
    assert_eq!(files(), before, "something was touched");
    error
}

fn alice() -> User {
    User::new(UserId::new(2), uuid::Uuid::from_u128(2), "alice", Timestamp::MIN)
}

#[test]
fn a_new_file_and_its_log_are_private() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("tokens.db");
    let store = SqliteStore::open(&path).unwrap();
    pollster::block_on(store.put_user(alice())).unwrap();
    for file in ["tokens.db", "tokens.db-wal", "tokens.db-shm"] {
        assert_eq!(mode(&directory.path().join(file)), 0o600, "{file}");
    }
}

#[test]
fn the_settings_are_those_that_were_promised() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("tokens.db");
    drop(SqliteStore::open(&path).unwrap());
    let connection = Connection::open(&path).unwrap();
    let pragma = |name: &str| -> String {
        let read = connection.pragma_query_value(None, name, |row| row.get_ref(0)?.as_str_or_int());
        read.unwrap()
    };
    assert_eq!(pragma("journal_mode"), "wal");
    assert_eq!(pragma("application_id"), 0x746b_6b70.to_string());
    assert_eq!(pragma("user_version"), "1");
    assert_eq!(pragma("integrity_check"), "ok");
    let strict = "SELECT count(*) FROM pragma_table_list WHERE type = 'table' AND NOT strict \
                  AND name NOT LIKE 'sqlite_%'";
    let lenient: i64 = connection.query_row(strict, (), |row| row.get(0)).unwrap();
    assert_eq!(lenient, 0, "every table is strict");
}

trait AsText {
    fn as_str_or_int(&self) -> rusqlite::Result<String>;
}

impl AsText for rusqlite::types::ValueRef<'_> {
    fn as_str_or_int(&self) -> rusqlite::Result<String> {
        Ok(self.as_i64().map_or_else(|_| self.as_str().unwrap().to_owned(), |n| n.to_string()))
    }
}

#[test]
fn a_file_can_be_opened_again_and_by_several() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("tokens.db");
    let first = SqliteStore::open(&path).unwrap();
    pollster::block_on(first.put_user(alice())).unwrap();
    let second = SqliteOptions::new()
        .durability(Durability::Normal)
        .busy_timeout(Duration::from_millis(100))
        .readers(0)
        .open(&path)
        .unwrap();
    let active = |store: &SqliteStore| pollster::block_on(store.is_active(UserId::new(2))).unwrap();
    assert_eq!(active(&second), Some(true));
    let inactive = User { is_active: false, ..alice() };
    pollster::block_on(second.put_user(inactive)).unwrap();
    assert_eq!(active(&first), Some(false));
    drop((first, second));
    assert_eq!(active(&SqliteStore::open(&path).unwrap()), Some(false));
}

#[test]
fn several_may_create_a_file_at_once() {
    for _ in 0..20 {
        let directory = tempdir().unwrap();
        let path = directory.path().join("tokens.db");
        std::thread::scope(|scope| {
            for number in 0..8 {
                let path = &path;
                scope.spawn(move || {
                    let store = SqliteStore::open(path).unwrap();
                    let user = User { id: UserId::new(number), ..alice() };
                    let user = User { username: number.to_string(), ..user };
                    pollster::block_on(store.put_user(user)).unwrap();
                });
            }
        });
        let store = SqliteStore::open(&path).unwrap();
        let ids: Vec<_> = (0..8).map(UserId::new).collect();
        assert_eq!(pollster::block_on(store.profiles(&ids)).unwrap().len(), 8);
    }
}

#[test]
fn foreign_files_are_refused_untouched() {
    let directory = tempdir().unwrap();
    let text = directory.path().join("notes.txt");
    fs::write(&text, "not a database ".repeat(100)).unwrap();
    fs::set_permissions(&text, fs::Permissions::from_mode(0o600)).unwrap();
    assert!(matches!(refused(&text), OpenError::Foreign(path) if path == text));

    let with_tables = directory.path().join("tables.db");
    let other = Connection::open(&with_tables).unwrap();
    other.execute_batch("PRAGMA journal_mode = wal; CREATE TABLE other (a)").unwrap();
    drop(other);
    fs::set_permissions(&with_tables, fs::Permissions::from_mode(0o600)).unwrap();
    assert!(matches!(refused(&with_tables), OpenError::Foreign(_)));

    let with_version = directory.path().join("version.db");
    let other = Connection::open(&with_version).unwrap();
    other.execute_batch("PRAGMA user_version = 7").unwrap();
    drop(other);
    fs::set_permissions(&with_version, fs::Permissions::from_mode(0o600)).unwrap();
    assert!(matches!(refused(&with_version), OpenError::Foreign(_)));
}

#[test]
fn a_newer_file_is_refused_untouched() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("tokens.db");
    drop(SqliteStore::open(&path).unwrap());
    let connection = Connection::open(&path).unwrap();
    connection.execute_batch("PRAGMA user_version = 2").unwrap();
    drop(connection);
    let error = refused(&path);
    assert!(matches!(error, OpenError::Newer { found: 2, known: 1, .. }), "{error:?}");
    assert!(error.to_string().contains("update"), "{error}");
}

#[test]
fn what_is_not_a_private_regular_file_is_refused() {
    let directory = tempdir().unwrap();
    let error = SqliteStore::open(directory.path()).unwrap_err();
    assert!(matches!(error, OpenError::NotAFile(_)), "{error:?}");

    let path = directory.path().join("tokens.db");
    drop(SqliteStore::open(&path).unwrap());
    let link = directory.path().join("link.db");
    symlink(&path, &link).unwrap();
    let error = SqliteStore::open(&link).unwrap_err();
    assert!(matches!(error, OpenError::NotAFile(_)), "{error:?}");

    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let error = refused(&path);
    assert!(matches!(error, OpenError::NotPrivate { mode: 0o640, .. }), "{error:?}");
    assert!(error.to_string().contains("chmod 600"), "{error}");
    assert_eq!(mode(&path), 0o640);

    let error = SqliteStore::open(directory.path().join("no/such/directory.db")).unwrap_err();
    assert!(matches!(error, OpenError::Io { .. }), "{error:?}");
}

#[test]
fn names_that_sqlite_would_read_as_its_own_are_files() {
    let directory = tempdir().unwrap();
    for name in [":memory:", "file:x?mode=memory", " "] {
        let path = directory.path().join(name);
        drop(SqliteStore::open(&path).unwrap());
        assert!(path.exists(), "{name:?}");
    }
}

#[test]
fn an_empty_file_is_refused_with_a_way_out() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("tokens.db");
    fs::write(&path, "").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let error = refused(&path);
    assert!(matches!(error, OpenError::Empty(_)), "{error:?}");
    fs::remove_file(&path).unwrap();
    SqliteStore::open(&path).unwrap();
}

#[test]
fn links_in_the_directories_are_followed() {
    let directory = tempdir().unwrap();
    fs::create_dir(directory.path().join("real")).unwrap();
    symlink(directory.path().join("real"), directory.path().join("link")).unwrap();
    let store = SqliteStore::open(directory.path().join("link/tokens.db")).unwrap();
    pollster::block_on(store.put_user(alice())).unwrap();
    drop(store);
    let store = SqliteStore::open(directory.path().join("real/tokens.db")).unwrap();
    assert!(pollster::block_on(store.is_active(UserId::new(2))).unwrap().is_some());
}

#[test]
fn creation_leaves_one_file_and_a_cut_off_one_is_in_nobodys_way() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("tokens.db");
    // What a process that was killed while it created the file has left.
    fs::write(directory.path().join("tokens.db.new-1-0"), "half").unwrap();
    drop(SqliteStore::open(&path).unwrap());
    let mut names: Vec<_> =
        fs::read_dir(directory.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["tokens.db", "tokens.db.new-1-0"]);
}

/// The log of a file that was deleted is not taken for that of a new one, and not lost.
#[test]
fn no_file_is_made_beside_the_log_of_another() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("tokens.db");
    let [log, kept] = ["tokens.db-wal", "kept.db"].map(|name| directory.path().join(name));
    let store = SqliteStore::open(&path).unwrap();
    pollster::block_on(store.put_user(alice())).unwrap();
    // As a kill leaves them.
    fs::copy(&path, &kept).unwrap();
    fs::copy(&log, directory.path().join("kept.db-wal")).unwrap();
    drop(store);
    fs::remove_file(&path).unwrap();
    fs::rename(directory.path().join("kept.db-wal"), &log).unwrap();

    let before = fs::read(&log).unwrap();
    let error = refused(&path);
    assert!(matches!(error, OpenError::LogAlone(_)), "{error:?}");
    assert!(!path.exists() && fs::read(&log).unwrap() == before);
    fs::rename(&kept, &path).unwrap();
    let store = SqliteStore::open(&path).unwrap();
    assert_eq!(pollster::block_on(store.is_active(UserId::new(2))).unwrap(), Some(true));
}

/// Makes a file with users, and another process's group in a log beside it where one is asked for.
fn filled(path: &Path, with_log: bool) {
    let store = SqliteStore::open(path).unwrap();
    for number in 0..200 {
        let user = User { id: UserId::new(number), username: number.to_string(), ..alice() };
        pollster::block_on(store.put_user(user)).unwrap();
    }
    drop(store);
    if with_log {
        let store = SqliteStore::open(path).unwrap();
        let group = Group::new(GroupId::from_bytes([1; 16]), "staff");
        pollster::block_on(store.put_group(group)).unwrap();
        // As a kill leaves them: the log is not moved into the file.
        let [aside, log] = ["aside", "db-wal"].map(|other| path.with_extension(other));
        fs::copy(path, &aside).unwrap();
        let bytes = fs::read(&log).unwrap();
        drop(store);
        fs::rename(aside, path).unwrap();
        fs::write(&log, bytes).unwrap();
    }
}

/// Damages the last page of the users' tables, which no look at the schema meets.
fn damage(path: &Path) {
    let copy = path.with_extension("copy");
    fs::copy(path, &copy).unwrap();
    let last = "SELECT max(rootpage) FROM sqlite_schema WHERE tbl_name = 'user_account'";
    let connection = Connection::open(&copy).unwrap();
    let page: u32 = connection.query_row(last, (), |row| row.get(0)).unwrap();
    drop(connection);
    fs::remove_file(&copy).unwrap();
    let mut bytes = fs::read(path).unwrap();
    let at = (page as usize - 1) * 4096;
    bytes[at..at + 8].fill(0xff);
    fs::write(path, &bytes).unwrap();
}

#[test]
fn a_damaged_file_is_refused_after_an_unclean_end_or_when_asked_for() {
    for with_log in [false, true] {
        for check in [CheckOnOpen::WithLog, CheckOnOpen::Always, CheckOnOpen::Never] {
            let directory = tempdir().unwrap();
            let path = directory.path().join("tokens.db");
            filled(&path, with_log);
            damage(&path);
            let opened = SqliteOptions::new().check(check).open(&path);
            let is_checked =
                check == CheckOnOpen::Always || (with_log && check == CheckOnOpen::WithLog);
            match opened {
                Ok(store) => assert!(!is_checked && store.check().is_err(), "{check:?}"),
                Err(OpenError::Store(error)) => {
                    assert!(is_checked && matches!(error.kind(), StoreErrorKind::Corrupt { .. }));
                }
                Err(error) => panic!("{error:?}"),
            }
        }
    }
    assert_eq!(CheckOnOpen::default(), CheckOnOpen::WithLog);
}

/// Whoever starts it again, and again, gets no further.
#[test]
fn a_damaged_file_with_a_log_is_refused_each_time() {
    for sharing in [Sharing::Shared, Sharing::SingleProcess] {
        let directory = tempdir().unwrap();
        let path = directory.path().join("tokens.db");
        filled(&path, true);
        damage(&path);
        let files = || [&path, &path.with_extension("db-wal")].map(|file| fs::read(file).unwrap());
        let before = files();
        for _ in 0..3 {
            let error = SqliteOptions::new().sharing(sharing).open(&path).unwrap_err();
            let OpenError::Store(error) = error else { panic!("{error:?}") };
            assert!(matches!(error.kind(), StoreErrorKind::Corrupt { .. }), "{error:?}");
            assert!(files() == before, "something was touched");
        }
    }
}

#[test]
fn a_damaged_file_that_was_closed_is_refused_as_it_was() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("tokens.db");
    filled(&path, false);
    damage(&path);
    let error = refused_by(&SqliteOptions::new().check(CheckOnOpen::Always), &path);
    assert!(matches!(error, OpenError::Store(_)), "{error:?}");
}

#[test]
fn any_timeout_can_be_given() {
    let directory = tempdir().unwrap();
    for timeout in [Duration::ZERO, Duration::from_secs(1 << 40), Duration::MAX] {
        let options = SqliteOptions::new().busy_timeout(timeout);
        let store = options.open(directory.path().join("tokens.db")).unwrap();
        pollster::block_on(store.put_user(alice())).unwrap();
    }
}
