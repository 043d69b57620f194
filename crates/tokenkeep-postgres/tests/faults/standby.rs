//! Servers that do not accept writes: what they hold may be older than what was acknowledged.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use deadpool_postgres::{Manager, Pool, Runtime};
use tokenkeep::{Change, Commit, Lookup, StoreErrorKind, TokenStore};
use tokenkeep_postgres::{OpenError, PostgresOptions, PostgresStore, deadpool_postgres};
use tokenkeep_test_server::{Cluster, ClusterOptions, Database, cluster_available};

use crate::scene::{insert, token};

/// The URL of a database on the first of several servers that is suitable.
fn url(database: &Database, addresses: &[SocketAddr], options: &str) -> String {
    let hosts: Vec<_> = addresses.iter().map(ToString::to_string).collect();
    format!("postgres://postgres@{}/{}?sslmode=disable{options}", hosts.join(","), database.name())
}

fn pool(url: &str) -> Pool {
    let manager = Manager::new(url.parse().unwrap(), tokio_postgres::NoTls);
    Pool::builder(manager).max_size(2).runtime(Runtime::Tokio1).build().unwrap()
}

async fn is_there(store: &PostgresStore) -> bool {
    store.find(Lookup::Id(token(1).id)).await.unwrap().is_some()
}

/// The causes of an error, down to the last.
fn causes(error: &dyn std::error::Error) -> String {
    let source = error.source().map(causes).unwrap_or_default();
    format!("{error}: {source}")
}

fn assert_unavailable(error: &OpenError) {
    let OpenError::Store(store) = error else { panic!("{error:?}") };
    assert_eq!(*store.kind(), StoreErrorKind::Unavailable);
    let causes = causes(error);
    assert!(causes.contains("writes"), "{causes}");
}

#[tokio::test]
async fn connect_standby_is_not_a_server() {
    if !cluster_available("connect_standby_is_not_a_server") {
        return;
    }
    let primary = Cluster::start(&ClusterOptions::new()).unwrap();
    let database = primary.database().unwrap();
    let options = PostgresOptions::new();
    let store = options.connect(&url(&database, &[primary.address()], "")).await.unwrap();
    insert(&store, [token(1)]).await;

    // It has the token, and not its deletion.
    let standby = primary.standby().unwrap();
    standby.server().query("SELECT pg_wal_replay_pause()").unwrap();
    let removal = Change::Delete { id: token(1).id, expected: token(1).revision };
    store.commit(Commit { changes: vec![removal], events: Vec::new() }).await.unwrap();
    let any = url(&database, &[standby.address()], "&target_session_attrs=any");
    let lagging = options.connect(&any).await.unwrap();
    assert!(is_there(&lagging).await, "the control: a standby that lags");

    let alone = url(&database, &[standby.address()], "");
    assert_unavailable(&options.connect(&alone).await.unwrap_err());
    assert_unavailable(&options.with_pool(pool(&alone)).await.unwrap_err());

    let both = [standby.address(), primary.address()];
    let store = options.connect(&url(&database, &both, "")).await.unwrap();
    assert!(!is_there(&store).await);
    let writable = url(&database, &both, "&target_session_attrs=read-write");
    let store = options.with_pool(pool(&writable)).await.unwrap();
    assert!(!is_there(&store).await);

    // A failover: the one is gone, the other accepts writes.
    let store = options.connect(&url(&database, &both, "")).await.unwrap();
    standby.server().query("SELECT pg_wal_replay_resume()").unwrap();
    let deadline = Instant::now() + Duration::from_secs(50);
    while is_there(&lagging).await {
        assert!(Instant::now() < deadline, "the standby does not follow");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    primary.stop_immediately().unwrap();
    let error = store.find(Lookup::Id(token(1).id)).await.unwrap_err();
    assert_eq!(*error.kind(), StoreErrorKind::Unavailable, "{error:?}");
    standby.promote().unwrap();
    insert(&store, [token(2)]).await;
    assert!(!is_there(&store).await);
}

/// A server that stops accepting writes, and connections that were made before.
#[tokio::test]
async fn read_from_a_demoted_server_is_unavailable() {
    if !cluster_available("read_from_a_demoted_server_is_unavailable") {
        return;
    }
    let cluster = Cluster::start(&ClusterOptions::new()).unwrap();
    let database = cluster.database().unwrap();
    let url = url(&database, &[cluster.address()], "");
    let options = PostgresOptions::new();
    let stores =
        [options.connect(&url).await.unwrap(), options.with_pool(pool(&url)).await.unwrap()];
    insert(&stores[0], [token(1)]).await;
    for store in &stores {
        assert!(is_there(store).await);
    }
    let demote = |value| {
        let sql = format!("ALTER SYSTEM SET default_transaction_read_only = {value}");
        cluster.server().query(&sql).unwrap();
        cluster.server().query("SELECT pg_reload_conf()").unwrap();
    };
    demote("on");
    let deadline = Instant::now() + Duration::from_secs(50);
    for store in &stores {
        loop {
            let found = store.find(Lookup::Id(token(1).id)).await;
            let Err(error) = found else {
                assert!(Instant::now() < deadline, "it still answers");
                tokio::time::sleep(Duration::from_millis(5)).await;
                continue;
            };
            assert_eq!(*error.kind(), StoreErrorKind::Unavailable, "{error:?}");
            break;
        }
    }
    demote("off");
    for store in &stores {
        while store.find(Lookup::Id(token(1).id)).await.is_err() {
            assert!(Instant::now() < deadline, "it is not found again");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// Others use the pool, too, and leave their settings on its connections.
#[tokio::test]
async fn connection_of_another_schema_is_closed() {
    if !cluster_available("connection_of_another_schema_is_closed") {
        return;
    }
    let cluster = crate::scene::cluster();
    let database = cluster.database().unwrap();
    let pool = pool(&url(&database, &[cluster.address()], ""));
    let store = PostgresOptions::new().with_pool(pool.clone()).await.unwrap();
    insert(&store, [token(1)]).await;
    pool.retain(|_, _| false);
    for setting in ["search_path = other", "synchronous_commit = off", "role = pg_monitor"] {
        let taken = [pool.get().await.unwrap(), pool.get().await.unwrap()];
        for connection in taken {
            connection.batch_execute(&format!("SET {setting}")).await.unwrap();
        }
        assert_eq!(pool.status().available, 2);
        assert!(is_there(&store).await, "after {setting}");
        assert_eq!(pool.status().size, 1, "after {setting}");
        pool.retain(|_, _| false);
    }
    // Where all connections are made so, the store says what is wrong.
    database.query(&format!("ALTER DATABASE {} SET search_path = other", database.name())).unwrap();
    let error = store.find(Lookup::Id(token(1).id)).await.unwrap_err();
    assert_eq!(*error.kind(), StoreErrorKind::Unavailable);
    assert!(causes(&error).contains("search_path"), "{error:?}");
}
