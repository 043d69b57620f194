//! How the tokens' keys are kept.

use std::path::{Path, PathBuf};

use tokenkeep::{KeyScheme, Pepper, SealingKey};
use tokenkeep_sqlite::SqliteStore;

use crate::Result;
use crate::arguments::{Arguments, Sealing};
use crate::db::Db;
use crate::secret_file::{self, Secret};

/// The scheme that the arguments ask for. The sealing key of a new database is on the disk before
/// the database is.
pub(crate) fn scheme(arguments: &Arguments) -> Result<KeyScheme> {
    let scheme = match sealing_keys(arguments)? {
        // Where no key is shown, none has to be opened, whichever sealing key it needs.
        None => (0..=u8::MAX).fold(KeyScheme::digest_only(), KeyScheme::lost_sealing_key),
        Some((current, older)) => {
            let scheme = KeyScheme::sealing(sealing_key(current));
            older.into_iter().map(sealing_key).fold(scheme, KeyScheme::also_opening)
        }
    };
    let Some(path) = &arguments.pepper_file else {
        return Ok(scheme);
    };
    let (current, older) = must_be_there(path)?;
    let scheme = scheme.peppered(pepper(current));
    Ok(older.into_iter().map(pepper).fold(scheme, KeyScheme::also_accepting))
}

/// The current sealing key and the older ones; `None` where keys are not to be viewed.
fn sealing_keys(arguments: &Arguments) -> Result<Option<(Secret, Vec<Secret>)>> {
    match (&arguments.sealing, &arguments.db) {
        (Sealing::Never, _) => Ok(None),
        (Sealing::File(path), _) => must_be_there(path).map(Some),
        (Sealing::Default, Db::Memory) => Ok(Some((secret_file::fresh()?, Vec::new()))),
        (Sealing::Default, Db::Sqlite(database)) => beside(database).map(Some),
        (Sealing::Default, Db::Postgres(_)) => Err(
            "PostgreSQL needs --sealing-key-file, the same for every instance, or --no-view-key"
                .into(),
        ),
    }
}

/// The keys in the file beside a database, which is made for a new one, and for none that is there:
/// keys that are sealed already would stay sealed.
fn beside(database: &Path) -> Result<(Secret, Vec<Secret>)> {
    let beside = |suffix| {
        let mut path = database.as_os_str().to_owned();
        path.push(suffix);
        PathBuf::from(path)
    };
    let path = beside(".key");
    // The WAL alone may be left of a database that was there.
    let was_there =
        [database.to_owned(), beside("-wal")].iter().any(|path| path.symlink_metadata().is_ok());
    if !was_there {
        secret_file::create(&path)?;
    }
    if let Some(secrets) = secret_file::read(&path)? {
        return Ok(secrets);
    }
    // A path that holds no database is reported before the missing key.
    SqliteStore::open(database)?;
    Err(format!(
        "{} is missing, the sealing key of {}: put it back, or choose --no-view-key",
        path.display(),
        database.display()
    )
    .into())
}

fn must_be_there(path: &Path) -> Result<(Secret, Vec<Secret>)> {
    secret_file::read(path)?.ok_or_else(|| format!("{} is not there", path.display()).into())
}

fn sealing_key((id, secret): Secret) -> SealingKey {
    SealingKey::new(id.get(), secret)
}

fn pepper((id, secret): Secret) -> Pepper {
    Pepper::new(id, secret)
}
