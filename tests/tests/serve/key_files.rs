//! The files with the secrets.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use tokenkeep_tests::serve::{Serve, output};
use tokenkeep_tests::wire::Connection;

use crate::place::Place;

/// Runs it, which must fail, and returns the one line that it says.
fn failure(arguments: &[&str]) -> String {
    let output = output(arguments);
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), message.lines().count()), (Some(1), 1), "{message}");
    assert!(output.stdout.is_empty());
    message
}

/// The status of a request to view the first token's key, with that key.
fn view_key(server: &Serve, key: &str) -> u16 {
    let header = format!("Authorization: Bearer {key}\r\n");
    let path = "/api/v3/core/tokens/akadmin-api/view_key/";
    Connection::open(&server.url).request("GET", path, &header, None).status
}

/// Runs it on an empty store, and returns the first key.
fn first_key(arguments: &[&str]) -> String {
    let mut server = Serve::start(arguments);
    let (_, key) = server.first_key();
    assert_eq!(server.signal("TERM").0, Some(0));
    key
}

#[test]
fn the_key_of_a_new_file_is_made_beside_it_and_private() {
    let place = Place::new();
    first_key(&["--db", &place.db()]);
    let mode = fs::metadata(place.path("tokens.db.key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let text = fs::read_to_string(place.path("tokens.db.key")).unwrap();
    let (id, digits) = text.trim_end().split_once(' ').unwrap();
    assert!(id == "1" && digits.len() == 64 && digits.bytes().all(|b| b.is_ascii_hexdigit()));
}

#[test]
fn a_key_file_that_is_missing_is_not_made_anew() {
    let place = Place::new();
    let key = first_key(&["--db", &place.db()]);
    let kept = fs::read(place.path("tokens.db.key")).unwrap();
    fs::remove_file(place.path("tokens.db.key")).unwrap();
    let message = failure(&["--db", &place.db()]);
    assert!(message.contains("tokens.db.key is missing"), "{message}");
    assert!(!Path::new(&place.path("tokens.db.key")).exists());

    let blind = Serve::start(["--db", &place.db(), "--no-view-key"]);
    assert_eq!(view_key(&blind, &key), 404);
    drop(blind);
    fs::write(place.path("tokens.db.key"), kept).unwrap();
    fs::set_permissions(place.path("tokens.db.key"), fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(view_key(&Serve::start(["--db", &place.db()]), &key), 200);
}

/// A database of which the log alone is left is none that is new.
#[test]
fn no_key_is_made_where_a_log_is_left() {
    let place = Place::new();
    fs::write(place.path("tokens.db-wal"), "the log of a database").unwrap();
    let message = failure(&["--db", &place.db()]);
    assert!(message.contains("tokens.db is missing and its -wal is there"), "{message}");
    assert!(!Path::new(&place.path("tokens.db.key")).exists());
}

#[test]
fn sealing_keys_and_peppers_can_be_changed() {
    let place = Place::new();
    let seals = place.secrets("seals", &[(1, "a")]);
    let peppers = place.secrets("peppers", &[(9, "b")]);
    let db = place.db();
    let flags = ["--db", &db, "--sealing-key-file", &seals, "--pepper-file", &peppers];
    let key = first_key(&flags);
    assert!(!Path::new(&place.path("tokens.db.key")).exists());

    place.secrets("seals", &[(2, "c"), (1, "a")]);
    place.secrets("peppers", &[(8, "d")]);
    assert!(failure(&flags).contains("pepper"), "the store uses another");
    place.secrets("peppers", &[(8, "d"), (9, "b")]);
    assert_eq!(view_key(&Serve::start(flags), &key), 200);

    // Viewing the key has brought it up to date: what was older is not needed any more.
    place.secrets("seals", &[(2, "c")]);
    place.secrets("peppers", &[(8, "d")]);
    assert_eq!(view_key(&Serve::start(flags), &key), 200);
}

#[test]
fn files_of_secrets_must_be_there_private_and_readable() {
    let place = Place::new();
    let (db, missing) = (place.db(), place.path("missing"));
    for flag in ["--sealing-key-file", "--pepper-file"] {
        assert!(failure(&["--db", &db, flag, &missing]).contains("missing is not there"));
        let file = place.secrets("secrets", &[(1, "a")]);
        for mode in [0o644, 0o604, 0o602, 0o444] {
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
            assert!(failure(&["--db", &db, flag, &file]).contains("chmod 600"), "{mode:o}");
        }
        for text in ["", "1\n", "0 aa\n", &format!("0 {}", "a".repeat(64)), &"canary ".repeat(9)] {
            fs::write(&file, text).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
            let message = failure(&["--db", &db, flag, &file]);
            assert!(message.contains("`ID HEX`") && !message.contains("canary"), "{message}");
        }
    }
    assert!(!Path::new(&place.path("tokens.db")).exists(), "nothing was made");
}

/// As Kubernetes mounts a secret: links to a directory of the day, and bits for the group.
#[test]
fn secrets_that_group_can_read_are_accepted_with_warning() {
    let place = Place::new();
    fs::create_dir(place.path("..2026_11_27")).unwrap();
    place.secrets("..2026_11_27/peppers", &[(1, "a")]);
    symlink("..2026_11_27", place.path("..data")).unwrap();
    symlink("..data/peppers", place.path("peppers")).unwrap();
    let file = place.path("peppers");
    for mode in [0o600, 0o400, 0o640, 0o660, 0o440] {
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        let server = Serve::start(["--db", "memory:", "--pepper-file", &file]);
        let (code, _, log) = server.signal("TERM");
        assert_eq!(code, Some(0));
        let warns = log.contains("WARN") && log.contains(&format!("{file}: the group may read it"));
        assert_eq!(warns, mode & 0o070 != 0, "{mode:o}: {log}");
    }
}
