//! Where the server's programs are.

use std::cmp::Reverse;
use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use crate::server::Unavailable;

/// A directory that holds the programs of a server.
#[derive(Debug)]
pub(crate) struct Binaries(pub(crate) PathBuf);

impl Binaries {
    /// In the directory that `TOKENKEEP_TEST_POSTGRES_BIN` names; else on `PATH`, else the newest
    /// where Debian puts them.
    pub(crate) fn find() -> Result<Self, Unavailable> {
        let places = match env::var_os("TOKENKEEP_TEST_POSTGRES_BIN") {
            Some(chosen) => vec![PathBuf::from(chosen)],
            None => on_path().chain(installed_by_debian()).collect(),
        };
        let complete = |place: &PathBuf| {
            ["initdb", "pg_ctl", "postgres"].iter().all(|program| place.join(program).is_file())
        };
        let found = places.into_iter().find(complete);
        found.map(Self).ok_or_else(|| Unavailable::new("there is no PostgreSQL server"))
    }
}

fn on_path() -> impl Iterator<Item = PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    // A link there leads to where the other programs are.
    let real =
        |place: PathBuf| Some(place.join("initdb").canonicalize().ok()?.parent()?.to_path_buf());
    env::split_paths(&path).filter_map(real).collect::<Vec<_>>().into_iter()
}

fn installed_by_debian() -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut versions: Vec<_> = entries.map(|entry| entry.path()).collect();
    versions.sort_by_key(|path| Reverse(version(path)));
    versions.into_iter().map(|path| path.join("bin"))
}

fn version(path: &Path) -> Option<u32> {
    path.file_name().and_then(OsStr::to_str)?.parse().ok()
}
