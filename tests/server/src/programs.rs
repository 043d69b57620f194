//! The server's programs, for tests that start one in a way of their own.

use std::path::PathBuf;

use crate::binaries::Binaries;
use crate::keeper;
use crate::server::Unavailable;

/// Where the programs are, and who runs them.
///
/// ```
/// if let Ok(programs) = tokenkeep_test_server::Programs::find() {
///     assert!(programs.directory.join("initdb").is_file());
/// }
/// ```
#[derive(Debug)]
pub struct Programs {
    /// The directory with `initdb`, `pg_ctl` and `postgres`.
    pub directory: PathBuf,
    /// The user and group as whom the server runs, where that cannot be who runs this: root.
    pub account: Option<(u32, u32)>,
}

impl Programs {
    /// Those of this machine.
    ///
    /// # Errors
    ///
    /// [`Unavailable`] when there are none, or nobody to run them.
    pub fn find() -> Result<Self, Unavailable> {
        Ok(Self { directory: Binaries::find()?.0, account: keeper::account()? })
    }
}
