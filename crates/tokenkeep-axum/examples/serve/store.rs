//! The store, with its directory and its keys.

use std::sync::Arc;

use tokenkeep::{EventQuery, KeyScheme, StoreError, TokenQuery, TokenStore, UserStore, Window};

use crate::arguments::Arguments;
use crate::{Result, keys};

/// A store with its directory and its keys.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) tokens: Arc<dyn TokenStore>,
    pub(crate) users: Arc<dyn UserStore>,
    pub(crate) keys: KeyScheme,
}

/// Opens the store, or makes it, after its keys.
pub(crate) async fn open(arguments: &Arguments) -> Result<Opened> {
    let keys = keys::scheme(arguments)?;
    let (tokens, users) = arguments.db.open().await?;
    Ok(Opened { tokens, users, keys })
}

/// Whether nothing was ever kept in the store.
pub(crate) async fn is_empty(store: &dyn TokenStore) -> std::result::Result<bool, StoreError> {
    let window = Window::After { cursor: None, limit: 1 };
    let page = store.list(&TokenQuery { window, ..TokenQuery::default() }).await?;
    let events = store.events(&EventQuery { limit: 1, ..EventQuery::default() }).await?;
    Ok(page.tokens.is_empty() && events.is_empty())
}
