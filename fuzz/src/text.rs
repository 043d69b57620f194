//! The rules on texts, character by character.

use tokenkeep::FieldError;

/// What is wrong with an identifier that is not trimmed any more, in the order of SPEC.
pub fn identifier_refused(text: &str) -> Vec<FieldError> {
    if text.is_empty() {
        return vec![FieldError::Blank];
    }
    let (mut length, mut has_nul, mut is_slug) = (0, false, true);
    for c in text.chars() {
        length += 1;
        has_nul |= c == '\0';
        is_slug &= matches!(c, 'a'..='z' | 'A'..='Z' | '0'..='9' | '-' | '_');
    }
    let mut refused = Vec::new();
    if length > 255 {
        refused.push(FieldError::TooLong { max: 255 });
    }
    if has_nul {
        refused.push(FieldError::NullCharacter);
    }
    if !is_slug {
        refused.push(FieldError::NotASlug);
    }
    refused
}

/// Takes away what Python's `str.strip` takes away.
pub fn strip(text: &str) -> &str {
    let mut rest = text;
    while let Some(c) = rest.chars().next().filter(|c| is_space(*c)) {
        rest = &rest[c.len_utf8()..];
    }
    while let Some(c) = rest.chars().next_back().filter(|c| is_space(*c)) {
        rest = &rest[..rest.len() - c.len_utf8()];
    }
    rest
}

/// Every character for which Python's `str.isspace` is true.
const fn is_space(c: char) -> bool {
    matches!(
        c,
        '\u{9}'..='\u{d}'
            | '\u{1c}'..='\u{20}'
            | '\u{85}'
            | '\u{a0}'
            | '\u{1680}'
            | '\u{2000}'..='\u{200a}'
            | '\u{2028}'
            | '\u{2029}'
            | '\u{202f}'
            | '\u{205f}'
            | '\u{3000}'
    )
}
