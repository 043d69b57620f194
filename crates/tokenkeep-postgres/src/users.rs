//! The directory: users, groups, memberships and permissions.

use std::collections::{BTreeMap, BTreeSet};
use std::iter::once;
use std::sync::Arc;

use serde_json::Map;
use tokenkeep::{
    Group, GroupId, Permission, Permissions, Profile, StoreError, StoreErrorKind, TokenId, User,
    UserId, UserStoreError, UserType,
};
use tokio_postgres::Row;
use tokio_postgres::error::SqlState;
use uuid::Uuid;

use crate::columns::Columns;
use crate::connection::{Cause, Transacted};
use crate::error::{Fault, error};
use crate::pool::Connections;
use crate::statement::{Statement, Wanted, digest_of};
use crate::value::Value;

pub(crate) async fn is_active(
    connections: &Connections,
    user: UserId,
) -> Result<Option<bool>, StoreError> {
    let sql = "SELECT is_active FROM tokenkeep_user WHERE id = $1";
    let rows = connections.query(sql, &[user.get().into()]).await?;
    let active = rows.first().map(|row| Columns::of(row, "tokenkeep_user").get("is_active"));
    Ok(active.transpose()?)
}

/// The columns of a user, in the order in which [`read_user`] takes them.
macro_rules! user_columns {
    () => {
        "u.id, u.uuid, u.username, u.name, u.email, u.avatar, u.is_active, u.user_type, u.path, \
         u.attributes, u.last_login, u.date_joined, u.last_updated, u.password_change_date"
    };
}
pub(crate) use user_columns;

/// How many columns of a row are the user's.
pub(crate) const USER_COLUMNS: usize = 14;

/// Users with every group that counts for them, by one statement: a row for each pair of them. UNION
/// keeps each group once, so that the walk ends whatever the parents are.
const PROFILES: &str = concat!(
    "WITH RECURSIVE own (member, id) AS (\
       SELECT user_id, group_id FROM tokenkeep_member WHERE user_id = ANY ($1) \
       UNION \
       SELECT own.member, up.parent FROM tokenkeep_group up JOIN own ON up.id = own.id \
       WHERE up.parent IS NOT NULL\
     ) SELECT ",
    user_columns!(),
    ", g.id, g.name, g.is_superuser, g.parent, g.attributes, \
       EXISTS (SELECT 1 FROM tokenkeep_member m WHERE m.user_id = u.id AND m.group_id = g.id) \
     FROM tokenkeep_user u \
     LEFT JOIN own ON own.member = u.id LEFT JOIN tokenkeep_group g ON g.id = own.id \
     WHERE u.id = ANY ($1)"
);

pub(crate) async fn profiles(
    connections: &Connections,
    users: &[UserId],
) -> Result<Vec<Profile>, StoreError> {
    let ids = users.iter().map(|user| user.get()).collect();
    let rows = connections.query(PROFILES, &[Value::Numbers(ids)]).await?;
    let mut found = BTreeMap::new();
    let mut groups = BTreeMap::new();
    for row in &rows {
        let user = read_user(row)?;
        let (user, own) = found.entry(user.id).or_insert((user, Vec::new()));
        let mut columns = Columns::from(row, "tokenkeep_group", USER_COLUMNS);
        if let Some(group) = read_group(&mut columns)? {
            if columns.get("membership")? {
                user.groups.insert(group.id);
            }
            own.push(Arc::clone(groups.entry(group.id).or_insert_with(|| Arc::new(group))));
        }
    }
    let profile = |(user, groups)| Profile { user: Arc::new(user), groups };
    Ok(found.into_values().map(profile).collect())
}

pub(crate) fn read_user(row: &Row) -> Result<User, Fault> {
    let mut columns = Columns::of(row, "tokenkeep_user");
    Ok(User {
        id: UserId::new(columns.key("id")?),
        uuid: columns.get("uuid")?,
        username: columns.get("username")?,
        name: columns.get("name")?,
        email: columns.get("email")?,
        avatar: columns.get("avatar")?,
        is_active: columns.get("is_active")?,
        user_type: columns.parsed("user_type", UserType::from_name)?,
        path: columns.get("path")?,
        attributes: columns.attributes("attributes")?,
        groups: BTreeSet::new(),
        last_login: columns.time_or_null("last_login")?,
        date_joined: columns.time("date_joined")?,
        last_updated: columns.time("last_updated")?,
        password_change_date: columns.time("password_change_date")?,
    })
}

/// A group from the next columns; `None` beside a user who is in none.
pub(crate) fn read_group(columns: &mut Columns<'_>) -> Result<Option<Group>, Fault> {
    let Some(id) = columns.key_or_null::<Uuid>("id")? else {
        return Ok(None);
    };
    Ok(Some(Group {
        id: id.into(),
        name: columns.get("name")?,
        is_superuser: columns.get("is_superuser")?,
        parent: columns.get::<Option<Uuid>>("parent")?.map(Into::into),
        attributes: columns.attributes("attributes")?,
    }))
}

pub(crate) async fn permissions(
    connections: &Connections,
    user: UserId,
    on: Option<TokenId>,
) -> Result<Permissions, StoreError> {
    let sql = "SELECT permission FROM tokenkeep_permission \
         WHERE user_id = $1 AND (token = $2 OR token = $3)";
    let values = [user.get().into(), scope(None).into(), scope(on.as_ref()).into()];
    let rows = connections.query(sql, &values).await?;
    let mut held = Permissions::NONE;
    for row in &rows {
        let mut columns = Columns::of(row, "tokenkeep_permission");
        held = held.with(columns.parsed("permission", Permission::from_name)?);
    }
    Ok(held)
}

pub(crate) async fn granted_tokens(
    connections: &Connections,
    user: UserId,
    permission: Permission,
) -> Result<Vec<TokenId>, StoreError> {
    let sql = "SELECT token FROM tokenkeep_permission \
         WHERE user_id = $1 AND permission = $2 AND token <> $3";
    let values = [user.get().into(), permission.as_str().into(), scope(None).into()];
    let rows = connections.query(sql, &values).await?;
    let id = |bytes: &[u8]| bytes.try_into().ok().map(TokenId::from_bytes);
    let tokens =
        rows.iter().map(|row| Columns::of(row, "tokenkeep_permission").parsed("token", id));
    Ok(tokens.collect::<Result<_, Fault>>()?)
}

/// Where a permission is held: a token's id, or nothing for all of them.
pub(crate) fn scope(on: Option<&TokenId>) -> &[u8] {
    on.map_or(&[], |token| token.as_bytes())
}

pub(crate) async fn named(
    connections: &Connections,
    username: &str,
) -> Result<Option<UserId>, StoreError> {
    let sql = "SELECT id FROM tokenkeep_user WHERE username_digest = $1";
    let rows = connections.query(sql, &[digest_of(Some(username))]).await?;
    Ok(ids(&rows)?.pop())
}

pub(crate) async fn matching(
    connections: &Connections,
    word: &str,
) -> Result<Vec<UserId>, StoreError> {
    if word.contains('\0') {
        // Nobody is called so, and the server would not hear of it.
        return Ok(Vec::new());
    }
    let sql = "SELECT id FROM tokenkeep_user WHERE strpos(lower(username), $1) > 0";
    ids(&connections.query(sql, &[word.to_ascii_lowercase().into()]).await?)
}

fn ids(rows: &[Row]) -> Result<Vec<UserId>, StoreError> {
    let ids = rows.iter().map(|row| Columns::of(row, "tokenkeep_user").get("id").map(UserId::new));
    Ok(ids.collect::<Result<_, Fault>>()?)
}

/// Writes a user with its memberships, by one statement: the constraints are what refuses it.
const PUT_USER: &str = "WITH put AS (\
       INSERT INTO tokenkeep_user (id, uuid, username, username_digest, name, email, avatar, \
         is_active, user_type, path, attributes, last_login, date_joined, last_updated, \
         password_change_date) \
       VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15) \
       ON CONFLICT (id) DO UPDATE SET uuid = $2, username = $3, username_digest = $4, name = $5, \
         email = $6, avatar = $7, is_active = $8, user_type = $9, path = $10, attributes = $11, \
         last_login = $12, date_joined = $13, last_updated = $14, password_change_date = $15\
     ), \
     left_groups AS (\
       DELETE FROM tokenkeep_member WHERE user_id = $1 AND NOT group_id = ANY ($16)\
     ) \
     INSERT INTO tokenkeep_member (user_id, group_id) SELECT $1, * FROM unnest($16::uuid[]) \
     ON CONFLICT DO NOTHING";

/// Lets one instance write users and groups at a time, under any level of isolation.
const LOCK: &str = "UPDATE tokenkeep_schema SET directory_writes = directory_writes + 1";

/// Writes to the directory; returns the place of what was refused, and why.
async fn write(
    connections: &Connections,
    statements: &[&Statement<'_>],
) -> Result<Option<(usize, Cause)>, StoreError> {
    let lock = Statement { sql: LOCK.into(), ..Statement::default() };
    let locked: Vec<_> = once(&lock).chain(statements.iter().copied()).collect();
    match connections.transact(&locked).await? {
        Transacted::Committed => Ok(None),
        Transacted::RolledBack(place, cause) => Ok(Some((place.saturating_sub(1), cause))),
    }
}

pub(crate) async fn put_user(connections: &Connections, user: &User) -> Result<(), UserStoreError> {
    user.check_storable()?;
    let mut put = Statement { sql: PUT_USER.into(), ..Statement::default() };
    put.values.extend([
        user.id.get().into(),
        (*user.uuid.as_bytes()).into(),
        user.username.as_str().into(),
        digest_of(Some(&user.username)),
        user.name.as_str().into(),
        user.email.as_str().into(),
        user.avatar.as_deref().into(),
        user.is_active.into(),
        user.user_type.as_str().into(),
        user.path.as_str().into(),
        json(&user.attributes).into(),
        user.last_login.map(|at| at.as_micros()).into(),
        user.date_joined.as_micros().into(),
        user.last_updated.as_micros().into(),
        user.password_change_date.as_micros().into(),
        Value::Uuids(user.groups.iter().map(|id| Uuid::from_bytes(*id.as_bytes())).collect()),
    ]);
    match write(connections, &[&put]).await? {
        None => Ok(()),
        Some((_, Cause::Refusal(refusal)))
            if refusal.violates(&SqlState::UNIQUE_VIOLATION, NAME) =>
        {
            Err(UserStoreError::UsernameTaken(user.username.clone()))
        }
        Some((_, Cause::Refusal(refusal))) if refusal.violates(&MISSING, MEMBER_GROUP) => {
            Err(unknown_group(connections, &user.groups).await?)
        }
        Some((_, cause)) => Err(StoreError::from(cause.into_fault()).into()),
    }
}

/// The constraint that keeps usernames apart.
const NAME: &str = "tokenkeep_user_username";

/// What a row is refused with that refers to another that is not there.
const MISSING: SqlState = SqlState::FOREIGN_KEY_VIOLATION;

/// The constraint that keeps users out of groups that are not there.
const MEMBER_GROUP: &str = "tokenkeep_member_group";

/// Which of the groups is missing.
async fn unknown_group(
    connections: &Connections,
    groups: &BTreeSet<GroupId>,
) -> Result<UserStoreError, StoreError> {
    let sql = "SELECT id FROM tokenkeep_group WHERE id = $1";
    for group in groups {
        if connections.query(sql, &[(*group.as_bytes()).into()]).await?.is_empty() {
            return Ok(UserStoreError::UnknownGroup(*group));
        }
    }
    Ok(error(StoreErrorKind::Busy, "a group was written at the same time").into())
}

pub(crate) async fn remove_user(
    connections: &Connections,
    user: UserId,
) -> Result<bool, StoreError> {
    let sql = "DELETE FROM tokenkeep_user WHERE id = $1 RETURNING 1";
    let removed = connections.execute(sql, &[user.get().into()]).await;
    Ok(!removed?.is_empty())
}

/// Finds a group among a group and its ancestors.
const FIND_ANCESTOR: &str = "WITH RECURSIVE up (id) AS (\
       SELECT $1::uuid \
       UNION \
       SELECT g.parent FROM tokenkeep_group g JOIN up ON g.id = up.id WHERE g.parent IS NOT NULL\
     ) SELECT 1 FROM up WHERE id = $2";

const PUT_GROUP: &str = "INSERT INTO tokenkeep_group (id, name, is_superuser, parent, attributes) \
     VALUES ($1, $2, $3, $4, $5) \
     ON CONFLICT (id) DO UPDATE SET name = $2, is_superuser = $3, parent = $4, attributes = $5";

pub(crate) async fn put_group(
    connections: &Connections,
    group: &Group,
) -> Result<(), UserStoreError> {
    group.check_storable()?;
    let id = || Value::from(*group.id.as_bytes());
    let parent = || Value::from(group.parent.map(|parent| *parent.as_bytes()));
    let walk =
        Statement { sql: FIND_ANCESTOR.into(), values: vec![parent(), id()], wants: Wanted::None };
    let mut put = Statement { sql: PUT_GROUP.into(), ..Statement::default() };
    put.values.extend([
        id(),
        group.name.as_str().into(),
        group.is_superuser.into(),
        parent(),
        json(&group.attributes).into(),
    ]);
    match (write(connections, &[&walk, &put]).await?, group.parent) {
        (None, _) => Ok(()),
        (Some((_, Cause::Rows)), _) => Err(UserStoreError::Cycle(group.id)),
        (Some((_, Cause::Refusal(refusal))), Some(parent))
            if refusal.violates(&MISSING, "tokenkeep_group_parent") =>
        {
            Err(UserStoreError::UnknownGroup(parent))
        }
        (Some((_, cause)), _) => Err(StoreError::from(cause.into_fault()).into()),
    }
}

pub(crate) async fn remove_group(
    connections: &Connections,
    group: GroupId,
) -> Result<bool, StoreError> {
    let sql = "DELETE FROM tokenkeep_group WHERE id = $1 RETURNING 1";
    let removed = connections.execute(sql, &[(*group.as_bytes()).into()]).await;
    Ok(!removed?.is_empty())
}

pub(crate) async fn grant(
    connections: &Connections,
    user: UserId,
    permission: Permission,
    on: Option<TokenId>,
) -> Result<(), UserStoreError> {
    let sql = "INSERT INTO tokenkeep_permission (user_id, token, permission) \
         VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
    let values = [user.get().into(), scope(on.as_ref()).into(), permission.as_str().into()];
    match connections.execute(sql, &values).await {
        Ok(_) => Ok(()),
        Err(Fault::Refused(refusal)) if refusal.violates(&MISSING, "tokenkeep_permission_user") => {
            Err(UserStoreError::UnknownUser(user))
        }
        Err(fault) => Err(StoreError::from(fault).into()),
    }
}

pub(crate) async fn revoke(
    connections: &Connections,
    user: UserId,
    permission: Permission,
    on: Option<TokenId>,
) -> Result<(), StoreError> {
    let sql = "DELETE FROM tokenkeep_permission \
         WHERE user_id = $1 AND token = $2 AND permission = $3";
    let values = [user.get().into(), scope(on.as_ref()).into(), permission.as_str().into()];
    connections.execute(sql, &values).await?;
    Ok(())
}

/// Attributes as they are stored.
fn json(attributes: &Map<String, serde_json::Value>) -> String {
    serde_json::Value::Object(attributes.clone()).to_string()
}
