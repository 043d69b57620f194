//! Damaged files: a byte that is another one, or an end that is missing. What is read then is an error
//! that says so, or what was written; never a panic, and never the data of another token.

use std::fmt::Debug;
use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use tempfile::TempDir;
use tokenkeep::{
    Caller, EventQuery, Expected, Intent, KeyDigest, ManualClock, Revision, StoreErrorKind,
    Timestamp, TokenChange, TokenError, TokenId, TokenKey, TokenList, TokenService, UserId,
    UserStore,
};
use tokenkeep_sqlite::{CheckOnOpen, Durability, OpenError, SqliteOptions, SqliteStore};
use tokenkeep_tests::history::Draw;
use tokenkeep_tests::scene::{bearer, shifted, user};

const TOKENS: u64 = 40;

/// No damaged byte turns one into the other.
const OWNERS: [UserId; 2] =
    [UserId::new(0x1112_1314_1516_1718), UserId::new(0x2122_2324_2526_2728)];

fn damages() -> u64 {
    let damages = std::env::var("TOKENKEEP_DAMAGES").ok();
    damages.and_then(|damages| damages.parse().ok()).unwrap_or(1_000)
}

struct Written {
    id: TokenId,
    name: String,
    key: TokenKey,
    owner: UserId,
    expires: Timestamp,
}

fn username(owner: UserId) -> String {
    format!("owner-{owner}")
}

/// Makes a file, and tells what is in it. The tokens have two owners in turn, and expire.
async fn filled() -> (TempDir, PathBuf, Vec<Written>) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tokens.db");
    let store = Arc::new(SqliteStore::open(&path).unwrap());
    for owner in OWNERS {
        store.put_user(user(owner, &username(owner))).await.unwrap();
    }
    let service = TokenService::builder(store.clone(), store).open().await.unwrap();
    let mut written = Vec::new();
    for (number, owner) in (0..TOKENS).zip(OWNERS.into_iter().cycle()) {
        // No name is one byte away from another.
        let name = format!("token-{number}-{number}");
        let change = TokenChange::new().identifier(&name).intent(Intent::Api).owner(owner);
        let created = service.create(&Caller::System, change).await.unwrap();
        let token = created.view.token;
        let expires = token.expires.unwrap();
        written.push(Written { id: token.id, name, key: created.key, owner, expires });
    }
    (directory, path, written)
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
        // A name or a key that is another one now finds nothing, a user may be inactive now, and a
        // token that the index by id has lost cannot be changed.
        TokenError::NotFound
        | TokenError::InvalidKey
        | TokenError::InactiveCaller
        | TokenError::Contended => true,
        TokenError::Store(error) => *error.kind() != StoreErrorKind::Other,
        _ => false,
    }
}

impl Seen {
    /// Counts an answer, and hands it on.
    fn count<T, E: Into<TokenError>>(&mut self, answer: Result<T, E>) -> Option<T> {
        match answer.map_err(Into::into) {
            Ok(found) => {
                self.read += 1;
                Some(found)
            }
            Err(error) => {
                assert!(is_damage(&error), "{error:?}");
                self.refused += 1;
                None
            }
        }
    }
}

/// Opens a damaged file.
async fn open(path: &Path, check: CheckOnOpen, seen: &mut Seen) -> Option<TokenService> {
    let options = SqliteOptions::new().durability(Durability::Normal).check(check);
    let store = match options.open(path) {
        Ok(store) => Arc::new(store),
        Err(OpenError::InUse(_)) => panic!("nobody has it open"),
        Err(_) => {
            seen.not_opened += 1;
            return None;
        }
    };
    let service = TokenService::builder(store.clone(), store).open().await;
    seen.refused += u64::from(service.is_err());
    service.ok()
}

/// Looks for every token, by name and by key.
async fn look(service: &TokenService, written: &[Written], seen: &mut Seen) {
    for Written { id, name, key, .. } in written {
        let by_name = service.retrieve(&Caller::System, name).await.map(|view| view.token);
        let by_key = service.authenticate(Some(&bearer(key))).await.map(|who| who.token);
        for token in [by_name, by_key].into_iter().filter_map(|found| seen.count(found)) {
            // Its own columns may be damaged, but none is another token's.
            let is_another = |other: &&Written| {
                other.id != *id && (other.id == token.id || other.name == token.identifier.as_str())
            };
            let another = written.iter().find(is_another).map(|other| &other.name);
            assert_eq!(another, None, "{name} is another token");
            assert!(
                written.iter().all(|other| other.id == *id || *other.name != *token.description)
            );
        }
        let events = EventQuery { token: Some(*id), ..EventQuery::default() };
        let page = seen.count(service.events(&events).await);
        for event in page.into_iter().flat_map(|page| page.events) {
            assert!(written.iter().all(|other| {
                other.id == *id
                    || (other.id != event.token && other.name != event.identifier.as_str())
            }));
        }
    }
}

/// Lists the tokens of each owner.
async fn list(service: &TokenService, written: &[Written], seen: &mut Seen) {
    for owner in OWNERS {
        let shown = service.list(&Caller::User(owner), &TokenList::new().page_size(100)).await;
        for view in seen.count(shown).into_iter().flat_map(|shown| shown.tokens) {
            let is_anothers = |other: &&Written| other.id == view.token.id && other.owner != owner;
            assert_eq!(written.iter().find(is_anothers).map(|other| &other.name), None);
        }
    }
}

/// Describes some tokens by their own names.
async fn change(service: &TokenService, written: &[Written], draw: &mut Draw, seen: &mut Seen) {
    for _ in 0..4 {
        let number = usize::try_from(draw.below(TOKENS)).unwrap();
        let name = &written[number].name;
        let change = TokenChange::new().description(name);
        seen.count(service.partial_update(&Caller::System, name, change).await);
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

/// The place of the token that an index does not lead to.
const LOST: usize = 7;

/// Overwrites the only place at which a file has some bytes.
fn replace(path: &Path, there: &[u8], instead: &[u8]) {
    let mut bytes = fs::read(path).unwrap();
    let mut places = (0..bytes.len()).filter(|at| bytes[*at..].starts_with(there));
    let at = places.next().unwrap();
    assert_eq!(places.next(), None, "elsewhere, too");
    bytes[at..at + instead.len()].copy_from_slice(instead);
    write(path, &bytes);
}

/// The row of that token.
const ROW: u8 = 8;

/// Where an index may lead instead: to the row before, to the next, whose tokens have the other owner, and
/// to none.
const ELSEWHERE: [u8; 3] = [ROW - 1, ROW + 1, 99];

/// Makes the index entry of one token, what is indexed and the number of its row, lead elsewhere.
fn lead_astray(path: &Path, indexed: &[u8], elsewhere: u8) {
    replace(path, &[indexed, &[ROW]].concat(), &[indexed, &[elsewhere]].concat());
}

/// What an index of one column has before the number of the row. SQLite writes before it of what
/// types the entry is, by which it differs from entries with other columns.
fn alone(text: Option<&str>, bytes: &[u8]) -> Vec<u8> {
    let value = text.map_or(bytes, str::as_bytes);
    let kind = u8::try_from(12 + 2 * value.len()).unwrap() + u8::from(text.is_some());
    [&[3, kind, 1], value].concat()
}

fn open_unchecked(path: &Path) -> TokenService {
    let mut seen = Seen::default();
    let service = pollster::block_on(open(path, CheckOnOpen::Never, &mut seen));
    service.unwrap()
}

#[track_caller]
fn assert_corrupt<T: Debug, E: Into<TokenError>>(answer: Result<T, E>) {
    match answer.map_err(Into::into) {
        Err(TokenError::Store(error)) if matches!(error.kind(), StoreErrorKind::Corrupt { .. }) => {
        }
        answer => panic!("{answer:?}"),
    }
}

/// What the indexes by name and by key lead to is not believed.
#[pollster::test]
async fn a_look_up_that_is_led_elsewhere_is_refused() {
    for elsewhere in ELSEWHERE {
        let (_directory, path, written) = filled().await;
        let Written { name, key, .. } = &written[LOST];
        lead_astray(&path, &alone(Some(name), &[]), elsewhere);
        lead_astray(&path, &alone(None, KeyDigest::of(key).as_bytes()), elsewhere);
        let (service, mut seen) = (open_unchecked(&path), Seen::default());
        look(&service, &written, &mut seen).await;
        // Of three answers about each token.
        assert_eq!((seen.not_opened, seen.refused, seen.read), (0, 2, 3 * TOKENS - 2));
        assert_corrupt(service.retrieve(&Caller::System, name).await);
        assert_corrupt(service.authenticate(Some(&bearer(key))).await);
    }
}

/// Nor what the index by owner leads to, in the list of that owner.
#[pollster::test]
async fn a_list_of_an_owner_that_is_led_elsewhere_is_refused() {
    for elsewhere in ELSEWHERE {
        let (_directory, path, written) = filled().await;
        let Written { owner, name, .. } = &written[LOST];
        let (owner, entry) = (*owner, [&owner.get().to_be_bytes(), name.as_bytes()].concat());
        lead_astray(&path, &entry, elsewhere);
        let (service, mut seen) = (open_unchecked(&path), Seen::default());
        list(&service, &written, &mut seen).await;
        assert_eq!((seen.not_opened, seen.refused, seen.read), (0, 1, 1));
        assert_corrupt(service.list(&Caller::User(owner), &TokenList::new()).await);
    }
}

/// Nor what the index by name leads to, in a list of all: none comes twice on a page and hides another, and
/// whoever goes from page to page comes to an end.
#[pollster::test]
async fn a_list_of_all_that_is_led_elsewhere_is_refused() {
    let [before, next, none] = ELSEWHERE;
    for (elsewhere, size) in [(before, 1), (before, 100), (next, 100), (none, 1), (none, 100)] {
        let (_directory, path, written) = filled().await;
        lead_astray(&path, &alone(Some(&written[LOST].name), &[]), elsewhere);
        let service = open_unchecked(&path);
        let (list, mut cursor) = (TokenList::new().page_size(size), None);
        let end = loop {
            match service.list_from(&Caller::System, &list, cursor).await {
                Ok(slice) if slice.next.is_some() => cursor = slice.next,
                end => break end,
            }
        };
        assert_corrupt(end);
    }
}

/// Nor what the index by id leads to, which is the row that would be changed.
#[pollster::test]
async fn a_change_that_is_led_elsewhere_is_refused() {
    for elsewhere in ELSEWHERE {
        let (_directory, path, written) = filled().await;
        lead_astray(&path, &alone(None, written[LOST].id.as_bytes()), elsewhere);
        let service = open_unchecked(&path);
        let (system, name) = (Caller::System, written[LOST].name.as_str());
        let change = TokenChange::new().description(name);
        assert_corrupt(service.partial_update(&system, name, change).await);
        assert_corrupt(service.rotate(&system, name, Expected::Anything).await);
        assert_corrupt(service.delete(&system, name, Expected::Anything).await);
        for Written { name, .. } in &written {
            let token = service.retrieve(&system, name).await.unwrap().token;
            assert_eq!((token.revision, &*token.description), (Revision::FIRST, ""));
        }
    }
}

/// Nor what the index by expiry leads to: a token that has not expired is not swept.
#[pollster::test]
async fn a_sweep_that_is_led_elsewhere_is_refused() {
    for elsewhere in ELSEWHERE {
        let (_directory, path, written) = filled().await;
        let Written { expires, id, .. } = written[LOST];
        let entry = [&expires.as_micros().to_be_bytes()[..], id.as_bytes()].concat();
        lead_astray(&path, &entry, elsewhere);
        let store = Arc::new(SqliteOptions::new().check(CheckOnOpen::Never).open(&path).unwrap());
        let clock = Arc::new(ManualClock::at(shifted(expires, 1)));
        let builder = TokenService::builder(store.clone(), store).clock(clock);
        let service = builder.open().await.unwrap();
        assert_corrupt(service.sweep().await);
        for Written { name, .. } in &written[LOST + 1..] {
            service.retrieve(&Caller::System, name).await.unwrap();
        }
    }
}

/// Nor a number in the chain of a token's events: that of another token's event, and one that leads
/// back. One that leads nowhere ends the trail, as pruning does.
#[pollster::test]
async fn damaged_chain_of_events_is_refused() {
    let of = |written: &Written| EventQuery { token: Some(written.id), ..EventQuery::default() };
    let another =
        "UPDATE token SET last_event = (SELECT number FROM event WHERE token = ?2) WHERE id = ?1";
    let back = "UPDATE event SET previous = number WHERE token = ?1 AND ?2 IS NOT NULL";
    for (sql, is_refused) in [
        (another, true),
        (back, true),
        ("UPDATE token SET last_event = 1000000 WHERE id = ?1 AND ?2 IS NOT NULL", false),
    ] {
        let (_directory, path, written) = filled().await;
        let (own, other) = (&written[LOST], &written[LOST + 1]);
        let connection = rusqlite::Connection::open(&path).unwrap();
        let changed = connection.execute(sql, [own.id.as_bytes(), other.id.as_bytes()]).unwrap();
        assert_eq!(changed, 1);
        drop(connection);
        let read = open_unchecked(&path).events(&of(own)).await;
        if is_refused {
            assert_corrupt(read);
        } else {
            assert_eq!(read.unwrap().events, []);
        }
    }
}

/// Nor what the index by username leads to, for a name and for a word.
#[pollster::test]
async fn a_username_that_is_led_to_another_user_is_nobodys() {
    let (_directory, path, _) = filled().await;
    let count = async |list: TokenList| {
        open_unchecked(&path).list(&Caller::System, &list).await.unwrap().pagination.count
    };
    let named = || TokenList::new().owner_named(username(OWNERS[0]));
    let found = || TokenList::new().search(&username(OWNERS[0])).owner(OWNERS[1]);
    assert_eq!((count(named()).await, count(found()).await), (TOKENS / 2, 0));
    let entry = |leads_to: UserId| {
        [username(OWNERS[0]).as_bytes(), leads_to.get().to_be_bytes().as_slice()].concat()
    };
    replace(&path, &entry(OWNERS[0]), &entry(OWNERS[1]));
    assert_eq!((count(named()).await, count(found()).await), (0, 0));
}

/// The control: keys and names that lead to the neighbour's token, which has another owner.
#[pollster::test]
async fn a_file_that_leads_to_another_token_is_found_out() {
    let (_directory, path, written) = filled().await;
    let (ids, names): (Vec<_>, Vec<_>) =
        written.iter().map(|written| (written.id, written.name.clone())).unzip();
    let (ids, names) = (ids.into_iter().cycle().skip(1), names.into_iter().cycle().skip(1));
    let swapped: Vec<_> = written
        .into_iter()
        .zip(ids.zip(names))
        .map(|(written, (id, name))| Written { id, name, ..written })
        .collect();
    let service = open_unchecked(&path);
    let looked = catch_unwind(AssertUnwindSafe(|| {
        pollster::block_on(look(&service, &swapped, &mut Seen::default()));
    }));
    let listed = catch_unwind(AssertUnwindSafe(|| {
        pollster::block_on(list(&service, &swapped, &mut Seen::default()));
    }));
    assert!(looked.is_err() && listed.is_err());
}

fn damage(count: u64, harm: impl Fn(&mut Vec<u8>, &mut Draw)) -> Seen {
    let (_directory, path, written) = pollster::block_on(filled());
    let whole = fs::read(&path).unwrap();
    let mut seen = Seen::default();
    for number in 0..count {
        let (mut bytes, mut draw) = (whole.clone(), Draw::new(number));
        harm(&mut bytes, &mut draw);
        write(&path, &bytes);
        let check = [CheckOnOpen::Never, CheckOnOpen::Always][usize::from(number % 4 == 0)];
        pollster::block_on(async {
            let Some(service) = open(&path, check, &mut seen).await else { return };
            list(&service, &written, &mut seen).await;
            change(&service, &written, &mut draw, &mut seen).await;
            look(&service, &written, &mut seen).await;
        });
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
