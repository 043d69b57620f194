//! Connections that went silent: a firewall forgot them, and swallows what is sent on them.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokenkeep::{Lookup, TokenStore};
use tokenkeep_postgres::{PostgresOptions, PostgresStore};
use tokenkeep_test_server::{Database, Proxy, cluster_available};

use crate::scene::{Verdict, cluster, insert, revision_of, token};

const CONNECTIONS: usize = 4;

async fn is_there(store: &PostgresStore) -> bool {
    store.find(Lookup::Id(token(1).id)).await.unwrap().is_some()
}

/// Makes as many connections as the pool may have.
async fn fill(store: &PostgresStore, proxy: &Proxy) {
    let deadline = Instant::now() + Duration::from_secs(50);
    while proxy.connections() < CONNECTIONS {
        assert!(Instant::now() < deadline, "{} connections", proxy.connections());
        join_all((0..CONNECTIONS).map(|_| is_there(store))).await;
    }
}

/// A store whose pool is full of idle connections through a proxy.
async fn scene() -> (PostgresStore, Proxy, Database) {
    let database = cluster().database().unwrap();
    let proxy = Proxy::start(cluster().address()).unwrap();
    let options = PostgresOptions::new()
        .max_connections(CONNECTIONS)
        .connect_timeout(Duration::from_secs(20))
        .statement_timeout(Duration::from_secs(1));
    let store = options.connect(&database.url_at(proxy.address())).await.unwrap();
    insert(&store, [token(1)]).await;
    fill(&store, &proxy).await;
    (store, proxy, database)
}

#[tokio::test]
async fn read_on_a_silent_connection_is_repeated() {
    if !cluster_available("read_on_a_silent_connection_is_repeated") {
        return;
    }
    let (store, proxy, _database) = scene().await;
    proxy.swallow();
    let start = Instant::now();
    assert!(is_there(&store).await);
    println!("the first answer after {:?}", start.elapsed());
    let calls = (0..2 * CONNECTIONS).map(|_| is_there(&store));
    assert!(join_all(calls).await.into_iter().all(|found| found));
    assert_eq!(proxy.failed().len(), 1, "more than one silent connection was tried");

    // All at once.
    fill(&store, &proxy).await;
    proxy.swallow();
    let calls = (0..2 * CONNECTIONS).map(|_| is_there(&store));
    assert!(join_all(calls).await.into_iter().all(|found| found));
}

#[tokio::test]
async fn commit_after_a_silence_succeeds() {
    if !cluster_available("commit_after_a_silence_succeeds") {
        return;
    }
    let (store, proxy, _database) = scene().await;
    proxy.swallow();
    let (_, commit) = revision_of(&token(1), 1);
    let verdict = Verdict::of(store.commit(commit.clone()).await);
    // The statement is prepared first, which does nothing that could be unknown.
    assert!([Verdict::Done, Verdict::Unknown].contains(&verdict), "{verdict:?}");
    if verdict == Verdict::Unknown {
        assert_eq!(Verdict::of(store.commit(commit).await), Verdict::Done);
    }
}

/// A connection that was idle is checked before a statement is sent, so that nothing is unknown.
#[tokio::test]
async fn commit_on_an_idle_silent_connection_succeeds() {
    if !cluster_available("commit_on_an_idle_silent_connection_succeeds") {
        return;
    }
    let database = cluster().database().unwrap();
    let proxy = Proxy::start(cluster().address()).unwrap();
    let options = PostgresOptions::new()
        .max_connections(CONNECTIONS)
        .connect_timeout(Duration::from_secs(2))
        // An answer is waited for longer than anybody waits for this test.
        .statement_timeout(Duration::from_secs(86_400));
    let store = options.connect(&database.url_at(proxy.address())).await.unwrap();
    insert(&store, [token(1)]).await;
    fill(&store, &proxy).await;
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    proxy.swallow();
    let (_, commit) = revision_of(&token(1), 1);
    assert_eq!(Verdict::of(store.commit(commit).await), Verdict::Done);
}
