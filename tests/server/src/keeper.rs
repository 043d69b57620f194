//! The shell that keeps a cluster, and outlives this process by what it takes to clean up.

use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::{OpenOptionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use crate::binaries::Binaries;
use crate::server::Unavailable;

/// A running `keeper.sh` with the directory of its cluster. Dropped, both are gone, and the server.
#[derive(Debug)]
pub(crate) struct Keeper {
    directory: PathBuf,
    /// Whom the files belong to, and as whom the server runs, where that is not who runs this.
    account: Option<(u32, u32)>,
    shell: Mutex<Shell>,
}

#[derive(Debug)]
struct Shell {
    child: Child,
    /// `None` once it is to clean up: it does when this is closed, which the system does however
    /// this process ends.
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Keeper {
    /// Starts the shell, which makes the directory. There is no cluster yet.
    pub(crate) fn start(binaries: &Binaries, arguments: &[String]) -> Result<Self, Unavailable> {
        let account = account()?;
        let mut command = Command::new("sh");
        command.args(["-c", include_str!("keeper.sh"), "keeper"]);
        command.arg(base()).arg(&binaries.0).args(arguments);
        // What interrupts the tests at a terminal must leave it alone, and the other user may not
        // be allowed to be where root is.
        command.process_group(0).current_dir("/");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        if let Some((uid, gid)) = account {
            command.uid(uid).gid(gid);
        }
        let mut child = command.spawn()?;
        let orders = child.stdin.take();
        let answers = child.stdout.take().map(BufReader::new);
        let answers = answers.ok_or_else(|| Unavailable::new("the shell has no output"))?;
        let mut shell = Shell { child, orders, answers };
        let directory = PathBuf::from(shell.answer()?);
        Ok(Self { directory, account, shell: Mutex::new(shell) })
    }

    /// Has the shell do `order`, and waits for its end.
    pub(crate) fn order(&self, order: &str) -> Result<(), Unavailable> {
        let mut shell = self.shell.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(orders) = &mut shell.orders {
            orders.write_all(format!("{order}\n").as_bytes())?;
        }
        if shell.answer()? == "0" {
            return Ok(());
        }
        let log = fs::read_to_string(self.directory.join("log")).unwrap_or_default();
        Err(Unavailable::new(format!("`{order}` of its cluster failed: {}", log.trim_end())))
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Writes a file of the cluster as the server may read it, a private key too.
    pub(crate) fn write(&self, name: &str, contents: &[u8]) -> io::Result<()> {
        let path = self.directory.join("data").join(name);
        let mut options = fs::OpenOptions::new();
        options.create(true).write(true).truncate(true).mode(0o600);
        options.open(&path)?.write_all(contents)?;
        if let Some((uid, gid)) = self.account {
            chown(&path, Some(uid), Some(gid))?;
        }
        Ok(())
    }

    /// Adds lines to the settings.
    pub(crate) fn configure(&self, lines: &str) -> io::Result<()> {
        let path = self.directory.join("data/postgresql.conf");
        fs::OpenOptions::new().append(true).open(path)?.write_all(lines.as_bytes())
    }
}

impl Shell {
    fn answer(&mut self) -> Result<String, Unavailable> {
        let mut line = String::new();
        if self.answers.read_line(&mut line)? == 0 {
            return Err(Unavailable::new("the shell that keeps a cluster has ended"));
        }
        Ok(line.trim_end().to_owned())
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        drop(self.orders.take());
        let _ = self.child.wait();
    }
}

/// Where the directory is made. The path of a socket in it has at most 107 bytes.
fn base() -> PathBuf {
    let usual = std::env::temp_dir();
    if usual.as_os_str().len() <= 60 { usual } else { PathBuf::from("/tmp") }
}

/// The user and group as whom the server runs, if that cannot be who runs this: root.
pub(crate) fn account() -> Result<Option<(u32, u32)>, Unavailable> {
    let number = |arguments: &[&str]| -> Option<u32> {
        let output = Command::new("id").args(arguments).stderr(Stdio::null()).output().ok()?;
        String::from_utf8(output.stdout).ok()?.trim_end().parse().ok()
    };
    if number(&["-u"]) != Some(0) {
        return Ok(None);
    }
    let account = |name| Some((number(&["-u", name])?, number(&["-g", name])?));
    let found = account("postgres").or_else(|| account("nobody"));
    found.map(Some).ok_or_else(|| Unavailable::new("root has no other user to run it as"))
}
