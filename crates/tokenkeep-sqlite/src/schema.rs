//! The schema, and how a file comes to it.

use rusqlite::{Connection, Transaction, TransactionBehavior};

use crate::error::Fault;

/// Marks a file as tokenkeep's: "tkkp".
const APPLICATION_ID: u32 = 0x746b_6b70;

/// Each step takes a file from the version before it, 0 being an empty file, to its place here.
/// A step that has been released is never changed.
const MIGRATIONS: [&str; 1] = [include_str!("schema/1.sql")];

/// The newest schema version that this program knows.
#[allow(clippy::cast_possible_wrap, reason = "a handful")]
pub(crate) const NEWEST: i64 = MIGRATIONS.len() as i64;

/// What a file is, judged by its marks.
#[derive(Debug, PartialEq)]
pub(crate) enum Origin {
    /// Ours, at this version.
    Ours(i64),
    /// Another program's.
    Foreign,
}

impl Origin {
    fn of(application_id: i64, version: i64) -> Self {
        let is_ours = application_id == i64::from(APPLICATION_ID) && version > 0;
        if is_ours { Self::Ours(version) } else { Self::Foreign }
    }
}

/// Reads the marks through SQLite.
pub(crate) fn origin(connection: &Connection) -> Result<Origin, Fault> {
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    Ok(Origin::of(pragma("application_id")?, pragma("user_version")?))
}

/// Reads the marks in the header of a file that has no log (<https://sqlite.org/fileformat2.html>,
/// section 1.3).
pub(crate) fn origin_in_header(header: &[u8]) -> Origin {
    let number = |at: usize| {
        let bytes = header.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
        bytes.map_or(0, |bytes| i64::from(u32::from_be_bytes(bytes)))
    };
    if header.starts_with(b"SQLite format 3\0") {
        Origin::of(number(68), number(60))
    } else {
        Origin::Foreign
    }
}

/// Writes the schema into an empty file.
pub(crate) fn create(connection: &mut Connection) -> Result<(), Fault> {
    let transaction = Transaction::new(connection, TransactionBehavior::Immediate)?;
    step_up(&transaction, 0)?;
    transaction.commit()?;
    Ok(())
}

/// Brings a file of ours to the newest version, in one transaction: other processes may try the
/// same at the same time. Returns what the file was; a newer one and a foreign one are left alone.
pub(crate) fn migrate(connection: &mut Connection) -> Result<Origin, Fault> {
    let transaction = Transaction::new(connection, TransactionBehavior::Immediate)?;
    let origin = origin(&transaction)?;
    if let Origin::Ours(version) = origin
        && version < NEWEST
    {
        step_up(&transaction, version)?;
        transaction.commit()?;
    }
    Ok(origin)
}

/// Takes every step above `version`, and marks the file.
fn step_up(transaction: &Transaction<'_>, version: i64) -> Result<(), rusqlite::Error> {
    let done = usize::try_from(version).unwrap_or(usize::MAX);
    for step in MIGRATIONS.iter().skip(done) {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", NEWEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_says_what_sqlite_says() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("test.db");
        let mut connection = Connection::open(&path).unwrap();
        create(&mut connection).unwrap();
        let header = std::fs::read(&path).unwrap();
        assert_eq!(origin_in_header(&header), Origin::Ours(NEWEST));
        assert_eq!(origin(&connection).unwrap(), Origin::Ours(NEWEST));
        assert_eq!(migrate(&mut connection).unwrap(), Origin::Ours(NEWEST));

        for (mark, value) in [("application_id", 7), ("user_version", 0)] {
            connection.pragma_update(None, mark, value).unwrap();
            let header = std::fs::read(&path).unwrap();
            assert_eq!(origin_in_header(&header), Origin::Foreign);
            assert_eq!(migrate(&mut connection).unwrap(), Origin::Foreign);
        }
        for foreign in [&b""[..], b"SQLite format 3\0", b"SQLite", &[0; 100]] {
            assert_eq!(origin_in_header(foreign), Origin::Foreign);
        }
    }
}
