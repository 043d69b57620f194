//! What is not served.

use std::os::unix::fs::PermissionsExt;

use tokenkeep_tests::serve::output;

#[test]
fn what_cannot_be_understood_is_said_in_one_line() {
    for (arguments, said) in [
        (&["--db", "postgres://localhost/tokens"][..], "use sqlite:PATH or memory:"),
        (&["--db", "tokens.db"], "use sqlite:PATH or memory:"),
        (&["--db", "sqlite:"], "use sqlite:PATH or memory:"),
        (&["--clock", "yesterday"], "yesterday"),
        (&["--default-duration", "soon"], "soon"),
        (&["--sweep-interval", "seconds=0"], "longer than nothing"),
        (&["--min-key-length", "-1"], "-1"),
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

#[test]
fn files_that_are_not_ours_are_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tokens.db");
    for (bytes, said) in
        [("not a database, but as long as one is: ".repeat(20), "not a tokenkeep database")]
    {
        std::fs::write(&path, &bytes).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        let database = format!("sqlite:{}", path.display());
        let output = output(["--db", &database, "--no-view-key"]);
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), message.lines().count()), (Some(1), 1), "{message}");
        assert!(message.contains(said), "{message}");
        assert_eq!(std::fs::read(&path).unwrap(), bytes.as_bytes());
    }
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
        "log",
        "help",
    ] {
        assert!(help.contains(&format!("--{flag} ")), "{flag}");
    }
}
