//! Power cuts under a PostgreSQL server: the file system goes away under it, with all that was not
//! flushed, and a server that starts on what is left has every acknowledged change.

use std::fs::{self, File, Permissions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use tokenkeep_test_server::{Programs, cluster_available};
use tokenkeep_tests::backend::Backend;
use tokenkeep_tests::history::{Draw, Judged};

use crate::child::{PLACE, WORK};
use crate::kills::judge_rows;
use crate::power_cuts::{IMPOSSIBLE, all, assert_nothing_lost, before_the_cut, make_image};

fn cuts() -> u64 {
    let cuts = std::env::var("TOKENKEEP_POSTGRES_POWER_CUTS").ok();
    cuts.and_then(|cuts| cuts.parse().ok()).unwrap_or(5)
}

/// A database of the server that listens there.
fn url(sockets: &Path, parameters: &str) -> String {
    let host = sockets.to_str().unwrap().replace('/', "%2F");
    format!("postgres://postgres@{host}:5432/postgres{parameters}")
}

/// Cuts the power once while everything is written, and judges what is left; `None` where that cannot
/// be done. With `late`, the server acknowledges what it has not flushed.
fn cut(number: u64, late: bool) -> Option<Judged> {
    let programs = Programs::find().ok()?;
    let (account, _) = programs.account?;
    let directory = tempfile::tempdir().unwrap();
    // The server is somebody else's.
    fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
    let (image, mounted) = (directory.path().join("image"), directory.path().join("mounted"));
    let sockets = directory.path().join("sockets");
    fs::create_dir(&mounted).unwrap();
    fs::create_dir(&sockets).unwrap();
    File::create(&image).unwrap().set_len(512 << 20).unwrap();
    make_image(&image)?;
    let parameters = if late { "?options=-c%20synchronous_commit%3Doff" } else { "" };
    let millis = 500 + Draw::new(number).below(500);
    let mode = if number.is_multiple_of(2) { "data=ordered" } else { "data=writeback" };
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/durability/cut_postgres.sh");
    let mut command = Command::new("unshare");
    command.args(["-m", "-p", "-f", "--mount-proc", "sh", script]);
    command.arg(&image).arg(&mounted).args([mode, &format!("0.{millis:03}")]);
    command.arg(std::env::current_exe().unwrap()).arg(&sockets).arg(account.to_string());
    command.arg(&programs.directory);
    command.env(PLACE, url(&sockets, parameters)).env(WORK, "everything");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut script = command.spawn().ok()?;
    let output = BufReader::new(script.stdout.take().unwrap()).split(b'\n').map_while(Result::ok);
    let output = output.map(|line| String::from_utf8(line).unwrap());
    let lines: Vec<_> = output.take_while(|line| line != "back").collect();
    let judged = lines.iter().any(|line| line == "cut").then(|| {
        let left = Backend::at(&url(&sockets, ""));
        let lines = before_the_cut(&lines);
        pollster::block_on(judge_rows(left.tokens, left.users, &lines, !late))
    });
    writeln!(script.stdin.take().unwrap()).unwrap();
    let ended = script.wait().unwrap();
    if judged.is_none() {
        assert_eq!(ended.code(), Some(IMPOSSIBLE), "{ended}: {lines:?}");
    }
    judged
}

#[test]
fn a_server_keeps_what_was_acknowledged_before_a_power_cut() {
    let start = Instant::now();
    if cluster_available("a_server_keeps_what_was_acknowledged_before_a_power_cut")
        && let Some(judged) = all(cuts(), |number| cut(number, false), |_| false)
    {
        println!("{} power cuts of PostgreSQL: {judged:?} in {:.1?}", cuts(), start.elapsed());
        assert_nothing_lost(judged, cuts());
    }
}

/// The control: a server that flushes later has to lose something.
#[test]
fn a_server_that_flushes_later_loses_something() {
    if cluster_available("a_server_that_flushes_later_loses_something")
        && let Some(judged) = all(10, |number| cut(number, true), |judged| judged.impossible > 0)
    {
        assert!(judged.impossible > 0, "nothing was cut: {judged:?}");
    }
}
