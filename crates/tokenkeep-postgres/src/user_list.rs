//! Listing the directory, page by page.

use tokenkeep::{Grant, Group, GroupId, Permission, StoreError, TokenId, User, UserId};
use uuid::Uuid;

use crate::columns::Columns;
use crate::error::Fault;
use crate::pool::Connections;
use crate::users::{USER_COLUMNS, read_group, read_user, scope, user_columns};
use crate::value::Value;

/// Users with the groups that they are in, by one statement: a row for each pair of them.
const USERS: &str = concat!(
    "SELECT ",
    user_columns!(),
    ", m.group_id FROM (\
       SELECT * FROM tokenkeep_user WHERE id >= $1 ORDER BY id LIMIT $2\
     ) u LEFT JOIN tokenkeep_member m ON m.user_id = u.id ORDER BY u.id"
);

pub(crate) async fn users(
    connections: &Connections,
    after: Option<UserId>,
    limit: u32,
) -> Result<Vec<User>, StoreError> {
    // Behind the highest number there is nothing.
    let Some(first) = after.map_or(Some(i64::MIN), |id| id.get().checked_add(1)) else {
        return Ok(Vec::new());
    };
    let rows = connections.query(USERS, &[first.into(), i64::from(limit).into()]).await?;
    let mut page: Vec<User> = Vec::new();
    for row in &rows {
        let mut columns = Columns::from(row, "tokenkeep_member", USER_COLUMNS);
        let group: Option<Uuid> = columns.get("group_id")?;
        let mut user = read_user(row)?;
        if let Some(same) = page.pop_if(|last| last.id == user.id) {
            user = same;
        }
        user.groups.extend(group.map(GroupId::from));
        page.push(user);
    }
    Ok(page)
}

pub(crate) async fn groups(
    connections: &Connections,
    after: Option<GroupId>,
    limit: u32,
) -> Result<Vec<Group>, StoreError> {
    let sql = "SELECT id, name, is_superuser, parent, attributes FROM tokenkeep_group \
         WHERE $1::uuid IS NULL OR id > $1 ORDER BY id LIMIT $2";
    let values = [after.map(|id| *id.as_bytes()).into(), i64::from(limit).into()];
    let rows = connections.query(sql, &values).await?;
    let groups = rows.iter().map(|row| read_group(&mut Columns::of(row, "tokenkeep_group")));
    Ok(groups.filter_map(Result::transpose).collect::<Result<_, Fault>>()?)
}

/// What is held, and by whom.
pub(crate) async fn grants(
    connections: &Connections,
    after: Option<Grant>,
    limit: u32,
) -> Result<Vec<Grant>, StoreError> {
    let sql = "SELECT user_id, token, permission FROM tokenkeep_permission \
         WHERE (user_id, token, permission) > ($1, $2, $3) \
         ORDER BY user_id, token, permission LIMIT $4";
    // No permission has an empty name: every grant comes behind this.
    let permission = after.map_or("", |grant| grant.permission.as_str());
    let on = after.and_then(|grant| grant.on);
    let values = [
        after.map_or(i64::MIN, |grant| grant.user.get()).into(),
        scope(on.as_ref()).into(),
        permission.into(),
        Value::from(i64::from(limit)),
    ];
    let rows = connections.query(sql, &values).await?;
    let grant = |row| {
        let mut columns = Columns::of(row, "tokenkeep_permission");
        Ok(Grant {
            user: UserId::new(columns.get("user_id")?),
            on: columns.parsed("token", |bytes: &[u8]| match bytes {
                [] => Some(None),
                id => id.try_into().ok().map(|id| Some(TokenId::from_bytes(id))),
            })?,
            permission: columns.parsed("permission", Permission::from_name)?,
        })
    };
    Ok(rows.iter().map(grant).collect::<Result<_, Fault>>()?)
}
