//! Files that their owner alone can read, complete from the moment when they have their name.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// A file under a temporary name, deleted unless it is [kept](Self::keep).
pub(crate) struct Draft {
    path: PathBuf,
    draft: PathBuf,
    text: String,
}

impl Draft {
    /// Writes the text. It is on the disk when this returns.
    pub(crate) fn write(path: &Path, text: String) -> io::Result<Self> {
        let number = crate::random_uuid().map_err(io::Error::other)?;
        let mut draft = path.as_os_str().to_owned();
        draft.push(format!(".new-{number}"));
        let draft = Self { path: path.into(), draft: draft.into(), text };
        write_new(&draft.draft, &draft.text)?;
        Ok(draft)
    }

    /// Gives the file its name, on the disk when this returns. Another file of that name is an error.
    pub(crate) fn keep(self) -> io::Result<()> {
        match fs::hard_link(&self.draft, &self.path) {
            // Some file systems have no hard links.
            Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                write_new(&self.path, &self.text)?;
            }
            linked => linked?,
        }
        let path = std::path::absolute(&self.path)?;
        File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // A draft that stays is harmless: it never had the name of the file.
        let _ = fs::remove_file(&self.draft);
    }
}

fn write_new(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}
