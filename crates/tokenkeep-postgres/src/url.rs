//! The options of a URL, or of libpq's form of words, as they are written: the driver does not say which
//! ones were given.

/// The part of a URL that holds options: what follows the host and the database. Words are options all.
fn part(url: &str) -> (&str, &str) {
    let rest = ["postgres://", "postgresql://"].iter().find_map(|scheme| url.strip_prefix(scheme));
    let Some(rest) = rest else { return ("", url) };
    let after_user = rest.rfind('@').unwrap_or(0);
    let rest = rest.get(after_user..).unwrap_or_default();
    match rest.find('?') {
        Some(place) => url.split_at(url.len() - rest.len() + place),
        None => (url, ""),
    }
}

fn is_between(character: char) -> bool {
    character.is_whitespace() || matches!(character, '?' | '&')
}

/// Whether an option is given.
pub(crate) fn names(url: &str, option: &str) -> bool {
    let (_, options) = part(url);
    options.match_indices(option).any(|(place, _)| {
        let before = options.get(..place).and_then(|before| before.chars().next_back());
        let after = options.get(place + option.len()..).unwrap_or_default();
        before.is_none_or(is_between) && after.trim_start().starts_with('=')
    })
}

/// Whether what follows a character that is not escaped may be a part of a password.
pub(crate) fn may_hold_secret(url: &str) -> bool {
    let (before, _) = part(url);
    let hosts = before.split_once("://").map_or("", |(_, rest)| rest);
    let hosts = hosts.split_once('/').map_or(hosts, |(hosts, _)| hosts);
    // What follows the last colon of a host is its port, or the end of an address in brackets.
    let is_port =
        |port: &str| port.ends_with(']') || port.bytes().all(|byte| byte.is_ascii_digit());
    let is_host = |host: &str| host.rsplit_once(':').is_none_or(|(_, port)| is_port(port));
    names(url, "password") || !(before.contains('@') || hosts.split(',').all(is_host))
}

/// The URL with `sslmode=require` in place of `verify-full`, which the driver does not know.
pub(crate) fn with_known_sslmode(url: &str) -> String {
    let (before, options) = part(url);
    let mut spelled = String::from(before);
    for word in options.split_inclusive(is_between) {
        let end = word.chars().next_back().filter(|end| is_between(*end));
        match word.trim_end_matches(is_between) {
            "sslmode=verify-full" | "sslmode='verify-full'" => {
                spelled.push_str("sslmode=require");
                spelled.extend(end);
            }
            _ => spelled.push_str(word),
        }
    }
    spelled
}
