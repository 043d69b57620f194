//! What is not served.

use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;

use tokenkeep_tests::serve::{Serve, command, output, output_of};

#[test]
fn what_cannot_be_understood_is_said_in_one_line() {
    for (arguments, said) in [
        (&["--db", "tokens.db"][..], "use sqlite:PATH, postgres://USER@HOST/NAME or memory:"),
        (&["--db", "sqlite:"], "use sqlite:PATH, as sqlite:tokens.db"),
        (&["--db", "postgres://localhost:1/tokens"], "PostgreSQL needs --sealing-key-file"),
        (&["--db", "postgres://localhost:1/tokens", "--no-view-key"], "refused"),
        (&["--clock", "yesterday"], "yesterday"),
        (&["--default-duration", "soon"], "soon"),
        (&["--sweep-interval", "seconds=0"], "longer than nothing"),
        (&["--min-key-length", "-1"], "-1"),
        (&["--keep-events", "days=0"], "longer than nothing"),
        (&["--request-timeout", "soon"], "soon"),
        (&["--max-connections", "0"], "at least 1"),
        (&["--pool", "-1"], "-1"),
        (&["--listen", "nowhere", "--db", "memory:"], "cannot listen on nowhere"),
        (&["--db", "memory:", "--seed", "/no/such/file"], "/no/such/file"),
        (&["--verbose"], "--verbose"),
        (&["more"], "more"),
    ] {
        let output = output(arguments);
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert!(message.starts_with("serve: ") && message.lines().count() == 1, "{message}");
        assert!(message.contains(said), "{message}");
        assert!(output.stdout.is_empty());
    }
}

/// Runs it on a file that it must leave alone, and returns the line that it says.
fn refused(path: &Path) -> String {
    let before = fs::read(path).unwrap();
    let database = format!("sqlite:{}", path.display());
    let output = output(["--db", &database, "--no-view-key"]);
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), message.lines().count()), (Some(1), 1), "{message}");
    assert_eq!(fs::read(path).unwrap(), before);
    message
}

#[test]
fn a_file_of_somebody_else_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tokens.db");
    fs::write(&path, "not a database, but as long as one is: ".repeat(20)).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    assert!(refused(&path).contains("is not a tokenkeep database"));
}

#[test]
fn a_file_of_a_newer_version_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tokens.db");
    let server = Serve::start(["--db", &format!("sqlite:{}", path.display())]);
    assert_eq!(server.signal("TERM").0, Some(0));
    // Where SQLite keeps the `user_version`.
    fs::OpenOptions::new()
        .write(true)
        .open(&path)
        .unwrap()
        .write_all_at(&[0, 0, 0, 99], 60)
        .unwrap();
    assert!(refused(&path).contains("has schema version 99"));
}

#[test]
fn db_in_form_of_other_programs_fails_and_makes_no_file() {
    let directory = tempfile::tempdir().unwrap();
    let absolute = directory.path().join("tokens.db").display().to_string();
    for (url, instead) in [
        ("sqlite://tokens.db".to_owned(), "use sqlite:PATH without slashes"),
        (format!("sqlite://{absolute}"), "use sqlite:PATH without slashes"),
        (format!("sqlite:///{absolute}"), "use sqlite:PATH without slashes"),
        ("sqlite::memory:".to_owned(), "use memory:"),
        ("sqlite://:memory:".to_owned(), "use memory:"),
        ("sqlite:tokens.db?mode=memory".to_owned(), "use memory:"),
        (format!("sqlite:{absolute}?mode=rwc"), "use sqlite:PATH without parameters"),
        ("sqlite:tokens.db?cache=shared".to_owned(), "use sqlite:PATH without parameters"),
        ("sqlite:tokens.db#x".to_owned(), "use sqlite:PATH without parameters"),
        ("sqlite:file:tokens.db".to_owned(), "use sqlite:PATH without parameters"),
        ("sqlite".to_owned(), "use sqlite:PATH, postgres:"),
        ("memory".to_owned(), "use sqlite:PATH, postgres:"),
        (":memory:".to_owned(), "use sqlite:PATH, postgres:"),
        ("SQLITE:tokens.db".to_owned(), "use sqlite:PATH, postgres:"),
    ] {
        let refused = output_of(command(["--db", &url]).current_dir(&directory));
        let message = String::from_utf8(refused.stderr).unwrap();
        assert_eq!((refused.status.code(), message.lines().count()), (Some(1), 1), "{message}");
        assert!(message.contains(instead), "{url}: {message}");
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 0, "{url}");
    }
}

/// The sealing key was said to be missing.
#[test]
fn db_that_is_no_database_is_named_before_its_key() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    fs::create_dir(path("directory")).unwrap();
    fs::write(path("empty"), "").unwrap();
    fs::write(path("text"), "no database, but as long as one is. ".repeat(20)).unwrap();
    for name in ["empty", "text"] {
        fs::set_permissions(path(name), fs::Permissions::from_mode(0o600)).unwrap();
    }
    for (name, said) in
        [("directory", "not a regular file"), ("empty", "empty"), ("text", "not a tokenkeep")]
    {
        let refused = output(["--db", &format!("sqlite:{}", path(name))]);
        let message = String::from_utf8(refused.stderr).unwrap();
        assert_eq!((refused.status.code(), message.lines().count()), (Some(1), 1), "{message}");
        assert!(message.contains(said) && message.contains(&path(name)), "{message}");
        assert!(!message.contains(".key"), "{message}");
    }
    assert_eq!(fs::read_dir(&directory).unwrap().count(), 3, "nothing was made");
}

#[test]
fn help_names_every_flag() {
    let output = output(["--help"]);
    assert_eq!((output.status.code(), output.stderr.len()), (Some(0), 0));
    let help = String::from_utf8(output.stdout).unwrap();
    for flag in [
        "listen",
        "db",
        "seed",
        "clock",
        "installation-id",
        "default-duration",
        "min-key-length",
        "sealing-key-file",
        "no-view-key",
        "pepper-file",
        "sweep-interval",
        "pool",
        "keep-events",
        "request-timeout",
        "max-connections",
        "admin-key-file",
        "new-admin-key",
        "admin",
        "log",
        "help",
    ] {
        assert!(help.contains(&format!("--{flag} ")), "{flag}");
    }
}
