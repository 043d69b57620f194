//! Listing the directory, page by page.

use std::collections::BTreeMap;

use rusqlite::{Connection, params};
use tokenkeep::{Grant, Group, GroupId, Permission, TokenId, User, UserId};

use crate::columns::Columns;
use crate::error::Fault;
use crate::users;

/// Users; the users and their groups have to be read at once.
pub(crate) fn users(
    connection: &Connection,
    after: Option<UserId>,
    limit: u32,
) -> Result<Vec<User>, Fault> {
    // Behind the highest number there is nothing.
    let Some(first) = after.map_or(Some(i64::MIN), |id| id.get().checked_add(1)) else {
        return Ok(Vec::new());
    };
    let mut select = connection.prepare_cached(concat!(
        "SELECT ",
        users::user_columns!(),
        " FROM user_account WHERE id >= ?1 ORDER BY id LIMIT ?2"
    ))?;
    let mut rows = select.query(params![first, limit])?;
    let mut page = Vec::new();
    while let Some(row) = rows.next()? {
        page.push(users::read_user(row)?);
    }
    join_groups(connection, &mut page)?;
    Ok(page)
}

/// Puts users, who follow each other, into their groups.
fn join_groups(connection: &Connection, page: &mut [User]) -> Result<(), Fault> {
    let mut of_user: BTreeMap<UserId, &mut User> =
        page.iter_mut().map(|user| (user.id, user)).collect();
    let (Some((first, _)), Some((last, _))) = (of_user.first_key_value(), of_user.last_key_value())
    else {
        return Ok(());
    };
    let mut select = connection
        .prepare_cached("SELECT user, user_group FROM group_member WHERE user BETWEEN ?1 AND ?2")?;
    let mut rows = select.query([first.get(), last.get()])?;
    while let Some(row) = rows.next()? {
        let mut columns = Columns::of(row, "group_member");
        let member = UserId::new(columns.integer("user")?);
        let group = GroupId::from_bytes(columns.sixteen_bytes("user_group")?);
        if let Some(user) = of_user.get_mut(&member) {
            user.groups.insert(group);
        }
    }
    Ok(())
}

/// Groups.
pub(crate) fn groups(
    connection: &Connection,
    after: Option<GroupId>,
    limit: u32,
) -> Result<Vec<Group>, Fault> {
    let mut select = connection.prepare_cached(concat!(
        "SELECT ",
        users::group_columns!(),
        " FROM user_group WHERE id > ?1 ORDER BY id LIMIT ?2"
    ))?;
    // Every id comes behind no bytes at all.
    let after = after.as_ref().map_or(&[][..], |id| id.as_bytes());
    let mut rows = select.query(params![after, limit])?;
    let mut page = Vec::new();
    while let Some(row) = rows.next()? {
        page.push(users::read_group(&mut Columns::of(row, "user_group"))?);
    }
    Ok(page)
}

/// What is held, and by whom.
pub(crate) fn grants(
    connection: &Connection,
    after: Option<Grant>,
    limit: u32,
) -> Result<Vec<Grant>, Fault> {
    let mut select = connection.prepare_cached(
        "SELECT user, token, permission FROM user_permission \
         WHERE (user, token, permission) > (?1, ?2, ?3) ORDER BY user, token, permission LIMIT ?4",
    )?;
    // No permission has an empty name: every grant comes behind this.
    let user = after.map_or(i64::MIN, |grant| grant.user.get());
    let on = after.and_then(|grant| grant.on);
    let permission = after.map_or("", |grant| grant.permission.as_str());
    let mut rows = select.query(params![user, users::scope(on.as_ref()), permission, limit])?;
    let mut page = Vec::new();
    while let Some(row) = rows.next()? {
        let mut columns = Columns::of(row, "user_permission");
        page.push(Grant {
            user: UserId::new(columns.integer("user")?),
            on: match columns.bytes("token")? {
                [] => None,
                id => {
                    let id = id.try_into().map_err(|_| columns.corrupt("token"))?;
                    Some(TokenId::from_bytes(id))
                }
            },
            permission: columns.parsed("permission", Permission::from_name)?,
        });
    }
    Ok(page)
}
