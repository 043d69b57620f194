//! What does not fit is refused, and stays as it is.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokenkeep::{
    Change, Commit, CopyError, CopyReport, Event, Grant, Group, GroupId, Intent, KeyDigest,
    Permission, Revision, RowId, SealedKey, Timestamp, Token, TokenId, TokenKey, Touch, User,
    UserId, check_tokens_target, check_users_target, copy_tokens, copy_users,
};
use tokenkeep_tests::backend::Backend;
use tokenkeep_tests::scene::{shifted, start, user};
use tokenkeep_tests::unreliable::UnreliableStore;

use crate::world::{World, copy, copy_all, event, token};

const SIZE: u32 = 1_200;

/// A world, and a target of which each test fills in what the world does not have just so: all
/// else is missing there, and would be written if nobody looked first.
fn world() -> (World, World) {
    let world = World::of_size(SIZE);
    // Users need their groups.
    let target = World { groups: world.groups.clone(), ..World::default() };
    (world, target)
}

/// Checks that a target is refused for a row, and stays as it is.
async fn is_refused(target: World, expected: impl Fn(&CopyError) -> bool) {
    let (from, to) = (world().0.in_memory().await, target.in_memory().await);
    let (source, before) = (World::of(&from).await, World::of(&to).await);
    let (checked, copied) = if target.tokens.is_empty() && target.events.is_empty() {
        let checked = check_users_target(&*from.users, &*to.users).await;
        (checked, copy_users(&*from.users, &*to.users, &mut |_| {}).await)
    } else {
        let checked = check_tokens_target(&*from.tokens, &*to.tokens).await;
        (checked, copy_tokens(&*from.tokens, &*to.tokens, &mut |_| {}).await)
    };
    for error in [checked.unwrap_err(), copied.unwrap_err()] {
        assert!(expected(&error), "{error:?}");
    }
    assert_eq!(World::of(&to).await, before, "nothing was written");
    assert_eq!(World::of(&from).await, source);
}

async fn is_foreign(target: World, expected: RowId) {
    is_refused(target, |error| matches!(error, CopyError::Foreign(row) if *row == expected)).await;
}

async fn is_different(target: World, expected: RowId) {
    is_refused(target, |error| matches!(error, CopyError::Differs(row) if *row == expected)).await;
}

#[test]
fn a_target_with_a_foreign_row_is_left_alone() {
    pollster::block_on(async {
        let (world, target) = world();
        // The second comes behind all tokens of the source, the first before some.
        for number in [SIZE + 1, u32::MAX] {
            let foreign = token(number);
            let id = RowId::Token(foreign.id);
            is_foreign(World { tokens: vec![foreign], ..target.clone() }, id).await;
        }
        let extra = event(u32::MAX, &world.tokens[0]);
        let id = RowId::Event(extra.id);
        is_foreign(World { events: vec![extra], ..target.clone() }, id).await;

        let group = Group::new(GroupId::from_bytes([0xff; 16]), "others");
        let id = RowId::Group(group.id);
        is_foreign(World { groups: vec![group], ..World::default() }, id).await;

        let mallory = user(UserId::new(9), "mallory");
        let id = RowId::User(mallory.id);
        is_foreign(World { users: vec![mallory], ..World::default() }, id).await;

        let grant = Grant { user: UserId::new(3), on: None, permission: Permission::ViewTokenKey };
        let users = vec![world.users[2].clone()];
        is_foreign(World { users, grants: vec![grant], ..target }, RowId::Grant(grant)).await;
    });
}

#[test]
fn a_token_that_differs_in_any_field_is_refused() {
    let changes: [fn(&mut Token); 14] = [
        |token| token.identifier = "another".parse().unwrap(),
        |token| token.intent = Intent::Recovery,
        |token| token.owner = UserId::new(1),
        |token| token.description = "another".into(),
        |token| token.expires = None,
        |token| token.expiring = !token.expiring,
        |token| token.managed = Some("another".parse().unwrap()),
        |token| token.revision = Revision::new(9).unwrap(),
        |token| token.created = Timestamp::MIN,
        |token| token.updated = Timestamp::MAX,
        |token| token.last_used = Some(Timestamp::MIN),
        |token| token.owner_may_view_key = !token.owner_may_view_key,
        |token| token.key_digest = KeyDigest::of(&TokenKey::from("another".to_owned())),
        |token| token.sealed_key = Some(SealedKey::from_bytes(b"another")),
    ];
    pollster::block_on(async {
        for change in changes {
            let (world, target) = world();
            // The last, so that all others could have been written before it.
            let mut last = world.tokens.into_iter().max_by_key(|token| token.id).unwrap();
            change(&mut last);
            let id = RowId::Token(last.id);
            is_different(World { tokens: vec![last], ..target }, id).await;
        }
    });
}

#[test]
fn another_row_that_differs_is_refused() {
    pollster::block_on(async {
        let (world, target) = world();
        let first = world.events[0].clone();
        let id = RowId::Event(first.id);
        let first = Event { revision: Revision::new(9).unwrap(), ..first };
        is_different(World { events: vec![first], ..target.clone() }, id).await;
        // The trail of the target would go another way.
        let second = world.events[1].clone();
        is_foreign(
            World { events: vec![second.clone()], ..target.clone() },
            RowId::Event(second.id),
        )
        .await;

        let last = world.users[2].clone();
        let id = RowId::User(last.id);
        let alone = User { groups: BTreeSet::new(), ..last.clone() };
        is_different(World { users: vec![alone], ..target.clone() }, id).await;
        let inactive = User { is_active: false, ..last };
        is_different(World { users: vec![inactive], ..target.clone() }, id).await;

        let group = Group { is_superuser: true, ..world.groups[0].clone() };
        let id = RowId::Group(group.id);
        is_different(World { groups: vec![group], ..target }, id).await;
    });
}

#[test]
fn the_wrong_direction_loses_nothing() {
    pollster::block_on(async {
        let full = World::of_size(10).in_memory().await;
        let before = World::of(&full).await;
        let refused = copy_all(&Backend::memory(), &full).await;
        assert!(matches!(refused, Err(CopyError::Foreign(_))));
        assert_eq!(World::of(&full).await, before);
        copy_all(&full, &full).await.unwrap();
        assert_eq!(World::of(&full).await, before, "a copy onto itself");
    });
}

/// Copies a world, lets something happen when so many tokens and events have been written, and
/// returns how the copy ends.
async fn copy_while(
    happens_after: u64,
    happening: impl Fn(&Backend, &Backend) + Sync,
) -> Result<CopyReport, CopyError> {
    let (from, to) = (World::of_size(SIZE).in_memory().await, Backend::memory());
    let mut has_happened = false;
    let mut progress = |report: &CopyReport| {
        let written = report.tokens.written + report.events.written;
        if written == happens_after && !has_happened {
            has_happened = true;
            happening(&from, &to);
        }
    };
    let stores = ((&*from.tokens, &*from.users), (&*to.tokens, &*to.users));
    let ended = copy(stores.0, stores.1, &mut progress).await;
    assert!(has_happened);
    ended
}

fn commit(backend: &Backend, commit: Commit) {
    pollster::block_on(backend.tokens.commit(commit)).unwrap();
}

fn changes(change: Change) -> Commit {
    Commit { changes: vec![change], events: Vec::new() }
}

fn events(event: Event) -> Commit {
    Commit { changes: Vec::new(), events: vec![event] }
}

#[test]
fn what_was_tampered_with_is_found() {
    pollster::block_on(async {
        let all = u64::from(SIZE) * 2;
        let delete = |_: &Backend, to: &Backend| {
            let Token { id, revision: expected, .. } = token(7);
            commit(to, changes(Change::Delete { id, expected }));
        };
        let id = token(7).id;
        let ended = copy_while(all, delete).await;
        assert!(matches!(ended, Err(CopyError::Missing(RowId::Token(t))) if t == id), "{ended:?}");

        let touch = |_: &Backend, to: &Backend| {
            let touches = [Touch { token: token(7).id, at: Timestamp::MAX }];
            pollster::block_on(to.tokens.touch(&touches)).unwrap();
        };
        let ended = copy_while(all, touch).await;
        assert!(matches!(ended, Err(CopyError::Differs(RowId::Token(t))) if t == id), "{ended:?}");

        let add = |_: &Backend, to: &Backend| {
            commit(to, changes(Change::Insert(Arc::new(token(u32::MAX)))));
        };
        let ended = copy_while(all, add).await;
        assert!(matches!(ended, Err(CopyError::Foreign(RowId::Token(_)))), "{ended:?}");

        let tell = |_: &Backend, to: &Backend| commit(to, events(event(u32::MAX, &token(7))));
        let ended = copy_while(all, tell).await;
        assert!(matches!(ended, Err(CopyError::Foreign(RowId::Event(_)))), "{ended:?}");

        let prune = |_: &Backend, to: &Backend| {
            pollster::block_on(to.tokens.prune_events(shifted(start(), 1))).unwrap();
        };
        let ended = copy_while(all, prune).await;
        assert!(matches!(ended, Err(CopyError::Foreign(RowId::Event(_)))), "{ended:?}");
    });
}

#[test]
fn what_was_written_to_the_source_meanwhile_is_found() {
    pollster::block_on(async {
        // In front of all tokens, which have been passed.
        let early = Token { id: TokenId::from_bytes([0; 16]), ..token(u32::MAX) };
        let add = move |from: &Backend, _: &Backend| {
            commit(from, changes(Change::Insert(Arc::new(early.clone()))));
        };
        let ended = copy_while(1_000, add).await;
        assert!(matches!(ended, Err(CopyError::Missing(RowId::Token(_)))), "{ended:?}");

        let change = |from: &Backend, _: &Backend| {
            let before = World::of_size(7).tokens.pop().unwrap();
            let revision = before.revision.next().unwrap();
            let after = Token { revision, description: "later".into(), ..before.clone() };
            commit(from, changes(Change::replace(&before, after)));
        };
        let ended = copy_while(u64::from(SIZE), change).await;
        assert!(matches!(ended, Err(CopyError::Differs(RowId::Token(_)))), "{ended:?}");
    });
}

#[test]
fn a_token_whose_name_was_taken_meanwhile_is_refused() {
    pollster::block_on(async {
        let (from, to) = (World::of_size(SIZE).in_memory().await, Backend::memory());
        let last = World::of_size(SIZE).tokens.into_iter().max_by_key(|token| token.id).unwrap();
        let thief = Token {
            id: TokenId::from_bytes([0; 16]),
            key_digest: KeyDigest::of(&TokenKey::from("thief".to_owned())),
            managed: None,
            ..last.clone()
        };
        let mut progress = |report: &CopyReport| {
            if report.tokens.written == 1_000 {
                commit(&to, changes(Change::Insert(Arc::new(thief.clone()))));
            }
        };
        let ended = copy_tokens(&*from.tokens, &*to.tokens, &mut progress).await;
        let is_last = |row: &RowId| *row == RowId::Token(last.id);
        assert!(matches!(&ended, Err(CopyError::Refused(row)) if is_last(row)), "{ended:?}");
        assert_eq!(
            format!("{}", ended.unwrap_err()),
            format!("the target refuses token {}", last.id)
        );
    });
}

#[test]
fn a_group_whose_parent_never_comes_is_refused() {
    pollster::block_on(async {
        let from = World::of_size(1).in_memory().await;
        let hiding = UnreliableStore::hiding(&from, GroupId::from_bytes([3; 16]));
        let to = Backend::memory();
        let ended = copy_users(&hiding, &*to.users, &mut |_| {}).await;
        let child = GroupId::from_bytes([1; 16]);
        assert!(
            matches!(ended, Err(CopyError::Refused(RowId::Group(id))) if id == child),
            "{ended:?}"
        );
        assert_eq!(World::of(&to).await, World::default());
    });
}

#[test]
fn a_username_that_was_taken_meanwhile_is_not_told() {
    pollster::block_on(async {
        let mut world = World::of_size(1);
        let named = |number| user(UserId::new(number), &format!("user {number}"));
        world.users = (1..=1_001).map(named).collect();
        let (from, to) = (world.in_memory().await, Backend::memory());
        let mut progress = |report: &CopyReport| {
            if report.users.written == 1_000 {
                let thief = user(UserId::new(2_000), "user 1001");
                pollster::block_on(to.users.put_user(thief)).unwrap();
            }
        };
        let ended = copy_users(&*from.users, &*to.users, &mut progress).await;
        let error = ended.unwrap_err();
        let last = UserId::new(1_001);
        assert!(matches!(error, CopyError::Refused(RowId::User(id)) if id == last), "{error:?}");
    });
}
