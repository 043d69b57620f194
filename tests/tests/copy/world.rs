//! All that a store holds.

use std::sync::Arc;

use tokenkeep::{
    Caller, Change, Commit, CopyError, CopyReport, Event, EventId, EventKind, EventQuery, Grant,
    Group, GroupId, Permission, SealedKey, Timestamp, Token, TokenFields, TokenStore, User, UserId,
    UserStore, copy_tokens, copy_users,
};
use tokenkeep_tests::backend::Backend;
use tokenkeep_tests::scene::{row, shifted, start, user};
use tokenkeep_tests::vectors::all_tokens;

/// Every row, read without the help of a copy.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct World {
    /// Parents before their children.
    pub(crate) groups: Vec<Group>,
    pub(crate) users: Vec<User>,
    pub(crate) grants: Vec<Grant>,
    pub(crate) tokens: Vec<Token>,
    pub(crate) events: Vec<Event>,
}

impl World {
    pub(crate) async fn of(backend: &Backend) -> Self {
        Self::in_stores(&*backend.tokens, &*backend.users).await
    }

    pub(crate) async fn in_stores(tokens: &dyn TokenStore, users: &dyn UserStore) -> Self {
        let all = EventQuery { limit: u32::MAX, ..EventQuery::default() };
        Self {
            groups: users.groups(None, u32::MAX).await.unwrap(),
            users: users.users(None, u32::MAX).await.unwrap(),
            grants: users.grants(None, u32::MAX).await.unwrap(),
            tokens: all_tokens(tokens).await,
            events: tokens.events(&all).await.unwrap().events,
        }
    }

    /// A world with every kind of rows, and so many tokens and events.
    pub(crate) fn of_size(size: u32) -> Self {
        let group = |number: u8, parent: Option<u8>| Group {
            parent: parent.map(|parent| GroupId::from_bytes([parent; 16])),
            ..Group::new(GroupId::from_bytes([number; 16]), format!("group {number}"))
        };
        // By id, each comes before its parent.
        let groups = vec![group(3, None), group(2, Some(3)), group(1, Some(2))];
        let member = |number| User {
            groups: [GroupId::from_bytes([1; 16])].into(),
            ..user(UserId::new(number), &format!("user {number}"))
        };
        let tokens: Vec<_> = (1..=size).map(token).collect();
        let holds = |(user, permission)| Grant { user: UserId::new(user), on: None, permission };
        let grants = [(1, Permission::ViewToken), (2, Permission::AddToken)].map(holds);
        Self {
            groups,
            users: (1..=3).map(member).collect(),
            grants: grants.to_vec(),
            events: (1..).zip(&tokens).map(|(number, token)| event(number, token)).collect(),
            tokens,
        }
    }

    /// Writes all rows into a store that has none of them.
    pub(crate) async fn put(&self, tokens: &dyn TokenStore, users: &dyn UserStore) {
        for group in &self.groups {
            users.put_group(group.clone()).await.unwrap();
        }
        for user in &self.users {
            users.put_user(user.clone()).await.unwrap();
        }
        for Grant { user, on, permission } in &self.grants {
            users.grant(*user, *permission, *on).await.unwrap();
        }
        let insert = |token: &Token| Change::Insert(Arc::new(token.clone()));
        for part in self.tokens.chunks(1_000) {
            let changes = part.iter().map(insert).collect();
            tokens.commit(Commit { changes, events: Vec::new() }).await.unwrap();
        }
        for part in self.events.chunks(1_000) {
            let commit = Commit { changes: Vec::new(), events: part.to_vec() };
            tokens.commit(commit).await.unwrap();
        }
    }

    /// A memory store that holds it.
    pub(crate) async fn in_memory(&self) -> Backend {
        let backend = Backend::memory();
        self.put(&*backend.tokens, &*backend.users).await;
        backend
    }
}

/// A token like no other, with something in every field that a copy could lose.
pub(crate) fn token(number: u32) -> Token {
    // Ids in no order of the numbers.
    let id = u128::from(number.reverse_bits()) << 96 | u128::from(number);
    let at = shifted(start(), number.into());
    Token {
        description: format!("the {number}th").into(),
        expires: Some(at),
        expiring: number.is_multiple_of(2),
        managed: number.is_multiple_of(3).then(|| format!("m/{number}").parse().unwrap()),
        revision: tokenkeep::Revision::new(i64::from(number % 7) + 1).unwrap(),
        last_used: number.is_multiple_of(5).then_some(at),
        owner_may_view_key: number.is_multiple_of(2),
        sealed_key: number.is_multiple_of(2).then(|| SealedKey::from_bytes(&number.to_be_bytes())),
        ..row(id, &format!("token-{number}"), UserId::new(2), &format!("key {number}"))
    }
}

/// An event of a token; several share a time.
pub(crate) fn event(number: u32, token: &Token) -> Event {
    let id = u128::from(number.reverse_bits()) << 96 | u128::from(number);
    Event {
        id: EventId::from_bytes(id.to_be_bytes()),
        at: Timestamp::from_micros(start().as_micros() + i64::from(number / 3)).unwrap(),
        token: token.id,
        identifier: token.identifier.clone(),
        owner: token.owner,
        revision: token.revision,
        kind: EventKind::Updated,
        changed: TokenFields::NONE,
        actor: Caller::User(UserId::new(1)),
    }
}

/// Copies everything, and returns both reports in one.
pub(crate) async fn copy(
    from: (&dyn TokenStore, &dyn UserStore),
    to: (&dyn TokenStore, &dyn UserStore),
    progress: &mut (dyn FnMut(&CopyReport) + Send),
) -> Result<CopyReport, CopyError> {
    let mut report = copy_users(from.1, to.1, &mut *progress).await?;
    let copied = copy_tokens(from.0, to.0, progress).await?;
    (report.tokens, report.events) = (copied.tokens, copied.events);
    Ok(report)
}

/// Copies everything from one backend to another.
pub(crate) async fn copy_all(from: &Backend, to: &Backend) -> Result<CopyReport, CopyError> {
    copy((&*from.tokens, &*from.users), (&*to.tokens, &*to.users), &mut |_| {}).await
}
