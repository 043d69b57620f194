//! The vectors: requests with their exact answers. `vectors/README.md` says how to compare.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::Value;
use tokenkeep::{Token, TokenQuery, TokenStore, Window};

use crate::fixture::TokenRow;

/// One request and what must come back.
#[derive(Debug, Deserialize)]
pub struct Case {
    pub id: u32,
    pub family: String,
    pub method: String,
    pub path: String,
    pub authorization: Option<String>,
    pub content_type: Option<String>,
    pub body: Option<String>,
    compare: Compare,
    response: Answer,
    changes: Vec<RowChange>,
}

#[derive(Debug, Clone, Copy, Deserialize, PartialEq)]
#[serde(rename_all = "kebab-case")]
enum Compare {
    Exact,
    Fields,
    Either,
    OrderFree,
    Status,
}

/// What comes back.
#[derive(Debug, Clone, Deserialize)]
pub struct Answer {
    pub status: u16,
    pub body: Value,
}

#[derive(Debug, Deserialize)]
struct RowChange {
    pk: String,
    row: Option<TokenRow>,
}

/// Every case that the project keeps.
pub fn cases() -> Vec<Case> {
    let lines = include_str!("../vectors/cases.jsonl").lines();
    lines.map(|line| serde_json::from_str(line).unwrap()).collect()
}

impl Case {
    /// Compares an answer and the rows afterwards with what must be; says what is wrong.
    pub fn check(
        &self,
        answer: &Answer,
        before: &BTreeMap<String, TokenRow>,
        after: &[Token],
    ) -> Result<(), String> {
        match self.compare(answer) {
            Err(_) if self.may_refuse(answer) => check_rows(&[], before, after),
            Err(error) => Err(error),
            Ok(()) => check_rows(&self.changes, before, after),
        }
    }

    /// Compares an answer alone, where the rows are out of reach.
    pub fn check_answer(&self, answer: &Answer) -> Result<(), String> {
        self.compare(answer).or_else(
            |error| {
                if self.may_refuse(answer) { Ok(()) } else { Err(error) }
            },
        )
    }

    /// Whether the case leaves the rows as they were.
    pub fn only_reads(&self) -> bool {
        self.changes.is_empty()
    }

    fn may_refuse(&self, answer: &Answer) -> bool {
        self.compare == Compare::Either && answer.status == 400
    }

    fn compare(&self, answer: &Answer) -> Result<(), String> {
        let expected = &self.response;
        if answer.status != expected.status {
            return Err(format!("status {} instead of {}", answer.status, expected.status));
        }
        match self.compare {
            Compare::Status => Ok(()),
            Compare::Fields if expected.status == 400 => {
                let (found, wanted) = (keys(&answer.body), keys(&expected.body));
                if found == wanted {
                    Ok(())
                } else {
                    Err(format!("fields {found:?} instead of {wanted:?}"))
                }
            }
            Compare::OrderFree => {
                let (found, wanted) = (sorted(&answer.body), sorted(&expected.body));
                check_body(&wanted, &found, "")
            }
            Compare::Exact | Compare::Either | Compare::Fields => {
                check_body(&expected.body, &answer.body, "")
            }
        }
    }
}

/// Compares the rows afterwards with those before and the changes that must be.
fn check_rows(
    changes: &[RowChange],
    before: &BTreeMap<String, TokenRow>,
    after: &[Token],
) -> Result<(), String> {
    let mut expected = before.clone();
    for change in changes {
        match &change.row {
            Some(row) => expected.insert(change.pk.clone(), row.clone()),
            None => expected.remove(&change.pk),
        };
    }
    if after.len() != expected.len() {
        return Err(format!("{} rows instead of {}", after.len(), expected.len()));
    }
    for token in after {
        let row = expected.get(&token.id.to_string()).or_else(|| expected.get("<new>"));
        let row = row.ok_or_else(|| format!("a row too many: {token:?}"))?;
        if !row.is(token) {
            return Err(format!("row {token:?} instead of {row:?}"));
        }
    }
    Ok(())
}

/// Whether `found` is what `wanted` says, with more keys only where that is allowed.
fn check_body(wanted: &Value, found: &Value, place: &str) -> Result<(), String> {
    match (wanted, found) {
        (Value::Object(wanted), Value::Object(found)) => {
            for (key, value) in wanted {
                let place = format!("{place}/{key}");
                let found = found.get(key).ok_or_else(|| format!("{place} is missing"))?;
                check_body(value, found, &place)?;
            }
            let may_have_more = place.contains("/user_obj") && !place.contains("/attributes");
            let extra =
                found.keys().find(|key| !wanted.contains_key(*key) && *key != "autocomplete");
            match extra {
                Some(extra) if !may_have_more => Err(format!("{place}/{extra} is too much")),
                _ => Ok(()),
            }
        }
        (Value::Array(wanted), Value::Array(found)) if wanted.len() == found.len() => {
            let mut pairs = wanted.iter().zip(found).enumerate();
            pairs.try_for_each(|(i, (w, f))| check_body(w, f, &format!("{place}/{i}")))
        }
        (Value::String(wanted), Value::String(_))
            if wanted == "<new>" || wanted == "<generated>" =>
        {
            Ok(())
        }
        _ if wanted == found => Ok(()),
        _ => Err(format!("{place} is {found} instead of {wanted}")),
    }
}

fn keys(body: &Value) -> BTreeSet<&String> {
    body.as_object().into_iter().flat_map(|body| body.keys()).collect()
}

/// A list with its results in an order of their own.
fn sorted(body: &Value) -> Value {
    let mut body = body.clone();
    if let Some(results) = body.get_mut("results").and_then(Value::as_array_mut) {
        results.sort_by_key(|result| result["pk"].to_string());
    }
    body
}

/// Every token of a store.
pub async fn all_tokens(store: &dyn TokenStore) -> Vec<Token> {
    let query = TokenQuery {
        window: Window::After { cursor: None, limit: 100_000 },
        ..TokenQuery::default()
    };
    let page = store.list(&query).await.unwrap();
    page.tokens.iter().map(|token| Token::clone(token)).collect()
}
