//! What PostgreSQL cannot keep or cannot be asked for.

use std::collections::BTreeSet;

use tokenkeep::{
    Change, Commit, CommitError, Filter, Lookup, OwnerMatch, SearchWord, StoreErrorKind, Timestamp,
    Token, TokenQuery, TokenStore, UserDirectory,
};
use tokenkeep_postgres::PostgresStore;
use tokenkeep_test_server::{Direction, Failure, Proxy, cluster_available};

use crate::scene::{cluster, insert, revision_of, token};

#[tokio::test]
async fn a_row_with_nul_is_refused_before_it_reaches_the_server() {
    if !cluster_available("a_row_with_nul_is_refused_before_it_reaches_the_server") {
        return;
    }
    let database = cluster().database().unwrap();
    let proxy = Proxy::start(cluster().address()).unwrap();
    let store = PostgresStore::connect(&database.url_at(proxy.address())).await.unwrap();
    insert(&store, [token(1)]).await;
    let with_nul = |token: &Token| Token { description: "a\0b".into(), ..token.clone() };
    let inserted = Change::Insert(with_nul(&token(2)).into());
    let (after, _) = revision_of(&token(1), 1);
    let replaced = Change::replace(&token(1), with_nul(&after));
    let expected = Change::Expect { id: token(1).id, expected: token(1).revision };
    for changes in [vec![inserted], vec![replaced.clone()], vec![expected, replaced]] {
        // Counts, and never fails.
        proxy.arm(Direction::ToServer, usize::MAX, Failure::Cut);
        let error = store.commit(Commit { changes, events: Vec::new() }).await.unwrap_err();
        let CommitError::Store(error) = error else { panic!("{error:?}") };
        assert!(matches!(error.kind(), StoreErrorKind::Unsupported(_)), "{error:?}");
        assert_eq!(proxy.passed(Direction::ToServer), 0);
    }
    assert_eq!(*store.find(Lookup::Id(token(1).id)).await.unwrap().unwrap(), token(1));
    assert_eq!(store.find(Lookup::Id(token(2).id)).await.unwrap(), None);
}

#[tokio::test]
async fn nobody_is_found_by_nul() {
    if !cluster_available("nobody_is_found_by_nul") {
        return;
    }
    let database = cluster().database().unwrap();
    let store = PostgresStore::connect(&database.url()).await.unwrap();
    insert(&store, [token(1)]).await;
    let filters = [
        Filter { identifier: Some("a\0".into()), ..Filter::default() },
        Filter { description: Some("a\0".into()), ..Filter::default() },
        Filter { managed: Some("a\0".into()), ..Filter::default() },
        Filter { managed_prefix: Some("a\0".into()), ..Filter::default() },
    ];
    for filter in filters {
        let query = TokenQuery { filter, ..TokenQuery::default() };
        assert_eq!(store.list(&query).await.unwrap().tokens, [], "{query:?}");
    }
    for owners in [OwnerMatch::Listed(BTreeSet::new()), OwnerMatch::Directory] {
        let word = SearchWord { text: "a\0".into(), owners };
        let query = TokenQuery { search: vec![word], ..TokenQuery::default() };
        assert_eq!(store.list(&query).await.unwrap().tokens, []);
    }
    assert_eq!(store.user_named("a\0").await.unwrap(), None);
    assert_eq!(store.users_matching("a\0").await.unwrap(), []);
}

#[tokio::test]
async fn times_come_back_to_the_microsecond_at_both_ends() {
    if !cluster_available("times_come_back_to_the_microsecond_at_both_ends") {
        return;
    }
    let database = cluster().database().unwrap();
    let store = PostgresStore::connect(&database.url()).await.unwrap();
    let micros = |micros| Timestamp::from_micros(micros).unwrap();
    let times = [Timestamp::MIN, micros(-1), micros(0), micros(1), Timestamp::MAX];
    for (number, time) in (1..).zip(times) {
        let written = Token {
            created: time,
            updated: time,
            expires: Some(time),
            last_used: Some(time),
            ..token(number)
        };
        insert(&store, [written.clone()]).await;
        let read = store.find(Lookup::Id(written.id)).await.unwrap().unwrap();
        assert_eq!(*read, written);
    }
}
