//! The administrator of a new store, and a new key for one.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::thread;

use tokenkeep::{
    Group, GroupId, Timestamp, TokenQuery, TokenStore, User, UserDirectory, UserId, UserStore,
};
use tokenkeep_sqlite::SqliteStore;
use tokenkeep_tests::backend::Backend;
use tokenkeep_tests::serve::{Serve, command, output};
use tokenkeep_tests::wire::Connection;

use crate::place::Place;

const ALICE: UserId = UserId::new(1);
const FIXTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/vectors/fixture.json");

fn alice() -> User {
    User::new(ALICE, uuid::Uuid::from_u128(1), "alice", Timestamp::MIN)
}

/// The status of a request for the first token, with a key.
fn status(server: &Serve, key: &str) -> u16 {
    let header = format!("Authorization: Bearer {key}\r\n");
    let path = "/api/v3/core/tokens/akadmin-api/";
    Connection::open(&server.url).request("GET", path, &header, None).status
}

fn read_key(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).unwrap().trim_end().to_owned()
}

/// What a store has of users, groups and tokens.
async fn counts(tokens: &dyn TokenStore, users: &dyn UserStore) -> (usize, usize, usize) {
    let listed = tokens.list(&TokenQuery::default()).await.unwrap().tokens.len();
    let groups = users.groups(None, 100).await.unwrap().len();
    (users.users(None, 100).await.unwrap().len(), groups, listed)
}

#[pollster::test]
async fn start_on_store_with_users_changes_nobody() {
    for has_group in [false, true] {
        let place = Place::new();
        {
            let store = SqliteStore::open(place.path("tokens.db")).unwrap();
            if has_group {
                let group = Group::new(GroupId::from_bytes([7; 16]), "people");
                store.put_group(group).await.unwrap();
            } else {
                let inactive = User { is_active: false, ..alice() };
                store.put_user(inactive).await.unwrap();
            }
        }
        let seeded = output(["--db", &*place.db(), "--no-view-key", "--seed", FIXTURE]);
        let message = String::from_utf8(seeded.stderr).unwrap();
        assert!(message.contains("the store is not empty"), "{message}");
        let (code, out, _) = Serve::start(["--db", &*place.db(), "--no-view-key"]).signal("TERM");
        assert_eq!((code, &*out), (Some(0), ""), "nothing but the address");
        let store = SqliteStore::open(place.path("tokens.db")).unwrap();
        let (users, groups, tokens) = counts(&store, &store).await;
        assert_eq!((users, groups, tokens), (1 - usize::from(has_group), has_group.into(), 0));
        assert_eq!(store.is_active(ALICE).await.unwrap(), (!has_group).then_some(false));
        assert!(!Path::new(&place.path("tokens.db.admin-key")).exists());
    }
}

/// Starts several on one empty store, each with a file of its own for the key.
async fn start_at_once(
    place: &Place,
    flags: &[&str],
    tokens: &dyn TokenStore,
    users: &dyn UserStore,
) {
    let numbers = 0..6;
    let servers: Vec<_> = thread::scope(|scope| {
        let start = |number: u32| {
            let file = place.path(&format!("key-{number}"));
            let own = ["--admin-key-file".to_owned(), file];
            let flags = flags.iter().map(|&flag| flag.to_owned()).chain(own).collect::<Vec<_>>();
            scope.spawn(|| Serve::start(flags))
        };
        let started: Vec<_> = numbers.clone().map(start).collect();
        started.into_iter().map(|server| server.join().unwrap()).collect()
    });
    assert_eq!(counts(tokens, users).await, (1, 1, 1));
    let files = numbers.map(|number| place.path(&format!("key-{number}")));
    let files: Vec<_> = files.filter(|file| Path::new(file).exists()).collect();
    let [file] = files.as_slice() else { panic!("not one key") };
    for server in &servers {
        assert_eq!(status(server, &read_key(file)), 200);
    }
    let left = fs::read_dir(place.path("")).unwrap().map(|entry| entry.unwrap().file_name());
    let left: Vec<_> = left.filter(|name| name.to_string_lossy().contains(".new-")).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[pollster::test]
async fn start_several_at_once_makes_one_administrator() {
    let place = Place::new();
    // The file is made by the first of them, and so is its sealing key.
    let db = place.db();
    let store = thread::scope(|scope| {
        let servers: Vec<_> =
            (0..4).map(|_| scope.spawn(|| Serve::start(["--db", &*db, "--log", "warn"]))).collect();
        let servers: Vec<_> = servers.into_iter().map(|server| server.join().unwrap()).collect();
        let key = read_key(place.path("tokens.db.admin-key"));
        for server in &servers {
            assert_eq!(status(server, &key), 200);
        }
        SqliteStore::open(place.path("tokens.db")).unwrap()
    });
    assert_eq!(counts(&store, &store).await, (1, 1, 1));

    if let Some(postgres) = Backend::postgres() {
        let (tokens, users) = (postgres.tokens.clone(), postgres.users.clone());
        let url = postgres.url();
        start_at_once(&place, &["--db", &url, "--no-view-key"], &*tokens, &*users).await;
    }
}

#[test]
fn first_key_is_in_private_file_whatever_becomes_of_standard_output() {
    let place = Place::new();
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let listen = Place::listen();
    let mut child =
        command(["--db", &*place.db()]).args(["--listen", &*listen]).stdout(full).spawn().unwrap();
    let file = place.path("tokens.db.admin-key");
    let url = format!("http://{listen}");
    // It goes on without standard output.
    while std::net::TcpStream::connect(&listen).is_err() || !Path::new(&file).exists() {
        assert!(child.try_wait().unwrap().is_none(), "it has ended");
        thread::sleep(std::time::Duration::from_millis(10));
    }
    let header = format!("Authorization: Bearer {}\r\n", read_key(&file));
    let path = "/api/v3/core/tokens/akadmin-api/";
    assert_eq!(Connection::open(&url).request("GET", path, &header, None).status, 200);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
}

#[pollster::test]
async fn first_key_that_cannot_be_written_makes_nothing() {
    let place = Place::new();
    let db = place.db();
    for file in [place.path("missing/key"), place.path("there"), place.path("")] {
        fs::write(place.path("there"), "another key").unwrap();
        let refused = output(["--db", &*db, "--admin-key-file", &file]);
        let message = String::from_utf8(refused.stderr).unwrap();
        assert_eq!((refused.status.code(), message.lines().count()), (Some(1), 1), "{message}");
        assert!(message.contains("--admin-key-file"), "{message}");
        let store = SqliteStore::open(place.path("tokens.db")).unwrap();
        assert_eq!(counts(&store, &store).await, (0, 0, 0), "{file}");
    }
    assert_eq!(fs::read_to_string(place.path("there")).unwrap(), "another key");
    let mut server = Serve::start(["--db", &*db]);
    let (_, key) = server.first_key();
    assert_eq!(status(&server, &key), 200);
}

#[test]
fn first_key_is_longer_or_shorter_than_keys_set_by_hand() {
    for length in ["1", "100"] {
        let mut server = Serve::start(["--db", "memory:", "--min-key-length", length]);
        let (_, key) = server.first_key();
        assert_eq!((status(&server, &key), key.len()), (200, 60));
    }
}

#[test]
fn new_admin_key_replaces_lost_one() {
    let place = Place::new();
    let db = place.db();
    let mut server = Serve::start(["--db", &*db]);
    let (_, lost) = server.first_key();
    // The file is in the way.
    let refused = output(["--db", &*db, "--new-admin-key"]);
    assert_eq!(refused.status.code(), Some(1));
    assert_eq!(status(&server, &lost), 200);

    fs::remove_file(place.path("tokens.db.admin-key")).unwrap();
    let made = output(["--db", &*db, "--new-admin-key"]);
    let line = String::from_utf8(made.stdout).unwrap();
    let key = read_key(place.path("tokens.db.admin-key"));
    assert!(made.status.success() && line.contains("akadmin-api") && !line.contains(&key));
    // The server is running.
    assert_eq!((status(&server, &lost), status(&server, &key)), (403, 200));
    assert_eq!(
        fs::metadata(place.path("tokens.db.admin-key")).unwrap().permissions().mode() & 0o777,
        0o600
    );
}

#[pollster::test]
async fn new_admin_key_is_for_superusers_only() {
    let place = Place::new();
    let db = place.db();
    let store = Arc::new(SqliteStore::open(place.path("tokens.db")).unwrap());
    let admins = GroupId::from_bytes([7; 16]);
    store.put_group(Group { is_superuser: true, ..Group::new(admins, "admins") }).await.unwrap();
    store.put_user(alice()).await.unwrap();
    let run =
        |name: &str| output(["--db", &*db, "--no-view-key", "--new-admin-key", "--admin", name]);
    for (name, said) in [("akadmin", "no user"), ("alice", "superuser")] {
        let refused = run(name);
        let message = String::from_utf8(refused.stderr).unwrap();
        assert_eq!((refused.status.code(), message.lines().count()), (Some(1), 1), "{message}");
        assert!(message.contains(said) && message.contains(name), "{message}");
        assert!(!Path::new(&place.path("tokens.db.admin-key")).exists());
    }
    // Another user has taken the usual name.
    let tokens =
        tokenkeep::TokenService::builder(store.clone(), store.clone()).open().await.unwrap();
    let change = tokenkeep::TokenChange::new().identifier("akadmin-api");
    let taken = tokens.create(&tokenkeep::Caller::User(ALICE), change).await.unwrap();
    let root = User {
        groups: [admins].into(),
        ..User::new(UserId::new(2), uuid::Uuid::from_u128(2), "root", Timestamp::MIN)
    };
    store.put_user(root).await.unwrap();
    assert!(run("root").status.success());
    let key = read_key(place.path("tokens.db.admin-key"));
    let shown = tokens.authenticate(Some(format!("Bearer {key}").as_bytes())).await.unwrap();
    assert_eq!(shown.caller(), tokenkeep::Caller::User(UserId::new(2)));
    let shown = format!("Bearer {}", taken.key.expose());
    assert!(tokens.authenticate(Some(shown.as_bytes())).await.is_ok());
}
