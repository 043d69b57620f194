//! The words of a search.

/// Splits a search as Django REST framework does: at white space and commas; quotes, single or
/// double, keep a phrase together, in which a backslash takes the next character as it is. Nothing
/// is read behind the first term that has more words than `max`: each term with a quote may have to
/// be read to the end of the text.
pub(super) fn words(search: &str, max: usize) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = search.trim_start();
    while !rest.is_empty() && words.len() <= max {
        let (term, behind) = rest.split_at(term_len(rest));
        add_term(term.trim_matches(','), &mut words);
        rest = behind.trim_start();
    }
    words
}

/// A phrase as it is, anything else split at its commas.
fn add_term(term: &str, words: &mut Vec<String>) {
    match phrase(term) {
        Some(phrase) => words.push(phrase),
        None => words.extend(term.split(',').filter(|word| !word.is_empty()).map(str::to_owned)),
    }
}

/// The text between the quotes that a term starts and ends with.
fn phrase(term: &str) -> Option<String> {
    let quote = term.chars().next().filter(|first| is_quote(*first))?;
    let inner = term.strip_prefix(quote)?;
    // A quote alone is both its start and its end.
    let inner = if inner.is_empty() { inner } else { inner.strip_suffix(quote)? };
    Some(inner.replace(&format!("\\{quote}"), &quote.to_string()).replace("\\\\", "\\"))
}

/// How many bytes the first term has: up to white space that is not inside of closed quotes.
fn term_len(text: &str) -> usize {
    let mut end = plain_len(text);
    let mut has_phrase = false;
    while let Some(length) = text.get(end..).and_then(quoted_len) {
        has_phrase = true;
        end += length;
        end += text.get(end..).map_or(0, plain_len);
    }
    // A quote that is never closed is a character like others.
    if has_phrase { end } else { text.find(char::is_whitespace).unwrap_or(text.len()) }
}

/// How many bytes there are in front of white space and quotes.
fn plain_len(text: &str) -> usize {
    text.find(|c: char| c.is_whitespace() || is_quote(c)).unwrap_or(text.len())
}

/// How many bytes a phrase at the start has, with its quotes; `None` when there is none.
fn quoted_len(text: &str) -> Option<usize> {
    let mut chars = text.char_indices();
    let (_, quote) = chars.next().filter(|(_, first)| is_quote(*first))?;
    while let Some((place, c)) = chars.next() {
        if c == '\\' {
            chars.next()?;
        } else if c == quote {
            return Some(place + quote.len_utf8());
        }
    }
    None
}

fn is_quote(c: char) -> bool {
    matches!(c, '"' | '\'')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_split_as_the_framework_splits_them() {
        // Each computed by rest_framework.filters.search_smart_split.
        for (search, expected) in [
            ("", &[][..]),
            (" \t ,, ", &[]),
            ("alice", &["alice"]),
            ("bob app", &["bob", "app"]),
            ("alice,api", &["alice", "api"]),
            (",a,,b,", &["a", "b"]),
            ("\"do not\" x", &["do not", "x"]),
            ("'do not',x", &["'do not'", "x"]),
            ("\"do not\",", &["do not"]),
            ("a\"b c\"d e", &["a\"b c\"d", "e"]),
            ("foo\"bar baz", &["foo\"bar", "baz"]),
            ("\"a b\"c\"d e", &["\"a b\"c", "\"d", "e"]),
            ("\"a\\\"b c\"", &["a\"b c"]),
            ("\"", &[""]),
            ("\"\"", &[""]),
            ("it's", &["it's"]),
            ("\"a,b\"", &["a,b"]),
            ("é, ü", &["é", "ü"]),
        ] {
            assert_eq!(words(search, 100), expected, "{search:?}");
        }
    }

    #[test]
    fn no_more_is_read_than_shows_that_there_are_too_many() {
        assert_eq!(words("a b c d", 2), ["a", "b", "c"]);
        assert_eq!(words("a,b,c,d e", 2), ["a", "b", "c", "d"]);
        // No quote is ever closed, and each term looks for it to the end: some 10^12 steps for all.
        assert_eq!(words(&"\\' ".repeat(1_000_000), 2), ["\\'"; 3]);
    }
}
