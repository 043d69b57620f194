//! What a list shows, to whom, in which order and on which page.

use std::sync::Arc;

use serde_json::json;
use tokenkeep::{
    Caller, Cursor, Expected, Intent, Permission, RequestField, Token, TokenError, TokenId,
    TokenList, TokenListing, UserId,
};
use tokenkeep_tests::meddling::MeddledStore;
use tokenkeep_tests::scene::{ADMIN, ALICE, BOB, HOUR, Scene, row, shifted, start};

const ALICES: Caller = Caller::User(ALICE);
const BOBS: Caller = Caller::User(BOB);

fn token(number: u128, name: &str, intent: Intent, owner: UserId, description: &str) -> Token {
    let token = row(number, name, owner, name);
    Token { intent, description: description.into(), expiring: true, ..token }
}

/// Six tokens with ties and nulls. The last one's owner is in no directory.
fn cast() -> Vec<Token> {
    use Intent::{Api, AppPassword, Recovery, Verification};
    let gone = UserId::new(99);
    let mut tokens = vec![
        token(1, "ci-deploy", Api, ALICE, "Deploys to prod"),
        token(2, "ci-backup", AppPassword, ALICE, "nightly 100%_done"),
        token(3, "alice-recovery", Recovery, ALICE, "do not share"),
        token(4, "deploy-alice", Api, BOB, "x"),
        token(5, "bobs", Verification, BOB, "Übung"),
        token(6, "orphan", Api, gone, "left behind"),
    ];
    for (place, hours) in [(0, 1), (2, 1), (4, 2), (5, 1)] {
        tokens[place].expires = Some(shifted(start(), hours * HOUR));
    }
    tokens[2].managed = Some("m/1".parse().unwrap());
    tokens[3].managed = Some("m/2".parse().unwrap());
    tokens[3].expiring = false;
    tokens
}

/// The scene with that cast, on each backend.
async fn scenes() -> Vec<Scene> {
    let scenes = Scene::everywhere().await;
    for scene in &scenes {
        scene.insert(cast()).await;
    }
    scenes
}

fn list(pairs: &[(&str, &str)]) -> TokenList {
    TokenList::from_pairs(pairs.iter().copied())
}

/// The numbers of the tokens that are shown.
fn numbers(listing: &TokenListing) -> Vec<u128> {
    assert_eq!(listing.pagination.count, listing.tokens.len() as u64, "all on one page");
    listing.tokens.iter().map(|view| uuid::Uuid::from(view.token.id).as_u128()).collect()
}

async fn shown(scene: &Scene, caller: &Caller, pairs: &[(&str, &str)]) -> Vec<u128> {
    numbers(&scene.service.list(caller, &list(pairs)).await.unwrap())
}

const BY_ID: (&str, &str) = ("ordering", "pk");

#[pollster::test]
async fn everybody_is_shown_what_it_sees_and_nothing_else() {
    for scene in scenes().await {
        let seen = async |caller| shown(&scene, &caller, &[BY_ID]).await;
        let id = |number| Some(TokenId::from(uuid::Uuid::from_u128(number)));
        let grant = async |on| {
            scene.backend.users.grant(BOB, Permission::ViewToken, on).await.unwrap();
        };
        assert_eq!(seen(ADMIN).await, [1, 2, 3, 4, 5, 6]);
        assert_eq!(seen(Caller::System).await, [1, 2, 3, 4, 5, 6]);
        assert_eq!(seen(ALICES).await, [1, 2, 3]);
        assert_eq!(seen(BOBS).await, [4, 5]);

        grant(id(1)).await;
        grant(id(4)).await;
        grant(id(77)).await;
        assert_eq!(seen(BOBS).await, [1, 4, 5], "each once, and none that is not there");
        for other in [Permission::ChangeToken, Permission::ViewTokenKey, Permission::DeleteToken] {
            scene.backend.users.grant(BOB, other, None).await.unwrap();
        }
        assert_eq!(seen(BOBS).await, [1, 4, 5], "other permissions show nothing");
        assert_eq!(shown(&scene, &BOBS, &[("search", "alice"), BY_ID]).await, [1, 4]);
        assert_eq!(shown(&scene, &BOBS, &[("identifier", "ci-backup")]).await, []);

        grant(None).await;
        assert_eq!(seen(BOBS).await, [1, 2, 3, 4, 5, 6]);
        scene.set_active(BOB, false).await;
        for caller in [BOBS, Caller::User(UserId::new(99))] {
            let refused = scene.service.list(&caller, &TokenList::new()).await;
            assert!(matches!(refused, Err(TokenError::InactiveCaller)), "{refused:?}");
            let refused = scene.service.list_from(&caller, &TokenList::new(), None).await;
            assert!(matches!(refused, Err(TokenError::InactiveCaller)), "{refused:?}");
        }
    }
}

#[pollster::test]
async fn filters_are_exact_and_all_must_hold() {
    let hour = shifted(start(), HOUR).to_string();
    for scene in scenes().await {
        for (pairs, expected) in [
            (&[("identifier", "ci-deploy")][..], &[1_u128][..]),
            (&[("identifier", "CI-deploy")], &[]),
            (&[("identifier", "ci")], &[]),
            (&[("intent", "api")], &[1, 4, 6]),
            (&[("user__username", "alice")], &[1, 2, 3]),
            (&[("user__username", "Alice")], &[]),
            (&[("user__username", "nobody")], &[]),
            (&[("description", "do not share")], &[3]),
            (&[("expires", &hour)], &[1, 3, 6]),
            (&[("expires", "2024-09-27T17:26:18.09+02:00")], &[1, 3, 6]),
            (&[("expiring", "false")], &[4]),
            (&[("expiring", "maybe")], &[1, 2, 3, 4, 5, 6]),
            (&[("managed", "m/1")], &[3]),
            (&[("managed", "m/")], &[]),
            (&[("intent", "api"), ("user__username", "bob")], &[4]),
            (&[("intent", "recovery"), ("user__username", "bob")], &[]),
            (&[("intent", "recovery"), ("search", "alice")], &[3]),
        ] {
            let pairs = [pairs, &[BY_ID]].concat();
            assert_eq!(shown(&scene, &ADMIN, &pairs).await, expected, "{pairs:?}");
        }
        let typed = TokenList::new().owner(ALICE);
        let of = async |list: TokenList| numbers(&scene.service.list(&ADMIN, &list).await.unwrap());
        assert_eq!(of(typed.clone()).await, [3, 2, 1]);
        assert_eq!(of(typed.clone().owner_named("alice")).await, [3, 2, 1]);
        assert_eq!(of(typed.owner_named("bob")).await, [], "of both, who is nobody");
    }
}

#[pollster::test]
async fn parameters_that_cannot_be_read_are_refused_by_name() {
    for scene in scenes().await {
        for (pairs, fields) in [
            (&[("intent", "API")][..], &["intent"][..]),
            (&[("intent", "x"), ("expires", "soon")], &["intent", "expires"]),
            (&[("search", "a\0")], &["search"]),
            (&[("user__username", "a\0")], &["user__username"]),
        ] {
            let error = scene.service.list(&BOBS, &list(pairs)).await.unwrap_err();
            let named = error.field_errors().unwrap().iter().map(|(field, _)| field.name());
            assert_eq!(named.collect::<Vec<_>>(), fields);
            let error = scene.service.list_from(&BOBS, &list(pairs), None).await.unwrap_err();
            assert_eq!(error.code(), "invalid");
        }
        let many = "prod ".repeat(TokenList::MAX_SEARCH_WORDS);
        assert_eq!(shown(&scene, &ADMIN, &[("search", &many)]).await, [1]);
        let error = scene.service.list(&ADMIN, &list(&[("search", &format!("{many} more"))])).await;
        let told =
            json!({"search": ["Ensure this search has no more than 10 words."], "code": "invalid"});
        assert_eq!(error.unwrap_err().to_json(), told);
        let error = scene.service.list(&BOBS, &list(&[("search", "\0"), ("page", "x")])).await;
        let error = error.unwrap_err();
        assert!(!error.field_errors().unwrap().get(RequestField::Search).is_empty());
    }
}

#[pollster::test]
async fn every_word_of_a_search_must_occur_somewhere() {
    for scene in scenes().await {
        for (search, expected) in [
            ("deploy", &[1_u128, 4][..]),
            ("alice", &[1, 2, 3, 4]),
            ("alice deploy", &[1, 4]),
            ("alice,backup", &[2]),
            ("bob verification", &[5]),
            ("BOB", &[4, 5]),
            ("bo", &[4, 5]),
            ("app_password", &[2]),
            ("\"do not\"", &[3]),
            ("'to prod' ci", &[1]),
            ("\"not do\"", &[]),
            ("not do", &[3]),
            ("100%_d", &[2]),
            ("100_d", &[]),
            ("%", &[2]),
            ("Übung", &[5]),
            ("ÜBUNG", &[5]),
            ("übung", &[]),
            ("left orphan", &[6]),
            ("user", &[]),
            (" , ", &[1, 2, 3, 4, 5, 6]),
        ] {
            let pairs = [("search", search), BY_ID];
            assert_eq!(shown(&scene, &ADMIN, &pairs).await, expected, "{search:?}");
        }
    }
}

/// Every way to sort the cast, as SPEC has it: nulls last, then the id.
const ORDERS: [(&str, [u128; 6]); 19] = [
    ("", [3, 5, 2, 1, 4, 6]),
    ("pk", [1, 2, 3, 4, 5, 6]),
    ("-pk", [6, 5, 4, 3, 2, 1]),
    ("identifier", [3, 5, 2, 1, 4, 6]),
    ("-identifier", [6, 4, 1, 2, 5, 3]),
    ("managed", [3, 4, 1, 2, 5, 6]),
    ("-managed", [4, 3, 1, 2, 5, 6]),
    ("intent", [1, 4, 6, 2, 3, 5]),
    ("-intent", [5, 3, 2, 1, 4, 6]),
    ("user", [1, 2, 3, 4, 5, 6]),
    ("-user", [6, 4, 5, 1, 2, 3]),
    ("description", [1, 3, 6, 2, 4, 5]),
    ("-description", [5, 4, 2, 6, 3, 1]),
    ("expires", [1, 3, 6, 5, 2, 4]),
    ("-expires", [5, 1, 3, 6, 2, 4]),
    ("expiring", [4, 1, 2, 3, 5, 6]),
    ("-expiring", [1, 2, 3, 5, 6, 4]),
    ("-expires,-user", [5, 6, 1, 3, 4, 2]),
    ("bogus, key,,-intent,-pk", [5, 3, 2, 6, 4, 1]),
];

#[pollster::test]
async fn every_order_is_the_same_on_every_backend() {
    for scene in scenes().await {
        for (ordering, expected) in ORDERS {
            let found = shown(&scene, &ADMIN, &[("ordering", ordering)]).await;
            assert_eq!(found, expected, "{} {ordering:?}", scene.name());
        }
    }
}

#[pollster::test]
async fn every_token_is_listed_with_its_own_owner_and_one_whose_owner_is_missing_without() {
    for scene in scenes().await {
        let listing = scene.service.list(&ADMIN, &TokenList::new()).await.unwrap();
        for view in &listing.tokens {
            let expected = Some(view.token.owner).filter(|owner| *owner != UserId::new(99));
            assert_eq!(view.owner.as_ref().map(|owner| owner.user.id), expected);
        }
        let json = json!(listing);
        let orphan = json["results"].as_array().unwrap().last().unwrap();
        assert_eq!((&orphan["user"], &orphan["user_obj"]), (&json!(99), &json!(null)));
    }
}

/// The place of a page, in the order of the envelope.
fn place(listing: &TokenListing) -> [u64; 7] {
    let page = &listing.pagination;
    let ends = (page.start_index, page.end_index);
    [page.next, page.previous, page.count, page.current, page.total_pages, ends.0, ends.1]
}

async fn scene_of_many(scene: &Scene, tokens: u128) {
    let many = (1..=tokens)
        .map(|number| row(number, &format!("t-{number:03}"), ALICE, &number.to_string()));
    scene.insert(many).await;
}

#[pollster::test]
async fn pages_stand_where_the_envelope_says() {
    for scene in Scene::everywhere().await {
        let place_of = async |pairs: &[(&str, &str)]| {
            let listing = scene.service.list(&ADMIN, &list(pairs)).await;
            listing.map(|listing| (place(&listing), listing.tokens.len()))
        };
        assert_eq!(place_of(&[]).await.unwrap(), ([0, 0, 0, 1, 1, 0, 0], 0), "none at all");
        assert_eq!(place_of(&[("page", "last")]).await.unwrap(), ([0, 0, 0, 1, 1, 0, 0], 0));
        scene_of_many(&scene, 125).await;
        for (pairs, expected) in [
            (&[][..], ([2, 0, 125, 1, 7, 1, 20], 20)),
            (&[("page", "")], ([2, 0, 125, 1, 7, 1, 20], 20)),
            (&[("page", "2")], ([3, 1, 125, 2, 7, 21, 40], 20)),
            (&[("page", "7")], ([0, 6, 125, 7, 7, 121, 125], 5)),
            (&[("page", "last")], ([0, 6, 125, 7, 7, 121, 125], 5)),
            (&[("page_size", "25"), ("page", "last")], ([0, 4, 125, 5, 5, 101, 125], 25)),
            (&[("page_size", "1000")], ([2, 0, 125, 1, 2, 1, 100], 100)),
            (&[("page_size", "0")], ([2, 0, 125, 1, 7, 1, 20], 20)),
            (&[("page_size", "x")], ([2, 0, 125, 1, 7, 1, 20], 20)),
            (&[("search", "t-12"), ("page_size", "4")], ([2, 0, 6, 1, 2, 1, 4], 4)),
        ] {
            assert_eq!(place_of(pairs).await.unwrap(), expected, "{pairs:?}");
        }
        let envelope =
            json!(scene.service.list(&ADMIN, &list(&[("page_size", "1")])).await.unwrap());
        let keys: Vec<_> = envelope.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["autocomplete", "pagination", "results"]);
        assert_eq!(envelope["autocomplete"], json!({}));
    }
}

#[pollster::test]
async fn a_page_that_is_not_there_is_not_found() {
    for scene in Scene::everywhere().await {
        for tokens in [0, 25] {
            scene_of_many(&scene, tokens).await;
            for page in ["3", "0", "-1", "x", "1.5", "18446744073709551614", "99999999999999999999"]
            {
                let error = scene.service.list(&ADMIN, &list(&[("page", page)])).await.unwrap_err();
                assert!(matches!(error, TokenError::InvalidPage), "{page}: {error:?}");
                let told = json!({"detail": "Invalid page.", "code": "not_found"});
                assert_eq!(error.to_json(), told);
            }
        }
    }
}

#[pollster::test]
async fn there_is_a_last_page_whatever_goes_while_it_is_looked_for() {
    for scene in Scene::everywhere().await {
        scene_of_many(&scene, 45).await;
        let store = Arc::new(MeddledStore::new(scene.backend.tokens.clone()));
        let service = scene.service.clone();
        store.between_lists(move || async move {
            for number in 1..=30 {
                let name = format!("t-{number:03}");
                service.delete(&ADMIN, &name, Expected::Anything).await.unwrap();
            }
        });
        let last = list(&[("page", "last")]);
        let listing = scene.over(store).await.list(&ADMIN, &last).await.unwrap();
        assert_eq!(place(&listing), [0, 0, 15, 1, 1, 1, 15], "{}", scene.name());
    }
}

#[pollster::test]
async fn the_highest_page_number_that_can_be_written_is_not_found_either() {
    for scene in Scene::everywhere().await {
        scene_of_many(&scene, 25).await;
        for size in [1, 2, 20, 100] {
            let list = TokenList::new().page(u64::MAX).page_size(size);
            let refused = scene.service.list(&ADMIN, &list).await;
            assert!(matches!(refused, Err(TokenError::InvalidPage)), "{size}: {refused:?}");
        }
    }
}

/// All pages of a list, one after the other.
async fn by_pages(scene: &Scene, list: &TokenList) -> Vec<TokenId> {
    let mut ids = Vec::new();
    let mut page = 1;
    while page > 0 {
        let listing = scene.service.list(&ADMIN, &list.clone().page(page)).await.unwrap();
        ids.extend(listing.tokens.iter().map(|view| view.token.id));
        page = listing.pagination.next;
    }
    ids
}

/// One part of a list, and where the next one starts.
async fn part(
    scene: &Scene,
    list: &TokenList,
    from: Option<Cursor>,
) -> (Vec<TokenId>, Option<Cursor>) {
    let part = scene.service.list_from(&ADMIN, list, from).await.unwrap();
    (part.tokens.iter().map(|view| view.token.id).collect(), part.next)
}

/// All parts of a list, one after the other.
async fn by_cursor(scene: &Scene, list: &TokenList) -> Vec<TokenId> {
    let (mut ids, mut cursor) = part(scene, list, None).await;
    while cursor.is_some() {
        let (more, next) = part(scene, list, cursor).await;
        assert!(!more.is_empty(), "a cursor behind the last token");
        ids.extend(more);
        cursor = next;
    }
    ids
}

#[pollster::test]
async fn a_walk_by_cursor_shows_what_the_pages_show() {
    for scene in scenes().await {
        let more = (7..40).map(|number| Token {
            expires: (number % 3 == 0).then(|| shifted(start(), HOUR)),
            ..row(number, &format!("more-{number}"), BOB, &number.to_string())
        });
        scene.insert(more).await;
        for (ordering, _) in ORDERS {
            for size in ["1", "7", "39", "100"] {
                let list = list(&[("ordering", ordering), ("page_size", size)]);
                let (pages, walk) = (by_pages(&scene, &list).await, by_cursor(&scene, &list).await);
                assert_eq!(pages, walk, "{} {ordering:?} by {size}", scene.name());
                assert_eq!(walk.len(), 39);
            }
        }
        let narrow = list(&[("search", "bob more"), ("page_size", "5"), ("page", "77")]);
        assert_eq!(by_cursor(&scene, &narrow).await.len(), 33, "the page does not matter");
    }
}

#[pollster::test]
async fn a_walk_by_cursor_shows_once_what_stays_whatever_happens_to_others() {
    for scene in Scene::everywhere().await {
        scene_of_many(&scene, 30).await;
        let list = list(&[("page_size", "10")]);
        let (mut ids, cursor) = part(&scene, &list, None).await;
        for gone in ["t-003", "t-010", "t-015"] {
            scene.service.delete(&ADMIN, gone, Expected::Anything).await.unwrap();
        }
        scene.insert([row(50, "t-000", ALICE, "early")]).await;
        let (more, next) = part(&scene, &list, cursor).await;
        ids.extend(more);
        ids.extend(part(&scene, &list, next).await.0);
        let number = |id: &TokenId| uuid::Uuid::from(*id).as_u128();
        let walked: Vec<_> = ids.iter().map(number).collect();
        let expected: Vec<_> = (1..=30).filter(|number| *number != 15).collect();
        assert_eq!(walked, expected, "{}", scene.name());
    }
}
