//! Races between threads of one process.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use tokenkeep::{Caching, Intent, TokenError, TokenService, VerifyCache};
use tokenkeep_tests::backend::Backend;
use tokenkeep_tests::meddling::{MeddledStore, change};
use tokenkeep_tests::scene::{Scene, bearer};

use crate::race::{Seen, pause, prepare, races, restore, revoke, use_key};

/// Runs every race; one thread uses the keys through `service`, this one revokes.
fn run(backend: &Backend, service: &TokenService) -> Seen {
    pollster::block_on(prepare(backend));
    let acknowledged = AtomicU64::new(0);
    let (start, started) = mpsc::channel::<u64>();
    let (tell, told) = mpsc::channel::<Option<Seen>>();
    thread::scope(|scope| {
        scope.spawn(|| {
            let tell = tell;
            for number in started {
                let acknowledged = || acknowledged.load(Ordering::SeqCst);
                let seen = use_key(service, number, acknowledged, || tell.send(None).unwrap());
                tell.send(Some(seen)).unwrap();
            }
        });
        let mut all = Seen::default();
        for number in 1..=races() {
            start.send(number).unwrap();
            assert_eq!(told.recv().unwrap(), None);
            pause(number);
            pollster::block_on(revoke(backend, service, number));
            acknowledged.store(number, Ordering::SeqCst);
            all.accepted_late += told.recv().unwrap().unwrap().accepted_late;
            pollster::block_on(restore(backend, number));
        }
        drop(start);
        all
    })
}

fn no_one_gets_in(backend: &Backend, caching: Caching) {
    let service = pollster::block_on(backend.builder().open()).unwrap();
    assert_eq!(service.caching(), caching);
    assert_eq!(run(backend, &service), Seen { accepted_late: 0 }, "{}", backend.name);
}

#[test]
fn a_revocation_binds_at_once_on_memory() {
    no_one_gets_in(&Backend::memory().cached(), Caching::Exact);
}

#[test]
fn a_revocation_binds_at_once_on_sqlite() {
    no_one_gets_in(&Backend::sqlite().cached(), Caching::Exact);
}

#[test]
fn a_revocation_binds_at_once_on_sqlite_alone() {
    no_one_gets_in(&Backend::sqlite_alone().cached(), Caching::Exact);
}

#[test]
fn a_revocation_binds_at_once_on_postgres() {
    if let Some(backend) = Backend::postgres() {
        no_one_gets_in(&backend, Caching::Off);
    }
}

/// A revocation that happens between a look-up and what is done with it: what was read is not kept.
#[pollster::test]
async fn what_was_revoked_while_it_was_read_is_not_kept() {
    for backend in [Backend::memory(), Backend::sqlite(), Backend::sqlite_alone()] {
        let backend = backend.cached();
        let scene = Scene::on(backend).await;
        let meddled = Arc::new(MeddledStore::new(scene.backend.tokens.clone()).telling_caches());
        let service = scene.over(meddled.clone()).await;
        assert_eq!(service.caching(), Caching::Exact);
        let header = bearer(&scene.create("revoked", Intent::Api).await.key);
        let inner = scene.backend.tokens.clone();
        meddled.after_next_find(|| async move {
            change(&*inner, "revoked", |token| token.intent = Intent::AppPassword).await;
        });
        // It began before the revocation.
        service.authenticate(Some(&header)).await.unwrap();
        let late = service.authenticate(Some(&header)).await;
        assert!(matches!(late, Err(TokenError::InvalidKey)), "{}", scene.name());
    }
}

/// The control: such a cache is what the races are to find.
#[test]
fn a_cache_that_hears_of_nothing_is_found_out() {
    let backend = Backend::memory();
    let deaf = Arc::new(MeddledStore::new(backend.tokens.clone()));
    let stale = VerifyCache::of(1_000).accept_staleness(Duration::from_secs(3_600));
    let builder = TokenService::builder(deaf, backend.users.clone()).cache(stale);
    let service = pollster::block_on(builder.open()).unwrap();
    assert!(run(&backend, &service).accepted_late >= races());
}
