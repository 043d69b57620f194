//! The directory that comes with a backend.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use tokenkeep::{
    Group, GroupId, MAX_ATTRIBUTE_DEPTH, Permission, Permissions, Profile, Timestamp, TokenId,
    User, UserId, UserStore, UserStoreError, UserType,
};
use uuid::Uuid;

use crate::harness::UserHarness;
use crate::sample::time;

pub(super) fn user(number: i64, name: &str) -> User {
    User::new(UserId::new(number), Uuid::from_u128(7), name, time(0))
}

pub(super) fn member(number: i64, name: &str, groups: &[u8]) -> User {
    User { groups: groups.iter().map(|group| group_id(*group)).collect(), ..user(number, name) }
}

/// A user with a value in every field, each hard to keep.
pub(super) fn full_user() -> User {
    User {
        uuid: Uuid::from_u128(u128::MAX),
        name: "Fränk 😀".into(),
        email: "frank@example.com".into(),
        avatar: Some("/frank.png".into()),
        is_active: false,
        user_type: UserType::InternalServiceAccount,
        path: "goauthentik.io/service-accounts".into(),
        attributes: attributes(json!({
            "deep": [1, 1.5, null, true, "\u{1F600}\u{0}\"\\"],
            "numbers": [123_456_789.123_456_79, 5e-324, f64::MAX, -0.0, u64::MAX, i64::MIN],
        })),
        last_login: Some(Timestamp::MIN),
        date_joined: time(1),
        last_updated: time(2),
        password_change_date: Timestamp::MAX,
        ..user(i64::MAX, "frank")
    }
}

pub(super) fn group_id(number: u8) -> GroupId {
    GroupId::from_bytes([number; 16])
}

pub(super) fn group(number: u8, parent: Option<u8>) -> Group {
    Group {
        parent: parent.map(group_id),
        ..Group::new(group_id(number), format!("group {number}"))
    }
}

fn attributes(value: Value) -> Map<String, Value> {
    Map::from_iter([("näme".to_owned(), value)])
}

pub(super) async fn put_users(users: &dyn UserStore, new: &[User]) {
    for user in new {
        users.put_user(user.clone()).await.expect("the user can be written");
    }
}

pub(super) async fn put_groups(users: &dyn UserStore, new: &[Group]) {
    for group in new {
        users.put_group(group.clone()).await.expect("the group can be written");
    }
}

async fn profile(users: &dyn UserStore, number: i64) -> Option<Profile> {
    let mut profiles =
        users.profiles(&[UserId::new(number)]).await.expect("the directory can be read");
    assert!(profiles.len() <= 1);
    profiles.pop()
}

/// The numbers of the groups that count for a user.
async fn groups(users: &dyn UserStore, number: i64) -> Vec<u8> {
    let profile = profile(users, number).await.expect("there is such a user");
    let mut numbers: Vec<_> = profile.groups.iter().map(|group| group.id.as_bytes()[0]).collect();
    numbers.sort_unstable();
    numbers
}

async fn held(users: &dyn UserStore, number: i64, on: Option<TokenId>) -> Permissions {
    users.permissions(UserId::new(number), on).await.expect("the directory can be read")
}

pub(crate) async fn tells_who_is_active(harness: &dyn UserHarness) {
    let users = harness.open().await;
    put_users(&*users, &[user(1, "a"), User { is_active: false, ..user(2, "b") }]).await;
    for (number, expected) in [(1, Some(true)), (2, Some(false)), (3, None)] {
        let active = users.is_active(UserId::new(number)).await.expect("it can be read");
        assert_eq!(active, expected);
    }
    put_users(&*users, &[User { is_active: false, ..user(1, "a") }]).await;
    let active = users.is_active(UserId::new(1)).await.expect("it can be read");
    assert_eq!(active, Some(false), "a deactivation is seen at once");
}

pub(crate) async fn returns_users_as_they_were_written(harness: &dyn UserHarness) {
    let users = harness.open().await;
    let full = full_user();
    let plain = user(i64::MIN, "");
    put_users(&*users, &[full.clone(), plain.clone()]).await;
    let ids = [full.id, UserId::new(3), plain.id];
    let mut found = users.profiles(&ids).await.expect("the directory can be read");
    found.sort_by_key(|profile| profile.user.id);
    let expected = [plain, full].map(|user| Profile { user: Arc::new(user), groups: Vec::new() });
    assert_eq!(found, expected);
    assert_eq!(users.profiles(&[]).await.expect("the directory can be read"), []);
}

pub(crate) async fn returns_groups_with_their_ancestors(harness: &dyn UserHarness) {
    let users = harness.open().await;
    let admins = Group {
        is_superuser: true,
        attributes: attributes(json!("x")),
        name: "Ädmins".into(),
        ..group(1, None)
    };
    put_groups(&*users, &[admins.clone(), group(2, Some(1)), group(3, Some(2))]).await;
    put_groups(&*users, &[group(4, None), group(5, Some(1))]).await;
    put_users(&*users, &[member(1, "a", &[3, 5]), member(2, "b", &[4]), user(3, "c")]).await;
    assert_eq!(groups(&*users, 1).await, [1, 2, 3, 5], "each once");
    assert_eq!(groups(&*users, 2).await, [4]);
    assert_eq!(groups(&*users, 3).await, [0_u8; 0]);
    let found = profile(&*users, 1).await.expect("there is such a user");
    assert_eq!(found.group(admins.id), Some(&admins));
    assert_eq!(found.group(group_id(3)), Some(&group(3, Some(2))));
    assert_eq!(found.user.groups, BTreeSet::from([group_id(3), group_id(5)]), "direct ones only");
    assert!(found.is_superuser());
}

pub(crate) async fn tells_what_a_user_holds(harness: &dyn UserHarness) {
    let users = harness.open().await;
    put_users(&*users, &[user(1, "a"), user(2, "b")]).await;
    let (token, other) = (TokenId::from_bytes([1; 16]), TokenId::from_bytes([2; 16]));
    let give = async |permission, on| {
        users.grant(UserId::new(1), permission, on).await.expect("it can be granted");
    };
    give(Permission::ViewToken, None).await;
    give(Permission::ChangeToken, Some(token)).await;
    give(Permission::ViewToken, Some(other)).await;
    let view = Permissions::NONE.with(Permission::ViewToken);
    assert_eq!(held(&*users, 1, None).await, view);
    assert_eq!(held(&*users, 1, Some(token)).await, view.with(Permission::ChangeToken));
    assert_eq!(held(&*users, 1, Some(other)).await, view);
    assert_eq!(held(&*users, 2, Some(token)).await, Permissions::NONE);
    assert_eq!(held(&*users, 3, Some(token)).await, Permissions::NONE, "nobody holds nothing");
    let on = async |permission| {
        users.granted_tokens(UserId::new(1), permission).await.expect("it can be read")
    };
    assert_eq!(on(Permission::ChangeToken).await, [token]);
    assert_eq!(on(Permission::ViewToken).await, [other], "the global one names no token");
    assert_eq!(on(Permission::DeleteToken).await, []);
}

pub(crate) async fn grants_and_revokes_one_permission_in_one_place(harness: &dyn UserHarness) {
    let users = harness.open().await;
    put_users(&*users, &[user(1, "a")]).await;
    let (id, token) = (UserId::new(1), TokenId::from_bytes([1; 16]));
    for on in [None, Some(token), Some(token)] {
        for permission in Permission::ALL {
            users.grant(id, permission, on).await.expect("it can be granted");
        }
    }
    let all: Permissions = Permission::ALL.into_iter().collect();
    users.revoke(id, Permission::ViewToken, None).await.expect("it can be revoked");
    users.revoke(id, Permission::ViewToken, None).await.expect("revoking twice is no error");
    assert_eq!(held(&*users, 1, None).await, all.without(Permission::ViewToken));
    assert_eq!(held(&*users, 1, Some(token)).await, all, "still held on the token");
    users.revoke(id, Permission::ViewToken, Some(token)).await.expect("it can be revoked");
    assert_eq!(held(&*users, 1, Some(token)).await, all.without(Permission::ViewToken));

    let refused = users.grant(UserId::new(2), Permission::ViewToken, None).await;
    assert!(matches!(refused, Err(UserStoreError::UnknownUser(id)) if id == UserId::new(2)));
    users.revoke(UserId::new(2), Permission::ViewToken, None).await.expect("nothing to revoke");
}

pub(crate) async fn finds_users_by_name(harness: &dyn UserHarness) {
    let users = harness.open().await;
    let names = ["alice", "Alice", "malicE", "bob_%", "Älice"];
    for (number, name) in (1..).zip(names) {
        put_users(&*users, &[user(number, name)]).await;
    }
    let named = async |name| users.user_named(name).await.expect("the directory can be read");
    assert_eq!(named("alice").await, Some(UserId::new(1)));
    assert_eq!(named("Alice").await, Some(UserId::new(2)));
    assert_eq!(named("ALICE").await, None);
    let words: [(&str, &[i64]); 6] = [
        ("aLiCe", &[1, 2, 3]),
        ("lice", &[1, 2, 3, 5]),
        ("_%", &[4]),
        ("_", &[4]),
        ("älice", &[]),
        ("nobody", &[]),
    ];
    for (word, expected) in words {
        let mut found = users.users_matching(word).await.expect("the directory can be read");
        found.sort_unstable();
        let found: Vec<_> = found.into_iter().map(UserId::get).collect();
        assert_eq!(found, expected, "{word}");
    }
}

pub(crate) async fn replaces_a_user_of_the_same_id(harness: &dyn UserHarness) {
    let users = harness.open().await;
    put_groups(&*users, &[group(1, None), group(2, None)]).await;
    put_users(&*users, &[member(1, "before", &[1])]).await;
    users.grant(UserId::new(1), Permission::ViewToken, None).await.expect("it can be granted");
    let after = User { email: "a@example.com".into(), ..member(1, "after", &[2]) };
    put_users(&*users, std::slice::from_ref(&after)).await;
    let found = profile(&*users, 1).await.expect("there is such a user");
    assert_eq!(*found.user, after);
    assert_eq!(groups(&*users, 1).await, [2]);
    assert!(held(&*users, 1, None).await.contains(Permission::ViewToken), "permissions stay");
    put_users(&*users, &[user(2, "before")]).await;
    let named = users.user_named("before").await.expect("the directory can be read");
    assert_eq!(named, Some(UserId::new(2)), "the old name is free");
}

pub(crate) async fn refuses_users_that_cannot_be(harness: &dyn UserHarness) {
    let users = harness.open().await;
    put_users(&*users, &[user(1, "a"), user(2, "b")]).await;
    for number in [2, 3] {
        let refused = users.put_user(user(number, "a")).await;
        assert!(matches!(refused, Err(UserStoreError::UsernameTaken(name)) if name == "a"));
    }
    let refused = users.put_user(member(2, "changed", &[9])).await;
    assert!(matches!(refused, Err(UserStoreError::UnknownGroup(id)) if id == group_id(9)));
    assert_eq!(profile(&*users, 3).await, None);
    let kept = profile(&*users, 2).await.expect("there is such a user");
    assert_eq!(kept.user.username, "b", "nothing was changed");
}

/// Attributes that are nested so many levels deep.
fn nested(levels: usize) -> Map<String, Value> {
    attributes((0..levels).fold(Value::Null, |inner, _| json!([inner])))
}

pub(crate) async fn refuses_users_that_not_every_directory_can_keep(harness: &dyn UserHarness) {
    let users = harness.open().await;
    let nul = || "nul\0".to_owned();
    for refused in [
        User { username: nul(), ..user(1, "a") },
        User { name: nul(), ..user(1, "a") },
        User { email: nul(), ..user(1, "a") },
        User { avatar: Some(nul()), ..user(1, "a") },
        User { path: nul(), ..user(1, "a") },
    ] {
        let refused = users.put_user(refused).await;
        assert!(matches!(refused, Err(UserStoreError::NullCharacter { .. })), "{refused:?}");
    }
    let deepest = nested(MAX_ATTRIBUTE_DEPTH - 1);
    let too_deep = User { attributes: nested(MAX_ATTRIBUTE_DEPTH), ..user(1, "a") };
    let refused = users.put_user(too_deep).await;
    assert!(matches!(refused, Err(UserStoreError::AttributesTooDeep)), "{refused:?}");
    assert_eq!(profile(&*users, 1).await, None, "nothing was written");
    put_users(&*users, &[User { attributes: deepest.clone(), ..user(1, "a") }]).await;
    let found = profile(&*users, 1).await.expect("there is such a user");
    assert_eq!(found.user.attributes, deepest);

    let refused = users.put_group(Group { name: nul(), ..group(1, None) }).await;
    assert!(matches!(refused, Err(UserStoreError::NullCharacter { .. })), "{refused:?}");
    let too_deep = Group { attributes: nested(MAX_ATTRIBUTE_DEPTH), ..group(1, None) };
    let refused = users.put_group(too_deep).await;
    assert!(matches!(refused, Err(UserStoreError::AttributesTooDeep)), "{refused:?}");
}

pub(crate) async fn tells_the_first_of_several_reasons(harness: &dyn UserHarness) {
    let users = harness.open().await;
    put_users(&*users, &[user(1, "a")]).await;
    let mut wrong = User { name: "nul\0".into(), ..member(2, "a", &[9]) };
    let refused = users.put_user(wrong.clone()).await;
    assert!(matches!(refused, Err(UserStoreError::NullCharacter { field: "name" })), "{refused:?}");
    wrong.name = String::new();
    let refused = users.put_user(wrong.clone()).await;
    assert!(matches!(refused, Err(UserStoreError::UsernameTaken(_))), "{refused:?}");
    wrong.username = "b".into();
    let refused = users.put_user(wrong).await;
    assert!(matches!(refused, Err(UserStoreError::UnknownGroup(_))), "{refused:?}");
    let own_parent = users.put_group(group(1, Some(1))).await;
    assert!(matches!(own_parent, Err(UserStoreError::Cycle(_))), "{own_parent:?}");
}

pub(crate) async fn removes_a_user_with_all_that_it_had(harness: &dyn UserHarness) {
    let users = harness.open().await;
    put_groups(&*users, &[group(1, None)]).await;
    put_users(&*users, &[member(1, "a", &[1])]).await;
    let (id, token) = (UserId::new(1), TokenId::from_bytes([1; 16]));
    users.grant(id, Permission::ViewToken, Some(token)).await.expect("it can be granted");
    assert!(users.remove_user(id).await.expect("it can be removed"));
    assert!(!users.remove_user(id).await.expect("it can be removed"), "there was none");
    assert_eq!(profile(&*users, 1).await, None);
    assert_eq!(users.user_named("a").await.expect("the directory can be read"), None);

    put_users(&*users, &[user(1, "a")]).await;
    assert_eq!(groups(&*users, 1).await, [0_u8; 0]);
    assert_eq!(held(&*users, 1, Some(token)).await, Permissions::NONE);
}

pub(crate) async fn replaces_a_group_of_the_same_id(harness: &dyn UserHarness) {
    let users = harness.open().await;
    put_groups(&*users, &[group(1, None), group(2, Some(1)), group(3, None)]).await;
    put_users(&*users, &[member(1, "a", &[2])]).await;
    let renamed = Group { name: "renamed".into(), is_superuser: true, ..group(1, Some(3)) };
    put_groups(&*users, std::slice::from_ref(&renamed)).await;
    let found = profile(&*users, 1).await.expect("there is such a user");
    assert_eq!(found.group(group_id(1)), Some(&renamed));
    assert_eq!(groups(&*users, 1).await, [1, 2, 3]);
}

pub(crate) async fn refuses_groups_that_cannot_be(harness: &dyn UserHarness) {
    let users = harness.open().await;
    put_groups(&*users, &[group(1, None), group(2, Some(1)), group(3, Some(2))]).await;
    put_users(&*users, &[member(1, "a", &[3])]).await;
    let refused = users.put_group(group(4, Some(9))).await;
    assert!(matches!(refused, Err(UserStoreError::UnknownGroup(id)) if id == group_id(9)));
    for parent in [1, 2, 3] {
        let refused = users.put_group(group(1, Some(parent))).await;
        assert!(matches!(refused, Err(UserStoreError::Cycle(id)) if id == group_id(1)), "{parent}");
    }
    assert_eq!(groups(&*users, 1).await, [1, 2, 3], "nothing was changed");
}

pub(crate) async fn removes_a_group_from_members_and_children(harness: &dyn UserHarness) {
    let users = harness.open().await;
    put_groups(&*users, &[group(1, None), group(2, Some(1)), group(3, Some(2))]).await;
    put_users(&*users, &[member(1, "a", &[2, 3])]).await;
    assert!(users.remove_group(group_id(2)).await.expect("it can be removed"));
    assert!(!users.remove_group(group_id(2)).await.expect("it can be removed"), "there was none");
    assert_eq!(groups(&*users, 1).await, [3]);
    let found = profile(&*users, 1).await.expect("there is such a user");
    assert_eq!(found.group(group_id(3)), Some(&group(3, None)));
    assert_eq!(found.user.groups, BTreeSet::from([group_id(3)]));
}

pub(crate) async fn keeps_what_was_written(harness: &dyn UserHarness) {
    let users = harness.open().await;
    put_groups(&*users, &[group(1, None)]).await;
    put_users(&*users, &[member(1, "a", &[1])]).await;
    users.grant(UserId::new(1), Permission::ViewToken, None).await.expect("it can be granted");
    drop(users);
    let users = harness.open().await;
    assert_eq!(groups(&*users, 1).await, [1]);
    assert!(held(&*users, 1, None).await.contains(Permission::ViewToken));
}
