//! `core_tokens_list`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

use crate::access::{Caller, Permission};
use crate::error::TokenError;
use crate::input::{PageNumber, TokenList};
use crate::service::session::Session;
use crate::service::{Parts, TokenService};
use crate::store::{
    Cursor, Filter, OwnerMatch, SearchWord, SortField, SortKey, StoreError, TokenPage, TokenQuery,
    Visibility, Window,
};
use crate::token::Token;
use crate::user::{Profile, UserId};
use crate::view::TokenView;

/// A numbered page of tokens. Its JSON is the envelope of SPEC "Listing".
///
/// See [`list`](TokenService::list) for an example.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct TokenListing {
    /// The tokens with their owners.
    pub tokens: Vec<TokenView>,
    /// Where the page stands.
    pub pagination: Pagination,
}

/// Where a page stands among all pages. Pages and places are counted from 1.
///
/// See [`list`](TokenService::list) for an example.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Pagination {
    /// The next page; 0 when there is none.
    pub next: u64,
    /// The page before; 0 when there is none.
    pub previous: u64,
    /// How many tokens there are on all pages.
    pub count: u64,
    /// This page.
    pub current: u64,
    /// How many pages there are, at least one.
    pub total_pages: u64,
    /// The place of its first token; 0 when there is none.
    pub start_index: u64,
    /// The place of its last token.
    pub end_index: u64,
}

/// A part of a list that is read by cursor.
///
/// See [`list_from`](TokenService::list_from) for an example.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct TokenSlice {
    /// The tokens with their owners.
    pub tokens: Vec<TokenView>,
    /// Where to go on; `None` behind the last token.
    pub next: Option<Cursor>,
}

impl Pagination {
    /// Where page `current` stands; `None` when there is no such page.
    fn of(current: u64, page_size: u64, count: u64) -> Option<Self> {
        let total_pages = count.div_ceil(page_size).max(1);
        let previous = current.checked_sub(1).filter(|_| current <= total_pages)?;
        // No more than `count`, since the page is there.
        let before = previous * page_size;
        Some(Self {
            next: if current < total_pages { current + 1 } else { 0 },
            previous,
            count,
            current,
            total_pages,
            start_index: count.min(before + 1),
            end_index: before.saturating_add(page_size).min(count),
        })
    }
}

impl Serialize for TokenListing {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut json = serializer.serialize_struct("TokenListing", 3)?;
        json.serialize_field("pagination", &self.pagination)?;
        json.serialize_field("autocomplete", &BTreeMap::<&str, &str>::new())?;
        json.serialize_field("results", &self.tokens)?;
        json.end()
    }
}

impl TokenService {
    /// Lists a numbered page of the tokens that the caller sees (SPEC "Listing").
    ///
    /// What lies in front of a page is counted to find it: to read all of a long list, use
    /// [`list_from`](Self::list_from).
    ///
    /// ```
    /// # pollster::block_on(async {
    /// # use std::sync::Arc;
    /// # use tokenkeep::{Caller, Timestamp, TokenChange, TokenService, User, UserId, UserStore};
    /// # use tokenkeep_memory::MemoryStore;
    /// use tokenkeep::TokenList;
    ///
    /// # let store = Arc::new(MemoryStore::new());
    /// # let alice = User::new(UserId::new(2), uuid::Uuid::from_u128(2), "alice", Timestamp::MIN);
    /// # store.put_user(alice).await?;
    /// # let service = TokenService::builder(store.clone(), store).open().await?;
    /// # let alice = Caller::User(UserId::new(2));
    /// # service.create(&alice, TokenChange::new().identifier("ci")).await?;
    /// let listing = service.list(&alice, &TokenList::new().search("ci")).await?;
    /// assert_eq!((listing.tokens.len(), listing.pagination.count), (1, 1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// In this order: [`InactiveCaller`](TokenError::InactiveCaller),
    /// [`Invalid`](TokenError::Invalid) for parameters that cannot be read,
    /// [`InvalidPage`](TokenError::InvalidPage) for a page that is not there. At any time
    /// [`Store`](TokenError::Store).
    pub async fn list(
        &self,
        caller: &Caller,
        list: &TokenList,
    ) -> Result<TokenListing, TokenError> {
        let session = self.session(caller).await?;
        list.check()?;
        let page_size = u64::from(list.page_size);
        let mut query = self.query(&session, list).await?;
        let last_of = |total: u64| total.div_ceil(page_size).max(1);
        let wanted = list.page.ok_or(TokenError::InvalidPage)?;
        let mut current = match wanted {
            PageNumber::Number(number) => number,
            PageNumber::Last => last_of(self.count(&mut query).await?),
        };
        loop {
            let offset = current.saturating_sub(1).saturating_mul(page_size);
            let window = Window::Offset { offset, limit: list.page_size };
            let page = self.page(&mut query, window, true).await?;
            let total = page.total.unwrap_or_default();
            if let Some(pagination) = Pagination::of(current, page_size, total) {
                return Ok(TokenListing { tokens: session.views(page.tokens).await?, pagination });
            }
            // There is a last page always, but it may just have gone.
            match wanted {
                PageNumber::Number(_) => return Err(TokenError::InvalidPage),
                PageNumber::Last => current = last_of(total),
            }
        }
    }

    /// Lists the tokens that the caller sees, part after part: the page of `list` does not matter,
    /// its page size does. A token that stays as it is is shown once, whatever happens to others.
    ///
    /// The cost of a part does not grow with its place. By identifier (the default) it is that of its
    /// tokens, for all tokens and for those of one owner; by id, for all tokens. In other orders each
    /// part costs what sorting all of them does.
    ///
    /// ```
    /// # pollster::block_on(async {
    /// # use std::sync::Arc;
    /// # use tokenkeep::{Caller, TokenService};
    /// # use tokenkeep_memory::MemoryStore;
    /// use tokenkeep::TokenList;
    ///
    /// # let store = Arc::new(MemoryStore::new());
    /// # let service = TokenService::builder(store.clone(), store).open().await?;
    /// let list = TokenList::new().page_size(100);
    /// let mut cursor = None;
    /// loop {
    ///     let part = service.list_from(&Caller::System, &list, cursor).await?;
    ///     for view in &part.tokens {
    ///         println!("{}", view.token.identifier);
    ///     }
    ///     cursor = part.next;
    ///     if cursor.is_none() {
    ///         break;
    ///     }
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// As [`list`](Self::list), without [`InvalidPage`](TokenError::InvalidPage).
    pub async fn list_from(
        &self,
        caller: &Caller,
        list: &TokenList,
        cursor: Option<Cursor>,
    ) -> Result<TokenSlice, TokenError> {
        let session = self.session(caller).await?;
        list.check()?;
        let mut query = self.query(&session, list).await?;
        let window = Window::After { cursor, limit: list.page_size };
        let page = self.page(&mut query, window, false).await?;
        Ok(TokenSlice { tokens: session.views(page.tokens).await?, next: page.next })
    }

    /// What to ask the store; `None` when nothing can match.
    async fn query(
        &self,
        session: &Session<'_>,
        list: &TokenList,
    ) -> Result<Option<TokenQuery>, StoreError> {
        let mut filter = list.filter.clone();
        if let Some(username) = &list.owner_named {
            let owner = self.parts.directory.user_named(username).await?;
            if owner.is_none() || filter.owner.is_some_and(|wanted| Some(wanted) != owner) {
                return Ok(None);
            }
            filter.owner = owner;
        }
        let visibility = session.visibility().await?;
        let search = self.search_words(&visibility, &list.search).await?;
        let order = list.order.clone();
        Ok(Some(TokenQuery { visibility, filter, search, order, ..TokenQuery::default() }))
    }

    /// The words with the owners whose username contains them. Visibility comes first: of a caller
    /// who does not see every token, only the owners of tokens that it sees are compared, so that
    /// the cost does not depend on the number of users.
    async fn search_words(
        &self,
        visibility: &Visibility,
        words: &[String],
    ) -> Result<Vec<SearchWord>, StoreError> {
        let Parts { store, directory, .. } = &*self.parts;
        let is_joined = directory.store_id() == Some(store.store_id());
        let visible = match visibility {
            Visibility::Limited { owner, also } if !is_joined && !words.is_empty() => {
                let also: Vec<_> = also.iter().copied().collect();
                let owners = store.owners(&also).await?;
                let owners: BTreeSet<_> = owners.into_iter().chain([*owner]).collect();
                directory.profiles(&owners.into_iter().collect::<Vec<_>>()).await?
            }
            _ => Vec::new(),
        };
        let mut search = Vec::with_capacity(words.len());
        for text in words {
            let owners = if is_joined {
                OwnerMatch::Directory
            } else if *visibility == Visibility::All {
                let owners = directory.users_matching(text).await?;
                OwnerMatch::Listed(owners.into_iter().collect())
            } else {
                let word = text.to_ascii_lowercase();
                let named = visible.iter().map(|profile| &profile.user);
                let named = named.filter(|user| user.username.to_ascii_lowercase().contains(&word));
                OwnerMatch::Listed(named.map(|user| user.id).collect())
            };
            search.push(SearchWord { text: text.clone(), owners });
        }
        Ok(search)
    }

    async fn count(&self, query: &mut Option<TokenQuery>) -> Result<u64, StoreError> {
        let window = Window::Offset { offset: 0, limit: 0 };
        Ok(self.page(query, window, true).await?.total.unwrap_or_default())
    }

    async fn page(
        &self,
        query: &mut Option<TokenQuery>,
        window: Window,
        count: bool,
    ) -> Result<TokenPage, StoreError> {
        let Some(query) = query else { return Ok(TokenPage::default()) };
        (query.window, query.count) = (window, count);
        self.parts.list(query).await
    }

    /// Every token that passes a filter, as one state of the store shows them: a page for each part
    /// would cost what lies before it again and again, and could miss a token that is renamed.
    pub(super) async fn all(&self, filter: Filter) -> Result<Vec<Arc<Token>>, StoreError> {
        let order = vec![SortKey { field: SortField::Id, descending: false }];
        let window = Window::After { cursor: None, limit: u32::MAX };
        let query = TokenQuery { filter, order, window, ..TokenQuery::default() };
        Ok(self.parts.list(&query).await?.tokens)
    }
}

impl Session<'_> {
    /// Whose tokens the caller sees.
    async fn visibility(&self) -> Result<Visibility, StoreError> {
        let owner = match self.standing.caller {
            Caller::User(id) if !self.standing.is_superuser => id,
            _ => return Ok(Visibility::All),
        };
        let directory = self.directory();
        if directory.permissions(owner, None).await?.contains(Permission::ViewToken) {
            return Ok(Visibility::All);
        }
        let also = directory.granted_tokens(owner, Permission::ViewToken).await?;
        let also = also.into_iter().collect();
        Ok(Visibility::Limited { owner, also })
    }

    /// Tokens as they are shown, their owners loaded in one call.
    async fn views(&self, tokens: Vec<Arc<Token>>) -> Result<Vec<TokenView>, StoreError> {
        let mut ids: Vec<UserId> = tokens.iter().map(|token| token.owner).collect();
        ids.sort_unstable();
        ids.dedup();
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let profiles = self.directory().profiles(&ids).await?;
        let owners: BTreeMap<UserId, Arc<Profile>> =
            profiles.into_iter().map(|profile| (profile.user.id, Arc::new(profile))).collect();
        let view = |token: Arc<Token>| {
            let owner = owners.get(&token.owner).cloned();
            self.view(token, owner)
        };
        Ok(tokens.into_iter().map(view).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_stands_where_the_vectors_say() {
        let place = |current, size, count| {
            let page = Pagination::of(current, size, count)?;
            Some((page.next, page.previous, page.total_pages, page.start_index, page.end_index))
        };
        assert_eq!(place(1, 20, 26), Some((2, 0, 2, 1, 20)));
        assert_eq!(place(2, 20, 26), Some((0, 1, 2, 21, 26)));
        assert_eq!(place(1, 20, 0), Some((0, 0, 1, 0, 0)));
        assert_eq!(place(1, 20, 20), Some((0, 0, 1, 1, 20)));
        for (current, size, count) in [(0, 20, 26), (3, 20, 26), (2, 20, 20), (u64::MAX, 100, 26)] {
            assert_eq!(place(current, size, count), None, "page {current} of {count}");
        }
    }
}
