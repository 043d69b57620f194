//! Listing tokens: a query of the contract as SQL.

use std::sync::Arc;

use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};
use tokenkeep::{
    Cursor, Filter, OwnerMatch, SearchWord, SortField, SortKey, SortValue, TokenId, TokenOrder,
    TokenPage, TokenQuery, UserId, Visibility, Window,
};

use crate::error::Fault;
use crate::tokens;

/// Lists tokens; the page and the total see the same state.
pub(crate) fn select(connection: &Connection, query: &TokenQuery) -> Result<TokenPage, Fault> {
    let order = query.token_order();
    let mut condition = Condition::of(query);
    let total = if query.count { Some(count(connection, &condition)?) } else { None };

    let limit = query.window.limit();
    let offset = match &query.window {
        Window::Offset { offset, .. } => i64::try_from(*offset).unwrap_or(i64::MAX),
        Window::After { cursor, .. } => {
            if let Some(cursor) = cursor {
                condition.behind(&order, cursor);
            }
            0
        }
    };
    let sql = condition.page(&order);
    // One more than asked for, to know whether there is more.
    condition.values.extend([Value::Integer(i64::from(limit) + 1), Value::Integer(offset)]);
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(params_from_iter(condition.values))?;
    let mut tokens = Vec::new();
    while let Some(row) = rows.next()? {
        tokens.push(Arc::new(tokens::read(row)?));
    }
    let limit = limit as usize;
    let more = tokens.len() > limit;
    tokens.truncate(limit);
    let next = tokens.last().filter(|_| more).map(|token| order.behind(token));
    Ok(TokenPage { tokens, total, next })
}

fn count(connection: &Connection, condition: &Condition) -> Result<u64, Fault> {
    let sql = format!("SELECT count(*) FROM token WHERE {}", condition.to_sql());
    let mut statement = connection.prepare_cached(&sql)?;
    let count: i64 = statement.query_row(params_from_iter(&condition.values), |row| row.get(0))?;
    Ok(count.unsigned_abs())
}

/// What must hold, with the values for its parameters in order.
#[derive(Default)]
struct Condition {
    sql: Vec<String>,
    values: Vec<Value>,
    /// What is null in no token that passes.
    never_null: Vec<SortField>,
}

impl Condition {
    fn of(query: &TokenQuery) -> Self {
        let mut condition = Self::default();
        if let Visibility::Limited { owner, also } = &query.visibility {
            if also.is_empty() {
                condition.and("owner = ?", [Value::Integer(owner.get())]);
            } else {
                condition.and(
                    "(owner = ? OR id IN (SELECT unhex(value, '-') FROM json_each(?)))",
                    [Value::Integer(owner.get()), list_of(also.iter().map(TokenId::to_string))],
                );
            }
        }
        condition.filter(&query.filter);
        for word in &query.search {
            condition.search(word);
        }
        condition
    }

    fn and(&mut self, sql: impl Into<String>, values: impl IntoIterator<Item = Value>) {
        self.sql.push(sql.into());
        self.values.extend(values);
    }

    /// Adds a condition for a value that is asked for.
    fn and_if(&mut self, sql: &str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.and(sql, [value.into()]);
        }
    }

    fn filter(&mut self, filter: &Filter) {
        self.and_if("identifier = ?", filter.identifier.clone());
        self.and_if("intent = ?", filter.intent.map(|intent| intent.as_str().to_owned()));
        self.and_if("owner = ?", filter.owner.map(UserId::get));
        self.and_if("description = ?", filter.description.clone());
        self.and_if("expires = ?", filter.expires.map(|at| at.as_micros()));
        self.and_if("expiring = ?", filter.expiring.map(i64::from));
        self.and_if("managed = ?", filter.managed.clone());
        self.and_if("expiring AND expires < ?", filter.expired_before.map(|at| at.as_micros()));
        if let Some(prefix) = &filter.managed_prefix {
            self.and("managed >= ?", [prefix.clone().into()]);
            self.and_if("managed < ?", filter.behind_managed_prefix());
        }
        if filter.expires.is_some() || filter.expired_before.is_some() {
            self.never_null.push(SortField::Expires);
        }
        if filter.managed.is_some() || filter.managed_prefix.is_some() {
            self.never_null.push(SortField::Managed);
        }
    }

    fn may_be_null(&self, field: SortField) -> bool {
        field.is_nullable() && !self.never_null.contains(&field)
    }

    /// SQLite's `lower` knows only ASCII, which is what is asked for.
    fn search(&mut self, word: &SearchWord) {
        let text = || Value::Text(word.text.to_ascii_lowercase());
        let (of_owner, owners) = match &word.owners {
            // A look-up by key for each token that the other conditions leave.
            OwnerMatch::Directory => (
                "(SELECT instr(lower(username), ?) FROM user_account \
                  WHERE user_account.id = token.owner)",
                text(),
            ),
            OwnerMatch::Listed(owners) => (
                "owner IN (SELECT value FROM json_each(?))",
                list_of(owners.iter().map(|owner| owner.get())),
            ),
        };
        self.and(
            format!(
                "(instr(lower(identifier), ?) OR instr(intent, ?) OR instr(lower(description), ?) \
                 OR {of_owner})"
            ),
            [text(), text(), text(), owners],
        );
    }

    /// Only what comes behind a place: for some key equal in all keys before it, and behind in it.
    fn behind(&mut self, order: &TokenOrder, cursor: &Cursor) {
        let mut ways = Vec::new();
        let mut values = Vec::new();
        let mut equal = String::new();
        let mut equal_values = Vec::new();
        for (key, value) in order.keys().iter().zip(cursor.values()) {
            let column = column(key.field);
            let bound = bound(value);
            ways.push(format!("{equal}{}", self.behind_in(*key, value)));
            values.extend(equal_values.iter().cloned());
            values.extend(Some(bound.clone()).filter(|bound| *bound != Value::Null));
            equal = format!("{equal}{column} IS ? AND ");
            equal_values.push(bound);
        }
        if let (Some(first), Some(value), true) =
            (order.keys().first(), cursor.values().first(), ways.len() > 1)
            && !self.may_be_null(first.field)
        {
            // Implied by each of the ways, and what an index can be entered by.
            let at = if first.descending { "<=" } else { ">=" };
            self.and(format!("{} {at} ?", column(first.field)), [bound(value)]);
        }
        self.and(format!("({})", ways.join(" OR ")), values);
    }

    /// What lies behind a value in one column, nulls being last in either direction.
    fn behind_in(&self, key: SortKey, value: &SortValue) -> String {
        let column = column(key.field);
        let beyond = if key.descending { "<" } else { ">" };
        match value {
            SortValue::Null => "FALSE".into(),
            _ if self.may_be_null(key.field) => {
                format!("({column} {beyond} ? OR {column} IS NULL)")
            }
            _ => format!("{column} {beyond} ?"),
        }
    }

    fn order_by(&self, order: &TokenOrder) -> String {
        let keys = order.keys().iter().map(|SortKey { field, descending }| {
            // Where there are no nulls, naming them would keep an index from being used.
            let direction = match (descending, self.may_be_null(*field)) {
                (false, false) => "ASC",
                (true, false) => "DESC",
                (false, true) => "ASC NULLS LAST",
                (true, true) => "DESC NULLS LAST",
            };
            format!("{} {direction}", column(*field))
        });
        keys.collect::<Vec<_>>().join(", ")
    }

    /// Selects where the tokens of a page are.
    fn places(&self, order_by: &str) -> String {
        let condition = self.to_sql();
        format!(
            "SELECT rowid AS place FROM token WHERE {condition} ORDER BY {order_by} LIMIT ? OFFSET ?"
        )
    }

    /// Selects a page. A join does not promise to keep an order.
    fn page(&self, order: &TokenOrder) -> String {
        let order_by = self.order_by(order);
        let places = self.places(&order_by);
        format!(
            concat!(tokens::rows_at!(tokens::columns!(), "{}"), " ORDER BY {}"),
            places, order_by
        )
    }

    /// The condition as one expression, in pairs of pairs: SQLite limits how deep one may be.
    fn to_sql(&self) -> String {
        fn join(conditions: &[String]) -> String {
            match conditions {
                [] => "TRUE".into(),
                [one] => one.clone(),
                many => {
                    let (left, right) = many.split_at(many.len() / 2);
                    format!("({} AND {})", join(left), join(right))
                }
            }
        }
        join(&self.sql)
    }
}

const fn column(field: SortField) -> &'static str {
    match field {
        SortField::Id => "id",
        SortField::Managed => "managed",
        SortField::Identifier => "identifier",
        SortField::Intent => "intent",
        SortField::Owner => "owner",
        SortField::Description => "description",
        SortField::Expires => "expires",
        SortField::Expiring => "expiring",
    }
}

fn bound(value: &SortValue) -> Value {
    match value {
        SortValue::Number(number) => Value::Integer(*number),
        SortValue::Text(text) => Value::Text(text.to_string()),
        SortValue::Id(id) => Value::Blob(id.as_bytes().to_vec()),
        SortValue::Null => Value::Null,
    }
}

/// A JSON list, for one parameter that stands for many values.
fn list_of<T: Into<serde_json::Value>>(values: impl Iterator<Item = T>) -> Value {
    Value::Text(values.collect::<serde_json::Value>().to_string())
}

#[cfg(test)]
mod tests {
    use tokenkeep::{Revision, Timestamp};

    use super::*;
    use crate::schema;

    /// How SQLite goes about it, a line a step.
    fn plan(query: &TokenQuery) -> String {
        let mut connection = Connection::open_in_memory().unwrap();
        schema::create(&mut connection).unwrap();
        let order = query.token_order();
        let mut condition = Condition::of(query);
        if let Window::After { cursor: Some(cursor), .. } = &query.window {
            condition.behind(&order, cursor);
        }
        let places = condition.places(&condition.order_by(&order));
        let mut explain = connection.prepare(&format!("EXPLAIN QUERY PLAN {places}")).unwrap();
        condition.values.extend([Value::Integer(9), Value::Integer(0)]);
        let steps = explain.query_map(params_from_iter(condition.values), |row| row.get(3));
        steps.unwrap().collect::<Result<Vec<String>, _>>().unwrap().join("\n")
    }

    fn token() -> tokenkeep::Token {
        tokenkeep::Token {
            id: TokenId::from_bytes([1; 16]),
            identifier: "ci".parse().unwrap(),
            intent: tokenkeep::Intent::Api,
            owner: UserId::new(1),
            description: "".into(),
            expires: Some(Timestamp::MIN),
            expiring: true,
            managed: None,
            revision: Revision::FIRST,
            created: Timestamp::MIN,
            updated: Timestamp::MIN,
            last_used: None,
            owner_may_view_key: false,
            key_digest: tokenkeep::KeyDigest::of(&tokenkeep::TokenKey::from("key".to_owned())),
            sealed_key: None,
        }
    }

    /// Asserts that SQLite enters an index and sorts nothing, from the first page and from a later one.
    fn assert_in_order(index: &str, query: &TokenQuery) {
        let cursor = Some(query.token_order().behind(&token()));
        let later = TokenQuery { window: Window::After { cursor, limit: 9 }, ..query.clone() };
        for query in [query, &later] {
            let plan = plan(query);
            assert!(plan.contains(index) && !plan.contains("TEMP B-TREE"), "{query:?}\n{plan}");
        }
    }

    #[test]
    fn page_in_a_documented_order_sorts_nothing() {
        let by = |field| vec![SortKey { field, descending: false }];
        let all = TokenQuery::default();
        assert_in_order("token_identifier", &all);
        assert_in_order("token_id", &TokenQuery { order: by(SortField::Id), ..all.clone() });
        let owner = UserId::new(1);
        let limited = Visibility::Limited { owner, also: std::collections::BTreeSet::new() };
        let limited = TokenQuery { visibility: limited, ..all.clone() };
        assert_in_order("token_owner (owner=?", &limited);
        let filter = Filter { owner: Some(owner), ..Filter::default() };
        assert_in_order("token_owner (owner=?", &TokenQuery { filter, ..all.clone() });
        let filter = Filter { expired_before: Some(Timestamp::MAX), ..Filter::default() };
        let order = by(SortField::Expires);
        assert_in_order("token_expires (expires", &TokenQuery { filter, order, ..all });
    }

    #[test]
    fn search_of_a_limited_caller_reads_only_what_it_sees() {
        let also = std::collections::BTreeSet::from([token().id]);
        let word = |owners| SearchWord { text: "a".into(), owners };
        let query = TokenQuery {
            visibility: Visibility::Limited { owner: UserId::new(1), also },
            search: vec![word(OwnerMatch::Directory), word(OwnerMatch::Directory)],
            ..TokenQuery::default()
        };
        let plan = plan(&query);
        assert!(
            plan.contains("token_owner (owner=?)") && plan.contains("token_id (id=?)"),
            "{plan}"
        );
        assert!(plan.contains("user_account USING INTEGER PRIMARY KEY"), "{plan}");
        assert!(!plan.lines().any(|step| step.starts_with("SCAN token")), "{plan}");
    }

    #[test]
    fn a_prefix_of_markers_enters_their_index() {
        let filter = Filter { managed_prefix: Some("m/".into()), ..Filter::default() };
        let order = vec![SortKey { field: SortField::Id, descending: false }];
        let plan = plan(&TokenQuery { filter, order, ..TokenQuery::default() });
        assert!(plan.contains("token_managed (managed>? AND managed<?)"), "{plan}");
    }

    #[test]
    fn bounded_query_reads_no_table_from_end_to_end() {
        use std::collections::BTreeSet;
        let owner = UserId::new(1);
        let of = |filter| TokenQuery { filter, ..TokenQuery::default() };
        let limited = |also| TokenQuery {
            visibility: Visibility::Limited { owner, also },
            ..TokenQuery::default()
        };
        for (index, query) in [
            ("token_owner (owner=?", limited(BTreeSet::new())),
            ("token_owner (owner=?", limited(BTreeSet::from([token().id]))),
            ("token_owner (owner=?", of(Filter { owner: Some(owner), ..Filter::default() })),
            (
                "token_identifier (identifier=?",
                of(Filter { identifier: Some("ci".into()), ..Filter::default() }),
            ),
            (
                "token_managed (managed=?",
                of(Filter { managed: Some("m/1".into()), ..Filter::default() }),
            ),
            (
                "token_managed (managed>?",
                of(Filter { managed_prefix: Some("m/".into()), ..Filter::default() }),
            ),
        ] {
            let orders = SortField::ALL.into_iter().map(|field| (field, false));
            for (field, descending) in orders.chain(SortField::ALL.map(|field| (field, true))) {
                let order = vec![SortKey { field, descending }];
                let cursor = Some(TokenQuery { order: order.clone(), ..TokenQuery::default() })
                    .map(|query| query.token_order().behind(&token()));
                for cursor in [None, cursor] {
                    let window = Window::After { cursor, limit: 9 };
                    let query = TokenQuery { order: order.clone(), window, ..query.clone() };
                    assert!(query.is_bounded());
                    let plan = plan(&query);
                    let scans = plan.lines().any(|step| step.starts_with("SCAN token"));
                    assert!(!scans && plan.contains(index), "{query:?}\n{plan}");
                }
            }
        }
    }
}
