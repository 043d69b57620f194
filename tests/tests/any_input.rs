//! Whatever a request says in its query, its path or its body, the service answers, and alike on
//! every backend: never with a failure of the store.

use std::sync::OnceLock;

use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};
use tokenkeep::{
    Caller, Expected, KeyChange, TokenChange, TokenError, TokenList, TokenService, UserId,
};
use tokenkeep_tests::backend::{Backend, Loaded, LoadedMemory, LoadedSqlite};
use tokenkeep_tests::fixture::Fixture;
use tokenkeep_tests::properties::cases_at_least;

/// The fixture on each backend.
type Sides = OnceLock<[(Backend, TokenService); 2]>;

/// For requests that change nothing.
static READ: Sides = OnceLock::new();

/// For keys that are set.
static WRITTEN: Sides = OnceLock::new();

fn load() -> [(Backend, TokenService); 2] {
    let fixture = Fixture::read();
    let backends = [LoadedMemory(&fixture).fresh(), LoadedSqlite::new(&fixture).fresh()];
    backends.map(|backend| {
        let service = fixture.service(&backend);
        (backend, service)
    })
}

/// What every side answers.
fn answer<T>(
    sides: &Sides,
    mut ask: impl AsyncFnMut(&TokenService) -> Result<T, TokenError>,
    show: impl Fn(T) -> Value,
) -> Value {
    let [memory, sqlite] = sides.get_or_init(load).each_ref().map(|(_, service)| {
        let refused = |error: TokenError| {
            assert!(!matches!(error, TokenError::Store(_)), "{error:?}");
            error.to_json()
        };
        pollster::block_on(ask(service)).map_or_else(refused, &show)
    });
    assert_eq!(memory, sqlite);
    memory
}

/// A text with more of what means something than chance would give.
fn text() -> impl Strategy<Value = String> {
    let words = vec![
        "alice",
        "api",
        "app_password",
        "-",
        "expires",
        "-expires",
        "user",
        "bogus",
        "\"",
        "'",
        "\\",
        ",",
        " ",
        "\u{1c}",
        "%",
        "_",
        "*",
        "é",
        "\u{10ffff}",
        "0",
        "-1",
        "1e3",
        "true",
        "last",
        "2024-09-27T17:26:18.09Z",
        "0001-01-01",
        "9999-12-31T23:59:59.999999-23:59",
        "token-",
        "\0",
    ];
    prop_oneof![
        3 => prop::collection::vec(select(words.clone()), 0..12).prop_map(|words| words.concat()),
        1 => prop::collection::vec(select(words), 0..150).prop_map(|words| words.join(",")),
        2 => any::<String>(),
        1 => any::<i128>().prop_map(|number| number.to_string()),
        1 => "[a-z0-9_-]{250,260}",
    ]
}

fn parameters() -> impl Strategy<Value = Vec<(String, String)>> {
    let names = [
        "identifier",
        "intent",
        "user__username",
        "description",
        "expires",
        "expiring",
        "managed",
        "search",
        "ordering",
        "page",
        "page_size",
        "more",
    ];
    let name = select(names.to_vec()).prop_map(str::to_owned);
    prop::collection::vec((name, text()), 0..5)
}

fn caller() -> impl Strategy<Value = Caller> {
    select(vec![1_i64, 2, 3, 6]).prop_map(|id| Caller::User(UserId::new(id)))
}

proptest! {
    #![proptest_config(cases_at_least(512))]

    #[test]
    fn any_query_is_answered(caller in caller(), pairs in parameters()) {
        let list = TokenList::from_pairs(pairs.iter().map(|(name, value)| (name, value)));
        let listing =
            answer(&READ, async |tokens| tokens.list(&caller, &list).await, |page| json!(page));
        let ids = |tokens: &[tokenkeep::TokenView]| {
            json!(tokens.iter().map(|view| view.token.id).collect::<Vec<_>>())
        };
        let first = answer(
            &READ,
            async |tokens| tokens.list_from(&caller, &list, None).await,
            |part| json!([ids(&part.tokens), part.next.is_some()]),
        );
        // A walk refuses what a page refuses, but for the page itself.
        let is_refused = |answer: &Value| answer["code"] == "invalid";
        assert_eq!(is_refused(&listing), is_refused(&first));
    }

    #[test]
    fn any_identifier_is_looked_for(caller in caller(), name in text()) {
        let name = name.as_str();
        let known =
            answer(&READ, async |tokens| tokens.retrieve(&caller, name).await, |view| json!(view));
        let is_known = known["identifier"] == name;
        assert!(is_known || known["code"] == "not_found", "{known}");
        if !is_known {
            let nothing = || Expected::OneOf(Vec::new());
            let change = || TokenChange::new().expecting(nothing());
            let answers = [
                answer(
                    &READ,
                    async |tokens| tokens.partial_update(&caller, name, change()).await,
                    |_| json!({}),
                ),
                answer(&READ, async |tokens| tokens.view_key(&caller, name).await, |_| json!({})),
                answer(
                    &READ,
                    async |tokens| tokens.delete(&caller, name, nothing()).await,
                    |_| json!({}),
                ),
            ];
            assert!(answers.iter().all(|told| told["code"] == "not_found"), "{answers:?}");
        }
    }

    #[test]
    fn any_body_is_a_key_or_refused(
        body in prop::collection::vec(any::<u8>(), 0..40),
        key in text(),
    ) {
        for body in [body, json!({"key": key}).to_string().into_bytes()] {
            let change = || KeyChange::from_json(&body);
            let told = answer(
                &WRITTEN,
                async |tokens| {
                    tokens.set_key(&Caller::User(UserId::new(1)), "alice-api", change()).await?;
                    tokens.view_key(&Caller::System, "alice-api").await
                },
                |key| json!(key.expose()),
            );
            let set = told.as_str().map(|set| !set.is_empty() && key.contains(set));
            let is_refused = told["code"] == "invalid" || told["code"] == "parse_error";
            assert!(set.unwrap_or(is_refused), "{told}");
        }
    }

    #[test]
    fn any_header_is_judged(
        scheme in select(vec!["Bearer", "bEARER", "Basic", ""]),
        key in text(),
    ) {
        let header = format!("{scheme} {key}");
        let header = Some(header.as_bytes());
        let told = answer(
            &READ,
            async |tokens| tokens.authenticate(header).await,
            |who| json!(who.caller().to_string()),
        );
        assert!(told["detail"].is_string(), "{told}");
    }
}
