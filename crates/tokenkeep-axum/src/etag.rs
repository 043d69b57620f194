//! Entity tags: a token's id and revision (RFC 9110, sections 8.8.3 and 13.1.1).

use std::iter;

use axum::http::{HeaderMap, HeaderValue, header};
use tokenkeep::{Expected, Revision, TokenId, TokenView};
use uuid::Uuid;

/// The strong tag of a token as it is shown.
pub(crate) fn of(view: &TokenView) -> Option<HeaderValue> {
    let tag = format!("\"{}\"", opaque(view.token.id, view.revision()));
    HeaderValue::from_str(&tag).ok()
}

fn opaque(id: TokenId, revision: Revision) -> String {
    format!("{id}-{revision}")
}

/// What `If-Match` expects. A header that names no strong tag of ours matches nothing.
pub(crate) fn expected(headers: &HeaderMap) -> Expected {
    let values: Vec<_> = headers.get_all(header::IF_MATCH).iter().map(|v| v.as_bytes()).collect();
    match values.as_slice() {
        [] => Expected::Anything,
        [value] if value.trim_ascii() == b"*" => Expected::Anything,
        values => Expected::OneOf(values.iter().flat_map(|value| tokens_of(value)).collect()),
    }
}

/// Why `If-Match` cannot match any token, whatever its revision.
pub(crate) fn mismatch(headers: &HeaderMap) -> Option<&'static str> {
    let Expected::OneOf(named) = expected(headers) else { return None };
    let values = headers.get_all(header::IF_MATCH).iter();
    let mut tags = values.flat_map(|value| items(value.as_bytes()));
    if !named.is_empty() {
        None
    } else if tags.any(|tag| tag.starts_with(b"W/")) {
        Some(
            "If-Match has only weak entity tags, which never match: use the strong tag of the token.",
        )
    } else {
        Some("If-Match has no entity tag of a token.")
    }
}

/// The tokens that a list of tags names.
fn tokens_of(list: &[u8]) -> impl Iterator<Item = (TokenId, Revision)> {
    items(list).filter_map(token_of)
}

/// The items of a list.
fn items(mut list: &[u8]) -> impl Iterator<Item = &[u8]> {
    iter::from_fn(move || {
        let (item, rest) = next_item(list)?;
        list = rest;
        Some(item)
    })
}

/// The first item of a list, and what follows it. A comma between quotes is part of the tag.
fn next_item(list: &[u8]) -> Option<(&[u8], &[u8])> {
    if list.is_empty() {
        return None;
    }
    let mut quoted = false;
    let end = list.iter().position(|byte| {
        quoted ^= *byte == b'"';
        *byte == b',' && !quoted
    });
    let (item, rest) = list.split_at(end.unwrap_or(list.len()));
    Some((item.trim_ascii(), rest.get(1..).unwrap_or_default()))
}

/// The token that a strong tag names, if it is written exactly as we write it.
fn token_of(tag: &[u8]) -> Option<(TokenId, Revision)> {
    let tag = str::from_utf8(tag).ok()?.strip_prefix('"')?.strip_suffix('"')?;
    let (id, revision) = tag.rsplit_once('-')?;
    let id = TokenId::from(Uuid::try_parse(id).ok()?);
    let revision = Revision::new(revision.parse().ok()?)?;
    (opaque(id, revision) == tag).then_some((id, revision))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "01010101-0101-0101-0101-010101010101";

    fn expecting(values: &[&str]) -> Expected {
        let pairs = values.iter().map(|value| (header::IF_MATCH, value.parse().unwrap()));
        let mut headers = HeaderMap::new();
        pairs.for_each(|(name, value)| {
            headers.append(name, value);
        });
        expected(&headers)
    }

    fn one_of(revisions: &[i64]) -> Expected {
        let id = TokenId::from_bytes([1; 16]);
        Expected::OneOf(revisions.iter().map(|n| (id, Revision::new(*n).unwrap())).collect())
    }

    #[test]
    fn without_the_header_and_with_a_star_anything_is_right() {
        for values in [&[][..], &["*"], &[" * "]] {
            assert_eq!(expecting(values), Expected::Anything);
        }
    }

    #[test]
    fn lists_and_several_headers_are_read() {
        let tag = |revision| format!("\"{ID}-{revision}\"");
        assert_eq!(expecting(&[&tag(7)]), one_of(&[7]));
        let list = format!(" {} ,, \"other, \" ,{}, nonsense", tag(1), tag(2));
        assert_eq!(expecting(&[&list, &tag(3)]), one_of(&[1, 2, 3]));
    }

    #[test]
    fn weak_tags_and_all_that_we_do_not_write_match_nothing() {
        let upper = "0A010101-0101-0101-0101-010101010101";
        for value in [
            &format!("W/\"{ID}-7\""),
            &format!("{ID}-7"),
            &format!("\"{ID}-07\""),
            &format!("\"{ID}-+7\""),
            &format!("\"{ID}-0\""),
            &format!("\"{ID}--7\""),
            &format!("\"{ID}-99999999999999999999\""),
            &format!("\"{upper}-7\""),
            &format!("\"{{{ID}}}-7\""),
            &format!("\"{ID}-7"),
            &format!("\"*\", \"{ID}\""),
            "",
            ",",
            "\"",
            "*, *",
        ] {
            assert_eq!(expecting(&[value]), one_of(&[]), "{value}");
        }
    }
}
