//! What a test does without a server.

use std::fmt::Display;
use std::io::Write;

use crate::binaries::Binaries;
use crate::server::Server;

/// Whether there is a [shared server](Server::shared). Where there is none, it says on standard
/// error that `test` was not run and how to run it.
///
/// # Panics
///
/// Instead of answering no when the variable `CI` is set, so that nothing is left out there.
#[must_use]
pub fn available(test: &str) -> bool {
    judge(test, Server::shared().err())
}

/// Whether a [`Cluster`](crate::Cluster) can be made, for tests that need one of their own. Else it
/// does as [`available`] does.
///
/// # Panics
///
/// As [`available`] does.
#[must_use]
pub fn cluster_available(test: &str) -> bool {
    judge(test, Binaries::find().err())
}

fn judge(test: &str, reason: Option<impl Display>) -> bool {
    let Some(reason) = reason else {
        return true;
    };
    let line = format!(
        "NOT RUN ON POSTGRESQL: {test}: {reason}. To run it, install PostgreSQL's server (Debian's package \
         `postgresql`), or set TOKENKEEP_TEST_POSTGRES to the URL of a server whose role may create \
         databases.\n"
    );
    let in_ci = std::env::var_os("CI").is_some_and(|value| !value.is_empty());
    assert!(!in_ci, "{line}");
    // The harness holds back what the print macros say in a test that passes. That nobody reads
    // it fails no test.
    let _ = std::io::stderr().write_all(line.as_bytes());
    false
}
