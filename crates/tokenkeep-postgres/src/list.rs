//! Listing tokens: a query of the contract as SQL.

use std::sync::Arc;

use tokenkeep::{
    Cursor, Filter, OwnerMatch, SearchWord, SortField, SortKey, SortValue, StoreError, Timestamp,
    TokenOrder, TokenPage, TokenQuery, UserId, Visibility, Window,
};
use uuid::Uuid;

use crate::columns::Columns;
use crate::error::Fault;
use crate::pool::Connections;
use crate::statement::{Statement, digest_of};
use crate::tokens;
use crate::value::Value;

/// Lists tokens.
pub(crate) async fn select(
    connections: &Connections,
    query: &TokenQuery,
) -> Result<TokenPage, StoreError> {
    let total = if query.count { Some(count(connections, query).await?) } else { None };
    let order = query.token_order();
    let select = Statement::page(query, &order);
    let rows = connections.query_once(&select.sql, &select.values).await?;
    let read = rows.iter().map(|row| tokens::read(row).map(Arc::new));
    let mut tokens = read.collect::<Result<Vec<_>, Fault>>()?;
    let limit = query.window.limit() as usize;
    let more = tokens.len() > limit;
    tokens.truncate(limit);
    let next = tokens.last().filter(|_| more).map(|token| order.behind(token));
    Ok(TokenPage { tokens, total, next })
}

async fn count(connections: &Connections, query: &TokenQuery) -> Result<u64, StoreError> {
    let mut count = Statement::default();
    count.push("SELECT count(*) FROM tokenkeep_token");
    count.matching(query);
    let rows = connections.query_once(&count.sql, &count.values).await?;
    let count = rows.first().map(|row| Columns::of(row, "tokenkeep_token").get::<i64>("count"));
    Ok(count.transpose()?.unwrap_or_default().unsigned_abs())
}

impl<'a> Statement<'a> {
    /// One token more than asked for, to know whether there are more.
    pub(crate) fn page(query: &'a TokenQuery, order: &TokenOrder) -> Self {
        let mut select = Self::default();
        select.push(concat!("SELECT ", tokens::columns!(), " FROM tokenkeep_token"));
        select.matching(query);
        let offset = match &query.window {
            Window::Offset { offset, .. } => i64::try_from(*offset).unwrap_or(i64::MAX),
            Window::After { cursor, .. } => {
                if let Some(cursor) = cursor {
                    select.behind(order, cursor);
                }
                0
            }
        };
        select.push(" ORDER BY ");
        select.push(&order_by(order));
        select.push(" LIMIT ");
        select.bind(i64::from(query.window.limit()) + 1);
        select.push(" OFFSET ");
        select.bind(offset);
        select
    }

    /// What must hold, the window apart.
    fn matching(&mut self, query: &'a TokenQuery) {
        self.push(" WHERE TRUE");
        if let Visibility::Limited { owner, also } = &query.visibility {
            self.push(" AND (owner = ");
            self.bind(owner.get());
            if !also.is_empty() {
                self.push(" OR id = ANY (");
                let also = also.iter().map(|id| Uuid::from_bytes(*id.as_bytes()));
                self.bind(Value::Uuids(also.collect()));
                self.push(")");
            }
            self.push(")");
        }
        self.filter(&query.filter);
        for word in &query.search {
            self.search(word);
        }
    }

    fn and(&mut self, condition: &str, value: impl Into<Value<'a>>) {
        let value = value.into();
        if value.has_nul() {
            // No token has such a text, and the server would not hear of it.
            self.push(" AND FALSE");
            return;
        }
        self.push(" AND ");
        self.push(condition);
        self.push(" ");
        self.bind(value);
    }

    fn and_if(&mut self, condition: &str, value: Option<impl Into<Value<'a>>>) {
        if let Some(value) = value {
            self.and(condition, value);
        }
    }

    fn filter(&mut self, filter: &'a Filter) {
        let micros = |at: Option<Timestamp>| at.map(|at| at.as_micros());
        self.and_if("identifier =", filter.identifier.as_deref());
        self.and_if("intent =", filter.intent.map(|intent| intent.as_str()));
        self.and_if("owner =", filter.owner.map(UserId::get));
        self.and_if("description =", filter.description.as_deref());
        self.and_if("expires =", micros(filter.expires));
        self.and_if("expiring =", filter.expiring);
        self.and_if(
            "managed_digest =",
            filter.managed.as_deref().map(|text| digest_of(Some(text))),
        );
        self.and_if("expiring AND expires <", micros(filter.expired_before));
        if let Some(prefix) = &filter.managed_prefix {
            if prefix.contains('\0') {
                return self.push(" AND FALSE");
            }
            self.prefix(prefix, filter.behind_managed_prefix());
        }
    }

    /// Exactly, and by the index of what markers start with.
    fn prefix(&mut self, prefix: &'a str, behind: Option<String>) {
        if let Some(behind) = &behind {
            self.and("substr(managed, 1, 100) <= substr(", behind.clone());
            self.push(", 1, 100)");
        }
        self.and("substr(managed, 1, 100) >= substr(", prefix);
        self.push(", 1, 100)");
        self.and("managed >=", prefix);
        self.and_if("managed <", behind);
    }

    /// With the collation that the columns have, `lower` knows only ASCII, which is what is asked
    /// for.
    fn search(&mut self, word: &'a SearchWord) {
        self.push(" AND (");
        match &word.owners {
            OwnerMatch::Listed(owners) => {
                self.push("owner = ANY (");
                self.bind(Value::Numbers(owners.iter().map(|owner| owner.get()).collect()));
                self.push(")");
            }
            OwnerMatch::Directory if word.text.contains('\0') => self.push("FALSE"),
            // A look-up by key for each token that the other conditions leave.
            OwnerMatch::Directory => {
                self.push("EXISTS (SELECT 1 FROM tokenkeep_user WHERE tokenkeep_user.id = ");
                self.push("tokenkeep_token.owner AND strpos(lower(username), ");
                self.bind(word.text.to_ascii_lowercase());
                self.push(") > 0)");
            }
        }
        let texts = ["lower(identifier)", "intent", "lower(description)"];
        // No text has NUL in it, and the server would not hear of it.
        for text in texts.into_iter().filter(|_| !word.text.contains('\0')) {
            self.push(" OR strpos(");
            self.push(text);
            self.push(", ");
            self.bind(word.text.to_ascii_lowercase());
            self.push(") > 0");
        }
        self.push(")");
    }

    /// Only what comes behind a place: for some key equal in all keys before it, and behind in it.
    fn behind(&mut self, order: &TokenOrder, cursor: &'a Cursor) {
        let keys = order.keys();
        if let ([first, _, ..], Some(value)) = (keys, cursor.values().first())
            && !first.field.is_nullable()
        {
            // Implied by each of the ways, and what an index can be entered by.
            let at = if first.descending { "<=" } else { ">=" };
            self.and(&format!("{} {at}", column(first.field)), bound(first.field, value));
        }
        self.push(" AND (");
        for (place, (key, value)) in keys.iter().zip(cursor.values()).enumerate() {
            self.push(if place == 0 { "" } else { " OR " });
            for (before, value) in keys.iter().zip(cursor.values()).take(place) {
                self.equal(before.field, value);
                self.push(" AND ");
            }
            self.behind_in(*key, value);
        }
        self.push(")");
    }

    fn equal(&mut self, field: SortField, value: &'a SortValue) {
        self.push(column(field));
        if *value == SortValue::Null {
            self.push(" IS NULL");
        } else {
            self.push(" = ");
            self.bind(bound(field, value));
        }
    }

    /// What lies behind a value in one column, nulls being last in either direction.
    fn behind_in(&mut self, key: SortKey, value: &'a SortValue) {
        if *value == SortValue::Null {
            self.push("FALSE");
            return;
        }
        let column = column(key.field);
        self.push(&format!("({column} {} ", if key.descending { "<" } else { ">" }));
        self.bind(bound(key.field, value));
        if key.field.is_nullable() {
            self.push(&format!(" OR {column} IS NULL"));
        }
        self.push(")");
    }
}

fn order_by(order: &TokenOrder) -> String {
    let keys = order.keys().iter().map(|SortKey { field, descending }| {
        // Ascending, nulls are last anyway, and an index has them so.
        let direction = match (descending, field.is_nullable()) {
            (false, _) => "ASC",
            (true, false) => "DESC",
            (true, true) => "DESC NULLS LAST",
        };
        format!("{} {direction}", column(*field))
    });
    keys.collect::<Vec<_>>().join(", ")
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

fn bound(field: SortField, value: &SortValue) -> Value<'_> {
    match value {
        // A cursor holds a boolean as 0 and 1.
        SortValue::Number(number) if field == SortField::Expiring => (*number != 0).into(),
        SortValue::Number(number) => (*number).into(),
        SortValue::Text(text) => (&**text).into(),
        SortValue::Id(id) => (*id.as_bytes()).into(),
        SortValue::Null => Value::Number(None),
    }
}
