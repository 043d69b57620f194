//! What becomes of expired tokens, also while others renew them.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use async_trait::async_trait;
use tokenkeep::{
    Caller, Changes, Commit, CommitError, Event, EventKind, EventPage, EventQuery, Expected,
    Intent, KeyCheck, KeyScheme, KeyUsage, Lookup, StoreError, StoreErrorKind, StoreId,
    SweepReport, Timestamp, Token, TokenChange, TokenError, TokenId, TokenPage, TokenQuery,
    TokenService, TokenStore, Touch, UserId,
};
use tokenkeep_memory::FailingStore;
use tokenkeep_tests::backend::Backend;
use tokenkeep_tests::broken::{BrokenStore, Bug};
use tokenkeep_tests::meddling::{MeddledStore, change};
use tokenkeep_tests::scene::{ADMIN, ALICE, HOUR, Scene, row, sealing, shifted};

/// What a sweep did, as far as it matters here.
fn counts(report: SweepReport) -> (u64, u64, u64) {
    (report.rotated, report.deleted, report.left_alone)
}

/// A token of Alice's that expires at that time.
fn expiring(number: usize, intent: Intent, expires: Timestamp) -> Token {
    let name = format!("token-{number}");
    let token = row(number as u128, &name, ALICE, &format!("key of {name}"));
    Token { intent, expires: Some(expires), expiring: true, ..token }
}

#[pollster::test]
async fn a_token_is_swept_from_the_microsecond_after_its_expiry() {
    for scene in Scene::everywhere().await {
        let now = scene.now();
        let mut swept = Vec::new();
        for (number, intent) in Intent::ALL.into_iter().enumerate() {
            for (place, micros) in [-1, 0, 1].into_iter().enumerate() {
                let number = number * 3 + place;
                scene.insert([expiring(number, intent, shifted(now, micros))]).await;
                swept.extend((micros < 0).then(|| format!("token-{number}")));
            }
        }
        let report = scene.service.sweep().await.unwrap();
        assert_eq!(counts(report), (1, 3, 0), "{}", scene.name());
        let events = scene.events().await;
        let told: Vec<_> = events.iter().map(|event| event.identifier.to_string()).collect();
        assert_eq!(told.len(), 4);
        assert!(told.iter().all(|name| swept.contains(name)), "{told:?}");
        for number in 0..12 {
            let name = format!("token-{number}");
            let there = scene.find(&name).await;
            match (swept.contains(&name), there) {
                (false, Some(token)) => assert_eq!(token.revision.get(), 1),
                (true, Some(token)) => assert_eq!(token.intent, Intent::Api),
                (true, None) => {}
                (false, None) => panic!("{name} is gone"),
            }
        }
    }
}

#[pollster::test]
async fn a_token_whose_expiry_does_not_count_is_not_swept() {
    for scene in Scene::everywhere().await {
        let past = shifted(scene.now(), -HOUR);
        let token = expiring(1, Intent::AppPassword, past);
        scene.insert([Token { expiring: false, ..token }]).await;
        let token = expiring(2, Intent::Api, past);
        scene.insert([Token { expires: None, ..token }]).await;
        let before = scene.state().await;
        assert_eq!(scene.service.sweep().await.unwrap(), SweepReport::default());
        assert_eq!(scene.state().await, before);
    }
}

#[pollster::test]
async fn a_sealed_api_token_gets_a_key_that_can_be_viewed_and_a_new_expiry() {
    for scene in Scene::everywhere().await {
        let old = scene.create_own("ci").await;
        scene.clock.set(shifted(old.view.token.expires.unwrap(), 1));
        assert_eq!(counts(scene.service.sweep().await.unwrap()), (1, 0, 0));
        let after = scene.find("ci").await.unwrap();
        assert_eq!(after.expires, Some(shifted(scene.now(), 24 * HOUR)));
        assert_eq!((after.revision.get(), after.updated), (2, scene.now()));
        assert_eq!(scene.kinds("ci").await, [EventKind::Created, EventKind::Rotated]);
        let event = scene.events().await.pop().unwrap();
        assert_eq!((event.actor, event.at), (Caller::System, scene.now()));
        assert_eq!(event.changed.to_string(), "expires, key");

        let key = scene.service.view_key(&Caller::User(ALICE), "ci").await.unwrap();
        assert_ne!(key, old.key);
        assert!(scene.opens(&key).await && !scene.opens(&old.key).await);
        assert_eq!(scene.service.sweep().await.unwrap(), SweepReport::default());
    }
}

#[pollster::test]
async fn every_other_token_is_deleted_and_so_is_an_api_token_whose_key_is_not_kept() {
    for scene in Scene::everywhere().await {
        let digests = scene.keeping(KeyScheme::digest_only()).await;
        for (service, rotated) in [(&scene.service, 1), (&digests, 0)] {
            for intent in Intent::ALL {
                scene.create(intent.as_str(), intent).await;
            }
            scene.clock.set(shifted(scene.now(), 25 * HOUR));
            let report = service.sweep().await.unwrap();
            assert_eq!(counts(report), (rotated, 4 - rotated, 0), "{}", scene.name());
            for intent in Intent::ALL {
                let is_kept = intent == Intent::Api && rotated == 1;
                assert_eq!(scene.find(intent.as_str()).await.is_some(), is_kept, "{intent}");
                let kind = if is_kept { EventKind::Rotated } else { EventKind::Expired };
                assert_eq!(scene.kinds(intent.as_str()).await.last(), Some(&kind));
            }
            if rotated == 1 {
                scene.service.delete(&ADMIN, "api", Expected::Anything).await.unwrap();
            }
        }
    }
}

#[pollster::test]
async fn managed_tokens_are_swept_like_others_and_keep_their_markers() {
    for scene in Scene::everywhere().await {
        let past = shifted(scene.now(), -1);
        for (number, intent) in [Intent::Api, Intent::AppPassword].into_iter().enumerate() {
            let managed = Some(format!("marker-{number}").parse().unwrap());
            scene.insert([Token { managed, ..expiring(number, intent, past) }]).await;
        }
        assert_eq!(counts(scene.service.sweep().await.unwrap()), (1, 1, 0));
        let kept = scene.find("token-0").await.unwrap();
        assert_eq!(kept.managed.unwrap().as_str(), "marker-0");
        assert!(scene.find("token-1").await.is_none());
    }
}

#[pollster::test]
async fn a_token_that_is_changed_in_between_is_left_alone() {
    for scene in Scene::everywhere().await {
        let past = shifted(scene.now(), -1);
        scene.insert((0..4).map(|number| expiring(number, Intent::AppPassword, past))).await;
        let store = Arc::new(MeddledStore::new(scene.backend.tokens.clone()));
        let (inner, later) = (scene.backend.tokens.clone(), shifted(scene.now(), HOUR));
        store.before_next_commit(move || async move {
            change(&*inner, "token-1", |token| token.expires = Some(later)).await;
            change(&*inner, "token-2", |token| token.description = "still expired".into()).await;
        });
        let service = scene.over(store).await;
        assert_eq!(counts(service.sweep().await.unwrap()), (0, 2, 2), "{}", scene.name());
        assert_eq!(scene.find("token-1").await.unwrap().revision.get(), 2, "renewed");
        assert_eq!(scene.find("token-2").await.unwrap().revision.get(), 2, "changed");
        assert_eq!(scene.events().await.len(), 2, "what is left alone has no event");
        assert_eq!(counts(service.sweep().await.unwrap()), (0, 1, 0), "the one still expired");
        assert!(scene.find("token-1").await.is_some());
    }
}

#[pollster::test]
async fn a_token_that_is_left_alone_is_not_met_again_by_the_same_sweep() {
    for scene in Scene::everywhere().await {
        let past = shifted(scene.now(), -1);
        scene.insert((0..300).map(|number| expiring(number, Intent::AppPassword, past))).await;
        let store = Arc::new(MeddledStore::new(scene.backend.tokens.clone()));
        let inner = scene.backend.tokens.clone();
        store.before_next_commit(move || async move {
            change(&*inner, "token-0", |token| token.description = "still expired".into()).await;
        });
        let report = scene.over(store).await.sweep().await.unwrap();
        assert_eq!(counts(report), (0, 299, 1), "{}", scene.name());
    }
}

/// A store that refuses every commit for a change that is not in it.
#[derive(Debug)]
struct ConfusedStore(Arc<dyn TokenStore>);

#[async_trait]
impl TokenStore for ConfusedStore {
    async fn find(&self, lookup: Lookup<'_>) -> Result<Option<Arc<Token>>, StoreError> {
        self.0.find(lookup).await
    }

    async fn owners(&self, tokens: &[TokenId]) -> Result<Vec<UserId>, StoreError> {
        self.0.owners(tokens).await
    }

    async fn key_usage(&self) -> Result<KeyUsage, StoreError> {
        self.0.key_usage().await
    }

    async fn record_key_check(&self, check: KeyCheck) -> Result<KeyCheck, StoreError> {
        self.0.record_key_check(check).await
    }

    async fn list(&self, query: &TokenQuery) -> Result<TokenPage, StoreError> {
        self.0.list(query).await
    }

    async fn commit(&self, commit: Commit) -> Result<(), CommitError> {
        Err(CommitError::Stale { change: commit.changes.len(), current: None })
    }

    async fn touch(&self, touches: &[Touch]) -> Result<(), StoreError> {
        self.0.touch(touches).await
    }

    async fn events(&self, query: &EventQuery) -> Result<EventPage, StoreError> {
        self.0.events(query).await
    }

    async fn prune_events(&self, before: Timestamp) -> Result<u64, StoreError> {
        self.0.prune_events(before).await
    }

    fn changes(&self) -> Option<Arc<dyn Changes>> {
        self.0.changes()
    }

    fn store_id(&self) -> StoreId {
        self.0.store_id()
    }
}

#[pollster::test]
async fn a_store_that_refuses_what_was_not_asked_for_makes_a_sweep_fail_and_not_panic() {
    let scene = Scene::on(Backend::memory()).await;
    scene.insert([expiring(1, Intent::AppPassword, shifted(scene.now(), -1))]).await;
    let service = scene.over(Arc::new(ConfusedStore(scene.backend.tokens.clone()))).await;
    assert!(service.sweep().await.is_err());
    assert!(scene.find("token-1").await.is_some());
}

#[pollster::test]
async fn what_is_renamed_between_two_batches_is_swept() {
    for scene in Scene::everywhere().await {
        let past = shifted(scene.now(), -1);
        scene.insert((0..300).map(|number| expiring(number, Intent::AppPassword, past))).await;
        let store = Arc::new(MeddledStore::new(scene.backend.tokens.clone()));
        let inner = scene.backend.tokens.clone();
        store.between_lists(move || async move {
            let last = inner.list(&TokenQuery::default()).await.unwrap().tokens.pop().unwrap();
            let rename = |token: &mut Token| token.identifier = "first".parse().unwrap();
            change(&*inner, last.identifier.as_str(), rename).await;
        });
        let report = scene.over(store).await.sweep().await.unwrap();
        assert_eq!(counts(report), (0, 300, 0), "{}", scene.name());
    }
}

#[pollster::test]
async fn many_batches_are_swept_and_what_a_failure_leaves_the_next_call_does() {
    const TOKENS: usize = 700;
    for scene in Scene::everywhere().await {
        let past = shifted(scene.now(), -1);
        let token = |number| {
            let intent = if number % 2 == 0 { Intent::Api } else { Intent::Recovery };
            expiring(number, intent, shifted(past, -i64::try_from(number / 3).unwrap()))
        };
        scene.insert((0..TOKENS).map(token)).await;
        scene.insert([expiring(TOKENS, Intent::Api, scene.now())]).await;
        let failing = Arc::new(FailingStore::new(scene.backend.tokens.clone()));
        let meddled = Arc::new(MeddledStore::new(failing.clone()));
        let service = scene.over(meddled.clone()).await;
        // The first batch is committed, the second is not.
        meddled.before_next_commit(|| async {});
        let fails = failing.clone();
        meddled.before_next_commit(move || async move {
            fails.fail_next_commit(StoreErrorKind::Unavailable);
        });
        let error = service.sweep().await.unwrap_err();
        assert!(matches!(error, TokenError::Store(_)) && error.is_retryable(), "{error:?}");
        let done = scene.events().await.len();
        assert!(0 < done && done < TOKENS, "{}: {done} were swept", scene.name());
        assert_eq!(touched(&scene.tokens().await, TOKENS), done);

        let (rotated, deleted, left_alone) = counts(service.sweep().await.unwrap());
        let rest = usize::try_from(rotated + deleted).unwrap();
        assert_eq!((done + rest, left_alone), (TOKENS, 0));
        let tokens = scene.tokens().await;
        assert_eq!(tokens.len(), TOKENS / 2 + 1);
        assert_eq!(touched(&tokens, TOKENS), TOKENS);
        assert_eq!(service.sweep().await.unwrap(), SweepReport::default());
        assert_eq!(scene.events().await.len(), TOKENS, "each once");
    }
}

#[pollster::test]
async fn the_events_of_a_long_sweep_tell_when_each_happened() {
    let scene = Scene::on(Backend::memory()).await;
    let began = scene.now();
    let token = |number| expiring(number, Intent::Recovery, shifted(began, -1));
    scene.insert((0..300).map(token)).await;
    let store = Arc::new(MeddledStore::new(scene.backend.tokens.clone()));
    let clock = scene.clock.clone();
    store.between_lists(move || async move { clock.advance(Duration::from_secs(3_600)) });
    assert_eq!(scene.over(store).await.sweep().await.unwrap().deleted, 300);
    let times: BTreeSet<_> = scene.events().await.iter().map(|event| event.at).collect();
    assert_eq!(times, [began, scene.now()].into());
}

/// A sweep that takes longer than the tokens live which it renews.
#[pollster::test]
async fn a_sweep_does_not_meet_again_what_it_has_renewed() {
    let scene = Scene::on(Backend::memory()).await;
    let past = shifted(scene.now(), -1);
    scene.insert((0..300).map(|number| expiring(number, Intent::Api, past))).await;
    let store = Arc::new(MeddledStore::new(scene.backend.tokens.clone()));
    for _ in 0..10 {
        let clock = scene.clock.clone();
        store
            .between_lists(move || async move { clock.advance(Duration::from_secs(3600 * 9_000)) });
    }
    let report = scene.over(store).await.sweep().await.unwrap();
    assert_eq!(counts(report), (300, 0, 0));
    assert!(scene.tokens().await.iter().all(|token| token.revision.get() == 2));
}

/// How many of the tokens that had expired are deleted or renewed.
fn touched(tokens: &[Token], of: usize) -> usize {
    let live = tokens.iter().find(|token| token.identifier.as_str() == format!("token-{of}"));
    assert_eq!(live.map(|token| token.revision.get()), Some(1), "what has not expired stays");
    let untouched = tokens.iter().filter(|token| token.revision.get() == 1).count() - 1;
    of - untouched
}

#[pollster::test]
async fn a_directory_or_a_list_that_fails_is_reported_and_nothing_is_swept() {
    for scene in Scene::everywhere().await {
        scene.insert([expiring(1, Intent::Api, shifted(scene.now(), -1))]).await;
        let before = scene.state().await;
        let failing = Arc::new(FailingStore::new(scene.backend.tokens.clone()));
        let service = scene.over(failing.clone()).await;
        failing.fail_next(StoreErrorKind::Busy);
        assert!(service.sweep().await.unwrap_err().is_retryable());
        assert_eq!(scene.state().await, before);
        assert_eq!(counts(service.sweep().await.unwrap()), (1, 0, 0));
    }
}

/// How many tokens are raced for in a round: few, so that none waits long for its race.
const ROUND: usize = 10;

/// Who renews a token of that number, and how.
fn renew(service: &TokenService, number: usize, until: Timestamp) -> Result<i64, TokenError> {
    let name = format!("token-{number}");
    let alice = Caller::User(ALICE);
    let later = TokenChange::new().expires(until);
    pollster::block_on(async {
        let view = match number % 5 {
            0 => service.partial_update(&alice, &name, TokenChange::new().description("x")).await?,
            1 | 2 => {
                let rotated = service.rotate(&ADMIN, &name, Expected::Anything).await?;
                return Ok(rotated.view.revision().get());
            }
            3 => service.partial_update(&alice, &name, later).await?,
            _ => service.partial_update(&ADMIN, &name, later).await?,
        };
        Ok(view.view.revision().get())
    })
}

fn intent_of(number: usize) -> Intent {
    match number % 5 {
        0 | 1 => Intent::Api,
        2 | 3 => Intent::AppPassword,
        _ => Intent::Recovery,
    }
}

/// What a round told: the revision of each acknowledged renewal, or that the token was gone.
type Renewals = BTreeMap<usize, Option<i64>>;

/// Lets two sweepers and two renewers run at the same tokens, each with a service of its own, and
/// tells what the renewers were told and what the sweepers reported.
fn race(services: &[TokenService; 4], numbers: &[usize], until: Timestamp) -> (Renewals, Swept) {
    let start = &Barrier::new(4);
    let [one, other, sweepers @ ..] = services;
    thread::scope(|scope| {
        let renewing = [(one, 0), (other, 1)].map(|(service, half)| {
            scope.spawn(move || {
                start.wait();
                let mine = numbers.iter().copied().filter(|number| number % 2 == half);
                mine.map(|number| (number, renew(service, number, until))).collect::<Vec<_>>()
            })
        });
        let sweeping = sweepers.each_ref().map(|service| {
            scope.spawn(|| {
                start.wait();
                let mut swept = Swept::default();
                while swept.add(pollster::block_on(service.sweep()).unwrap()) {}
                swept
            })
        });
        let told = renewing.into_iter().flat_map(|thread| thread.join().unwrap());
        let renewals = told.map(|(number, result)| (number, acknowledged(result))).collect();
        let [mut swept, others] = sweeping.map(|thread| thread.join().unwrap());
        swept.tokens += others.tokens;
        swept.left_alone += others.left_alone;
        (renewals, swept)
    })
}

#[derive(Debug, Default)]
struct Swept {
    tokens: u64,
    left_alone: u64,
}

impl Swept {
    /// Adds a report, and tells whether there was anything to do.
    fn add(&mut self, report: SweepReport) -> bool {
        self.tokens += report.rotated + report.deleted;
        self.left_alone += report.left_alone;
        report != SweepReport::default()
    }
}

fn acknowledged(result: Result<i64, TokenError>) -> Option<i64> {
    match result {
        Ok(revision) => Some(revision),
        Err(TokenError::NotFound) => None,
        Err(error) => panic!("a renewal failed: {error:?}"),
    }
}

/// What happened to one token, against what its renewer was told: it was swept once at most, and
/// only as it was when it had expired.
fn check(number: usize, told: Option<i64>, own: &[Event], there: Option<&Token>) {
    let sweeps: Vec<_> = own.iter().filter(|event| event.actor == Caller::System).collect();
    assert!(sweeps.len() <= 1, "token {number} was swept twice: {own:?}");
    for sweep in &sweeps {
        let untouched = match sweep.kind {
            EventKind::Rotated => 2,
            EventKind::Expired => 1,
            other => panic!("a sweep that has {other} token {number}"),
        };
        assert_eq!(sweep.revision.get(), untouched, "token {number} was renewed: {own:?}");
    }
    let was_deleted = sweeps.iter().any(|sweep| sweep.kind == EventKind::Expired);
    assert_eq!(told.is_none(), was_deleted, "token {number}: {told:?}, {own:?}");
    let last = there.map(|token| token.revision.get());
    let renewed = told.map(|revision| revision.max(1 + i64::try_from(own.len()).unwrap()));
    assert_eq!(last, renewed, "token {number}: {own:?}");
}

/// Races for every token once, a round of a few tokens at a time.
fn race_for_all(backend: Backend, races: usize) {
    let scene = pollster::block_on(Scene::on(backend));
    let name = scene.name();
    // Those who renew have one handle, those who sweep have another, as two processes would.
    let handles = [scene.backend.tokens.clone(), scene.backend.another_handle()];
    let services: [[TokenService; 4]; 2] = [sealing(), KeyScheme::digest_only()].map(|keys| {
        [0, 0, 1, 1].map(|handle: usize| {
            let builder = scene.builder(handles[handle].clone()).keys(keys.clone());
            pollster::block_on(builder.open()).unwrap()
        })
    });
    let (mut won, mut swept, mut left_alone, mut seen) = (0, 0, 0, 0);
    let live = expiring(races, Intent::Api, scene.now());
    pollster::block_on(scene.insert([live.clone()]));
    for round in 0..races / ROUND {
        let numbers: Vec<_> = (round * ROUND..(round + 1) * ROUND).collect();
        let past = shifted(scene.now(), -1);
        let fresh = numbers.iter().map(|number| expiring(*number, intent_of(*number), past));
        pollster::block_on(scene.insert(fresh));
        // Every third round keeps digests only, so that api tokens are deleted too.
        let services = &services[usize::from(round % 3 == 0)];
        let (renewals, reports) = race(services, &numbers, shifted(scene.now(), HOUR));
        assert_eq!(renewals.len(), numbers.len());

        let last = pollster::block_on(services[0].sweep()).unwrap();
        assert_eq!(last, SweepReport::default(), "all was swept or renewed");
        let (events, tokens) = look(&scene);
        for number in numbers {
            let id = TokenId::from(uuid::Uuid::from_u128(number as u128));
            let own = events.get(&id).map_or(&[][..], Vec::as_slice);
            seen += 1;
            check(number, renewals[&number], own, tokens.get(&id));
        }
        let told = events.values().flatten().filter(|event| event.actor == Caller::System);
        assert_eq!(reports.tokens, told.count() as u64, "what is reported is what was done");
        won += renewals.values().flatten().count();
        swept += reports.tokens;
        left_alone += reports.left_alone;
        assert_eq!(tokens.get(&live.id), Some(&live), "a live token is as it was");
        clear(&scene, live.id);
    }
    println!("{name}: {seen} races, {won} renewed, {swept} swept, {left_alone} left alone");
    assert_eq!(seen, races);
    assert!(won > 0 && swept > 0, "{name}: nobody raced");
}

/// The events of each token, and the tokens.
fn look(scene: &Scene) -> (BTreeMap<TokenId, Vec<Event>>, BTreeMap<TokenId, Token>) {
    let (tokens, all) = pollster::block_on(scene.state());
    let mut events: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for event in all {
        events.entry(event.token).or_default().push(event);
    }
    (events, tokens.into_iter().map(|token| (token.id, token)).collect())
}

/// Makes room for the next round.
fn clear(scene: &Scene, live: TokenId) {
    pollster::block_on(async {
        let delete =
            |token: Token| tokenkeep::Change::Delete { id: token.id, expected: token.revision };
        let gone = scene.tokens().await.into_iter().filter(|token| token.id != live);
        let changes = gone.map(delete).collect();
        let commit = tokenkeep::Commit { changes, events: Vec::new() };
        scene.backend.tokens.commit(commit).await.unwrap();
        scene.backend.tokens.prune_events(Timestamp::MAX).await.unwrap();
    });
}

#[test]
fn no_sweep_touches_a_live_or_renewed_token_on_memory() {
    race_for_all(Backend::memory(), 10_000);
}

#[test]
fn no_sweep_touches_a_live_or_renewed_token_on_sqlite() {
    race_for_all(Backend::sqlite(), 10_000);
}

#[test]
fn no_sweep_touches_a_live_or_renewed_token_on_sqlite_alone() {
    race_for_all(Backend::sqlite_alone(), 10_000);
}

#[test]
fn no_sweep_touches_a_live_or_renewed_token_on_postgres() {
    if let Some(backend) = Backend::postgres() {
        race_for_all(backend, 10_000);
    }
}

/// The control: a store that replaces and deletes at any revision.
#[test]
fn a_sweep_at_any_revision_is_found_out() {
    let mut backend = Backend::memory();
    backend.tokens = Arc::new(BrokenStore::new(Bug::IgnoresRevisions));
    let raced = catch_unwind(AssertUnwindSafe(|| race_for_all(backend, 1_000)));
    let found = *raced.unwrap_err().downcast::<String>().unwrap();
    assert!(found.contains("token "), "{found}");
}
