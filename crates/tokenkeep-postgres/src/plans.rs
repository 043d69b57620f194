//! How the server runs the statements of this crate: every look-up enters an index.

use std::collections::BTreeSet;

use tokenkeep::{
    Change, Commit, EventQuery, Filter, Intent, KeyDigest, Lookup, OwnerMatch, SearchWord,
    SortField, SortKey, Timestamp, TokenId, TokenKey, TokenQuery, UserId, Visibility, Window,
};
use tokenkeep_test_server::{Server, available};
use tokio::runtime::Runtime;
use tokio_postgres::Row;

use crate::statement::Statement;
use crate::value::Value;
use crate::{PostgresStore, tokens};

/// Enough rows that no reader would go through them all.
const FILL: &str = "\
    INSERT INTO tokenkeep_token \
      SELECT gen_random_uuid(), 'token-' || n, 'api', \
        CASE WHEN n % 10 = 0 THEN 7 ELSE n % 1000 END, 'a description', \
        CASE WHEN n % 100 = 0 THEN n ELSE n + 1000000000 END, true, \
        CASE WHEN n % 2 = 0 THEN 'process-' || n % 1000 || '/' || n END, \
        CASE WHEN n % 2 = 0 THEN sha256(n::text::bytea) END, \
        1, 0, 0, null, true, '\\x00'::bytea || sha256(n::text::bytea), null \
      FROM generate_series(1, 20000) n; \
    INSERT INTO tokenkeep_event \
        (place, at, id, token, identifier, owner, revision, kind, changed, actor) \
      SELECT row_number() OVER (), n, gen_random_uuid(), token.id, 'a', 1, 1, 'created', 0, null \
      FROM generate_series(1, 5) n, tokenkeep_token token; \
    INSERT INTO tokenkeep_user \
      SELECT n, gen_random_uuid(), 'user-' || n, sha256(n::text::bytea), '', '', null, true, \
        'internal', 'users', '{}', null, 0, 0, 0 \
      FROM generate_series(1, 20000) n; \
    INSERT INTO tokenkeep_permission (user_id, token, permission) \
      SELECT 1, uuid_send(id), 'change_token' FROM tokenkeep_token; \
    VACUUM ANALYZE";

struct Planner {
    runtime: Runtime,
    store: PostgresStore,
}

impl Planner {
    /// How a statement is run.
    fn plan(&self, sql: &str, values: &[Value<'_>]) -> String {
        let explain = format!("EXPLAIN {sql}");
        let rows = self.store.connections.query_once(&explain, values);
        let rows = self.runtime.block_on(rows).unwrap();
        rows.iter().map(|row: &Row| row.get::<_, String>(0) + "\n").collect()
    }

    /// The statement enters this index, and reads no table from one end to the other.
    fn enters(&self, index: &str, sql: &str, values: &[Value<'_>]) {
        let plan = self.plan(sql, values);
        let enters =
            plan.contains(&format!("using {index} ")) || plan.contains(&format!("on {index} "));
        assert!(enters && !plan.contains("Seq Scan"), "{sql}\n{plan}");
    }

    fn lists_by(&self, index: &str, query: &TokenQuery) {
        let page = Statement::page(query, &query.token_order());
        self.enters(index, &page.sql, &page.values);
    }

    /// The index has the rows in the order that is asked for: a page costs its own tokens.
    fn lists_in_order_by(&self, index: &str, query: &TokenQuery) {
        let page = Statement::page(query, &query.token_order());
        self.enters(index, &page.sql, &page.values);
        let plan = self.plan(&page.sql, &page.values);
        assert!(!plan.contains("Sort"), "{}\n{plan}", page.sql);
    }
}

#[test]
fn every_look_up_enters_an_index() {
    if !available("every_look_up_enters_an_index") {
        return;
    }
    let database = Server::shared().unwrap().database().unwrap();
    let runtime = Runtime::new().unwrap();
    let store = runtime.block_on(PostgresStore::connect(&database.url())).unwrap();
    for statement in FILL.split("; ") {
        database.query(statement).unwrap();
    }
    let planner = Planner { runtime, store };
    looks_up(&planner);
    lists(&planner);
    reads_events(&planner);
    changes(&planner);
}

fn looks_up(planner: &Planner) {
    let digest = KeyDigest::of(&TokenKey::from("key".to_owned()));
    let (identifier, marker) = ("token-7".parse().unwrap(), "process-1/1001".parse().unwrap());
    for (index, lookup) in [
        ("tokenkeep_token_pkey", Lookup::Id(TokenId::from_bytes([1; 16]))),
        ("tokenkeep_token_identifier", Lookup::Identifier(&identifier)),
        ("tokenkeep_token_managed", Lookup::Marker(&marker)),
        ("tokenkeep_token_key", Lookup::KeyDigest(&digest)),
    ] {
        let (sql, value) = tokens::finding(lookup);
        planner.enters(index, sql, &[value]);
    }
    planner.enters(
        "tokenkeep_user_pkey",
        "SELECT is_active FROM tokenkeep_user WHERE id = $1",
        &[Value::from(7)],
    );
}

fn lists(planner: &Planner) {
    let by = |field| vec![SortKey { field, descending: false }];
    let of = |filter| TokenQuery { filter, ..TokenQuery::default() };
    let token = tokenkeep_token();
    let expired_before = Timestamp::from_micros(20_000);
    let expired = of(Filter { expired_before, ..Filter::default() });
    for (index, query) in [
        ("tokenkeep_token_identifier", TokenQuery::default()),
        ("tokenkeep_token_pkey", TokenQuery { order: by(SortField::Id), ..TokenQuery::default() }),
        ("tokenkeep_token_owner", of(Filter { owner: Some(UserId::new(7)), ..Filter::default() })),
        (
            "tokenkeep_token_owner",
            TokenQuery {
                visibility: Visibility::Limited { owner: UserId::new(7), also: BTreeSet::new() },
                ..TokenQuery::default()
            },
        ),
        (
            "tokenkeep_token_expires",
            TokenQuery { order: by(SortField::Expires), ..expired.clone() },
        ),
    ] {
        planner.lists_in_order_by(index, &query);
        let cursor = Some(query.token_order().behind(&token));
        let window = Window::After { cursor, limit: 100 };
        planner.lists_in_order_by(index, &TokenQuery { window, ..query });
    }
    planner.lists_by("tokenkeep_token_expires", &expired);
    // Of a caller who sees few tokens, the usernames of their owners alone are read.
    let visibility =
        Visibility::Limited { owner: UserId::new(8), also: BTreeSet::from([token.id]) };
    let word = SearchWord { text: "user".into(), owners: OwnerMatch::Directory };
    let search = vec![word];
    planner.lists_by(
        "tokenkeep_token_owner",
        &TokenQuery { visibility, search, ..TokenQuery::default() },
    );
    let managed_prefix = Some("process-7/".into());
    planner.lists_by("tokenkeep_token_marked", &of(Filter { managed_prefix, ..Filter::default() }));
}

fn reads_events(planner: &Planner) {
    for (index, query) in [
        (
            "tokenkeep_event_token",
            EventQuery { token: Some(TokenId::from_bytes([1; 16])), ..EventQuery::default() },
        ),
        ("tokenkeep_event_place", EventQuery::default()),
        (
            "tokenkeep_event_at",
            EventQuery { from: Timestamp::from_micros(5), ..EventQuery::default() },
        ),
    ] {
        let select = Statement::of_events(&query).unwrap();
        planner.enters(index, &select.sql, &select.values);
    }
}

fn changes(planner: &Planner) {
    let before = tokenkeep_token();
    let mut after = before.clone();
    after.description = "another".into();
    let changes = vec![
        Change::replace(&before, after),
        Change::Delete { id: before.id, expected: before.revision },
        Change::Expect { id: before.id, expected: before.revision },
        Change::Remove { id: before.id },
        Change::Release { id: before.id, expected: before.revision },
    ];
    let commit = Commit { changes, events: Vec::new() };
    for step in Statement::steps_of(&commit) {
        planner.enters("tokenkeep_token_pkey", &step.sql, &step.values);
    }
}

fn tokenkeep_token() -> tokenkeep::Token {
    tokenkeep::Token {
        id: TokenId::from_bytes([7; 16]),
        identifier: "token-7".parse().unwrap(),
        intent: Intent::Api,
        owner: UserId::new(7),
        description: "".into(),
        expires: None,
        expiring: false,
        managed: None,
        revision: tokenkeep::Revision::FIRST,
        created: Timestamp::MIN,
        updated: Timestamp::MIN,
        last_used: None,
        owner_may_view_key: true,
        key_digest: KeyDigest::of(&TokenKey::from("key".to_owned())),
        sealed_key: None,
    }
}
