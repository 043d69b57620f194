//! The directory that comes with a backend, listed.

use tokenkeep::{Grant, Group, GroupId, Permission, TokenId, User, UserId, UserStore};

use super::users::{full_user, group, group_id, member, put_groups, put_users, user};
use crate::harness::UserHarness;

async fn users(users: &dyn UserStore, after: Option<i64>, limit: u32) -> Vec<User> {
    users.users(after.map(UserId::new), limit).await.expect("the directory can be read")
}

async fn ids(directory: &dyn UserStore, after: Option<i64>, limit: u32) -> Vec<i64> {
    users(directory, after, limit).await.iter().map(|user| user.id.get()).collect()
}

async fn groups(users: &dyn UserStore, after: Option<GroupId>, limit: u32) -> Vec<Group> {
    users.groups(after, limit).await.expect("the directory can be read")
}

async fn grants(users: &dyn UserStore, after: Option<Grant>, limit: u32) -> Vec<Grant> {
    users.grants(after, limit).await.expect("the directory can be read")
}

pub(crate) async fn lists_users_as_they_were_written(harness: &dyn UserHarness) {
    let directory = harness.open().await;
    put_groups(&*directory, &[group(1, None), group(2, Some(1)), group(3, None)]).await;
    // The first by name is the last by id.
    let full = User { groups: [group_id(3), group_id(2)].into(), ..full_user() };
    let all = [user(-7, "z"), user(0, "y"), member(3, "x", &[2]), full];
    for user in all.iter().rev() {
        put_users(&*directory, std::slice::from_ref(user)).await;
    }
    assert_eq!(users(&*directory, None, 10).await, all);
    let renamed = User { groups: [group_id(1)].into(), ..user(3, "a") };
    put_users(&*directory, std::slice::from_ref(&renamed)).await;
    assert_eq!(users(&*directory, Some(0), 1).await, [renamed], "written again, it is there once");
    directory.remove_user(UserId::new(0)).await.expect("it can be removed");
    assert_eq!(ids(&*directory, None, 10).await, [-7, 3, i64::MAX]);
}

pub(crate) async fn lists_users_page_by_page(harness: &dyn UserHarness) {
    let directory = harness.open().await;
    assert_eq!(ids(&*directory, None, 10).await, [0_i64; 0]);
    for number in [i64::MAX, 9, 7, 1, 0, -1, i64::MIN] {
        put_users(&*directory, &[user(number, &format!("user {number}"))]).await;
    }
    assert_eq!(ids(&*directory, None, 0).await, [0_i64; 0]);
    assert_eq!(ids(&*directory, None, 3).await, [i64::MIN, -1, 0]);
    assert_eq!(ids(&*directory, Some(i64::MIN), 2).await, [-1, 0]);
    assert_eq!(ids(&*directory, Some(0), 3).await, [1, 7, 9]);
    assert_eq!(ids(&*directory, Some(8), 3).await, [9, i64::MAX], "nobody has the number 8");
    assert_eq!(ids(&*directory, Some(i64::MAX), 3).await, [0_i64; 0]);
}

pub(crate) async fn lists_groups_page_by_page(harness: &dyn UserHarness) {
    let directory = harness.open().await;
    assert_eq!(groups(&*directory, None, 10).await, []);
    let deepest = Group { is_superuser: true, name: "Ä".into(), ..group(0, Some(0x80)) };
    let all = [deepest, group(0x7f, None), group(0x80, Some(0xff)), group(0xff, None)];
    for group in all.iter().rev() {
        put_groups(&*directory, std::slice::from_ref(group)).await;
    }
    assert_eq!(groups(&*directory, None, 10).await, all);
    assert_eq!(groups(&*directory, None, 0).await, []);
    assert_eq!(groups(&*directory, None, 3).await, all[..3]);
    assert_eq!(groups(&*directory, Some(group_id(0)), 2).await, all[1..3]);
    assert_eq!(groups(&*directory, Some(group_id(0x81)), 2).await, all[3..], "it is not there");
    assert_eq!(groups(&*directory, Some(group_id(0xff)), 2).await, []);
}

pub(crate) async fn lists_what_every_user_holds(harness: &dyn UserHarness) {
    let directory = harness.open().await;
    put_users(&*directory, &[user(-1, "a"), user(1, "b"), user(2, "c")]).await;
    let on = |number| Some(TokenId::from_bytes([number; 16]));
    let mut all = Vec::new();
    for (user, on) in [(-1, on(0xff)), (1, None), (1, on(0)), (1, on(0x80)), (2, None)] {
        let of = |permission| Grant { user: UserId::new(user), on, permission };
        all.extend(Permission::ALL.map(of));
    }
    for grant in all.iter().rev() {
        let granted = directory.grant(grant.user, grant.permission, grant.on).await;
        granted.expect("it can be granted");
    }
    all.sort_unstable();
    assert_eq!(grants(&*directory, None, 100).await, all);
    assert_eq!(grants(&*directory, None, 0).await, []);
    for (place, grant) in all.iter().enumerate() {
        let page = grants(&*directory, Some(*grant), 2).await;
        assert_eq!(page, all[place + 1..all.len().min(place + 3)], "behind {grant}");
    }
    let gone = all.remove(8);
    let revoked = directory.revoke(gone.user, gone.permission, gone.on).await;
    revoked.expect("it can be revoked");
    assert_eq!(grants(&*directory, Some(gone), 100).await, all[8..], "it is held no more");
    assert_eq!(grants(&*directory, None, 100).await, all);
}
