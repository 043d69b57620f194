//! The directory: users, groups, memberships and permissions.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Row, Rows, params};
use serde_json::{Map, Value};
use tokenkeep::{
    Group, GroupId, Permission, Permissions, Profile, TokenId, User, UserId, UserStoreError,
    UserType,
};
use uuid::Uuid;

use crate::columns::{Columns, RowName};
use crate::error::Fault;
use crate::writer::Undone;

/// The columns of a user, in the order in which [`read_user`] takes them.
macro_rules! user_columns {
    () => {
        "id, uuid, username, name, email, avatar, is_active, user_type, path, attributes, \
         last_login, date_joined, last_updated, password_change_date"
    };
}
pub(crate) use user_columns;

/// The columns of a group, in the order in which [`read_group`] takes them.
macro_rules! group_columns {
    () => {
        "id, name, is_superuser, parent, attributes"
    };
}
pub(crate) use group_columns;

type Written = Result<(), Undone<UserStoreError>>;

pub(crate) fn is_active(connection: &Connection, user: UserId) -> Result<Option<bool>, Fault> {
    let mut select =
        connection.prepare_cached("SELECT is_active FROM user_account WHERE id = ?1")?;
    let read = |row: &Row<'_>| Ok(Columns::of(row, "user_account").boolean("is_active"));
    select.query_row([user.get()], read).optional()?.transpose()
}

/// A user with every group that counts for it.
pub(crate) fn profile(connection: &Connection, id: UserId) -> Result<Option<Profile>, Fault> {
    let mut select = connection.prepare_cached(concat!(
        "SELECT ",
        user_columns!(),
        " FROM user_account WHERE id = ?1"
    ))?;
    let found = select.query_row([id.get()], |row| Ok(read_user(row))).optional()?;
    let Some(mut user) = found.transpose()? else {
        return Ok(None);
    };
    let mut select = connection.prepare_cached(concat!(
        "SELECT ",
        group_columns!(),
        " FROM group_member JOIN user_group ON id = user_group WHERE user = ?1"
    ))?;
    let mut groups = read_groups(select.query([id.get()])?)?;
    user.groups = groups.iter().map(|group| group.id).collect();
    add_ancestors(connection, &mut groups)?;
    Ok(Some(Profile { user: Arc::new(user), groups: groups.into_iter().map(Arc::new).collect() }))
}

/// Adds the parents of groups, and theirs, each once, so that it ends whatever the parents are.
/// Most groups have none: a recursive query would cost every user its tables.
fn add_ancestors(connection: &Connection, groups: &mut Vec<Group>) -> Result<(), Fault> {
    let mut child = 0;
    while let Some(group) = groups.get(child) {
        child += 1;
        let Some(parent) = group.parent.filter(|id| groups.iter().all(|known| known.id != *id))
        else {
            continue;
        };
        let mut select = connection.prepare_cached(concat!(
            "SELECT ",
            group_columns!(),
            " FROM user_group WHERE id = ?1"
        ))?;
        groups.extend(read_groups(select.query([parent.as_bytes()])?)?);
    }
    Ok(())
}

fn read_groups(mut rows: Rows<'_>) -> Result<Vec<Group>, Fault> {
    let mut groups = Vec::new();
    while let Some(row) = rows.next()? {
        groups.push(read_group(&mut Columns::of(row, "user_group"))?);
    }
    Ok(groups)
}

/// A user from a row of `user_columns!()`, without its groups.
pub(crate) fn read_user(row: &Row<'_>) -> Result<User, Fault> {
    let mut columns = Columns::of(row, "user_account");
    let id = UserId::new(columns.integer("id")?);
    columns.name(RowName::Number(id.get()));
    Ok(User {
        id,
        uuid: Uuid::from_bytes(columns.sixteen_bytes("uuid")?),
        username: columns.text("username")?.into(),
        name: columns.text("name")?.into(),
        email: columns.text("email")?.into(),
        avatar: columns.text_or_null("avatar")?.map(Into::into),
        is_active: columns.boolean("is_active")?,
        user_type: columns.parsed("user_type", UserType::from_name)?,
        path: columns.text("path")?.into(),
        attributes: columns.attributes("attributes")?,
        groups: std::collections::BTreeSet::new(),
        last_login: columns.time_or_null("last_login")?,
        date_joined: columns.time("date_joined")?,
        last_updated: columns.time("last_updated")?,
        password_change_date: columns.time("password_change_date")?,
    })
}

/// A group from the columns of `group_columns!()`.
pub(crate) fn read_group(columns: &mut Columns<'_>) -> Result<Group, Fault> {
    let id = GroupId::from_bytes(columns.sixteen_bytes("id")?);
    columns.name(RowName::Uuid(*id.as_bytes()));
    Ok(Group {
        id,
        name: columns.text("name")?.into(),
        is_superuser: columns.boolean("is_superuser")?,
        parent: match columns.bytes_or_null("parent")? {
            Some(id) => {
                let id = id.try_into().map_err(|_| columns.corrupt("parent"))?;
                Some(GroupId::from_bytes(id))
            }
            None => None,
        },
        attributes: columns.attributes("attributes")?,
    })
}

pub(crate) fn permissions(
    connection: &Connection,
    user: UserId,
    on: Option<TokenId>,
) -> Result<Permissions, Fault> {
    let mut select = connection.prepare_cached(
        "SELECT permission FROM user_permission WHERE user = ?1 AND token IN (x'', ?2)",
    )?;
    let mut rows = select.query(params![user.get(), scope(on.as_ref())])?;
    let mut held = Permissions::NONE;
    while let Some(row) = rows.next()? {
        let mut columns = Columns::of(row, "user_permission");
        held = held.with(columns.parsed("permission", Permission::from_name)?);
    }
    Ok(held)
}

pub(crate) fn granted_tokens(
    connection: &Connection,
    user: UserId,
    permission: Permission,
) -> Result<Vec<TokenId>, Fault> {
    let mut select = connection.prepare_cached(
        "SELECT token FROM user_permission WHERE user = ?1 AND permission = ?2 AND token <> x''",
    )?;
    let mut rows = select.query(params![user.get(), permission.as_str()])?;
    let mut tokens = Vec::new();
    while let Some(row) = rows.next()? {
        let id = Columns::of(row, "user_permission").sixteen_bytes("token")?;
        tokens.push(TokenId::from_bytes(id));
    }
    Ok(tokens)
}

/// Where a permission is held: a token's id, or nothing for all of them.
pub(crate) fn scope(on: Option<&TokenId>) -> &[u8] {
    on.map_or(&[], |token| token.as_bytes())
}

pub(crate) fn named(connection: &Connection, username: &str) -> Result<Option<UserId>, Fault> {
    // The name is read from the row, so that a damaged index leads to no other user.
    let mut select = connection.prepare_cached(
        "SELECT id FROM user_account WHERE +username = ?1 \
         AND id = (SELECT id FROM user_account WHERE username = ?1)",
    )?;
    let found = select.query_row([username], |row| row.get(0)).optional()?;
    Ok(found.map(UserId::new))
}

pub(crate) fn matching(connection: &Connection, word: &str) -> Result<Vec<UserId>, Fault> {
    let mut select = connection.prepare_cached(
        "SELECT id FROM user_account NOT INDEXED WHERE instr(lower(username), ?1)",
    )?;
    let mut rows = select.query([word.to_ascii_lowercase()])?;
    let mut users = Vec::new();
    while let Some(row) = rows.next()? {
        users.push(UserId::new(row.get(0)?));
    }
    Ok(users)
}

pub(crate) fn put_user(connection: &Connection, user: &User) -> Written {
    user.check_storable().map_err(Undone::Refused)?;
    if named(connection, &user.username)?.is_some_and(|holder| holder != user.id) {
        return Err(Undone::Refused(UserStoreError::UsernameTaken(user.username.clone())));
    }
    for group in &user.groups {
        check_group(connection, *group)?;
    }
    connection
        .prepare_cached(
            "INSERT INTO user_account (id, uuid, username, name, email, avatar, is_active, \
             user_type, path, attributes, last_login, date_joined, last_updated, \
             password_change_date) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14) \
             ON CONFLICT (id) DO UPDATE SET uuid = ?2, username = ?3, name = ?4, email = ?5, \
             avatar = ?6, is_active = ?7, user_type = ?8, path = ?9, attributes = ?10, \
             last_login = ?11, date_joined = ?12, last_updated = ?13, password_change_date = ?14",
        )?
        .execute(params![
            user.id.get(),
            user.uuid.as_bytes(),
            user.username,
            user.name,
            user.email,
            user.avatar,
            user.is_active,
            user.user_type.as_str(),
            user.path,
            json(&user.attributes),
            user.last_login.map(|at| at.as_micros()),
            user.date_joined.as_micros(),
            user.last_updated.as_micros(),
            user.password_change_date.as_micros(),
        ])?;
    connection
        .prepare_cached("DELETE FROM group_member WHERE user = ?1")?
        .execute([user.id.get()])?;
    for group in &user.groups {
        connection
            .prepare_cached("INSERT INTO group_member (user, user_group) VALUES (?1, ?2)")?
            .execute(params![user.id.get(), group.as_bytes()])?;
    }
    Ok(())
}

pub(crate) fn remove_user(
    connection: &Connection,
    user: UserId,
) -> Result<bool, Undone<UserStoreError>> {
    let mut delete = connection.prepare_cached("DELETE FROM user_account WHERE id = ?1")?;
    Ok(delete.execute([user.get()])? > 0)
}

pub(crate) fn put_group(connection: &Connection, group: &Group) -> Written {
    group.check_storable().map_err(Undone::Refused)?;
    if let Some(parent) = group.parent {
        if parent == group.id || has_ancestor(connection, parent, group.id)? {
            return Err(Undone::Refused(UserStoreError::Cycle(group.id)));
        }
        check_group(connection, parent)?;
    }
    connection
        .prepare_cached(
            "INSERT INTO user_group (id, name, is_superuser, parent, attributes) \
             VALUES (?1, ?2, ?3, ?4, ?5) \
             ON CONFLICT (id) DO UPDATE SET name = ?2, is_superuser = ?3, parent = ?4, \
             attributes = ?5",
        )?
        .execute(params![
            group.id.as_bytes(),
            group.name,
            group.is_superuser,
            group.parent.as_ref().map(GroupId::as_bytes),
            json(&group.attributes),
        ])?;
    Ok(())
}

fn check_group(connection: &Connection, group: GroupId) -> Written {
    let mut select = connection.prepare_cached("SELECT 1 FROM user_group WHERE id = ?1")?;
    if select.exists([group.as_bytes()])? {
        return Ok(());
    }
    Err(Undone::Refused(UserStoreError::UnknownGroup(group)))
}

fn has_ancestor(
    connection: &Connection,
    group: GroupId,
    ancestor: GroupId,
) -> Result<bool, rusqlite::Error> {
    let mut select = connection.prepare_cached(
        "WITH RECURSIVE up (id) AS (\
           SELECT ?1 \
           UNION \
           SELECT parent FROM user_group JOIN up USING (id) WHERE parent IS NOT NULL\
         ) SELECT 1 FROM up WHERE id = ?2",
    )?;
    select.exists(params![group.as_bytes(), ancestor.as_bytes()])
}

pub(crate) fn remove_group(
    connection: &Connection,
    group: GroupId,
) -> Result<bool, Undone<UserStoreError>> {
    let mut delete = connection.prepare_cached("DELETE FROM user_group WHERE id = ?1")?;
    Ok(delete.execute([group.as_bytes()])? > 0)
}

pub(crate) fn grant(
    connection: &Connection,
    user: UserId,
    permission: Permission,
    on: Option<TokenId>,
) -> Written {
    if is_active(connection, user)?.is_none() {
        return Err(Undone::Refused(UserStoreError::UnknownUser(user)));
    }
    connection
        .prepare_cached(
            "INSERT INTO user_permission (user, token, permission) VALUES (?1, ?2, ?3) \
             ON CONFLICT DO NOTHING",
        )?
        .execute(params![user.get(), scope(on.as_ref()), permission.as_str()])?;
    Ok(())
}

pub(crate) fn revoke(
    connection: &Connection,
    user: UserId,
    permission: Permission,
    on: Option<TokenId>,
) -> Written {
    connection
        .prepare_cached(
            "DELETE FROM user_permission WHERE user = ?1 AND token = ?2 AND permission = ?3",
        )?
        .execute(params![user.get(), scope(on.as_ref()), permission.as_str()])?;
    Ok(())
}

/// Attributes as they are stored.
fn json(attributes: &Map<String, Value>) -> String {
    Value::Object(attributes.clone()).to_string()
}
