//! Whatever there is, the copy has it, and nothing else.

use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::json;
use tokenkeep::{
    Change, Commit, Copied, CopyReport, Grant, Group, GroupId, MAX_ATTRIBUTE_DEPTH, Permission,
    TokenId, User, UserId, UserType,
};
use tokenkeep_tests::arbitrary::{event, id, time, token};
use tokenkeep_tests::backend::{Backend, KeptPostgres, Loaded};
use tokenkeep_tests::properties::cases_at_least;

use crate::world::{World, copy_all};

/// Rows of which a store refuses some.
#[derive(Debug, Clone)]
struct Drafts {
    groups: Vec<Group>,
    users: Vec<User>,
    grants: Vec<Grant>,
    tokens: Vec<tokenkeep::Token>,
    events: Vec<tokenkeep::Event>,
}

fn group_id() -> impl Strategy<Value = GroupId> {
    (0_u8..6).prop_map(|number| GroupId::from_bytes([number; 16]))
}

fn attributes() -> impl Strategy<Value = serde_json::Map<String, serde_json::Value>> {
    let deepest = (2..MAX_ATTRIBUTE_DEPTH).fold(json!(0.1), |inner, _| json!([inner]));
    let values = vec![json!(null), json!("ä\"\\\u{1F600}"), json!([1, -2.5e-7, u64::MAX]), deepest];
    prop::collection::btree_map(select(vec!["", "a", "Ä"]), select(values), 0..3)
        .prop_map(|map| map.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

fn group() -> impl Strategy<Value = Group> {
    let shown = (select(vec!["a", "B", "ä"]), any::<bool>());
    (group_id(), shown, prop::option::of(group_id()), attributes()).prop_map(
        |(id, (name, is_superuser), parent, attributes)| Group {
            is_superuser,
            parent,
            attributes,
            ..Group::new(id, name)
        },
    )
}

fn user() -> impl Strategy<Value = User> {
    let groups = subsequence((0_u8..6).collect::<Vec<_>>(), 0..4);
    let who = (select(vec![i64::MIN, -1, 0, 1, 2, i64::MAX]), select(vec!["a", "A", "b", "ä", ""]));
    let what = (select(UserType::ALL.to_vec()), any::<[bool; 2]>(), attributes(), groups);
    let when = (prop::option::of(time()), time(), time(), time());
    (who, any::<u128>(), what, when).prop_map(|((id, name), uuid, what, when)| User {
        user_type: what.0,
        is_active: what.1[0],
        avatar: what.1[1].then(|| "/a.png".to_owned()),
        attributes: what.2,
        groups: what.3.into_iter().map(|number| GroupId::from_bytes([number; 16])).collect(),
        last_login: when.0,
        last_updated: when.2,
        password_change_date: when.3,
        ..User::new(UserId::new(id), uuid::Uuid::from_u128(uuid), name, when.1)
    })
}

fn grant() -> impl Strategy<Value = Grant> {
    let user = select(vec![i64::MIN, -1, 0, 1, 2, i64::MAX]).prop_map(UserId::new);
    (user, prop::option::of(id()), select(Permission::ALL.to_vec()))
        .prop_map(|(user, on, permission)| Grant { user, on, permission })
}

fn drafts() -> impl Strategy<Value = Drafts> {
    let directory = (
        prop::collection::vec(group(), 0..12),
        prop::collection::vec(user(), 0..8),
        prop::collection::vec(grant(), 0..12),
    );
    let tokens = prop::collection::vec(token(), 0..8);
    (directory, tokens, prop::collection::vec(event(), 0..12)).prop_map(
        |((groups, users, grants), tokens, events)| Drafts {
            groups,
            users,
            grants,
            tokens,
            events,
        },
    )
}

impl Drafts {
    /// Writes what can be written.
    async fn put(&self, backend: &Backend) {
        for group in &self.groups {
            let _ = backend.users.put_group(group.clone()).await;
        }
        for user in &self.users {
            // Only those of its groups that there are.
            let there: BTreeSet<_> = self.groups.iter().map(|group| group.id).collect();
            let groups = user.groups.intersection(&there).copied().collect();
            let _ = backend.users.put_user(User { groups, ..user.clone() }).await;
        }
        for Grant { user, on, permission } in &self.grants {
            let _ = backend.users.grant(*user, *permission, *on).await;
        }
        for token in &self.tokens {
            let changes = vec![Change::Insert(token.clone().into())];
            let _ = backend.tokens.commit(Commit { changes, events: Vec::new() }).await;
        }
        for event in &self.events {
            let commit = Commit { changes: Vec::new(), events: vec![event.clone()] };
            let _ = backend.tokens.commit(commit).await;
        }
    }
}

/// The numbers of rows of each kind that were written and compared.
fn counts(report: &CopyReport) -> [(u64, u64); 5] {
    let CopyReport { groups, users, grants, tokens, events, .. } = report;
    let count = |copied: &Copied| (copied.written, copied.verified);
    [groups, users, grants, tokens, events].map(count)
}

fn sizes(world: &World) -> [u64; 5] {
    let World { groups, users, grants, tokens, events } = world;
    let sizes = [groups.len(), users.len(), grants.len(), tokens.len(), events.len()];
    sizes.map(|size| u64::try_from(size).unwrap())
}

/// Copies a world, and copies it again.
async fn check(from: &Backend, to: &Backend) {
    let world = World::of(from).await;
    let report = copy_all(from, to).await.unwrap();
    assert_eq!(counts(&report), sizes(&world).map(|size| (size, size)));
    assert_eq!(World::of(to).await, world, "{} to {}", from.name, to.name);
    assert_eq!(World::of(from).await, world, "the source is as it was");
    let again = copy_all(from, to).await.unwrap();
    assert_eq!(counts(&again), sizes(&world).map(|size| (0, size)));
    assert_eq!(World::of(to).await, world);
}

#[test]
fn a_copy_is_equal_row_by_row() {
    let postgres = KeptPostgres::empty();
    proptest!(cases_at_least(64), |(drafts in drafts())| {
        pollster::block_on(async {
            let first = Backend::memory();
            drafts.put(&first).await;
            let mut stations = vec![Backend::sqlite()];
            stations.extend(postgres.as_ref().map(Loaded::fresh));
            stations.extend([Backend::sqlite(), Backend::memory()]);
            let mut from = &first;
            for to in &stations {
                check(from, to).await;
                from = to;
            }
            assert_eq!(World::of(from).await, World::of(&first).await);
        });
    });
}

#[test]
fn pages_follow_each_other() {
    pollster::block_on(async {
        for size in [999, 1_000, 1_001, 2_500] {
            let world = World::of_size(size);
            for target in Backend::all() {
                check(&world.in_memory().await, &target).await;
            }
        }
    });
}

#[test]
fn more_users_than_a_page_are_copied_with_all_that_they_hold() {
    pollster::block_on(async {
        let from = Backend::memory();
        let mut world = World::of_size(1);
        let user = |number| tokenkeep_tests::scene::user(UserId::new(number), &number.to_string());
        world.users = (0..1_500).map(user).collect();
        world.grants = (0..1_500)
            .flat_map(|number| {
                let on = Some(TokenId::from_bytes([7; 16]));
                let held = Permission::ALL.into_iter().filter(|held| *held != Permission::AddToken);
                held.map(move |permission| Grant { user: UserId::new(number), on, permission })
            })
            .collect();
        let group = |number: u32| {
            let mut id = [0; 16];
            id[..4].copy_from_slice(&number.to_be_bytes());
            Group::new(GroupId::from_bytes(id), number.to_string())
        };
        world.groups = (0..1_500).map(group).collect();
        world.put(&*from.tokens, &*from.users).await;
        for target in Backend::all() {
            check(&from, &target).await;
        }
    });
}
