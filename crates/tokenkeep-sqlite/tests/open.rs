//! Opening files: new ones, our own, and those that must be refused untouched.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]
#![allow(clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use rusqlite::Connection;
use tempfile::tempdir;
use tokenkeep::{
    Group, GroupId, StoreErrorKind, Timestamp, User, UserDirectory, UserId, UserStore,
};
use tokenkeep_sqlite::{
    BackupError, CheckOnOpen, Durability, OpenError, Sharing, SqliteOptions, SqliteStore,
};

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
    symlink("nowhere", &link).unwrap();
    let error = SqliteStore::open(&link).unwrap_err();
    assert!(matches!(error, OpenError::NotAFile(_)), "{error:?}");
    assert!(link.is_symlink());
    fs::remove_file(link).unwrap();

    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let error = refused(&path);
    assert!(matches!(error, OpenError::NotPrivate { mode: 0o640, .. }), "{error:?}");
    assert!(error.to_string().contains("chmod 600"), "{error}");
    assert_eq!(mode(&path), 0o640);

    let error = SqliteStore::open(directory.path().join("no/such/directory.db")).unwrap_err();
    assert!(matches!(error, OpenError::Io { .. }), "{error:?}");
}

#[test]
fn open_special_name_is_refused() {
    for name in ["", ":memory:", "file:x?mode=memory", "file:///tmp/x", "sqlite:x", "sqlite://x"] {
        let error = SqliteStore::open(name).unwrap_err();
        assert!(matches!(&error, OpenError::NotAPath(_)), "{name:?}: {error:?}");
        assert!(error.to_string().contains("give a plain path"), "{error}");
        assert!(!Path::new(name).exists(), "{name:?}");
    }
    let directory = tempdir().unwrap();
    let store = SqliteStore::open(directory.path().join("tokens.db")).unwrap();
    for name in ["", ":memory:", "file:backup.db"] {
        let error = store.backup(name).unwrap_err();
        assert!(matches!(error, BackupError::NotAPath(_)), "{error:?}");
    }
    // As part of a path they are names like any other.
    for name in [":memory:", "file:x?mode=memory", " ", "a#b%41?immutable=0"] {
        let path = directory.path().join(name);
        for _ in 0..2 {
            drop(SqliteStore::open(&path).unwrap());
            assert!(path.exists(), "{name:?}");
        }
    }
}

/// A process that used the other name would have a WAL of its own.
#[test]
fn open_hard_link_is_refused() {
    let directory = tempdir().unwrap();
    let [path, link] = ["tokens.db", "link.db"].map(|name| directory.path().join(name));
    drop(SqliteStore::open(&path).unwrap());
    fs::hard_link(&path, &link).unwrap();
    for name in [&path, &link] {
        let error = refused(name);
        assert!(matches!(&error, OpenError::SeveralNames(path) if path == name), "{error:?}");
        assert!(error.to_string().contains("hard link"), "{error}");
    }
    fs::remove_file(&link).unwrap();
    SqliteStore::open(&path).unwrap();
}

#[test]
fn open_symbolic_link_shares_the_wal() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("tokens.db");
    fs::create_dir(directory.path().join("elsewhere")).unwrap();
    let link = directory.path().join("elsewhere/link.db");
    let first = SqliteStore::open(&path).unwrap();
    symlink("../tokens.db", &link).unwrap();
    let second = SqliteStore::open(&link).unwrap();
    pollster::block_on(second.put_user(alice())).unwrap();
    assert_eq!(pollster::block_on(first.is_active(UserId::new(2))).unwrap(), Some(true));
    assert_eq!(fs::read_dir(link.parent().unwrap()).unwrap().count(), 1);
    drop((first, second));
    let alone = SqliteOptions::new().busy_timeout(Duration::ZERO).sharing(Sharing::SingleProcess);
    let store = alone.open(&link).unwrap();
    assert!(matches!(alone.open(&path).unwrap_err(), OpenError::InUse(_)));
    drop(store);
}

const OPEN: &str = "TOKENKEEP_OPEN_FILE";

/// Opens a store and prints how that ended; nothing unless a test runs it as a process of its own.
#[test]
fn child_process() {
    if let Some(path) = std::env::var_os(OPEN) {
        match SqliteStore::open(path) {
            Ok(_) => println!("opened"),
            Err(error) => println!("{error:?}: {error}"),
        }
    }
}

/// Opens a store in a process that a program starts, with its arguments.
fn open_under(program: &str, arguments: &[&str], path: &Path) -> Option<Output> {
    let mut command = Command::new(program);
    command.args(arguments).arg(std::env::current_exe().unwrap());
    command.args(["--exact", "child_process", "--nocapture"]).env(OPEN, path);
    let output = command.output();
    if output.as_ref().is_ok_and(|output| output.status.code() != Some(1)) {
        return Some(output.unwrap());
    }
    // Where no test captures it.
    let _ = writeln!(io::stderr(), "NOT RUN: a store opened under {program}: {output:?}");
    assert!(std::env::var_os("CI").is_none(), "{program} cannot be used");
    None
}

/// Opens a store with mounts of its own, made by a shell script in the parent of its directory.
fn open_with_mounts(script: &str, path: &Path) -> Option<String> {
    let directory = path.parent().unwrap().parent().unwrap().to_str().unwrap();
    let script = format!("cd \"$1\" && {script} && shift && exec \"$@\"");
    let arguments = ["--mount", "--map-root-user", "sh", "-c", &script, "sh", directory];
    let output = open_under("unshare", &arguments, path)?;
    Some(String::from_utf8(output.stdout).unwrap())
}

#[test]
fn open_file_mounted_without_its_directory_is_refused() {
    let parent = tempdir().unwrap();
    let [host, inner] = ["host", "in side"].map(|name| parent.path().join(name));
    fs::create_dir(&host).unwrap();
    fs::create_dir(&inner).unwrap();
    drop(SqliteStore::open(host.join("tokens.db")).unwrap());
    fs::write(inner.join("tokens.db"), "").unwrap();
    let path = inner.join("tokens.db");
    let file = "mount --bind host/tokens.db 'in side/tokens.db'";
    let Some(output) = open_with_mounts(file, &path) else { return };
    assert!(output.contains("MountedAlone") && output.contains("mount the directory"), "{output}");
    assert_eq!(fs::read_dir(&inner).unwrap().count(), 1);
    let output = open_with_mounts("mount --bind host 'in side'", &path).unwrap();
    assert!(output.contains("opened"), "{output}");
}

#[test]
fn open_in_a_read_only_place_says_what_to_do() {
    let parent = tempdir().unwrap();
    let inner = parent.path().join("inner");
    fs::create_dir(&inner).unwrap();
    let path = inner.join("tokens.db");
    let read_only = "mount --bind inner inner && mount -o remount,bind,ro inner";
    for _ in ["a new one", "one that is there"] {
        let Some(output) = open_with_mounts(read_only, &path) else { return };
        assert!(
            output.contains("NotWritable") && output.contains("directory writable"),
            "{output}"
        );
        drop(SqliteStore::open(&path).unwrap());
    }
}

#[test]
fn create_without_hard_links_succeeds() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("tokens.db");
    let no_links = ["-f", "-qq", "-o", "/dev/null", "-e", "inject=link,linkat:error=EPERM"];
    let Some(output) = open_under("strace", &no_links, &path) else { return };
    assert!(String::from_utf8_lossy(&output.stdout).contains("opened"), "{output:?}");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
}

#[test]
fn create_killed_at_any_call_leaves_nothing_in_the_way() {
    for calls in
        ["openat", "pwrite64,write", "fsync,fdatasync", "rename,renameat,renameat2", "unlink"]
    {
        for number in 1.. {
            let directory = tempdir().unwrap();
            let path = directory.path().join("tokens.db");
            let inject = format!("inject={calls}:signal=SIGKILL:when={number}");
            let arguments =
                ["-f", "-qq", "-o", "/dev/null", "-P", directory.path().to_str().unwrap()];
            let new = directory.path().join("tokens.db.tokenkeep-new");
            let journal = directory.path().join("tokens.db.tokenkeep-new-journal");
            let paths = [&path, &new, &journal].map(|path| ["-P", path.to_str().unwrap()]);
            let arguments = [&arguments, paths.as_flattened(), &["-e", &inject]].concat();
            let Some(output) = open_under("strace", &arguments, &path) else { return };
            drop(SqliteStore::open(&path).unwrap());
            let names = fs::read_dir(directory.path()).unwrap();
            let names: Vec<_> = names.map(|file| file.unwrap().file_name()).collect();
            assert_eq!(names, ["tokens.db"], "killed at call {number} of {calls}");
            if output.status.success() {
                println!("killed at {} calls of {calls}", number - 1);
                break;
            }
        }
    }
}

/// SQLite's shell does not write the marks of the header into a dump.
#[test]
fn open_restored_dump_names_the_command() {
    let directory = tempdir().unwrap();
    let [path, restored] = ["tokens.db", "it's.db"].map(|name| directory.path().join(name));
    let store = SqliteStore::open(&path).unwrap();
    pollster::block_on(store.put_user(alice())).unwrap();
    store.backup(&restored).unwrap();
    drop(store);
    let connection = Connection::open(&restored).unwrap();
    connection.execute_batch("PRAGMA application_id = 0; PRAGMA user_version = 0").unwrap();
    connection.pragma_update(None, "journal_mode", "delete").unwrap();
    drop(connection);

    let error = refused(&restored);
    let OpenError::Unmarked { command, .. } = &error else { panic!("{error:?}") };
    assert!(error.to_string().contains(command), "{error}");
    assert!(command.contains(r"it'\''s.db"), "{command}");
    let marks = command.rsplit('\'').nth(1).unwrap();
    Connection::open(&restored).unwrap().execute_batch(marks).unwrap();
    let store = SqliteStore::open(&restored).unwrap();
    assert!(pollster::block_on(store.is_active(UserId::new(2))).unwrap().is_some());
}

#[test]
fn open_with_files_beside_that_others_may_read_is_refused() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("tokens.db");
    for end in ["wal", "shm", "journal"] {
        filled(&path, true);
        let beside = path.with_extension(format!("db-{end}"));
        if !beside.exists() {
            fs::write(&beside, "").unwrap();
        }
        fs::set_permissions(&beside, fs::Permissions::from_mode(0o644)).unwrap();
        let error = refused(&path);
        let OpenError::NotPrivate { path: named, mode: 0o644 } = &error else {
            panic!("{error:?}")
        };
        assert_eq!(*named, beside);
        assert!(error.to_string().contains("chmod 600"), "{error}");
        fs::set_permissions(&beside, fs::Permissions::from_mode(0o600)).unwrap();
        drop(SqliteStore::open(&path).unwrap());
        for file in fs::read_dir(directory.path()).unwrap() {
            fs::remove_file(file.unwrap().path()).unwrap();
        }
    }
    drop(SqliteStore::open(&path).unwrap());
    symlink("elsewhere", path.with_extension("db-wal")).unwrap();
    assert!(matches!(SqliteStore::open(&path).unwrap_err(), OpenError::NotAFile(_)));
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
        fs::set_permissions(log, fs::Permissions::from_mode(0o600)).unwrap();
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
