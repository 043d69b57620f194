//! Files of secrets: lines `ID HEX`, of which the first is the current one.

use std::fmt::Write as _;
use std::fs;
use std::io::ErrorKind;
use std::num::NonZeroU8;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tokenkeep::{Random, SystemRandom};

use crate::Result;
use crate::draft::Draft;

/// A secret with the id by which rows name it.
pub(crate) type Secret = (NonZeroU8, [u8; 32]);

/// A secret for this run only.
pub(crate) fn fresh() -> Result<Secret> {
    let mut secret = [0; 32];
    SystemRandom.fill(&mut secret)?;
    Ok((NonZeroU8::MIN, secret))
}

/// Reads the current secret and the older ones; `None` when there is no such file.
pub(crate) fn read(path: &Path) -> Result<Option<(Secret, Vec<Secret>)>> {
    let about = |what: &str| format!("{}: {what}", path.display());
    let text = match fs::read_to_string(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        read => read.map_err(|error| about(&error.to_string()))?,
    };
    let mode = fs::metadata(path)?.permissions().mode();
    if mode & 0o007 != 0 {
        return Err(about("others may read it: make it private with `chmod 600`").into());
    }
    if mode & 0o070 != 0 {
        // As Kubernetes mounts secrets.
        tracing::warn!("{}", about("the group may read it"));
    }
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    // The line itself is not shown: it is a secret.
    let secrets: Option<Vec<_>> = lines.map(parse).collect();
    let mut secrets = secrets.ok_or_else(|| about("a line is not `ID HEX`"))?.into_iter();
    let current = secrets.next().ok_or_else(|| about("there is no line `ID HEX`"))?;
    Ok(Some((current, secrets.collect())))
}

/// Makes a file with one secret, which is on the disk when this returns, unless another instance has
/// just made it.
pub(crate) fn create(path: &Path) -> Result<()> {
    let (id, secret) = fresh()?;
    let mut line = format!("{id} ");
    for byte in secret {
        write!(line, "{byte:02x}")?;
    }
    let created = Draft::write(path, line + "\n").and_then(Draft::keep);
    match created {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        created => created.map_err(|error| format!("{}: {error}", path.display()).into()),
    }
}

fn parse(line: &str) -> Option<Secret> {
    let (id, digits) = line.trim().split_once(' ')?;
    let mut secret = [0; 32];
    let digits = digits.trim();
    if digits.len() != 64 || !digits.is_ascii() {
        return None;
    }
    for (byte, pair) in secret.iter_mut().zip(digits.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some((id.parse().ok()?, secret))
}
