//! Lists of tokens and of events.

use std::ops::Deref;
use std::sync::Arc;

use tokenkeep::{Event, EventQuery, Timestamp, TokenPage, TokenQuery, UniqueField, Window};

use crate::rows::Rows;
use crate::shard::Shard;

impl<G: Deref<Target = Shard>> Rows<'_, G> {
    pub(crate) fn list(&self, query: &TokenQuery) -> TokenPage {
        let order = query.token_order();
        let all = self.tokens(UniqueField::Id);
        let mut tokens: Vec<_> = all.filter(|token| query.matches(token)).collect();
        let total = query.count.then_some(tokens.len() as u64);
        let offset = match &query.window {
            Window::Offset { offset, .. } => usize::try_from(*offset).unwrap_or(usize::MAX),
            Window::After { cursor: Some(cursor), .. } => {
                tokens.retain(|token| order.is_behind(token, cursor));
                0
            }
            Window::After { cursor: None, .. } => 0,
        };
        tokens.sort_unstable_by(|a, b| order.compare(a, b));
        let limit = query.window.limit() as usize;
        let shown = || tokens.iter().skip(offset);
        let page: Vec<_> = shown().take(limit).map(|token| Arc::clone(token)).collect();
        let more = shown().nth(limit).is_some();
        let next = page.last().filter(|_| more).map(|token| order.behind(token));
        TokenPage { tokens: page, total, next }
    }

    pub(crate) fn events(&self, query: &EventQuery) -> Vec<Event> {
        let limit = query.limit as usize;
        if let Some(token) = query.token {
            let own = self.events_of(token).filter(|event| query.matches(event));
            return own.take(limit).cloned().collect();
        }
        let from = query.from.unwrap_or(Timestamp::MIN);
        let from = query.after.map_or(from, |after| from.max(after.at));
        let first_of_each = self.shards.iter().flat_map(|(_, shard)| {
            shard.events_from(from).iter().filter(|event| query.matches(event)).take(limit)
        });
        let mut events: Vec<_> = first_of_each.collect();
        events.sort_unstable_by_key(|event| (event.at, event.id));
        events.into_iter().take(limit).cloned().collect()
    }
}
