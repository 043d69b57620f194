//! What a store gets that is empty.

use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use serde_json::Value;
use tokenkeep_tests::backend::Backend;
use tokenkeep_tests::serve::Serve;

/// Whether the printed line can be pasted here; says so where it cannot.
fn has_curl() -> bool {
    let has_curl = Command::new("curl").arg("--version").output().is_ok();
    if !has_curl {
        // What is written to the handle itself is not captured.
        let told = b"curl is not installed: the line that serve prints was NOT tried\n";
        std::io::stdout().lock().write_all(told).unwrap();
    }
    has_curl
}

/// Runs a line as a shell that it is pasted into.
fn paste(line: &str) -> (String, Value) {
    let line = format!("{line} -s -w '\\n%{{http_code}}'");
    let output = Command::new("sh").args(["-c", &line]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let (body, status) = text.rsplit_once('\n').unwrap();
    (status.to_owned(), serde_json::from_str(body).unwrap())
}

#[test]
fn the_line_that_is_printed_works_when_pasted() {
    if !has_curl() {
        return;
    }
    let mut server = Serve::start(["--db", "memory:"]);
    let (line, key) = server.first_key();
    assert!(line.starts_with("curl -L -X PUT 'http://127.0.0.1:"), "{line}");
    let (status, body) = paste(&line);
    assert_eq!(status, "200", "{body}");
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let page = [
        "description",
        "expires",
        "expiring",
        "identifier",
        "intent",
        "managed",
        "pk",
        "user",
        "user_obj",
    ];
    let mut found = keys(&body);
    found.sort();
    assert_eq!(found, page);
    assert_eq!(body["description"], "updated with curl");
    assert_eq!(body["user_obj"]["username"], "akadmin");
    assert_eq!(body["user_obj"]["is_superuser"], true);
    let (_, rest, log) = server.signal("TERM");
    assert_eq!(rest, "", "nothing but the start-up lines");
    assert_eq!(key.len(), 60);
    assert!(!log.contains(&key) && !line.contains(&key), "{log}");
}

#[test]
fn a_second_run_says_nothing_and_knows_the_token() {
    if !has_curl() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let database = format!("sqlite:{}", directory.path().join("tokens.db").display());
    let mut first = Serve::start(["--db", &database]);
    let (line, key) = first.first_key();
    let first_url = first.url.clone();
    first.signal("TERM");

    let second = Serve::start(["--db", &database]);
    let (status, body) = paste(&line.replace(&first_url, &second.url));
    assert_eq!(status, "200", "{body}");
    let view =
        line.replace(&first_url, &second.url).replace("akadmin-api/'", "akadmin-api/view_key/'");
    let (view, _) = view.split_once(" -d ").unwrap();
    let (status, viewed) = paste(&view.replace("-X PUT", "-X GET"));
    assert_eq!(status, "200", "the key is sealed, and can be opened: {viewed}");
    assert_eq!(viewed["key"], key);
    assert_eq!(second.signal("TERM").1, "");
}

#[test]
fn two_servers_on_one_database_are_one_service() {
    let Some(postgres) = Backend::postgres() else { return };
    if !has_curl() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let keys = directory.path().join("keys");
    fs::write(&keys, format!("1 {}\n", "07".repeat(32))).unwrap();
    fs::set_permissions(&keys, Permissions::from_mode(0o600)).unwrap();
    let url = postgres.url();
    let key_file = directory.path().join("admin-key");
    let arguments = [
        "--db",
        &url,
        "--sealing-key-file",
        keys.to_str().unwrap(),
        "--admin-key-file",
        key_file.to_str().unwrap(),
    ];
    let mut first = Serve::start(arguments);
    let (line, _) = first.first_key();
    let second = Serve::start(arguments);
    for server in [&first, &second] {
        let (status, body) = paste(&line.replace(&first.url, &server.url));
        assert_eq!(status, "200", "{body}");
    }
    assert_eq!(second.signal("TERM").1, "", "the store was not empty");
    let (_, _, log) = first.signal("TERM");
    assert!(!log.contains(&url), "{log}");
}
