//! The pool: servers that go and come back, locks, too many connections, calls that are given up.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use tokenkeep::{
    Change, Commit, CommitError, Lookup, StoreError, StoreErrorKind, Token, TokenStore,
};
use tokenkeep_postgres::{PostgresOptions, PostgresStore};
use tokenkeep_test_server::{Cluster, ClusterOptions, Database, cluster_available};

use crate::scene::{Observer, Verdict, cluster, insert, revision_of, token};

async fn find(store: &PostgresStore) -> Result<Token, StoreError> {
    let found = store.find(Lookup::Id(token(1).id)).await?;
    Ok(Token::clone(&found.unwrap()))
}

/// A store of that many connections with a token, and who looks at it from beside.
async fn scene(database: &Database, options: PostgresOptions) -> (PostgresStore, Observer) {
    let store = options.connect(&database.url()).await.unwrap();
    insert(&store, [token(1), token(2)]).await;
    (store, Observer::of(database).await)
}

#[tokio::test]
async fn a_server_that_was_away_is_found_again() {
    if !cluster_available("a_server_that_was_away_is_found_again") {
        return;
    }
    let cluster = Cluster::start(&ClusterOptions::new()).unwrap();
    let database = cluster.database().unwrap();
    let options = PostgresOptions::new().max_connections(3);
    let (store, _) = scene(&database, options).await;
    for round in 0..4 {
        // Every connection of the pool is there and idle.
        let used = [find(&store), find(&store), find(&store)];
        futures_util::future::join_all(used)
            .await
            .into_iter()
            .for_each(|found| drop(found.unwrap()));
        let in_order = round % 2 == 0;
        let stopped = if in_order { cluster.stop() } else { cluster.stop_immediately() };
        stopped.unwrap();
        if round >= 2 {
            let error = find(&store).await.unwrap_err();
            assert_eq!(*error.kind(), StoreErrorKind::Unavailable, "{error:?}");
            let before = token(1);
            let (_, commit) = revision_of(&before, 1);
            assert_eq!(Verdict::of(store.commit(commit).await), Verdict::NotDone);
        }
        cluster.start_again().unwrap();
        let start = Instant::now();
        if let Err(error) = find(&store).await {
            assert!(error.is_retryable(), "{error:?}");
            find(&store).await.unwrap();
        }
        assert!(start.elapsed() < Duration::from_secs(30));
    }
    let (after, commit) = revision_of(&find(&store).await.unwrap(), 2);
    store.commit(commit).await.unwrap();
    assert_eq!(find(&store).await.unwrap(), after);
}

#[tokio::test]
async fn a_server_without_room_for_another_connection_is_busy_for_a_while() {
    if !cluster_available("a_server_without_room_for_another_connection_is_busy_for_a_while") {
        return;
    }
    let options = ClusterOptions::new()
        .setting("max_connections", "5")
        .setting("superuser_reserved_connections", "0");
    let cluster = Cluster::start(&options).unwrap();
    let database = cluster.database().unwrap();
    let wait = Duration::from_millis(500);
    let options = PostgresOptions::new().max_connections(2).connect_timeout(wait);
    let (store, observer) = scene(&database, options).await;
    observer.end_sessions().await;
    let mut others = Vec::new();
    for _ in 0..4 {
        others.push(Observer::of(&database).await);
    }
    let start = Instant::now();
    let error = find(&store).await.unwrap_err();
    assert!(error.is_retryable(), "{error:?}");
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
    let (_, commit) = revision_of(&token(1), 1);
    assert_eq!(Verdict::of(store.commit(commit).await), Verdict::NotDone);
    drop(others);
    observer.until_no_session("application_name <> 'tokenkeep'").await;
    assert_eq!(find(&store).await.unwrap(), token(1));
}

/// Where the server has fewer connections than the pool wants, those that there are serve every call.
#[tokio::test]
async fn calls_wait_for_the_connections_that_the_server_allows() {
    if !cluster_available("calls_wait_for_the_connections_that_the_server_allows") {
        return;
    }
    let options = ClusterOptions::new()
        .setting("max_connections", "5")
        .setting("superuser_reserved_connections", "0")
        .setting("max_wal_senders", "0");
    let cluster = Cluster::start(&options).unwrap();
    let database = cluster.database().unwrap();
    let wait = Duration::from_secs(50);
    let options = PostgresOptions::new().max_connections(16).connect_timeout(wait);
    let (store, observer) = scene(&database, options).await;
    for _ in 0..5 {
        let calls = futures_util::future::join_all((0..64).map(|_| find(&store))).await;
        assert!(calls.iter().all(Result::is_ok), "{calls:?}");
    }
    let its = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'tokenkeep'";
    let connections = observer.number(its).await;
    assert!((2..=4).contains(&connections), "{connections} connections");
}

#[tokio::test]
async fn a_call_that_finds_every_connection_in_use_is_busy() {
    if !cluster_available("a_call_that_finds_every_connection_in_use_is_busy") {
        return;
    }
    let database = cluster().database().unwrap();
    let wait = Duration::from_millis(300);
    let options = PostgresOptions::new().max_connections(1).connect_timeout(wait);
    let (store, observer) = scene(&database, options).await;
    observer.run("BEGIN; LOCK TABLE tokenkeep_token IN ACCESS EXCLUSIVE MODE").await;
    let first = find(&store);
    let second = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let start = Instant::now();
        let error = find(&store).await.unwrap_err();
        assert_eq!(*error.kind(), StoreErrorKind::Busy, "{error:?}");
        assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
        observer.run("ROLLBACK").await;
    };
    let (first, ()) = tokio::join!(first, second);
    assert_eq!(first.unwrap(), token(1));
}

#[tokio::test]
async fn what_somebody_else_has_locked_is_given_up_in_time_and_nothing_is_changed() {
    if !cluster_available("what_somebody_else_has_locked_is_given_up_in_time") {
        return;
    }
    let database = cluster().database().unwrap();
    let timeout = Duration::from_millis(300);
    let options = PostgresOptions::new().max_connections(1).statement_timeout(timeout);
    let (store, observer) = scene(&database, options).await;
    for both in [false, true] {
        let [first, second] = [find(&store).await.unwrap(), token(2)];
        observer.run("BEGIN; SELECT FROM tokenkeep_token FOR UPDATE").await;
        let (after, mut commit) = revision_of(&first, 1 + u128::from(both));
        if both {
            commit.changes.push(Change::Expect { id: second.id, expected: second.revision });
        }
        let start = Instant::now();
        let error = store.commit(commit.clone()).await.unwrap_err();
        let CommitError::Store(error) = error else { panic!("{error:?}") };
        assert_eq!(*error.kind(), StoreErrorKind::Timeout, "{error:?}");
        let took = start.elapsed();
        assert!(took >= timeout && took < timeout + Duration::from_secs(5), "{took:?}");
        observer.run("ROLLBACK").await;
        observer.until_no_session("state <> 'idle'").await;
        assert_eq!(observer.revision(first.id).await, first.revision);
        store.commit(commit).await.unwrap();
        assert_eq!(observer.revision(first.id).await, after.revision);
    }
}

#[tokio::test]
async fn a_commit_may_take_longer_than_any_of_its_statements() {
    if !cluster_available("a_commit_may_take_longer_than_any_of_its_statements") {
        return;
    }
    let database = cluster().database().unwrap();
    let timeout = Duration::from_secs(2);
    let options = PostgresOptions::new().max_connections(1).statement_timeout(timeout);
    let (store, observer) = scene(&database, options).await;
    let slow = "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql \
           AS 'BEGIN PERFORM pg_sleep(0.2); RETURN NEW; END'; \
         CREATE TRIGGER slow BEFORE INSERT ON tokenkeep_token \
           FOR EACH ROW EXECUTE FUNCTION slow()";
    observer.run(slow).await;
    let start = Instant::now();
    let changes = (10..26).map(|number| Change::Insert(token(number).into())).collect();
    store.commit(Commit { changes, events: Vec::new() }).await.unwrap();
    assert!(
        start.elapsed() > timeout + Duration::from_secs(1),
        "no longer than an answer may take"
    );
}

/// Polls a future as often as told; `None` when it has not ended by then.
async fn polled<F: Future + Unpin>(future: &mut F, times: usize) -> Option<F::Output> {
    let mut future = Pin::new(future);
    let mut polls = 0;
    poll_fn(|context| {
        if polls == times {
            return Poll::Ready(None);
        }
        polls += 1;
        match future.as_mut().poll(context) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            // What would be the next poll is left out.
            Poll::Pending if polls == times => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// A commit of one change, or of a change with another token expected to stay, which takes a
/// transaction.
fn commit_of(before: &Token, number: u128, in_transaction: bool) -> Commit {
    let (_, mut commit) = revision_of(before, number);
    if in_transaction {
        let second = token(2);
        commit.changes.push(Change::Expect { id: second.id, expected: second.revision });
    }
    commit
}

/// How a commit is given up.
#[derive(Debug, Clone, Copy)]
struct Way {
    in_transaction: bool,
    /// The connection is there and the statements are prepared, so that every poll is one of the
    /// commit itself.
    is_warm: bool,
    /// What was sent by then is also done by then.
    lingers: bool,
}

/// Drops a commit after so many polls; tells whether it was done, and whether it had ended.
async fn drop_after(
    times: usize,
    way: Way,
    number: u128,
    (store, observer): (&PostgresStore, &Observer),
) -> (bool, bool) {
    let mut before = find(store).await.unwrap();
    if way.is_warm {
        store.commit(commit_of(&before, 2 * number, way.in_transaction)).await.unwrap();
        before = find(store).await.unwrap();
    } else {
        observer.end_sessions().await;
    }
    let mut commit = store.commit(commit_of(&before, 2 * number + 1, way.in_transaction));
    let ended = polled(&mut commit, times).await;
    if way.lingers {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    drop(commit);
    // The pool is usable, and has its one connection.
    find(store).await.unwrap();
    observer.until_sessions(1, "application_name = 'tokenkeep'").await;
    observer.until_no_session("state <> 'idle'").await;
    let is = observer.revision(before.id).await;
    let is_there = is == before.revision.next().unwrap();
    assert!(is_there || is == before.revision, "{:?} became {is:?}", before.revision);
    (is_there, ended.map(|committed| committed.unwrap()).is_some())
}

#[tokio::test]
async fn a_commit_that_is_dropped_anywhere_leaves_nothing_open() {
    if !cluster_available("a_commit_that_is_dropped_anywhere_leaves_nothing_open") {
        return;
    }
    let database = cluster().database().unwrap();
    let (store, observer) = scene(&database, PostgresOptions::new().max_connections(1)).await;
    let (mut number, mut all_done) = (0, 0);
    for case in 0..8 {
        let [in_transaction, is_warm, lingers] = [1, 2, 4].map(|bit| case & bit != 0);
        let way = Way { in_transaction, is_warm, lingers };
        let (mut dropped, mut done) = (0, 0);
        for times in 0.. {
            assert!(times < 500, "it never ends");
            number += 1;
            let (is_there, ended) = drop_after(times, way, number, (&store, &observer)).await;
            if ended {
                assert!(is_there);
                break;
            }
            dropped += 1;
            done += u32::from(is_there);
        }
        println!("{way:?}: dropped at {dropped} places, done all the same at {done}");
        assert!(dropped > 1);
        all_done += done;
    }
    assert!(all_done > 0, "nothing was under way");
}
