//! A key that is looked for wherever it must not be.

use std::fmt::Debug;
use std::fs;
use std::sync::Arc;

use tokenkeep::{
    Caller, EventQuery, KeyDigest, Lookup, Timestamp, TokenChange, TokenKey, TokenService,
    TokenStore, User, UserId, UserStore,
};
use tokenkeep_sqlite::SqliteStore;

/// Collects what could be logged.
#[derive(Default)]
struct Log(String);

impl Log {
    fn debug(&mut self, value: &impl Debug) {
        self.0.push_str(&format!("{value:?} {value:#?}\n"));
    }

    fn error(&mut self, error: &(impl std::error::Error + 'static)) {
        self.debug(error);
        let mut cause: Option<&dyn std::error::Error> = Some(error);
        while let Some(error) = cause {
            self.0.push_str(&format!("{error}\n"));
            cause = error.source();
        }
    }
}

#[pollster::test]
async fn a_key_is_in_no_file_and_in_no_debug() {
    let directory = tempfile::tempdir().unwrap();
    let store = Arc::new(SqliteStore::open(directory.path().join("tokens.db")).unwrap());
    let alice = User::new(UserId::new(2), uuid::Uuid::from_u128(2), "alice", Timestamp::MIN);
    store.put_user(alice).await.unwrap();
    let service = TokenService::builder(store.clone(), store.clone()).open().await.unwrap();
    let alice = Caller::User(UserId::new(2));
    let mut log = Log::default();

    let change = TokenChange::new().identifier("ci");
    log.debug(&change);
    let created = service.create(&alice, change.clone()).await.unwrap();
    let canary = created.key.expose().to_owned();
    log.debug(&created);
    log.error(&service.create(&alice, change).await.unwrap_err());

    let header = format!("Bearer {canary}");
    log.debug(&service.authenticate(Some(header.as_bytes())).await.unwrap());
    for wrong in [format!("Basic {canary}"), format!("Bearer {canary}x"), canary.clone()] {
        log.error(&service.authenticate(Some(wrong.as_bytes())).await.unwrap_err());
    }
    let rename = TokenChange::new().identifier("renamed");
    log.debug(&service.update(&alice, "ci", rename).await.unwrap());
    log.debug(&service.retrieve(&alice, "renamed").await.unwrap());
    log.0.push_str(
        &serde_json::to_string(&service.retrieve(&alice, "renamed").await.unwrap()).unwrap(),
    );
    let key = TokenKey::from(canary.clone());
    let digest = KeyDigest::of(&key);
    log.debug(&(&key, &digest, Lookup::KeyDigest(&digest)));
    log.debug(&store.events(&EventQuery::default()).await.unwrap());
    log.debug(&(&service, &store));
    store.backup(directory.path().join("backup.db")).unwrap();

    assert_eq!(canary.len(), 60);
    assert!(!log.0.contains(&canary), "the key is in a Debug or an error");
    let mut searched = 0;
    for file in ["tokens.db", "tokens.db-wal", "tokens.db-shm", "backup.db"] {
        let bytes = fs::read(directory.path().join(file)).unwrap();
        let found = bytes.windows(canary.len()).any(|window| window == canary.as_bytes());
        assert!(!found, "the key is in {file}");
        searched += bytes.len();
    }
    // The search finds what is there.
    let log_of_file = fs::read(directory.path().join("tokens.db-wal")).unwrap();
    assert!(log_of_file.windows(7).any(|window| window == b"renamed"));
    println!("searched {} characters of logs and {searched} bytes of files", log.0.len());
}
