//! Histories of the tasks of one process.

use std::sync::Arc;
use std::time::Instant;

use tokenkeep::{TokenService, TokenServiceBuilder};
use tokenkeep_tests::backend::Backend;
use tokenkeep_tests::broken::{BrokenStore, Bug};
use tokenkeep_tests::history::{Judged, prepare};
use tokenkeep_tests::yielding::YieldingStore;
use tokio::runtime::Builder;

use crate::record::{histories, run};

fn judged(backend: &Backend, builder: TokenServiceBuilder, histories: u64) -> Judged {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        prepare(&*backend.users).await;
        let service = builder.open().await.unwrap();
        let mut judged = Judged::default();
        for number in 0..histories {
            run(&service, number, &mut judged).await;
        }
        judged
    })
}

#[expect(clippy::needless_pass_by_value, reason = "it ends with its directory")]
fn one_story(backend: Backend) {
    let start = Instant::now();
    let store = Arc::new(YieldingStore(backend.tokens.clone()));
    let builder = TokenService::builder(store, backend.users.clone()).cache(backend.cache);
    let judged = judged(&backend, builder, histories());
    println!("{}: {judged:?} in {:.1?}", backend.name, start.elapsed());
    assert_eq!(judged.impossible, 0, "{}: {judged:?}", backend.name);
    assert!(judged.linearizable >= histories(), "{}: {judged:?}", backend.name);
}

#[test]
fn memory_tells_one_story() {
    one_story(Backend::memory());
    one_story(Backend::memory().cached());
}

#[test]
fn sqlite_tells_one_story() {
    one_story(Backend::sqlite());
    one_story(Backend::sqlite().cached());
}

#[test]
fn sqlite_alone_tells_one_story() {
    one_story(Backend::sqlite_alone());
    one_story(Backend::sqlite_alone().cached());
}

#[test]
fn postgres_tells_one_story() {
    if let Some(backend) = Backend::postgres() {
        one_story(backend);
    }
}

/// The controls: what histories are to find.
#[test]
fn broken_stores_are_found_out() {
    let (cached, uncached) = (Backend::memory().cached().cache, Backend::memory().cache);
    for (bug, cache) in [
        (Bug::None, cached),
        (Bug::IgnoresRevisions, uncached),
        // What a transaction that does not lock before it reads would do.
        (Bug::ChecksThenWrites, uncached),
        // What a group commit that loses a member would do.
        (Bug::HarmsTheNext, uncached),
        (Bug::CountsNoChanges, cached),
    ] {
        let backend = Backend::memory();
        let store = Arc::new(YieldingStore(Arc::new(BrokenStore::new(bug))));
        let builder = TokenService::builder(store, backend.users.clone()).cache(cache);
        let judged = judged(&backend, builder, 100);
        assert_eq!(judged.impossible > 0, bug != Bug::None, "{bug:?}: {judged:?}");
    }
}
