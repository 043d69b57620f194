//! Clusters and databases: made, apart from each other, and gone.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use tokenkeep_test_server::{Cluster, ClusterOptions, Server, available, cluster_available};

#[test]
fn each_database_is_empty_and_gone_when_dropped() {
    if !available("each_database_is_empty_and_gone_when_dropped") {
        return;
    }
    let server = Server::shared().unwrap();
    let one = server.database().unwrap();
    let other = server.database().unwrap();
    one.query("CREATE TABLE here (id bigint); INSERT INTO here VALUES (1), (2)").unwrap();
    assert_eq!(one.query("SELECT id, NULL FROM here").unwrap(), [["1", ""], ["2", ""]]);
    let error = other.query("SELECT id FROM here").unwrap_err();
    assert!(error.to_string().contains("db error"), "{error}");
    let count = format!("SELECT count(*) FROM pg_database WHERE datname = '{}'", one.name());
    assert_eq!(server.query(&count).unwrap(), [["1"]]);
    drop(one);
    assert_eq!(server.query(&count).unwrap(), [["0"]]);
}

#[test]
fn a_database_is_dropped_while_somebody_is_connected() {
    if !available("a_database_is_dropped_while_somebody_is_connected") {
        return;
    }
    let server = Server::shared().unwrap();
    let database = server.database().unwrap();
    let (url, name) = (database.url(), database.name().to_owned());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (client, connection) =
            tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
        let connection = tokio::spawn(connection);
        // It is also called where a runtime runs.
        drop(database);
        assert!(client.simple_query("SELECT 1").await.is_err());
        assert!(connection.await.unwrap().is_err());
    });
    let count = format!("SELECT count(*) FROM pg_database WHERE datname = '{name}'");
    assert_eq!(server.query(&count).unwrap(), [["0"]]);
}

#[test]
fn connection_parameters_reach_the_server() {
    if !available("connection_parameters_reach_the_server") {
        return;
    }
    let database = Server::shared().unwrap().database().unwrap();
    let url = database.url_with("options", "-c synchronous_commit=off -c lock_timeout=7s");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (client, connection) =
            tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        for (name, value) in [("synchronous_commit", "off"), ("lock_timeout", "7s")] {
            let row = client.query_one(&format!("SHOW {name}"), &[]).await.unwrap();
            assert_eq!(row.get::<_, &str>(0), value);
        }
    });
}

#[test]
fn clusters_stand_side_by_side_as_they_were_asked_for() {
    if !cluster_available("clusters_stand_side_by_side_as_they_were_asked_for") {
        return;
    }
    let start = |encoding: &str, zone: &str| {
        let options = ClusterOptions::new()
            .initdb(format!("--encoding={encoding}"))
            .setting("TimeZone", zone)
            .file("a file", "it's there");
        Cluster::start(&options).unwrap()
    };
    let (one, other) = (start("SQL_ASCII", "Asia/Tokyo"), start("UTF8", "UTC"));
    assert_ne!(one.address(), other.address());
    for (cluster, encoding, zone) in [(&one, "SQL_ASCII", "Asia/Tokyo"), (&other, "UTF8", "UTC")] {
        let database = cluster.database().unwrap();
        let told = database.query("SHOW server_encoding; SHOW TimeZone; SHOW fsync").unwrap();
        assert_eq!(told, [[encoding], [zone], ["on"]]);
        let file = database.query("SELECT pg_read_file('a file')").unwrap();
        assert_eq!(file, [["it's there"]]);
    }
}

#[test]
fn a_cluster_comes_back_with_what_was_committed_and_goes_with_its_directory() {
    if !cluster_available("a_cluster_comes_back_with_what_was_committed") {
        return;
    }
    let cluster = Cluster::start(&ClusterOptions::new()).unwrap();
    let database = cluster.database().unwrap();
    let (socket, tcp) = (database.url(), database.url_at(cluster.address()));
    let runs = |url: &str| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(tokio_postgres::connect(url, tokio_postgres::NoTls)).is_ok()
    };
    database.query("CREATE TABLE kept AS SELECT 1 AS id").unwrap();
    cluster.restart_immediately().unwrap();
    assert!(runs(&socket) && runs(&tcp));
    assert_eq!(database.query("SELECT id FROM kept").unwrap(), [["1"]]);
    cluster.stop().unwrap();
    assert!(!runs(&socket) && !runs(&tcp));
    cluster.start_again().unwrap();
    assert_eq!(database.query("SELECT id FROM kept").unwrap(), [["1"]]);

    let directory = cluster.directory().to_owned();
    assert!(directory.join("data").is_dir());
    drop(cluster);
    assert!(!directory.exists());
    assert!(!runs(&tcp));
}

#[test]
fn binaries_that_fail_say_why() {
    if !cluster_available("binaries_that_fail_say_why") {
        return;
    }
    let error = Cluster::start(&ClusterOptions::new().initdb("--no-such")).unwrap_err();
    assert!(error.to_string().contains("no-such"), "{error}");
    let error = Cluster::start(&ClusterOptions::new().setting("no_such", "1")).unwrap_err();
    assert!(error.to_string().contains("no_such"), "{error}");
}
