//! The schema, and how a file comes to it.

use rusqlite::{Connection, Transaction, TransactionBehavior};

use crate::error::Fault;

/// Marks a file as tokenkeep's: "tkkp".
const APPLICATION_ID: u32 = 0x746b_6b70;

/// Each step takes a file from the version before it, 0 being an empty file, to its place here.
/// A step that has been released is never changed.
const MIGRATIONS: [&str; 1] = [include_str!("schema/1.sql")];

/// The newest schema version that this program knows.
pub(crate) const NEWEST: i64 = newest(&MIGRATIONS);

#[allow(clippy::cast_possible_wrap, reason = "a handful")]
const fn newest(steps: &[&str]) -> i64 {
    steps.len() as i64
}

/// What a file is, judged by its marks.
#[derive(Debug, PartialEq)]
pub(crate) enum Origin {
    /// Ours, at this version.
    Ours(i64),
    /// Tables and indexes of ours at this version, without the marks: what a restored dump has.
    Unmarked(i64),
    /// Another program's.
    Foreign,
}

impl Origin {
    fn of(application_id: i64, version: i64) -> Self {
        let is_ours = application_id == i64::from(APPLICATION_ID) && version > 0;
        if is_ours { Self::Ours(version) } else { Self::Foreign }
    }
}

/// Reads the marks, and the schema of a file that has none.
pub(crate) fn origin(connection: &Connection) -> Result<Origin, Fault> {
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    match (pragma("application_id")?, pragma("user_version")?) {
        (0, 0) => unmarked(connection),
        (application_id, version) => Ok(Origin::of(application_id, version)),
    }
}

/// Compares the schema of a file without marks with those of the versions.
fn unmarked(connection: &Connection) -> Result<Origin, Fault> {
    let found = statements(connection)?;
    let ours = Connection::open_in_memory()?;
    for (version, step) in (1..).zip(MIGRATIONS) {
        ours.execute_batch(step)?;
        if statements(&ours)? == found {
            return Ok(Origin::Unmarked(version));
        }
    }
    Ok(Origin::Foreign)
}

/// Returns the statements that make the tables and indexes, by name.
fn statements(connection: &Connection) -> Result<Vec<(String, String)>, rusqlite::Error> {
    let sql = "SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name";
    let mut select = connection.prepare(sql)?;
    select.query_map((), |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
}

/// Returns the statements that mark a file as ours, for an operator to run.
pub(crate) fn marks(version: i64) -> String {
    format!("PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {version}")
}

/// Writes the schema into an empty file.
pub(crate) fn create(connection: &mut Connection) -> Result<(), Fault> {
    let transaction = Transaction::new(connection, TransactionBehavior::Immediate)?;
    step_up(&transaction, 0, &MIGRATIONS)?;
    transaction.commit()?;
    Ok(())
}

/// Brings a file of ours to the newest version, in one transaction: other processes may try the
/// same at the same time. Returns what the file was; a newer one and a foreign one are left alone.
pub(crate) fn migrate(connection: &mut Connection) -> Result<Origin, Fault> {
    migrate_by(connection, &MIGRATIONS)
}

fn migrate_by(connection: &mut Connection, steps: &[&str]) -> Result<Origin, Fault> {
    let transaction = Transaction::new(connection, TransactionBehavior::Immediate)?;
    let origin = origin(&transaction)?;
    if let Origin::Ours(version) = origin
        && version < newest(steps)
    {
        step_up(&transaction, version, steps)?;
        transaction.commit()?;
    }
    Ok(origin)
}

/// Takes every step above `version`, and marks the file.
fn step_up(
    transaction: &Transaction<'_>,
    version: i64,
    steps: &[&str],
) -> Result<(), rusqlite::Error> {
    let done = usize::try_from(version).unwrap_or(usize::MAX);
    for step in steps.iter().skip(done) {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", newest(steps))
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::path::Path;
    use std::process::Command;

    use tokenkeep::{Timestamp, User, UserId};
    use uuid::Uuid;

    use super::*;
    use crate::maintenance::quick_check;
    use crate::users::put_user;

    const FILE: &str = "TOKENKEEP_MIGRATION_FILE";
    /// Whether the child takes each statement by itself: the control.
    const HASTY: &str = "TOKENKEEP_MIGRATION_HASTY";

    /// The schema of today, and a step that nobody will ever take.
    const STEPS: [&str; 2] = [
        MIGRATIONS[0],
        "ALTER TABLE user_account ADD COLUMN note TEXT NOT NULL DEFAULT '';
         UPDATE user_account SET note = username;
         CREATE INDEX user_account_note ON user_account (note);",
    ];

    const USERS: i64 = 100;

    /// What the child process runs, which is killed; nothing by itself.
    #[test]
    fn child_process() {
        let Some(path) = std::env::var_os(FILE) else { return };
        let mut connection = Connection::open(path).unwrap();
        if std::env::var_os(HASTY).is_some() {
            connection.execute_batch(STEPS[1]).unwrap();
            connection.pragma_update(None, "user_version", 2).unwrap();
        } else {
            assert_eq!(migrate_by(&mut connection, &STEPS).unwrap(), Origin::Ours(1));
        }
    }

    /// A file of version 1 with a page or two of users.
    fn file_of_version_1(path: &Path) {
        let mut connection = Connection::open(path).unwrap();
        create(&mut connection).unwrap();
        connection.pragma_update(None, "journal_mode", "wal").unwrap();
        for id in (0..USERS).map(UserId::new) {
            let name = format!("user-{id}");
            let user = User::new(id, Uuid::from_u128(1), name, Timestamp::MIN);
            assert!(put_user(&connection, &user).is_ok());
        }
    }

    /// Has a child migrate the file, to be killed at the call of that number; whether it got to its end.
    fn migrates(path: &Path, call: &str, number: u32, hasty: bool) -> bool {
        let mut strace = Command::new("strace");
        strace
            .args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={call}")])
            .args(["-e", &format!("inject={call}:signal=SIGKILL:when={number}")])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "schema::tests::child_process"])
            .env(FILE, path);
        if hasty {
            strace.env(HASTY, "1");
        }
        strace.output().unwrap().status.success()
    }

    /// Of a sound file: its version, what it has of the step, and how many users it was taken for.
    type State = (i64, [i64; 2], i64);
    const OLD: State = (1, [0, 0], 0);
    const NEW: State = (2, [1, 1], USERS);

    fn state(path: &Path) -> State {
        let connection = Connection::open(path).unwrap();
        assert!(quick_check(&connection).is_ok());
        let version = connection.pragma_query_value(None, "user_version", |row| row.get(0));
        let count = |sql| connection.query_row(sql, (), |row| row.get(0)).unwrap();
        let columns =
            count("SELECT count(*) FROM pragma_table_info('user_account') WHERE name = 'note'");
        let indexes = count("SELECT count(*) FROM sqlite_schema WHERE name = 'user_account_note'");
        assert_eq!(count("SELECT count(*) FROM user_account"), USERS);
        let noted = "SELECT count(*) FROM user_account WHERE note = username";
        let noted = if columns == 0 { 0 } else { count(noted) };
        (version.unwrap(), [columns, indexes], noted)
    }

    /// What is found after kills at the first calls, one after the other, the last of which was too
    /// late.
    fn states_after_kills(call: &str, hasty: bool) -> Vec<State> {
        let mut states = Vec::new();
        for number in 1..1_000 {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("test.db");
            file_of_version_1(&path);
            let ended = migrates(&path, call, number, hasty);
            states.push(state(&path));
            if !hasty {
                // Whoever comes next takes the rest of the way.
                migrate_by(&mut Connection::open(&path).unwrap(), &STEPS).unwrap();
                assert_eq!(state(&path), NEW);
            }
            if ended {
                return states;
            }
        }
        panic!("never ends");
    }

    #[test]
    fn a_migration_that_is_killed_at_any_write_is_done_or_not() {
        if Command::new("strace").arg("-V").output().is_err() {
            // Where no test captures it.
            let _ = writeln!(io::stderr(), "NOT RUN: kills in a migration, which need strace");
            assert!(std::env::var_os("CI").is_none(), "strace is missing");
            return;
        }
        for call in ["pwrite64", "fsync"] {
            let states = states_after_kills(call, false);
            println!("a migration: killed at {} calls of {call}", states.len() - 1);
            assert_eq!((states.first(), states.last()), (Some(&OLD), Some(&NEW)), "{call}");
            assert!(states.iter().all(|state| [OLD, NEW].contains(state)), "{call}: {states:?}");
        }
        // The control: statement by statement, something is found half done.
        let states = states_after_kills("pwrite64", true);
        assert!(states.iter().any(|state| ![OLD, NEW].contains(state)), "{states:?}");
    }

    #[test]
    fn origin_reads_the_marks() {
        let mut connection = Connection::open_in_memory().unwrap();
        assert_eq!(origin(&connection).unwrap(), Origin::Foreign, "empty");
        create(&mut connection).unwrap();
        assert_eq!(origin(&connection).unwrap(), Origin::Ours(NEWEST));
        assert_eq!(migrate(&mut connection).unwrap(), Origin::Ours(NEWEST));

        for (mark, value) in [("application_id", 7), ("user_version", 0)] {
            connection.pragma_update(None, mark, value).unwrap();
            assert_eq!(migrate(&mut connection).unwrap(), Origin::Foreign);
        }
    }

    #[test]
    fn origin_without_marks_compares_the_schema() {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(MIGRATIONS[0]).unwrap();
        assert_eq!(origin(&connection).unwrap(), Origin::Unmarked(1));
        connection.execute_batch(&marks(1)).unwrap();
        assert_eq!(origin(&connection).unwrap(), Origin::Ours(1));
        let unmark = "PRAGMA application_id = 0; PRAGMA user_version = 0; CREATE TABLE more (a)";
        connection.execute_batch(unmark).unwrap();
        assert_eq!(origin(&connection).unwrap(), Origin::Foreign);
    }
}
