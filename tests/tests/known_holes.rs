//! What went wrong in authentik and elsewhere, each by its name: it must not happen here.

use serde_json::{Value, json};
use tokenkeep::{
    Caller, Expected, FieldError, Group, GroupId, Intent, KeyChange, Permission, TokenChange,
    TokenError, TokenField, TokenList, User, UserId,
};
use tokenkeep_tests::scene::{ADMIN, ALICE, BOB, Scene, bearer, shifted, user};

const ALICES: Caller = Caller::User(ALICE);
const BOBS: Caller = Caller::User(BOB);
const LONG: &str = "a key that is long enough for everybody";

async fn grant(scene: &Scene, permissions: &[Permission]) {
    for permission in permissions {
        scene.backend.users.grant(BOB, *permission, None).await.unwrap();
    }
}

/// What every operation on a token answers to a caller.
async fn every_answer(scene: &Scene, caller: &Caller, name: &str) -> Vec<Result<(), TokenError>> {
    let tokens = &scene.service;
    let change = || TokenChange::new().identifier(name).description("changed");
    vec![
        tokens.view_key(caller, name).await.map(drop),
        tokens.set_key(caller, name, KeyChange::new(LONG)).await.map(drop),
        tokens.rotate(caller, name, Expected::Anything).await.map(drop),
        tokens.update(caller, name, change()).await.map(drop),
        tokens.partial_update(caller, name, change()).await.map(drop),
        tokens.used_by(caller, name).await.map(drop),
        tokens.retrieve(caller, name).await.map(drop),
        tokens.delete(caller, name, Expected::Anything).await.map(drop),
    ]
}

/// Setting a token's user took over that user's rights.
#[pollster::test]
async fn cve_2024_37905_a_token_never_gets_another_user() {
    for scene in Scene::everywhere().await {
        let key = scene.create_own("ci").await.key;
        grant(&scene, &Permission::ALL).await;
        for caller in [ALICES, BOBS, ADMIN, Caller::System] {
            for user in [json!(1), json!("1"), json!(3)] {
                let body = json!({"identifier": "ci", "user": user}).to_string();
                let change = || TokenChange::from_json(body.as_bytes());
                let put = scene.service.update(&caller, "ci", change()).await;
                let patch = scene.service.partial_update(&caller, "ci", change()).await;
                for refused in [put, patch] {
                    let error = refused.unwrap_err();
                    let told = error.field_errors().unwrap().get(TokenField::User);
                    assert_eq!(told, [FieldError::OwnerFixed], "{caller} {body}");
                }
            }
            // Nor does it get the caller when no user is named.
            let edit = TokenChange::new().identifier("ci").description(caller.to_string());
            scene.service.update(&caller, "ci", edit).await.unwrap();
        }
        assert_eq!(scene.find("ci").await.unwrap().owner, ALICE);
        let who = scene.service.authenticate(Some(&bearer(&key))).await.unwrap();
        assert_eq!(who.caller(), ALICES);
    }
}

/// The permission to view tokens leaked their keys.
#[pollster::test]
async fn ghsa_m9h4_7j9c_55x9_seeing_a_token_is_not_seeing_its_key() {
    for scene in Scene::everywhere().await {
        let created = scene.create_own("ci").await;
        grant(&scene, &[Permission::ViewToken, Permission::ChangeToken]).await;
        let before = scene.state().await;
        for refused in [
            scene.service.view_key(&BOBS, "ci").await.map(drop),
            scene.service.set_key(&BOBS, "ci", KeyChange::new(LONG)).await.map(drop),
            scene.service.rotate(&BOBS, "ci", Expected::Anything).await.map(drop),
        ] {
            assert!(matches!(refused, Err(TokenError::Forbidden)), "{refused:?}");
        }
        assert_eq!(scene.state().await, before);
        let listing = json!(scene.service.list(&BOBS, &TokenList::new()).await.unwrap());
        let seen = json!(scene.service.retrieve(&BOBS, "ci").await.unwrap());
        let edit = TokenChange::new().description("edited");
        let edited = scene.service.partial_update(&BOBS, "ci", edit).await.unwrap();
        for answer in [listing, seen, json!(edited.view), json!(created.view)] {
            assert!(!answer.to_string().contains(created.key.expose()), "{answer}");
        }
    }
}

/// The names in an object, and those in the objects inside of it, attributes left out.
fn names(value: &Value, place: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(object) => {
            for (name, inner) in object {
                found.push(format!("{place}{name}"));
                if name != "attributes" {
                    names(inner, &format!("{place}{name}."), found);
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|inner| names(inner, place, found)),
        _ => {}
    }
}

/// Credentials leaked through objects inside of the answer.
#[pollster::test]
async fn cve_2026_40166_no_object_inside_of_a_token_has_more_than_it_is_known_to_have() {
    for scene in Scene::everywhere().await {
        let staff = GroupId::from_bytes([4; 16]);
        scene.backend.users.put_group(Group::new(staff, "staff")).await.unwrap();
        let alice = User { groups: [staff].into(), ..user(ALICE, "alice") };
        scene.backend.users.put_user(alice).await.unwrap();
        scene.create_own("ci").await;
        grant(&scene, &[Permission::ViewToken]).await;
        let seen = json!(scene.service.retrieve(&BOBS, "ci").await.unwrap());
        let mut found = Vec::new();
        names(&seen, "", &mut found);
        found.sort_unstable();
        let of_token = "description expires expiring identifier intent managed pk user user_obj";
        let of_user = "attributes avatar date_joined email groups groups_obj is_active \
                       is_superuser last_login last_updated name password_change_date path pk \
                       roles roles_obj type uid username uuid";
        let of_group = "attributes is_superuser name num_pk parent parent_name pk";
        let within = |place: &str, names: &str| {
            names.split_whitespace().map(|name| format!("{place}{name}")).collect::<Vec<_>>()
        };
        let mut known = within("", of_token);
        known.extend(within("user_obj.", of_user));
        known.extend(within("user_obj.groups_obj.", of_group));
        known.sort_unstable();
        assert_eq!(found, known);
        let listing = json!(scene.service.list(&BOBS, &TokenList::new()).await.unwrap());
        assert_eq!(listing["results"], json!([seen]));
    }
}

/// An action looked at the user's permissions and not at the object.
#[pollster::test]
async fn cve_2024_42490_every_action_looks_at_the_token_itself() {
    for scene in Scene::everywhere().await {
        let created = scene.create_own("ci").await;
        scene.create_own("other").await;
        let other = scene.find("other").await.unwrap().id;
        let all_but_view = &Permission::ALL[1..];
        for permission in Permission::ALL {
            scene.backend.users.grant(BOB, permission, Some(other)).await.unwrap();
        }
        let before = scene.state().await;
        for round in ["on another token", "on all, without seeing them"] {
            for (place, answer) in every_answer(&scene, &BOBS, "ci").await.into_iter().enumerate() {
                let hidden = matches!(answer, Err(TokenError::NotFound));
                assert!(hidden, "permissions {round}, action {place}: {answer:?}");
            }
            assert_eq!(scene.state().await, before, "{round}");
            grant(&scene, all_but_view).await;
        }
        assert!(scene.opens(&created.key).await);
    }
}

/// Deactivated accounts kept working.
#[pollster::test]
async fn cve_2025_64521_a_deactivated_account_does_nothing_any_more() {
    for scene in Scene::everywhere().await {
        let api = scene.create_own("api").await.key;
        let app = scene.create("app", Intent::AppPassword).await.key;
        let link = scene.create("link", Intent::Recovery).await.key;
        grant(&scene, &Permission::ALL).await;
        for id in [ALICE, BOB] {
            scene.set_active(id, false).await;
        }
        let before = scene.state().await;
        for shown in [
            scene.service.authenticate(Some(&bearer(&api))).await,
            scene.service.authenticate_app_password("alice", &app).await,
            scene.service.consume(Intent::Recovery, &link).await,
        ] {
            assert!(matches!(shown, Err(TokenError::InvalidKey)), "{shown:?}");
        }
        for caller in [ALICES, BOBS] {
            let mut answers = every_answer(&scene, &caller, "api").await;
            let new = TokenChange::new().identifier("new");
            answers.push(scene.service.create(&caller, new).await.map(drop));
            answers.push(scene.service.list(&caller, &TokenList::new()).await.map(drop));
            answers.push(scene.service.list_from(&caller, &TokenList::new(), None).await.map(drop));
            for (place, answer) in answers.into_iter().enumerate() {
                let refused = matches!(answer, Err(TokenError::InactiveCaller));
                assert!(refused, "{caller}, action {place}: {answer:?}");
            }
        }
        assert_eq!(scene.state().await, before);
        scene.set_active(ALICE, true).await;
        assert!(scene.opens(&api).await, "as soon as it is active again");
    }
}

/// An expiry counted only once the sweep had come around.
#[pollster::test]
async fn cve_2025_64708_an_expiry_does_not_wait_for_the_sweep() {
    for scene in Scene::everywhere().await {
        let api = scene.create_own("api").await;
        let app = scene.create("app", Intent::AppPassword).await.key;
        let link = scene.create("link", Intent::Recovery).await.key;
        scene.clock.set(shifted(api.view.token.expires.unwrap(), 1));
        let before = scene.state().await;
        for shown in [
            scene.service.authenticate(Some(&bearer(&api.key))).await,
            scene.service.authenticate_app_password("alice", &app).await,
            scene.service.consume(Intent::Recovery, &link).await,
        ] {
            assert!(matches!(shown, Err(TokenError::InvalidKey)), "{shown:?}");
        }
        assert_eq!(scene.state().await, before, "nothing was swept, and nothing has changed");
        let listing = scene.service.list(&ALICES, &TokenList::new()).await.unwrap();
        assert_eq!(listing.tokens.len(), 3, "expired tokens are shown until they are swept");
    }
}

/// In another project, a key was minted for the user whom the body named.
#[pollster::test]
async fn cve_2025_61928_nobody_mints_a_key_for_the_user_in_the_body() {
    for scene in Scene::everywhere().await {
        grant(&scene, &Permission::ALL).await;
        let before = scene.state().await;
        for body in [
            r#"{"identifier": "x", "user": 1}"#,
            r#"{"identifier": "x", "user": "1"}"#,
            r#"{"identifier": "x", "user": 2}"#,
            r#"{"identifier": "x", "user": 3, "user": 1}"#,
            r#"{"identifier": "x", "user": 1, "intent": "app_password"}"#,
        ] {
            let change = TokenChange::from_json(body.as_bytes());
            let error = scene.service.create(&BOBS, change).await.unwrap_err();
            let told = error.field_errors().unwrap().get(TokenField::User);
            assert_eq!(told, [FieldError::OwnerNotSelf], "{body}");
        }
        assert_eq!(scene.state().await, before);
        // What is not a field of the body names nobody.
        let body = br#"{"identifier": "x", "owner": 1, "user_obj": {"pk": 1}, "user_id": 1}"#;
        let created = scene.service.create(&BOBS, TokenChange::from_json(body)).await.unwrap();
        assert_eq!(created.view.token.owner, BOB);
        let who = scene.service.authenticate(Some(&bearer(&created.key))).await.unwrap();
        assert_eq!(who.caller(), BOBS);
        assert_ne!(who.caller(), Caller::User(UserId::new(1)));
    }
}

/// `Debug` of a service printed its whole store, with the data of all users.
#[pollster::test]
async fn debug_of_service_prints_no_rows() {
    for scene in Scene::everywhere().await {
        let (tokens, users) = (&scene.backend.tokens, &scene.backend.users);
        let debugs = || {
            let builder = scene.backend.builder();
            [
                format!("{:?}", scene.service),
                format!("{tokens:#?}"),
                format!("{users:?} {builder:?}"),
            ]
        };
        let without_rows = debugs().map(|debug| debug.len());
        let created = scene.create_own("canary-token").await;
        for number in 100..200 {
            users.put_user(user(UserId::new(number), &format!("canary-{number}"))).await.unwrap();
        }
        // It is in the cache, and its last use waits to be written.
        scene.service.authenticate(Some(&bearer(&created.key))).await.unwrap();
        let id = created.view.token.id.to_string();
        for (debug, without_rows) in debugs().into_iter().zip(without_rows) {
            // Counters may have more digits.
            assert!(debug.len() < without_rows + 500, "{}: {} bytes", scene.name(), debug.len());
            for canary in ["canary", "alice", &*id] {
                assert!(!debug.contains(canary), "{}: {canary} in {debug}", scene.name());
            }
        }
    }
}

/// A key of one letter was accepted.
#[pollster::test]
async fn authentik_23768_a_key_of_one_letter_is_refused() {
    for scene in Scene::everywhere().await {
        let key = scene.create_own("ci").await.key;
        let before = scene.state().await;
        for body in [
            r#"{"key": "a"}"#,
            r#"{"key": 1}"#,
            r#"{"key": " a                                   "}"#,
        ] {
            for caller in [ADMIN, Caller::System] {
                let change = KeyChange::from_json(body.as_bytes());
                let error = scene.service.set_key(&caller, "ci", change).await.unwrap_err();
                let told = error.field_errors().unwrap().get(TokenField::Key);
                assert_eq!(told, [FieldError::KeyTooShort { min: 32 }], "{body}");
            }
        }
        assert_eq!(scene.state().await, before);
        assert!(scene.opens(&key).await && !scene.opens(&"a".to_owned().into()).await);
    }
}
