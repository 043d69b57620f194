//! The ten operations: by which method and path each is asked for.

use axum::http::Method;
use percent_encoding::percent_decode_str;

/// What can be asked for, under the names that authentik gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    List,
    Create,
    Retrieve,
    Update,
    PartialUpdate,
    Destroy,
    ViewKey,
    SetKey,
    UsedBy,
    Rotate,
}

/// The kinds of paths, by what follows `/core/tokens/`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// Nothing.
    Tokens,
    /// An identifier.
    Token,
    /// An identifier and this word.
    Under(&'static str),
}

impl Place {
    pub(crate) const ALL: [Self; 6] = [
        Self::Tokens,
        Self::Token,
        Self::Under("view_key"),
        Self::Under("set_key"),
        Self::Under("used_by"),
        Self::Under("rotate"),
    ];

    fn under(wanted: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|place| matches!(place, Self::Under(word) if *word == wanted))
    }

    /// The operations that this path offers.
    pub(crate) fn operations(self) -> impl Iterator<Item = Operation> {
        Operation::ALL.into_iter().filter(move |operation| operation.place() == self)
    }

    /// The value of `Allow`.
    pub(crate) fn allow(self) -> String {
        let methods = self.operations().map(|operation| operation.method());
        let mut names: Vec<_> = methods.map(|method| method.to_string()).collect();
        if names.iter().any(|name| name == "GET") {
            names.push("HEAD".to_owned());
        }
        names.join(", ")
    }
}

impl Operation {
    pub(crate) const ALL: [Self; 10] = [
        Self::List,
        Self::Create,
        Self::Retrieve,
        Self::Update,
        Self::PartialUpdate,
        Self::Destroy,
        Self::ViewKey,
        Self::SetKey,
        Self::UsedBy,
        Self::Rotate,
    ];

    /// The `operationId`, also in spans and metrics.
    pub(crate) const fn id(self) -> &'static str {
        match self {
            Self::List => "core_tokens_list",
            Self::Create => "core_tokens_create",
            Self::Retrieve => "core_tokens_retrieve",
            Self::Update => "core_tokens_update",
            Self::PartialUpdate => "core_tokens_partial_update",
            Self::Destroy => "core_tokens_destroy",
            Self::ViewKey => "core_tokens_view_key_retrieve",
            Self::SetKey => "core_tokens_set_key_create",
            Self::UsedBy => "core_tokens_used_by_list",
            Self::Rotate => "core_tokens_rotate_create",
        }
    }

    pub(crate) const fn method(self) -> Method {
        match self {
            Self::List | Self::Retrieve | Self::ViewKey | Self::UsedBy => Method::GET,
            Self::Create | Self::SetKey | Self::Rotate => Method::POST,
            Self::Update => Method::PUT,
            Self::PartialUpdate => Method::PATCH,
            Self::Destroy => Method::DELETE,
        }
    }

    pub(crate) const fn place(self) -> Place {
        match self {
            Self::List | Self::Create => Place::Tokens,
            Self::Retrieve | Self::Update | Self::PartialUpdate | Self::Destroy => Place::Token,
            Self::ViewKey => Place::Under("view_key"),
            Self::SetKey => Place::Under("set_key"),
            Self::UsedBy => Place::Under("used_by"),
            Self::Rotate => Place::Under("rotate"),
        }
    }
}

/// What a request asks for, when there is such an operation.
#[derive(Debug, PartialEq)]
pub(crate) enum Route {
    /// An operation on the token of that identifier, which is empty where there is none.
    To(Operation, String),
    /// The path is there, for other methods.
    OtherMethods(Place),
    /// There is no such path.
    Nowhere,
}

impl Route {
    /// Reads what follows `/core/tokens` in a path, percent-encoded, with or without the last
    /// slash.
    pub(crate) fn of(method: &Method, rest: &str) -> Self {
        let rest = rest.strip_prefix('/').unwrap_or(rest);
        let rest = rest.strip_suffix('/').filter(|rest| !rest.is_empty()).unwrap_or(rest);
        let (identifier, word) = match rest.split_once('/') {
            Some((identifier, word)) => (identifier, Some(word)),
            None => (rest, None),
        };
        let place = match (identifier, word) {
            ("", None) => Some(Place::Tokens),
            ("", Some(_)) => None,
            (_, None) => Some(Place::Token),
            (_, Some(word)) => Place::under(word),
        };
        place.map_or(Self::Nowhere, |place| Self::at(place, method, identifier))
    }

    fn at(place: Place, method: &Method, identifier: &str) -> Self {
        let method = if *method == Method::HEAD { &Method::GET } else { method };
        let found = place.operations().find(|operation| operation.method() == *method);
        // What is not UTF-8 gets a character that is in no identifier, and so names no token.
        let decoded = percent_decode_str(identifier).decode_utf8_lossy();
        found.map_or(Self::OtherMethods(place), |found| Self::To(found, decoded.into_owned()))
    }

    /// The operation's name in spans and metrics.
    pub(crate) fn operation_id(&self) -> &'static str {
        match self {
            Self::To(operation, _) => operation.id(),
            Self::OtherMethods(_) | Self::Nowhere => "none",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(rest: &str) -> Route {
        Route::of(&Method::GET, rest)
    }

    fn to(operation: Operation, identifier: &str) -> Route {
        Route::To(operation, identifier.to_owned())
    }

    #[test]
    fn the_last_slash_makes_no_difference() {
        for rest in ["", "/"] {
            assert_eq!(get(rest), to(Operation::List, ""));
        }
        for rest in ["/ci", "/ci/"] {
            assert_eq!(get(rest), to(Operation::Retrieve, "ci"));
        }
        for rest in ["/ci/view_key", "/ci/view_key/"] {
            assert_eq!(get(rest), to(Operation::ViewKey, "ci"));
        }
    }

    #[test]
    fn identifiers_are_percent_decoded_once() {
        assert_eq!(get("/%63i/"), to(Operation::Retrieve, "ci"));
        assert_eq!(get("/a%2Fview_key/"), to(Operation::Retrieve, "a/view_key"));
        assert_eq!(get("/%2563i/"), to(Operation::Retrieve, "%63i"));
        assert_eq!(get("/a+b/"), to(Operation::Retrieve, "a+b"));
        assert_eq!(get("/%ff/"), to(Operation::Retrieve, "\u{fffd}"));
        assert_eq!(get("/%"), to(Operation::Retrieve, "%"));
    }

    #[test]
    fn other_paths_lead_nowhere() {
        for rest in ["//", "//view_key/", "/ci//", "/ci/view_key//", "/ci/other", "/ci/VIEW_KEY"] {
            assert_eq!(get(rest), Route::Nowhere, "{rest}");
        }
        assert_eq!(get("/ci/view%5Fkey/"), Route::Nowhere);
    }

    #[test]
    fn head_asks_as_get_does_and_other_methods_are_told_what_there_is() {
        assert_eq!(Route::of(&Method::HEAD, "/ci/"), to(Operation::Retrieve, "ci"));
        for (rest, place, allow) in [
            ("/", Place::Tokens, "GET, POST, HEAD"),
            ("/ci", Place::Token, "GET, PUT, PATCH, DELETE, HEAD"),
            ("/ci/rotate", Place::Under("rotate"), "POST"),
        ] {
            assert_eq!(Route::of(&Method::OPTIONS, rest), Route::OtherMethods(place));
            assert_eq!(place.allow(), allow);
        }
    }
}
