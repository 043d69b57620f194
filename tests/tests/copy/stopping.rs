//! A copy that was stopped anywhere is started again, and is equal.

use std::sync::Arc;

use tokenkeep::{CopyError, StoreErrorKind, copy_tokens};
use tokenkeep_memory::FailingStore;
use tokenkeep_tests::backend::Backend;
use tokenkeep_tests::unreliable::UnreliableStore;

use crate::world::{World, copy, copy_all};

/// Copies until the target has been written to so many times, and returns whether that was all.
async fn copy_until(from: &Backend, to: &Backend, writes: u32, failure: StoreErrorKind) -> bool {
    let target = UnreliableStore::new(to, writes, failure.clone());
    let copied = copy((&*from.tokens, &*from.users), (&target, &target), &mut |_| {}).await;
    match copied {
        Ok(_) => true,
        Err(CopyError::Target(error)) if *error.kind() == failure => false,
        Err(other) => panic!("{other:?}"),
    }
}

#[test]
fn a_copy_that_was_stopped_at_any_write_goes_on() {
    pollster::block_on(async {
        let world = World::of_size(2_100);
        let from = world.in_memory().await;
        let expected = World::of(&from).await;
        for failure in [StoreErrorKind::Unavailable, StoreErrorKind::OutcomeUnknown] {
            let mut stops = 0;
            loop {
                let to = Backend::memory();
                let is_all = copy_until(&from, &to, stops, failure.clone()).await;
                assert_eq!(World::of(&to).await == expected, is_all || is_last(stops, &failure));
                copy_all(&from, &to).await.unwrap();
                assert_eq!(World::of(&to).await, expected, "stopped after {stops} writes");
                if is_all {
                    break;
                }
                stops += 1;
            }
            assert_eq!(stops, WRITES);
        }
        assert_eq!(World::of(&from).await, expected);
    });
}

/// Three groups, which find their parents late, in 6 attempts; users; grants; three pages each of
/// tokens and of events.
const WRITES: u32 = 6 + 3 + 2 + 3 + 3;

/// Whether the write that fails is the last one, and done.
fn is_last(stops: u32, failure: &StoreErrorKind) -> bool {
    stops + 1 == WRITES && *failure == StoreErrorKind::OutcomeUnknown
}

#[test]
fn a_copy_that_is_stopped_again_and_again_comes_to_its_end() {
    pollster::block_on(async {
        let from = World::of_size(2_100).in_memory().await;
        let to = Backend::sqlite();
        let mut starts = 1;
        while !copy_until(&from, &to, 4, StoreErrorKind::Full).await {
            starts += 1;
            assert!(starts < 20, "it gets no further");
        }
        assert!(starts > 3);
        assert_eq!(World::of(&to).await, World::of(&from).await);
    });
}

#[test]
fn a_source_that_fails_is_named() {
    pollster::block_on(async {
        let from = World::of_size(10).in_memory().await;
        let source = FailingStore::new(from.tokens.clone());
        source.fail_next(StoreErrorKind::Busy);
        let to = Backend::memory();
        let failed = copy_tokens(&source, &*to.tokens, &mut |_| {}).await;
        assert!(matches!(failed, Err(CopyError::Source(error)) if error.is_retryable()));
    });
}

/// A copy can be a task of any runtime, also one that moves it between threads.
#[test]
fn a_copy_can_be_sent_to_another_thread() {
    let from = Arc::new(pollster::block_on(World::of_size(10).in_memory()));
    let to = Arc::new(Backend::memory());
    let (source, target) = (from.clone(), to.clone());
    let task = async move { copy_all(&source, &target).await };
    std::thread::spawn(|| pollster::block_on(task)).join().unwrap().unwrap();
    assert_eq!(pollster::block_on(World::of(&to)), pollster::block_on(World::of(&from)));
}
