//! Keys that are sent through every operation, and looked for wherever they must not be.

use std::any::Any;
use std::fmt::Debug;
use std::fs;
use std::num::NonZeroU8;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tempfile::TempDir;
use tokenkeep::{
    Caller, EventQuery, Expected, Group, GroupId, Intent, KeyChange, KeyDigest, KeyScheme, Lookup,
    ManagedToken, ManualClock, Pepper, Reconcile, SealingKey, StoreErrorKind, Timestamp,
    TokenChange, TokenError, TokenKey, TokenList, TokenService, TokenServiceBuilder, User,
    UserStore,
};
use tokenkeep_memory::FailingStore;
use tokenkeep_sqlite::SqliteStore;
use tokenkeep_tests::backend::Backend;
use tokenkeep_tests::overhearing::OverhearingStore;
use tokenkeep_tests::scene::{ADMIN, ALICE, bearer, start, user};

const ALICES: Caller = Caller::User(ALICE);

/// Secrets of the host: text, so that they would be recognised.
const SEALING: [u8; 32] = *b"the secret of the sealing key, 1";
const RESEALING: [u8; 32] = *b"the secret of the sealing key, 2";
const PEPPER: [u8; 32] = *b"the secret of the pepper, id one";

/// Keys that are set by hand: one that is accepted, one that is too short.
const CANARY: &str = "canary-that-was-set-by-hand-and-must-not-sing";
const SHORT: &str = "canary-that-is-too-short";

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

    /// An answer that carries no key.
    fn answer(&mut self, answer: &(impl Debug + Serialize)) {
        self.debug(answer);
        self.0.push_str(&serde_json::to_string(answer).unwrap());
    }

    fn refusal<T: Debug>(&mut self, result: Result<T, TokenError>) {
        let error = result.unwrap_err();
        self.error(&error);
        self.0.push_str(&error.to_json().to_string());
    }

    fn panic(&mut self, payload: &(dyn Any + Send)) {
        let text = payload.downcast_ref::<String>().unwrap();
        assert!(text.contains("a commit panics"), "{text}");
        self.0.push_str(text);
    }
}

/// A service on a file, everything that is said of it, and every key that it has seen.
struct Watch {
    directory: TempDir,
    store: Arc<SqliteStore>,
    overheard: Arc<OverhearingStore>,
    failing: Arc<FailingStore>,
    clock: Arc<ManualClock>,
    service: TokenService,
    log: Log,
    keys: Vec<String>,
}

impl Watch {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = Arc::new(SqliteStore::open(directory.path().join("tokens.db")).unwrap());
        let superusers = GroupId::from_bytes([1; 16]);
        let group = Group { is_superuser: true, ..Group::new(superusers, "superusers") };
        store.put_group(group).await.unwrap();
        let Caller::User(admin) = ADMIN else { unreachable!() };
        let admin = User { groups: [superusers].into(), ..user(admin, "admin") };
        for person in [admin, user(ALICE, "alice")] {
            store.put_user(person).await.unwrap();
        }
        let overheard = Arc::new(OverhearingStore::new(store.clone()));
        let failing = Arc::new(FailingStore::new(overheard.clone()));
        let clock = Arc::new(ManualClock::at(start()));
        let mut log = Log::default();
        let scheme = KeyScheme::sealing(SealingKey::new(1, SEALING));
        let builder = TokenService::builder(failing.clone(), store.clone())
            .clock(clock.clone())
            .keys(scheme.clone());
        log.debug(&(&scheme, &builder));
        let service = builder.open().await.unwrap();
        let keys = vec![CANARY.to_owned(), SHORT.to_owned()];
        Self { directory, store, overheard, failing, clock, service, log, keys }
    }

    /// Another service on the same store.
    fn builder(&self, keys: KeyScheme) -> TokenServiceBuilder {
        TokenService::builder(self.failing.clone(), self.store.clone())
            .clock(self.clock.clone())
            .keys(keys)
    }

    fn key(&mut self, key: &TokenKey) {
        self.log.debug(key);
        self.keys.push(key.expose().to_owned());
    }

    async fn create(&mut self, name: &str, intent: Intent) -> TokenKey {
        let change = TokenChange::new().identifier(name).intent(intent).owner(ALICE);
        self.log.debug(&change);
        let created = self.service.create(&Caller::System, change).await.unwrap();
        self.log.debug(&created);
        self.log.answer(&created.view);
        self.key(&created.key);
        created.key
    }

    /// Makes, changes, shows and lists tokens, and lets callers in and refuses them.
    async fn live(&mut self) {
        let key = self.create("ci", Intent::Api).await;
        let mail = self.create("mail", Intent::AppPassword).await;
        let link = self.create("link", Intent::Recovery).await;
        let tokens = self.service.clone();
        let rename = TokenChange::new().identifier("renamed");
        self.log.debug(&tokens.update(&ALICES, "ci", rename).await.unwrap());
        self.log.answer(&tokens.retrieve(&ALICES, "renamed").await.unwrap());
        self.log.answer(&tokens.list(&ADMIN, &TokenList::new()).await.unwrap());
        self.log.debug(&tokens.list_from(&ADMIN, &TokenList::new(), None).await.unwrap());
        self.log.answer(&tokens.used_by(&ALICES, "renamed").await.unwrap());

        self.log.debug(&tokens.authenticate(Some(&bearer(&key))).await.unwrap());
        self.log.debug(&tokens.authenticate_app_password("alice", &mail).await.unwrap());
        self.log.debug(&tokens.consume(Intent::Recovery, &link).await.unwrap());
        tokens.flush().await.unwrap();
        for key in [&mail, &link] {
            self.log.refusal(tokens.authenticate(Some(&bearer(key))).await);
        }
        for shown in [format!("Basic {}", key.expose()), key.expose().to_owned()] {
            self.log.refusal(tokens.authenticate(Some(shown.as_bytes())).await);
        }
        self.log.refusal(tokens.authenticate_app_password("alice", &key).await);
        self.log.refusal(tokens.consume(Intent::Recovery, &link).await);
    }

    /// Sets keys, or tries to, and shows and rotates them.
    async fn turn_keys(&mut self) {
        let tokens = self.service.clone();
        let change = KeyChange::new(CANARY);
        self.log.debug(&change);
        self.log.answer(&tokens.set_key(&ADMIN, "renamed", change).await.unwrap());
        assert_eq!(tokens.view_key(&ADMIN, "renamed").await.unwrap().expose(), CANARY);
        self.create("other", Intent::Api).await;
        let json = [
            format!("{{\"key\": \"{CANARY}\"}}"),
            format!("{{\"key\": \"{SHORT}\"}}"),
            format!("{{\"key\": \"{CANARY}\\u0000\"}}"),
            format!("{{\"key\": [\"{CANARY}\"]}}"),
            format!("{{\"key\": \"{CANARY}"),
            format!("[\"{CANARY}\"]"),
            format!("\"{CANARY}\""),
            CANARY.to_owned(),
        ];
        for body in json {
            let change = KeyChange::from_json(body.as_bytes());
            self.log.debug(&change);
            self.log.refusal(tokens.set_key(&ADMIN, "other", change).await);
            let change = TokenChange::from_json(body.as_bytes());
            self.log.debug(&change);
            self.log.refusal(tokens.update(&ADMIN, "other", change).await);
        }
        let rotated = tokens.rotate(&ADMIN, "other", Expected::Anything).await.unwrap();
        self.log.debug(&rotated);
        self.log.answer(&rotated.view);
        self.key(&rotated.key);
        self.log.refusal(tokens.view_key(&ALICES, "other").await);
    }

    /// Lets an automated process want keys: one that is taken, one that is too short, one that can
    /// be, and one that is made for it.
    async fn reconcile(&mut self) {
        let tokens = self.service.clone();
        let wanted = |name: &str| {
            let change = TokenChange::new().identifier(name).owner(ALICE);
            ManagedToken::present(format!("m/{name}").parse().unwrap(), change)
        };
        for key in [CANARY, SHORT] {
            let impossible = Reconcile::new([wanted("managed").key(key)]);
            self.log.debug(&impossible);
            let refused = tokens.reconcile(&impossible).await.unwrap_err();
            self.log.error(&refused);
        }
        let given = wanted("managed").key(format!("{CANARY}, managed"));
        let done = tokens.reconcile(&Reconcile::new([given, wanted("made")])).await.unwrap();
        self.log.debug(&done);
        assert_eq!(done.report.created.len(), 2);
        self.key(&done.keys[0].1);
    }

    /// Lets every operation that carries a key fail in the store, in each of its ways, and panic.
    async fn trouble(&mut self) {
        let tokens = self.service.clone();
        let other = format!("{CANARY}, another");
        self.keys.push(other.clone());
        let lost = StoreErrorKind::OutcomeUnknown;
        for kind in [StoreErrorKind::Busy, StoreErrorKind::Full, StoreErrorKind::Other, lost] {
            let fail = || self.failing.fail_next_commit(kind.clone());
            fail();
            self.log.refusal(tokens.view_key(&ADMIN, "other").await);
            fail();
            let change = KeyChange::new(format!("{other}, {kind:?}"));
            self.log.refusal(tokens.set_key(&ADMIN, "other", change).await);
            fail();
            self.log.refusal(tokens.rotate(&ADMIN, "other", Expected::Anything).await);
            fail();
            let change = TokenChange::new().identifier(format!("failed-{kind:?}"));
            self.log.refusal(tokens.create(&ALICES, change).await);
            self.failing.fail_next(kind.clone());
            self.log.refusal(tokens.authenticate(Some(&bearer(&CANARY.to_owned().into()))).await);
        }
        self.panics(|| pollster::block_on(tokens.view_key(&ADMIN, "other")).map(drop));
        self.panics(|| {
            let change = KeyChange::new(&other);
            pollster::block_on(tokens.set_key(&ADMIN, "other", change)).map(drop)
        });
        self.panics(|| {
            let rotated = tokens.rotate(&ADMIN, "other", Expected::Anything);
            pollster::block_on(rotated).map(drop)
        });
        self.log.answer(&tokens.retrieve(&ADMIN, "other").await.unwrap());
    }

    fn panics(&mut self, operation: impl FnOnce() -> Result<(), TokenError>) {
        self.overheard.panic_next_commit();
        let payload = catch_unwind(AssertUnwindSafe(operation)).unwrap_err();
        self.log.panic(&*payload);
    }

    /// Turns a pepper and another sealing key on, and lets everything expire.
    async fn turn_secrets(&mut self) {
        let scheme = KeyScheme::sealing(SealingKey::new(2, RESEALING))
            .also_opening(SealingKey::new(1, SEALING))
            .peppered(Pepper::new(NonZeroU8::MIN, PEPPER));
        self.log.debug(&scheme);
        let tokens = self.builder(scheme).open().await.unwrap();
        self.log.debug(&tokens.rekey().await.unwrap());
        assert_eq!(tokens.view_key(&ADMIN, "renamed").await.unwrap().expose(), CANARY);
        self.log.refusal(self.service.view_key(&ADMIN, "renamed").await);
        self.log.error(&self.builder(KeyScheme::digest_only()).open().await.unwrap_err());

        self.clock.advance(Duration::from_secs(180_000));
        self.log.debug(&tokens.sweep().await.unwrap());
        self.key(&tokens.view_key(&ADMIN, "renamed").await.unwrap());
        self.log.debug(&tokens.delete(&ADMIN, "other", Expected::Anything).await.unwrap());
        self.log.debug(&tokens.owner_deleted(ALICE).await.unwrap());
        self.service = tokens;
    }

    /// What a host could log of what is there in the end.
    async fn look_around(&mut self) {
        let key = TokenKey::from(CANARY.to_owned());
        let digest = KeyDigest::of(&key);
        self.log.debug(&(&key, &digest, Lookup::KeyDigest(&digest)));
        let events = EventQuery { limit: u32::MAX, ..EventQuery::default() };
        let events = self.service.events(&events).await.unwrap().events;
        assert!(events.len() > 20, "{} events", events.len());
        self.log.debug(&events);
        for event in &events {
            self.log.0.push_str(&event.to_string());
        }
        self.log.debug(&(&self.service, &self.store, &self.failing));
        self.log.0.push_str(&self.overheard.heard());
        self.service.prune_events(Timestamp::MIN).await.unwrap();
    }

    /// Looks through the log.
    fn check_log(&self) {
        for key in &self.keys {
            assert!(
                !self.log.0.contains(key.as_str()),
                "{key} is in a Debug, an error or an event"
            );
        }
        for secret in [SEALING, RESEALING, PEPPER] {
            let text = String::from_utf8(secret.to_vec()).unwrap();
            let numbers = format!("{:?}", &secret[..8]);
            assert!(!self.log.0.contains(&text), "{text}");
            assert!(!self.log.0.contains(numbers.trim_matches(['[', ']'])), "{text}");
        }
    }

    /// Looks through the files, which are still open.
    fn check_files(&self, names: &[&str]) -> usize {
        let mut searched = 0;
        for name in names {
            let bytes = fs::read(self.directory.path().join(name)).unwrap();
            let keys = self.keys.iter().map(String::as_bytes);
            for secret in keys.chain([&SEALING[..], &RESEALING, &PEPPER]) {
                let found = contains(&bytes, secret);
                assert!(!found, "{} is in {name}", String::from_utf8_lossy(secret));
            }
            searched += bytes.len();
        }
        searched
    }
}

fn contains(bytes: &[u8], text: &[u8]) -> bool {
    bytes.windows(text.len()).any(|window| window == text)
}

#[pollster::test]
async fn a_key_is_in_no_file_and_in_nothing_that_could_be_logged() {
    let mut watch = Watch::new().await;
    watch.live().await;
    watch.turn_keys().await;
    watch.reconcile().await;
    watch.trouble().await;
    watch.store.backup(watch.directory.path().join("backup-1.db")).unwrap();
    watch.turn_secrets().await;
    watch.look_around().await;
    watch.store.backup(watch.directory.path().join("backup-2.db")).unwrap();

    assert!(watch.keys.len() >= 8, "{} keys", watch.keys.len());
    watch.check_log();
    let files = ["tokens.db", "tokens.db-wal", "tokens.db-shm", "backup-1.db", "backup-2.db"];
    let searched = watch.check_files(&files);
    // The searches find what is there.
    let wal = fs::read(watch.directory.path().join("tokens.db-wal")).unwrap();
    assert!(contains(&wal, b"renamed") && watch.log.0.contains("renamed"));
    println!(
        "looked for {} keys in {} characters of logs and {searched} bytes of files",
        watch.keys.len(),
        watch.log.0.len()
    );
}

#[pollster::test]
async fn a_key_of_which_only_a_digest_is_kept_is_in_no_file_either() {
    let mut watch = Watch::new().await;
    let pepper = KeyScheme::digest_only().peppered(Pepper::new(NonZeroU8::MIN, PEPPER));
    watch.service = watch.builder(pepper).open().await.unwrap();
    watch.live().await;
    let set = watch.service.set_key(&ADMIN, "renamed", KeyChange::new(CANARY)).await.unwrap();
    watch.log.answer(&set);
    watch.log.refusal(watch.service.view_key(&ADMIN, "renamed").await);
    watch.store.backup(watch.directory.path().join("backup.db")).unwrap();
    watch.log.0.push_str(&watch.overheard.heard());
    for key in &watch.keys {
        assert!(!watch.log.0.contains(key.as_str()), "{key}");
    }
    watch.check_files(&["tokens.db", "tokens.db-wal", "tokens.db-shm", "backup.db"]);
}

/// Whether a dump of a database holds one of these secrets, as text or in hexadecimal digits.
fn is_in_dump(dump: &str, secrets: &[&[u8]]) -> bool {
    let is_there = |secret: &&[u8]| {
        let digits: Vec<_> = secret.iter().map(|byte| format!("{byte:02x}")).collect();
        contains(dump.as_bytes(), secret) || dump.contains(&digits.concat())
    };
    secrets.iter().any(is_there)
}

/// Nor in the rows of a database, nor in what is told of a key that is taken.
#[pollster::test]
async fn a_key_is_in_no_row_of_a_database() {
    let Some(backend) = Backend::postgres() else { return };
    backend.users.put_user(user(ALICE, "alice")).await.unwrap();
    let pepper = Pepper::new(NonZeroU8::MIN, PEPPER);
    let keys = KeyScheme::sealing(SealingKey::new(1, SEALING)).peppered(pepper);
    let service = backend.builder().keys(keys).open().await.unwrap();
    let mut created = Vec::new();
    for name in ["ci", "other"] {
        let change = TokenChange::new().identifier(name).owner(ALICE);
        created.push(service.create(&Caller::System, change).await.unwrap().key);
    }
    let rotated = service.rotate(&Caller::System, "other", Expected::Anything).await.unwrap().key;
    service.set_key(&Caller::System, "ci", KeyChange::new(CANARY)).await.unwrap();
    let mut log = Log::default();
    log.refusal(service.set_key(&Caller::System, "other", KeyChange::new(CANARY)).await);
    assert!(!log.0.contains(CANARY), "{}", log.0);

    let keys = created.iter().chain([&rotated]).map(|key| key.expose().as_bytes());
    let secrets: Vec<_> = keys.chain([CANARY.as_bytes(), &SEALING, &PEPPER]).collect();
    let dump = backend.dump().unwrap();
    assert!(dump.contains("\"other\""), "{dump}");
    assert!(!is_in_dump(&dump, &secrets), "{dump}");
    // The control.
    let leak = TokenChange::new().description(CANARY);
    service.partial_update(&Caller::System, "ci", leak).await.unwrap();
    assert!(is_in_dump(&backend.dump().unwrap(), &secrets));
}

/// The controls: a host that logs a key as text, and one that writes it into a description.
#[pollster::test]
async fn a_key_that_is_logged_or_stored_is_found_out() {
    let mut watch = Watch::new().await;
    let key = watch.create("ci", Intent::Api).await;
    watch.check_log();
    watch.log.debug(&key.expose());
    let found = |check: &dyn Fn()| {
        let found = catch_unwind(AssertUnwindSafe(check)).unwrap_err();
        *found.downcast::<String>().unwrap()
    };
    let in_log = found(&|| watch.check_log());
    assert!(in_log.contains("is in a Debug, an error or an event"), "{in_log}");

    watch.check_files(&["tokens.db-wal"]);
    let leak = TokenChange::new().description(key.expose());
    watch.service.partial_update(&ADMIN, "ci", leak).await.unwrap();
    for file in ["tokens.db-wal", "backup.db"] {
        watch.store.backup(watch.directory.path().join("backup.db")).unwrap();
        let in_file = found(&|| _ = watch.check_files(&[file]));
        assert!(in_file.ends_with(&format!("is in {file}")), "{in_file}");
    }
}
