//! The file itself: who may read it, whose it is, and how a new one comes to its name.

use std::ffi::OsString;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use tokenkeep::{Random, SystemRandom};

use crate::error::{Fault, OpenError};
use crate::reader::at_once;
use crate::schema::{self, Origin};
use crate::sharing::Sharing;

/// Where a file really is: links in the directories are followed. The last part is taken as it is
/// spelled, so that SQLite does not read names like `:memory:` as its own.
pub(crate) fn real_path(path: &Path) -> io::Result<PathBuf> {
    let path = std::path::absolute(path)?;
    match (path.parent(), path.file_name()) {
        (Some(directory), Some(name)) => Ok(directory.canonicalize()?.join(name)),
        _ => Err(io::Error::from(io::ErrorKind::IsADirectory)),
    }
}

/// The path with something behind it: `-wal` for the log.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

/// Opens a connection to a file that is there, with the settings that all connections share.
pub(crate) fn connect(path: &Path, mode: OpenFlags, sharing: Sharing) -> Result<Connection, Fault> {
    let flags = mode | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let connection = match sharing.vfs() {
        None => Connection::open_with_flags(path, flags)?,
        Some(vfs) => Connection::open_with_flags_and_vfs(path, flags, vfs)?,
    };
    set(&connection, "foreign_keys", 1)?;
    set(&connection, "trusted_schema", 0)?;
    set(&connection, "cell_size_check", 1)?;
    set(&connection, "secure_delete", 1)?;
    set(&connection, "mmap_size", 0)?;
    switch_on(&connection, DbConfig::SQLITE_DBCONFIG_DEFENSIVE, "defensive mode")?;
    // Plans depend on no parameter: else a statement with a bound LIMIT is prepared anew when it is
    // run (a list of one token: 20 us, 6.5 with held statements and without that).
    let stable_plans = DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG;
    switch_on(&connection, stable_plans, "stable query plans")?;
    Ok(connection)
}

/// Switches a behavior on, and checks that it is.
fn switch_on(
    connection: &Connection,
    behavior: DbConfig,
    setting: &'static str,
) -> Result<(), Fault> {
    if connection.set_db_config(behavior, true)? { Ok(()) } else { Err(Fault::Setting(setting)) }
}

/// Whether the log stays when the last connection is closed; else it is moved into the database and
/// taken away. That it stays tells the next to open the file to check it.
pub(crate) fn keep_log(connection: &Connection, keep: bool) -> Result<(), Fault> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, keep)?;
    Ok(())
}

/// Sets a pragma and reads it back.
pub(crate) fn set(connection: &Connection, setting: &'static str, value: i64) -> Result<(), Fault> {
    connection.pragma_update(None, setting, value)?;
    match connection.pragma_query_value(None, setting, |row| row.get::<_, i64>(0))? {
        read if read == value => Ok(()),
        _ => Err(Fault::Setting(setting)),
    }
}

/// Whether there is such a file, which then is one that may be opened: a regular one that only its
/// owner may read, and ours.
/// Others that keep it from being read are waited for as long as `patience` says.
pub(crate) fn is_there(path: &Path, patience: Duration) -> Result<bool, OpenError> {
    let found = match path.symlink_metadata() {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(OpenError::io(path)(error)),
    };
    if !found.is_file() {
        return Err(OpenError::NotAFile(path.into()));
    }
    check_private(path, &found)?;
    if found.len() == 0 {
        return Err(OpenError::Empty(path.into()));
    }
    match origin(path, patience)? {
        Origin::Ours(version) if version > schema::NEWEST => Err(OpenError::newer(path, version)),
        Origin::Ours(_) => Ok(true),
        Origin::Foreign => Err(OpenError::Foreign(path.into())),
    }
}

#[cfg(unix)]
fn check_private(path: &Path, found: &Metadata) -> Result<(), OpenError> {
    let mode = std::os::unix::fs::PermissionsExt::mode(&found.permissions()) & 0o777;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    Err(OpenError::NotPrivate { path: path.into(), mode })
}

#[cfg(not(unix))]
fn check_private(_: &Path, _: &Metadata) -> Result<(), OpenError> {
    Ok(())
}

/// Whose a file is, without changing a byte of it or of its log.
fn origin(path: &Path, patience: Duration) -> Result<Origin, OpenError> {
    if log_size(path).map_err(OpenError::io(path))?.is_some() {
        // Somebody has it open, or had: what it is may be in the log. A connection that cannot write
        // changes neither; SQLite makes the index of the log, `-shm`, where that is missing.
        let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY, Sharing::Shared)?;
        connection.busy_timeout(patience).map_err(Fault::from)?;
        return match at_once(&connection, schema::origin) {
            Err(Fault::Sqlite(error)) if is_no_database(&error) => Ok(Origin::Foreign),
            origin => origin.map_err(OpenError::shut_out(path)),
        };
    }
    // Nobody has it open, so that no locks of this process are lost when it is closed.
    let mut header = Vec::new();
    let file = File::open(path).map_err(OpenError::io(path))?;
    file.take(100).read_to_end(&mut header).map_err(OpenError::io(path))?;
    Ok(schema::origin_in_header(&header))
}

fn is_no_database(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(rusqlite::ErrorCode::NotADatabase)
}

/// How long the log beside a file is; `None` when there is none, and so nobody has it open.
pub(crate) fn log_size(path: &Path) -> io::Result<Option<u64>> {
    match beside(path, "-wal").metadata() {
        Ok(log) => Ok(Some(log.len())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Refuses to make a new file where the log of another is left: SQLite would take it for that of the
/// new one.
pub(crate) fn check_no_log_is_left(path: &Path) -> Result<(), OpenError> {
    let is_left = log_size(path).map_err(OpenError::io(path))? > Some(0);
    // Somebody else may just have made the file: its log comes behind it.
    if is_left && path.symlink_metadata().is_err() {
        return Err(OpenError::LogAlone(path.into()));
    }
    Ok(())
}

/// Makes a new file at `path`. It is written under another name and then given its own, so that
/// nobody ever finds a part of it there; if somebody else makes one at the same time, the first
/// counts.
pub(crate) fn create(
    path: &Path,
    write: impl FnOnce(&Path) -> Result<(), OpenError>,
) -> Result<(), OpenError> {
    let new = create_under_another_name(path).map_err(OpenError::io(path))?;
    let created = write(&new).and_then(|()| give_name(&new, path).map_err(OpenError::io(path)));
    // Also where it has got its name: the other one goes.
    let _ = fs::remove_file(&new);
    created
}

/// An empty file beside `path`, whose name nobody else has: not another process either, of which two
/// can have the same number in two containers.
fn create_under_another_name(path: &Path) -> io::Result<PathBuf> {
    let mut number = [0; 8];
    SystemRandom.fill(&mut number).map_err(io::Error::other)?;
    let new = beside(path, &format!(".new-{:016x}", u64::from_ne_bytes(number)));
    create_private(&new)?;
    Ok(new)
}

/// Creates an empty file that only its owner may read.
pub(crate) fn create_private(path: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.write(true).create_new(true).open(path).map(drop)
}

fn give_name(new: &Path, path: &Path) -> io::Result<()> {
    File::open(new)?.sync_all()?;
    match fs::hard_link(new, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
        Ok(()) => sync_directory(path),
    }
}

/// Makes the name of a file durable.
pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    if let Some(directory) = path.parent() {
        File::open(directory)?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_who_make_a_file_at_the_same_time_the_first_counts_and_nothing_is_left() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tokens.db");
        let write =
            |text: &'static str| move |new: &Path| fs::write(new, text).map_err(OpenError::io(new));
        create(&path, |new| {
            create(&path, write("first"))?;
            assert!(new.exists(), "each removes its own");
            write("second")(new)
        })
        .unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"first");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        // Not even those who have the same number in two containers.
        let [one, other] = [(); 2].map(|()| create_under_another_name(&path).unwrap());
        let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
        assert!(one != other && !name(&one).contains(&format!(".new-{}-", std::process::id())));
    }
}
