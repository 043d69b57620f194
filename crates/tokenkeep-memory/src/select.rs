//! Scans: what a query finds among all rows, read from a snapshot and a part at a time, so that no scan
//! holds a lock or the caller's thread.

use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use hashbrown::HashTable;
use tokenkeep::{
    Event, EventQuery, KeyUsage, Token, TokenOrder, TokenPage, TokenQuery, UserId, Window,
};

use crate::shard::Numbered;

/// How many rows a scan looks at before it lets the executor's other tasks run.
const ROWS_AT_ONCE: usize = 1_024;

/// The tokens of each shard at one moment.
pub(crate) type Tokens = Vec<Arc<HashTable<Arc<Token>>>>;

/// A token that is compared by an order, lowest first.
struct Ordered<'a> {
    order: &'a TokenOrder,
    token: &'a Arc<Token>,
}

impl Ord for Ordered<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.order.compare(self.token, other.token)
    }
}

impl PartialOrd for Ordered<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Ordered<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Ordered<'_> {}

/// Lists tokens. `named` returns whether the username of a user contains a text.
pub(crate) async fn list(
    tokens: &Tokens,
    query: &TokenQuery,
    named: impl Fn(UserId, &str) -> bool,
) -> TokenPage {
    let order = query.token_order();
    let (offset, cursor) = match &query.window {
        Window::Offset { offset, .. } => (usize::try_from(*offset).unwrap_or(usize::MAX), None),
        Window::After { cursor, .. } => (0, cursor.as_ref()),
    };
    let limit = query.window.limit() as usize;
    // One more than is shown: whether there are more.
    let wanted = offset.saturating_add(limit).saturating_add(1);
    let mut total = 0;
    let mut lowest = BinaryHeap::new();
    for (place, token) in tokens.iter().flat_map(|table| table.iter()).enumerate() {
        if place % ROWS_AT_ONCE == ROWS_AT_ONCE - 1 {
            yield_now().await;
        }
        if !query.matches(token, &named) {
            continue;
        }
        total += 1;
        if cursor.is_none_or(|cursor| order.is_behind(token, cursor)) {
            lowest.push(Ordered { order: &order, token });
            if lowest.len() > wanted {
                lowest.pop();
            }
        }
    }
    let mut rest: BinaryHeap<_> = lowest.into_iter().map(Reverse).collect();
    let mut found = Vec::new();
    while let Some(Reverse(next)) = rest.pop() {
        found.push(next.token);
        if found.len() % ROWS_AT_ONCE == 0 {
            yield_now().await;
        }
    }
    let page: Vec<_> =
        found.iter().skip(offset).take(limit).map(|token| Arc::clone(token)).collect();
    let more = found.len() > offset.saturating_add(limit);
    let next = page.last().filter(|_| more).map(|token| order.behind(token));
    TokenPage { tokens: page, total: query.count.then_some(total), next }
}

/// Reads the events of all tokens after a number, with their numbers.
pub(crate) async fn events(
    shards: &[Arc<Vec<Numbered>>],
    query: &EventQuery,
    after: u64,
) -> Vec<(u64, Event)> {
    let limit = query.limit as usize;
    let mut lowest = BTreeMap::new();
    let mut looked_at = 0;
    for events in shards {
        let first = events.partition_point(|(number, _)| *number <= after);
        let mut found = 0;
        for (number, event) in events.iter().skip(first) {
            looked_at += 1;
            if looked_at % ROWS_AT_ONCE == 0 {
                yield_now().await;
            }
            if found == limit {
                break;
            }
            if query.matches(event) {
                found += 1;
                lowest.insert(*number, event);
                if lowest.len() > limit {
                    lowest.pop_last();
                }
            }
        }
    }
    lowest.into_iter().map(|(number, event)| (number, Event::clone(event))).collect()
}

/// Collects the ids of the secrets that tokens need.
pub(crate) async fn key_usage(tokens: &Tokens) -> KeyUsage {
    let (mut peppers, mut sealing_keys) = (BTreeSet::new(), BTreeSet::new());
    for (place, token) in tokens.iter().flat_map(|table| table.iter()).enumerate() {
        if place % ROWS_AT_ONCE == ROWS_AT_ONCE - 1 {
            yield_now().await;
        }
        peppers.extend(token.key_digest.pepper_id());
        sealing_keys.extend(token.sealed_key.as_ref().and_then(|key| key.sealed_by()));
    }
    KeyUsage { peppers, sealing_keys, checks: Vec::new() }
}

/// Lets the other tasks of the executor run.
async fn yield_now() {
    let mut has_yielded = false;
    poll_fn(|context| {
        if std::mem::replace(&mut has_yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
