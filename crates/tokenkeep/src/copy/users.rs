//! Groups, users and permissions as rows.

use async_trait::async_trait;

use crate::copy::rows::{PAGE, Rows};
use crate::copy::{Copied, CopyError, CopyReport, RowId};
use crate::directory::{UserStore, UserStoreError};
use crate::grant::Grant;
use crate::store::StoreError;
use crate::user::{Group, GroupId, User, UserId};

/// What the error of a write means for the row. The error itself may hold a name.
fn refused(error: UserStoreError, row: RowId) -> CopyError {
    match error {
        UserStoreError::Store(error) => CopyError::Target(error),
        _ => CopyError::Refused(row),
    }
}

/// Groups, in the order of their ids. A group waits for its parent.
pub(super) struct Groups<'a>(pub(super) &'a dyn UserStore);

#[async_trait]
impl Rows for Groups<'_> {
    type Row = Group;
    type Place = GroupId;

    async fn behind(&self, last: Option<&Group>) -> Result<Vec<Group>, StoreError> {
        self.0.groups(last.map(|group| group.id), PAGE).await
    }

    async fn write(&self, rows: Vec<Group>) -> Result<Vec<Group>, CopyError> {
        let mut waiting = Vec::new();
        for group in rows {
            match self.0.put_group(group.clone()).await {
                Ok(()) => {}
                Err(UserStoreError::UnknownGroup(_)) => waiting.push(group),
                Err(error) => return Err(refused(error, Self::id(&group))),
            }
        }
        Ok(waiting)
    }

    fn place(row: &Group) -> GroupId {
        row.id
    }

    fn id(row: &Group) -> RowId {
        RowId::Group(row.id)
    }

    fn counts(report: &mut CopyReport) -> &mut Copied {
        &mut report.groups
    }
}

/// Users, in the order of their ids.
pub(super) struct Users<'a>(pub(super) &'a dyn UserStore);

#[async_trait]
impl Rows for Users<'_> {
    type Row = User;
    type Place = UserId;

    async fn behind(&self, last: Option<&User>) -> Result<Vec<User>, StoreError> {
        self.0.users(last.map(|user| user.id), PAGE).await
    }

    async fn write(&self, rows: Vec<User>) -> Result<Vec<User>, CopyError> {
        for user in rows {
            let id = Self::id(&user);
            self.0.put_user(user).await.map_err(|error| refused(error, id))?;
        }
        Ok(Vec::new())
    }

    fn place(row: &User) -> UserId {
        row.id
    }

    fn id(row: &User) -> RowId {
        RowId::User(row.id)
    }

    fn counts(report: &mut CopyReport) -> &mut Copied {
        &mut report.users
    }
}

/// Permissions, in their order.
pub(super) struct Grants<'a>(pub(super) &'a dyn UserStore);

#[async_trait]
impl Rows for Grants<'_> {
    type Row = Grant;
    type Place = Grant;

    async fn behind(&self, last: Option<&Grant>) -> Result<Vec<Grant>, StoreError> {
        self.0.grants(last.copied(), PAGE).await
    }

    async fn write(&self, rows: Vec<Grant>) -> Result<Vec<Grant>, CopyError> {
        for grant in rows {
            let granted = self.0.grant(grant.user, grant.permission, grant.on).await;
            granted.map_err(|error| refused(error, Self::id(&grant)))?;
        }
        Ok(Vec::new())
    }

    fn place(row: &Grant) -> Grant {
        *row
    }

    fn id(row: &Grant) -> RowId {
        RowId::Grant(*row)
    }

    fn counts(report: &mut CopyReport) -> &mut Copied {
        &mut report.grants
    }
}
