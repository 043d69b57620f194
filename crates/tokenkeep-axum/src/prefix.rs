//! The path under which the API is.

use std::fmt;

/// A prefix under which no API can be served.
///
/// ```
/// # pollster::block_on(async {
/// # use std::sync::Arc;
/// # use tokenkeep::TokenService;
/// # use tokenkeep_memory::MemoryStore;
/// use tokenkeep_axum::TokenApi;
///
/// # let store = Arc::new(MemoryStore::new());
/// # let tokens = TokenService::builder(store.clone(), store).open().await?;
/// let error = TokenApi::new(tokens).prefix("/{version}").unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     r#"prefix "/{version}" has a character that a URL path holds in encoded form only"#
/// );
/// # Ok::<(), tokenkeep::OpenError>(())
/// # }).unwrap();
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrefixError {
    prefix: String,
    reason: &'static str,
}

impl fmt::Display for PrefixError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "prefix {:?} {}", self.prefix, self.reason)
    }
}

impl std::error::Error for PrefixError {}

/// Checks a prefix, and returns it without a slash at its end.
pub(crate) fn parse(prefix: &str) -> Result<String, PrefixError> {
    let path = prefix.strip_suffix('/').unwrap_or(prefix);
    let segments = || path.split('/').skip(1);
    let refused = |reason| Err(PrefixError { prefix: prefix.to_owned(), reason });
    if !path.is_empty() && !path.starts_with('/') {
        refused("does not start with a slash")
    } else if segments().any(str::is_empty) {
        refused("has an empty segment")
    } else if segments().any(|segment| matches!(segment, "." | "..")) {
        refused("has a segment that clients resolve")
    } else if segments().any(|segment| segment.starts_with([':', '*'])) {
        refused("has a segment that starts with a colon or an asterisk")
    } else if !is_encoded(path) {
        refused("has a character that a URL path holds in encoded form only")
    } else {
        Ok(path.to_owned())
    }
}

/// Whether a path consists of the characters of RFC 3986, section 3.3, and of encoded bytes.
fn is_encoded(path: &str) -> bool {
    let mut encoded = path.split('%');
    let is_plain = |text: &str| {
        text.bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/".contains(&byte))
    };
    encoded.next().is_none_or(is_plain)
        && encoded.all(|rest| match rest.split_at_checked(2) {
            Some((digits, rest)) => digits.bytes().all(|d| d.is_ascii_hexdigit()) && is_plain(rest),
            None => false,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_that_paths_can_have_are_taken() {
        for (prefix, path) in [
            ("", ""),
            ("/", ""),
            ("/api/v3", "/api/v3"),
            ("/a/", "/a"),
            ("/%7Bx%7d", "/%7Bx%7d"),
            ("/a:b/c*d", "/a:b/c*d"),
            ("/~-._!$&'()+,;=@", "/~-._!$&'()+,;=@"),
            ("/.../..a", "/.../..a"),
        ] {
            assert_eq!(parse(prefix).as_deref(), Ok(path));
        }
    }

    #[test]
    fn other_prefixes_are_refused() {
        for (prefix, reason) in [
            ("api", "start with a slash"),
            ("a/b", "start with a slash"),
            ("http://host/a", "start with a slash"),
            (" /a", "start with a slash"),
            ("//", "empty segment"),
            ("//a", "empty segment"),
            ("/a//b", "empty segment"),
            ("/a//", "empty segment"),
            ("/../a", "clients resolve"),
            ("/a/.", "clients resolve"),
            ("/:v3", "a colon"),
            ("/a/:v3", "a colon"),
            ("/*", "an asterisk"),
            ("/*rest", "an asterisk"),
            ("/{a}", "encoded form"),
            ("/{*x}", "encoded form"),
            ("/a{{b", "encoded form"),
            ("/a b", "encoded form"),
            ("/a?b", "encoded form"),
            ("/a#b", "encoded form"),
            ("/a\\b", "encoded form"),
            ("/a\0", "encoded form"),
            ("/\u{fc}", "encoded form"),
            ("/%", "encoded form"),
            ("/%7", "encoded form"),
            ("/%7g", "encoded form"),
            ("/%\u{fc}", "encoded form"),
            ("/a%/b", "encoded form"),
        ] {
            let error = parse(prefix).unwrap_err().to_string();
            assert!(error.contains(reason), "{prefix:?}: {error}");
        }
    }
}
