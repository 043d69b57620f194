//! The file itself: who may read it, whose it is, and how a new one comes to its name.

use std::ffi::OsString;
use std::fmt::Write;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use crate::error::{Fault, OpenError};
use crate::reader::at_once;
use crate::schema::{self, Origin};
use crate::sharing::Sharing;
use crate::watch::links;

/// How long to wait between two attempts at a file that is in use.
pub(crate) const PAUSE: Duration = Duration::from_millis(5);

/// Whether a path names a file, and not something that only SQLite's own interface or a URL can name.
pub(crate) fn is_path(path: &Path) -> bool {
    let bytes = path.as_os_str().as_encoded_bytes();
    let special: [&[u8]; 3] = [b":memory:", b"file:", b"sqlite:"];
    !bytes.is_empty() && !special.iter().any(|special| bytes.starts_with(special))
}

/// Returns the one path of a file under which every process opens it, so that it has one WAL: links are
/// followed.
pub(crate) fn real_path(path: &Path) -> io::Result<PathBuf> {
    let path = std::path::absolute(path)?;
    match path.canonicalize() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        found => return found,
    }
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

/// Whether there is such a file, which then is one that may be opened: a regular one of ours, under one
/// name, that only its owner may read, like the files that SQLite keeps beside it.
/// Others that keep it from being read are waited for as long as `patience` says.
pub(crate) fn is_there(path: &Path, patience: Duration) -> Result<bool, OpenError> {
    let Some(found) = check_file(path)? else {
        return Ok(false);
    };
    for suffix in ["-wal", "-shm", "-journal"] {
        check_file(&beside(path, suffix))?;
    }
    if links(&found) > 1 {
        return Err(OpenError::SeveralNames(path.into()));
    }
    if is_mount_point(path) {
        return Err(OpenError::MountedAlone(path.into()));
    }
    if found.len() == 0 {
        return Err(OpenError::Empty(path.into()));
    }
    match origin(path, patience)? {
        Origin::Ours(version) if version > schema::NEWEST => Err(OpenError::newer(path, version)),
        Origin::Ours(_) => Ok(true),
        Origin::Unmarked(version) => Err(OpenError::unmarked(path, version)),
        Origin::Foreign => Err(OpenError::Foreign(path.into())),
    }
}

/// Checks that what has this name, if anything, is a regular file that only its owner may read.
fn check_file(path: &Path) -> Result<Option<Metadata>, OpenError> {
    match path.symlink_metadata() {
        Ok(found) if !found.is_file() => Err(OpenError::NotAFile(path.into())),
        Ok(found) => check_private(path, &found).map(|()| Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(OpenError::io(path)(error)),
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

/// Whether a file was mounted by itself: its WAL would lie in another directory than the WAL of those
/// who open it where it comes from. Linux lists the mounts of a process
/// (<https://man7.org/linux/man-pages/man5/proc_pid_mountinfo.5.html>); elsewhere, and where that list
/// cannot be read, none is found.
fn is_mount_point(path: &Path) -> bool {
    let mounts = fs::read("/proc/self/mountinfo").unwrap_or_default();
    let path = path.as_os_str().as_encoded_bytes();
    let mut points = mounts.split(|byte| *byte == b'\n').filter_map(|mount| {
        // The fifth field, in which spaces, tabs, line ends and backslashes are octal numbers.
        mount.split(|byte| *byte == b' ').nth(4)
    });
    points.any(|point| unescaped(point) == path)
}

/// Replaces each backslash and three octal digits by the byte that they name.
fn unescaped(mut text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    while let [first, rest @ ..] = text {
        let octal = |digits: &[u8]| u8::from_str_radix(str::from_utf8(digits).ok()?, 8).ok();
        let escaped = if *first == b'\\' { rest.split_at_checked(3) } else { None };
        let escaped = escaped.and_then(|(digits, rest)| Some((octal(digits)?, rest)));
        let (byte, rest) = escaped.unwrap_or((*first, rest));
        bytes.push(byte);
        text = rest;
    }
    bytes
}

/// Whose a file is, without changing a byte of it or of its log.
///
/// SQLite itself reads the file: if this process closed it in another way, the locks would be lost that
/// other connections of the process have on it.
fn origin(path: &Path, patience: Duration) -> Result<Origin, OpenError> {
    let connection = if log_size(path).map_err(OpenError::io(path))?.is_some() {
        // Somebody has it open, or had: what it is may be in the log. A connection that cannot write
        // changes neither; SQLite makes the index of the log, `-shm`, where that is missing.
        connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY, Sharing::Shared)
    } else {
        // Everything is in the file, and SQLite must not make a log.
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
            | OpenFlags::SQLITE_OPEN_URI
            | OpenFlags::SQLITE_OPEN_NO_MUTEX
            | OpenFlags::SQLITE_OPEN_NOFOLLOW;
        Connection::open_with_flags(immutable(path), flags).map_err(Fault::from)
    };
    let connection = connection.map_err(OpenError::fault(path))?;
    connection.busy_timeout(patience).map_err(Fault::from)?;
    match at_once(&connection, schema::origin) {
        Err(Fault::Sqlite(error)) if is_no_database(&error) => Ok(Origin::Foreign),
        origin => origin.map_err(OpenError::shut_out(path)),
    }
}

/// Returns the URI under which SQLite reads a file without locks and without a WAL.
fn immutable(path: &Path) -> String {
    let mut uri = String::from("file:");
    for byte in path.as_os_str().as_encoded_bytes() {
        // Writing to a string does not fail.
        let _ = match byte {
            b'/' | b'.' | b'-' | b'_' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => {
                write!(uri, "{}", char::from(*byte))
            }
            byte => write!(uri, "%{byte:02X}"),
        };
    }
    uri.push_str("?immutable=1");
    uri
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

/// Creates the file at `path`, if there is none. It is written under another name and then renamed, so
/// that no process finds a part of it. Processes take turns, and each removes what a killed one left.
pub(crate) fn create(
    path: &Path,
    patience: Duration,
    write: impl FnOnce(&Path) -> Result<(), OpenError>,
) -> Result<(), OpenError> {
    let _turn = lock_directory(path, patience).map_err(OpenError::io(path))?;
    let new = beside(path, ".tokenkeep-new");
    remove(&new).map_err(OpenError::io(&new))?;
    create_private(&new).map_err(OpenError::io(&new))?;
    let written = write(&new).and_then(|()| {
        if path.symlink_metadata().is_ok() {
            return remove(&new).map_err(OpenError::io(&new));
        }
        let named = File::open(&new).and_then(|file| file.sync_all());
        let named = named.and_then(|()| fs::rename(&new, path));
        named.and_then(|()| sync_directory(path)).map_err(OpenError::io(path))
    });
    if written.is_err() {
        // The next creation removes what stays.
        let _ = remove(&new);
    }
    written
}

/// Removes a new database and what SQLite may have left beside it.
fn remove(new: &Path) -> io::Result<()> {
    for suffix in ["-journal", "-wal", "-shm", ""] {
        match fs::remove_file(beside(new, suffix)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Locks the directory of a file against other processes that create a file in it, until the returned
/// handle is closed.
#[cfg(unix)]
fn lock_directory(path: &Path, patience: Duration) -> io::Result<Option<File>> {
    use std::fs::TryLockError;
    let Some(directory) = path.parent() else { return Ok(None) };
    let directory = File::open(directory)?;
    let start = Instant::now();
    // Creating a file takes some milliseconds.
    let patience = patience.max(Duration::from_secs(1));
    loop {
        match directory.try_lock() {
            Ok(()) => return Ok(Some(directory)),
            Err(TryLockError::WouldBlock) if start.elapsed() < patience => thread::sleep(PAUSE),
            Err(TryLockError::WouldBlock) => {
                let cause = "another process holds a lock on the directory";
                return Err(io::Error::new(io::ErrorKind::TimedOut, cause));
            }
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
}

/// Where a directory cannot be locked, a file that is open cannot be replaced either.
#[cfg(not(unix))]
fn lock_directory(_: &Path, _: Duration) -> io::Result<Option<File>> {
    Ok(None)
}

/// Creates an empty file that only its owner may read.
pub(crate) fn create_private(path: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.write(true).create_new(true).open(path).map(drop)
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

    fn write(text: &'static str) -> impl FnOnce(&Path) -> Result<(), OpenError> {
        move |new| fs::write(new, text).map_err(OpenError::io(new))
    }

    #[test]
    fn create_beside_another_file_keeps_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tokens.db");
        create(&path, Duration::ZERO, |new| {
            fs::write(&path, "another").unwrap();
            write("ours")(new)
        })
        .unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"another");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn create_waits_for_another_process() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tokens.db");
        let (locked, is_locked) = std::sync::mpsc::channel();
        thread::scope(|scope| {
            let first = scope.spawn(|| {
                create(&path, Duration::ZERO, |new| {
                    locked.send(()).unwrap();
                    thread::sleep(Duration::from_millis(20));
                    write("first")(new)
                })
            });
            is_locked.recv().unwrap();
            create(&path, Duration::from_secs(3600), write("second")).unwrap();
            first.join().unwrap().unwrap();
        });
        assert_eq!(fs::read(&path).unwrap(), b"first");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn create_after_a_kill_or_an_error_leaves_one_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tokens.db");
        for suffix in ["", "-journal", "-wal", "-shm"] {
            fs::write(beside(&path, &format!(".tokenkeep-new{suffix}")), "half").unwrap();
        }
        let fails = |_: &Path| Err(OpenError::Empty(path.clone()));
        assert!(create(&path, Duration::ZERO, fails).is_err());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
        create(&path, Duration::ZERO, write("whole")).unwrap();
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn escaped_mount_points_are_read() {
        for (text, bytes) in [
            (&br"/a\040b"[..], &b"/a b"[..]),
            (br"/a\134b\012", b"/a\\b\n"),
            (br"/a\9", br"/a\9"),
            (br"/a\777x", br"/a\777x"),
            (b"", b""),
        ] {
            assert_eq!(unescaped(text), bytes);
        }
    }
}
