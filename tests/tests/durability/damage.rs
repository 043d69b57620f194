//! Damaged files: a byte that is another one, or an end that is missing. What is read then is an error
//! that says so, or what was written; never a panic, and never the data of another token.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::panic::catch_unwind;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use tokenkeep::{
    Caller, Intent, StoreErrorKind, TokenChange, TokenError, TokenId, TokenKey, TokenService,
};
use tokenkeep_sqlite::{CheckOnOpen, OpenError, SqliteOptions, SqliteStore};
use tokenkeep_tests::history::{Draw, OWNER, prepare};
use tokenkeep_tests::scene::bearer;

const TOKENS: u64 = 40;

fn damages() -> u64 {
    let damages = std::env::var("TOKENKEEP_DAMAGES").ok();
    damages.and_then(|damages| damages.parse().ok()).unwrap_or(1_000)
}

struct Written {
    id: TokenId,
    name: String,
    key: TokenKey,
}

/// Fills a file, and tells what is in it.
async fn fill(path: &Path) -> Vec<Written> {
    let store = Arc::new(SqliteStore::open(path).unwrap());
    prepare(&*store).await;
    let service = TokenService::builder(store.clone(), store).open().await.unwrap();
    let mut written = Vec::new();
    for number in 0..TOKENS {
        // No name is one byte away from another.
        let name = format!("token-{number}-{number}");
        let change = TokenChange::new().identifier(&name).intent(Intent::Api).owner(OWNER);
        let created = service.create(&Caller::System, change).await.unwrap();
        written.push(Written { id: created.view.token.id, name, key: created.key });
    }
    written
}

/// What became of one look at a damaged file.
#[derive(Debug, Default, Clone, Copy)]
struct Seen {
    not_opened: u64,
    refused: u64,
    read: u64,
}

fn is_damage(error: &TokenError) -> bool {
    match error {
        // A name or a key that is another one now finds nothing.
        TokenError::NotFound | TokenError::InvalidKey => true,
        TokenError::Store(error) => *error.kind() != StoreErrorKind::Other,
        _ => false,
    }
}

async fn look(path: &Path, written: &[Written], check: CheckOnOpen, seen: &mut Seen) {
    let store = match SqliteOptions::new().check(check).open(path) {
        Ok(store) => Arc::new(store),
        Err(OpenError::InUse(_)) => panic!("nobody has it open"),
        Err(_) => {
            seen.not_opened += 1;
            return;
        }
    };
    let Ok(service) = TokenService::builder(store.clone(), store).open().await else {
        seen.refused += 1;
        return;
    };
    for Written { id, name, key } in written {
        let by_name = service.retrieve(&Caller::System, name).await.map(|view| view.token);
        let by_key = service.authenticate(Some(&bearer(key))).await.map(|who| who.token);
        for found in [by_name, by_key] {
            match found {
                Ok(token) => {
                    // Its own columns may be damaged, but none is another token's.
                    let is_another = |other: &&Written| {
                        other.id != *id
                            && (other.id == token.id || other.name == token.identifier.as_str())
                    };
                    let another = written.iter().find(is_another).map(|other| &other.name);
                    assert_eq!(another, None, "{name} is another token");
                    seen.read += 1;
                }
                Err(error) => {
                    assert!(is_damage(&error), "{error:?}");
                    seen.refused += 1;
                }
            }
        }
    }
}

fn write(path: &Path, bytes: &[u8]) {
    for end in ["", "-wal", "-shm"] {
        let _ = fs::remove_file(format!("{}{end}", path.display()));
    }
    let mut file =
        fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).unwrap();
    file.write_all(bytes).unwrap();
}

/// One byte of the index by name, which is the row that it leads to.
#[test]
fn an_index_that_leads_to_another_row_is_not_believed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tokens.db");
    let written = pollster::block_on(fill(&path));
    let mut bytes = fs::read(&path).unwrap();
    let entry = b"token-7-7\x08";
    let at = bytes.windows(entry.len()).position(|window| window == entry).unwrap();
    bytes[at + entry.len() - 1] += 1;
    write(&path, &bytes);
    let mut seen = Seen::default();
    pollster::block_on(look(&path, &written, CheckOnOpen::Never, &mut seen));
    assert_eq!((seen.not_opened, seen.refused, seen.read), (0, 1, 2 * TOKENS - 1));
}

/// The control: keys and names that lead to the neighbour's token.
#[test]
fn a_file_that_leads_to_another_token_is_found_out() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tokens.db");
    let written = pollster::block_on(fill(&path));
    let (ids, names): (Vec<_>, Vec<_>) =
        written.iter().map(|written| (written.id, written.name.clone())).unzip();
    let (ids, names) = (ids.into_iter().cycle().skip(1), names.into_iter().cycle().skip(1));
    let swapped: Vec<_> = written
        .into_iter()
        .zip(ids.zip(names))
        .map(|(Written { key, .. }, (id, name))| Written { id, name, key })
        .collect();
    let looked = catch_unwind(|| {
        pollster::block_on(look(&path, &swapped, CheckOnOpen::Never, &mut Seen::default()));
    });
    assert!(looked.is_err());
}

fn damage(count: u64, harm: impl Fn(&mut Vec<u8>, &mut Draw)) -> Seen {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tokens.db");
    let written = pollster::block_on(fill(&path));
    let whole = fs::read(&path).unwrap();
    let mut seen = Seen::default();
    for number in 0..count {
        let (mut bytes, mut draw) = (whole.clone(), Draw::new(number));
        harm(&mut bytes, &mut draw);
        write(&path, &bytes);
        let check = [CheckOnOpen::Never, CheckOnOpen::Always][usize::from(number % 4 == 0)];
        pollster::block_on(look(&path, &written, check, &mut seen));
    }
    seen
}

fn place(bytes: &[u8], draw: &mut Draw) -> usize {
    usize::try_from(draw.below(bytes.len() as u64)).unwrap()
}

#[test]
fn a_damaged_byte_shows_nobody_elses_token() {
    let start = Instant::now();
    let seen = damage(damages(), |bytes, draw| {
        let place = place(bytes, draw);
        bytes[place] ^= u8::try_from(1 + draw.below(255)).unwrap();
    });
    println!("{} damaged bytes: {seen:?} in {:.1?}", damages(), start.elapsed());
    assert!(seen.not_opened > 0 && seen.refused > 0 && seen.read > 0, "{seen:?}");
}

#[test]
fn a_file_without_its_end_shows_nobody_elses_token() {
    let count = damages().div_ceil(5);
    let seen = damage(count, |bytes, draw| {
        let place = place(bytes, draw);
        bytes.truncate(place);
    });
    println!("{count} files cut off: {seen:?}");
    assert!(seen.not_opened > 0, "{seen:?}");
}
