//! Files of a server.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;

/// A directory with the names that `serve` uses in it.
pub(crate) struct Place(tempfile::TempDir);

impl Place {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    pub(crate) fn db(&self) -> String {
        format!("sqlite:{}", self.path("tokens.db"))
    }

    /// An address that is free.
    pub(crate) fn listen() -> String {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        free.local_addr().unwrap().to_string()
    }

    /// Writes a file of secrets, each a repeated digit.
    pub(crate) fn secrets(&self, name: &str, secrets: &[(u8, &str)]) -> String {
        let lines: Vec<_> =
            secrets.iter().map(|(id, d)| format!("{id} {}\n", d.repeat(64))).collect();
        fs::write(self.path(name), lines.concat()).unwrap();
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o600)).unwrap();
        self.path(name)
    }
}
