//! The store, with its directory and its keys.

use std::sync::Arc;

use tokenkeep::{EventQuery, KeyScheme, StoreError, TokenQuery, TokenStore, UserStore, Window};

use crate::admin::ADMINS;
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
    let (tokens, users) = arguments.db.open(arguments.pool).await?;
    Ok(Opened { tokens, users, keys })
}

impl Opened {
    /// Whether nothing was ever kept in the store. A first start that was interrupted, and that others
    /// may repeat, leaves the group of the administrator.
    pub(crate) async fn is_empty(&self) -> std::result::Result<bool, StoreError> {
        let window = Window::After { cursor: None, limit: 1 };
        let page = self.tokens.list(&TokenQuery { window, ..TokenQuery::default() }).await?;
        let events = self.tokens.events(&EventQuery { limit: 1, ..EventQuery::default() }).await?;
        let users = self.users.users(None, 1).await?;
        let groups = self.users.groups(None, 2).await?;
        let no_others = groups.iter().all(|group| group.id == ADMINS);
        Ok(page.tokens.is_empty() && events.events.is_empty() && users.is_empty() && no_others)
    }
}
