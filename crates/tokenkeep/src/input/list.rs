//! What a caller wants listed.

use std::collections::{BTreeMap, BTreeSet};

use crate::fields::TokenField;
use crate::input::datetime;
use crate::input::error::{FieldError, FieldErrors, RequestField};
use crate::input::search;
use crate::input::text::trim;
use crate::store::{Filter, SortField, SortKey};
use crate::timestamp::Timestamp;
use crate::token::Intent;
use crate::user::UserId;

/// Which tokens to list, in which order, and which page of them: what
/// [`list`](crate::TokenService::list) is given. The default is the first page of all tokens that
/// the caller sees, by identifier.
///
/// It has a typed door and, for the query of a request, an untrusted one. Neither fails: what is
/// wrong is reported by the operation.
///
/// ```
/// use tokenkeep::{Intent, TokenList};
///
/// let typed = TokenList::new().intent(Intent::Api).search("deploy").page(2);
/// let untrusted = TokenList::from_pairs([("intent", "api"), ("search", "deploy"), ("page", "2")]);
/// assert_eq!(typed, untrusted);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenList {
    /// What must hold, apart from the owner's name.
    pub(crate) filter: Filter,
    pub(crate) owner_named: Option<String>,
    pub(crate) search: Vec<String>,
    pub(crate) order: Vec<SortKey>,
    pub(crate) page: Option<PageNumber>,
    pub(crate) page_size: u32,
    filter_errors: FieldErrors,
    search_error: Option<FieldError>,
}

/// Which page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PageNumber {
    /// Counted from 1.
    Number(u64),
    Last,
}

impl TokenList {
    /// How many tokens a page has, unless it says otherwise.
    pub const DEFAULT_PAGE_SIZE: u32 = 20;

    /// How many tokens a page has at most: its owners are loaded with it.
    pub const MAX_PAGE_SIZE: u32 = 100;

    /// The most words that a search can have: each is compared with every visible token and its
    /// owner's username.
    pub const MAX_SEARCH_WORDS: usize = 10;

    /// The first page of everything.
    #[must_use]
    pub fn new() -> Self {
        Self {
            filter: Filter::default(),
            owner_named: None,
            search: Vec::new(),
            order: Vec::new(),
            page: Some(PageNumber::Number(1)),
            page_size: Self::DEFAULT_PAGE_SIZE,
            filter_errors: FieldErrors::default(),
            search_error: None,
        }
    }

    /// Reads the decoded parameters of a query (SPEC "Listing"). Unknown ones are ignored, and of
    /// a repeated one the last counts.
    #[must_use]
    pub fn from_pairs<K: AsRef<str>, V: AsRef<str>>(
        pairs: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        let pairs: Vec<_> = pairs.into_iter().collect();
        let last: BTreeMap<_, _> =
            pairs.iter().map(|(name, value)| (name.as_ref(), value.as_ref())).collect();
        let mut list = Self::new();
        for (name, value) in last {
            list.read(name, value);
        }
        list
    }

    /// Reads one parameter. An empty one is no parameter.
    fn read(&mut self, name: &str, value: &str) {
        match name {
            "identifier" => self.filter.identifier = self.text(TokenField::Identifier, value),
            "description" => self.filter.description = self.text(TokenField::Description, value),
            "managed" => self.filter.managed = self.text(TokenField::Managed, value),
            "user__username" => self.owner_named = self.text(RequestField::Username, value),
            "intent" => self.filter.intent = self.intent_named(value),
            "expires" => self.filter.expires = self.time(value),
            "expiring" => self.filter.expiring = boolean(value),
            "search" => {
                let words = search::words(value, Self::MAX_SEARCH_WORDS);
                self.search_error = search_error(value, words.len());
                self.search = each_once(words);
            }
            "ordering" => self.order = value.split(',').filter_map(sort_key).collect(),
            "page" if !value.is_empty() => self.page = page_number(value),
            "page_size" => self.page_size = page_size(value),
            _ => {}
        }
    }

    fn text(&mut self, field: impl Into<RequestField>, value: &str) -> Option<String> {
        if value.contains('\0') {
            self.filter_errors.add(field, [FieldError::NullCharacter]);
        }
        let value = trim(value);
        (!value.is_empty()).then(|| value.to_owned())
    }

    fn intent_named(&mut self, name: &str) -> Option<Intent> {
        let intent = Intent::from_name(name);
        if intent.is_none() && !name.is_empty() {
            self.filter_errors.add(TokenField::Intent, [FieldError::NotAFilterChoice(name.into())]);
        }
        intent
    }

    fn time(&mut self, value: &str) -> Option<Timestamp> {
        let value = trim(value);
        let time = datetime::parse(value).ok();
        if time.is_none() && !value.is_empty() {
            self.filter_errors.add(TokenField::Expires, [FieldError::NotAFilterDateTime]);
        }
        time
    }

    /// Only the token of that identifier.
    #[must_use]
    pub fn identifier(mut self, identifier: impl Into<String>) -> Self {
        self.filter.identifier = Some(identifier.into());
        self
    }

    /// Only tokens of that intent.
    #[must_use]
    pub fn intent(mut self, intent: Intent) -> Self {
        self.filter.intent = Some(intent);
        self
    }

    /// Only tokens of that owner.
    #[must_use]
    pub fn owner(mut self, owner: UserId) -> Self {
        self.filter.owner = Some(owner);
        self
    }

    /// Only tokens of the owner with that username.
    #[must_use]
    pub fn owner_named(mut self, username: impl Into<String>) -> Self {
        self.owner_named = Some(username.into());
        self
    }

    /// Only tokens of that description.
    #[must_use]
    pub fn description(mut self, description: impl Into<String>) -> Self {
        self.filter.description = Some(description.into());
        self
    }

    /// Only tokens of that expiry.
    #[must_use]
    pub fn expires(mut self, expires: Timestamp) -> Self {
        self.filter.expires = Some(expires);
        self
    }

    /// Only tokens whose expiry counts, or does not.
    #[must_use]
    pub fn expiring(mut self, expiring: bool) -> Self {
        self.filter.expiring = Some(expiring);
        self
    }

    /// Only the token of that marker.
    #[must_use]
    pub fn managed(mut self, marker: impl Into<String>) -> Self {
        self.filter.managed = Some(marker.into());
        self
    }

    /// Only tokens in whose identifier, intent, description or owner's username every word occurs,
    /// the case of ASCII letters ignored. Words are split at white space and commas; quotes keep a
    /// phrase together.
    #[must_use]
    pub fn search(mut self, search: &str) -> Self {
        self.read("search", search);
        self
    }

    /// Sorts by these keys, then by the id.
    #[must_use]
    pub fn order(mut self, keys: impl IntoIterator<Item = SortKey>) -> Self {
        self.order = keys.into_iter().collect();
        self
    }

    /// Shows this page, counted from 1.
    #[must_use]
    pub fn page(mut self, number: u64) -> Self {
        self.page = Some(PageNumber::Number(number));
        self
    }

    /// Shows the last page.
    #[must_use]
    pub fn last_page(mut self) -> Self {
        self.page = Some(PageNumber::Last);
        self
    }

    /// Shows so many tokens a page, from 1 to [`MAX_PAGE_SIZE`](Self::MAX_PAGE_SIZE).
    #[must_use]
    pub fn page_size(mut self, tokens: u32) -> Self {
        self.page_size = tokens.clamp(1, Self::MAX_PAGE_SIZE);
        self
    }

    /// What is wrong with the parameters. As the framework has it, filters are read before the
    /// search, and the first of the two that is wrong is reported.
    pub(crate) fn check(&self) -> Result<(), FieldErrors> {
        self.filter_errors.clone().into_result()?;
        FieldErrors::of(RequestField::Search, self.search_error.clone()).into_result()
    }
}

impl Default for TokenList {
    fn default() -> Self {
        Self::new()
    }
}

/// The words without those that are there before, ASCII case ignored: each is looked for in every token.
fn each_once(words: Vec<String>) -> Vec<String> {
    let mut met = BTreeSet::new();
    words.into_iter().filter(|word| met.insert(word.to_ascii_lowercase())).collect()
}

/// What is wrong with a search of so many words.
fn search_error(search: &str, words: usize) -> Option<FieldError> {
    let max = TokenList::MAX_SEARCH_WORDS;
    if search.contains('\0') {
        Some(FieldError::NullCharacter)
    } else {
        (words > max).then_some(FieldError::TooManyWords { max })
    }
}

/// A boolean in a query; what cannot be read is no filter.
fn boolean(value: &str) -> Option<bool> {
    match value {
        "1" => Some(true),
        "0" => Some(false),
        _ if value.eq_ignore_ascii_case("true") => Some(true),
        _ if value.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}

/// A key to sort by; unknown names are skipped.
fn sort_key(name: &str) -> Option<SortKey> {
    let name = trim(name);
    let (name, descending) = match name.strip_prefix('-') {
        Some(name) => (name, true),
        None => (name, false),
    };
    let field = match name {
        "pk" => SortField::Id,
        "managed" => SortField::Managed,
        "identifier" => SortField::Identifier,
        "intent" => SortField::Intent,
        "user" => SortField::Owner,
        "description" => SortField::Description,
        "expires" => SortField::Expires,
        "expiring" => SortField::Expiring,
        _ => return None,
    };
    Some(SortKey { field, descending })
}

/// A page's number; `None` for what can be no page.
fn page_number(value: &str) -> Option<PageNumber> {
    match value {
        "last" => Some(PageNumber::Last),
        number => trim(number).parse().ok().map(PageNumber::Number),
    }
}

/// How many tokens a page has; the default where that cannot be read.
fn page_size(value: &str) -> u32 {
    match trim(value).parse::<u64>() {
        Err(_) | Ok(0) => TokenList::DEFAULT_PAGE_SIZE,
        Ok(size) => u32::try_from(size).unwrap_or(u32::MAX).min(TokenList::MAX_PAGE_SIZE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(pairs: &[(&str, &str)]) -> TokenList {
        TokenList::from_pairs(pairs.iter().copied())
    }

    #[test]
    fn filters_are_trimmed_and_empty_ones_ignored() {
        assert_eq!(list(&[("identifier", " ci ")]), TokenList::new().identifier("ci"));
        for name in ["identifier", "description", "managed", "user__username", "search", "page"] {
            assert_eq!(list(&[(name, "")]), TokenList::new(), "{name}");
        }
        for name in ["intent", "expires", "expiring", "ordering", "page_size", "unknown"] {
            assert_eq!(list(&[(name, "")]), TokenList::new(), "{name}");
        }
        assert_eq!(list(&[("expiring", "maybe")]), TokenList::new());
        for (value, expiring) in [("1", true), ("True", true), ("0", false), ("FALSE", false)] {
            assert_eq!(list(&[("expiring", value)]), TokenList::new().expiring(expiring));
        }
    }

    #[test]
    fn a_program_asks_for_the_same_as_a_query() {
        let asked = TokenList::new()
            .description("deploys")
            .expires("2024-09-27T14:26:18Z".parse().unwrap())
            .managed("m/ci")
            .search("ci")
            .order([SortKey { field: SortField::Expires, descending: true }])
            .last_page();
        let query = [
            ("description", "deploys"),
            ("expires", "2024-09-27T14:26:18Z"),
            ("managed", "m/ci"),
            ("search", "ci"),
            ("ordering", "-expires"),
            ("page", "last"),
        ];
        assert_eq!(asked, list(&query));
        for (name, _) in query {
            let others: Vec<_> = query.into_iter().filter(|(other, _)| *other != name).collect();
            assert_ne!(asked, list(&others), "{name}");
        }
    }

    #[test]
    fn of_a_repeated_parameter_the_last_counts() {
        let last = list(&[("intent", "wrong"), ("page", "2"), ("intent", "api")]);
        assert_eq!(last, TokenList::new().intent(Intent::Api).page(2));
    }

    #[test]
    fn unreadable_filters_are_refused_together_and_before_the_search() {
        let unreadable =
            [("intent", "API"), ("expires", "bad"), ("user__username", "a\0"), ("search", "\0")];
        let errors = list(&unreadable).check().unwrap_err();
        assert_eq!(
            errors.to_string(),
            "intent: Select a valid choice. API is not one of the available choices.; \
             expires: Enter a valid date/time.; user__username: Null characters are not allowed."
        );
        let errors = list(&[("search", "a\0"), ("page", "x")]).check().unwrap_err();
        assert_eq!(errors.get(RequestField::Search), [FieldError::NullCharacter]);
        let words = |count| list(&[("search", &"word ".repeat(count))]).check();
        assert_eq!(words(10), Ok(()));
        let errors = words(11).unwrap_err();
        assert_eq!(errors.get(RequestField::Search), [FieldError::TooManyWords { max: 10 }]);
    }

    #[test]
    fn a_word_that_is_there_twice_is_looked_for_once() {
        let searched = list(&[("search", "Deploy x,deploy X \u{e9} \u{c9}")]).search;
        assert_eq!(searched, ["Deploy", "x", "\u{e9}", "\u{c9}"]);
    }

    #[test]
    fn pages_are_numbers_from_one_or_the_last() {
        for (value, page) in [
            ("2", Some(PageNumber::Number(2))),
            (" 2 ", Some(PageNumber::Number(2))),
            ("last", Some(PageNumber::Last)),
            ("", Some(PageNumber::Number(1))),
            ("-1", None),
            ("abc", None),
            ("1.5", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(list(&[("page", value)]).page, page, "{value:?}");
        }
        for (value, size) in
            [("0", 20), ("-1", 20), ("abc", 20), ("1", 1), ("101", 100), ("9999999999", 100)]
        {
            assert_eq!(list(&[("page_size", value)]).page_size, size, "{value:?}");
        }
    }

    #[test]
    fn unknown_names_do_not_sort() {
        let key = |field, descending| SortKey { field, descending };
        let sorted = list(&[("ordering", "bogus,-identifier, pk ,--user,key")]);
        assert_eq!(sorted.order, [key(SortField::Identifier, true), key(SortField::Id, false)]);
    }
}
