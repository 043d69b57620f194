//! Directories that are broken on purpose, one bug each.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use serde_json::{Value, json};
use tokenkeep::{
    ChangeCounters, Changes, Grant, Group, GroupId, Permission, Permissions, Profile, StoreError,
    StoreId, TokenId, User, UserDirectory, UserId, UserStore, UserStoreError,
};
use tokenkeep_memory::MemoryStore;

/// What is wrong with a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UserBug {
    /// Nothing: the control.
    None,
    /// Remembers for ever who is active.
    CachesStates,
    /// Returns the time of joining for every date.
    DropsDates,
    /// Returns fractions with nine digits.
    RoundsNumbers,
    /// Returns the groups that a user is in, without their ancestors.
    ForgetsAncestors,
    /// Takes a permission on one token for one on all.
    HoldsOnEveryToken,
    /// Takes only global permissions into account.
    HoldsOnNoToken,
    /// Revokes everything that a user holds.
    RevokesEverywhere,
    /// Finds usernames whatever their case.
    IgnoresCase,
    /// Drops the permissions of a user who is written again.
    ForgetsGrants,
    /// Gives a user the name of another.
    TakesNamesOver,
    /// Keeps what other directories cannot.
    KeepsAnything,
    /// Looks for groups before names.
    LooksAtGroupsFirst,
    /// Leaves the permissions of a user who is removed.
    LeavesGrants,
    /// Drops the members of a group that is written again.
    ForgetsMembers,
    /// Lets a group be its own ancestor.
    AllowsCycles,
    /// Leaves the members of a group that is removed.
    LeavesMembers,
    /// Lists users in the order of their names.
    ListsByName,
    /// Lists users with every group that counts for them.
    ListsAncestors,
    /// Lists from the first row on, whatever comes before.
    IgnoresPlaces,
    /// Goes on only behind rows that are there.
    NeedsTheRowBefore,
    /// Lists groups in the order of their names.
    ListsGroupsByName,
    /// Lists what is held on single tokens only.
    ListsNoGlobalGrants,
    /// Lists the permissions of one token in the order in which they are declared.
    ListsGrantsAsDeclared,
    /// Tells caches of no change.
    CountsNoChanges,
    /// Starts empty each time it is opened.
    Forgets,
}

/// A memory directory with one bug.
#[derive(Debug)]
pub struct BrokenUsers {
    pub bug: UserBug,
    inner: MemoryStore,
    /// Counters that count nothing.
    uncounted: Arc<ChangeCounters>,
    states: Mutex<HashMap<UserId, Option<bool>>>,
    removed: Mutex<Vec<(UserId, Option<TokenId>, Permission)>>,
    removed_groups: Mutex<Vec<GroupId>>,
}

impl BrokenUsers {
    pub fn new(bug: UserBug) -> Self {
        Self {
            bug,
            inner: MemoryStore::new(),
            uncounted: Arc::default(),
            states: Mutex::default(),
            removed: Mutex::default(),
            removed_groups: Mutex::default(),
        }
    }

    fn distort(&self, mut profile: Profile) -> Profile {
        let user = Arc::make_mut(&mut profile.user);
        match self.bug {
            UserBug::DropsDates => user.password_change_date = user.date_joined,
            UserBug::RoundsNumbers => user.attributes.values_mut().for_each(round),
            UserBug::ForgetsAncestors => {
                profile.groups.retain(|group| user.groups.contains(&group.id));
            }
            UserBug::LeavesMembers => user.groups.extend(&*self.removed_groups.lock().unwrap()),
            _ => {}
        }
        profile
    }

    /// Everything that a user holds.
    async fn all_grants(&self, user: UserId) -> Vec<(Option<TokenId>, Permission)> {
        let mut grants = Vec::new();
        for permission in Permission::ALL {
            if self.inner.permissions(user, None).await.unwrap().contains(permission) {
                grants.push((None, permission));
            }
            for token in self.inner.granted_tokens(user, permission).await.unwrap() {
                grants.push((Some(token), permission));
            }
        }
        grants
    }
}

/// The part of all rows that a page shows.
fn page<T, K: Ord>(
    rows: Vec<T>,
    key: impl Fn(&T) -> K,
    after: Option<&K>,
    limit: u32,
    bug: UserBug,
) -> Vec<T> {
    let is_behind = |row: &T| after.is_none_or(|after| key(row) > *after);
    let start = match bug {
        UserBug::IgnoresPlaces => 0,
        UserBug::NeedsTheRowBefore => match after {
            None => 0,
            Some(after) => {
                let place = rows.iter().position(|row| key(row) == *after);
                place.map_or(rows.len(), |place| place + 1)
            }
        },
        _ => rows.iter().position(is_behind).unwrap_or(rows.len()),
    };
    rows.into_iter().skip(start).take(limit as usize).collect()
}

fn round(value: &mut Value) {
    match value {
        Value::Array(values) => values.iter_mut().for_each(round),
        Value::Object(values) => values.values_mut().for_each(round),
        Value::Number(number) if number.is_f64() => {
            *value = json!((number.as_f64().unwrap() * 1e3).round() / 1e3);
        }
        _ => {}
    }
}

#[async_trait]
impl UserDirectory for BrokenUsers {
    async fn is_active(&self, user: UserId) -> Result<Option<bool>, StoreError> {
        let active = self.inner.is_active(user).await?;
        match self.bug {
            UserBug::CachesStates => Ok(*self.states.lock().unwrap().entry(user).or_insert(active)),
            _ => Ok(active),
        }
    }

    async fn profiles(&self, users: &[UserId]) -> Result<Vec<Profile>, StoreError> {
        let profiles = self.inner.profiles(users).await?;
        Ok(profiles.into_iter().map(|profile| self.distort(profile)).collect())
    }

    async fn permissions(
        &self,
        user: UserId,
        on: Option<TokenId>,
    ) -> Result<Permissions, StoreError> {
        match self.bug {
            UserBug::HoldsOnNoToken => self.inner.permissions(user, None).await,
            UserBug::HoldsOnEveryToken => {
                let all = self.all_grants(user).await;
                Ok(all.into_iter().map(|(_, permission)| permission).collect())
            }
            _ => self.inner.permissions(user, on).await,
        }
    }

    async fn granted_tokens(
        &self,
        user: UserId,
        permission: Permission,
    ) -> Result<Vec<TokenId>, StoreError> {
        self.inner.granted_tokens(user, permission).await
    }

    async fn user_named(&self, username: &str) -> Result<Option<UserId>, StoreError> {
        match self.bug {
            UserBug::IgnoresCase => {
                let matching = self.inner.users_matching(username).await?;
                Ok(matching.into_iter().min())
            }
            _ => self.inner.user_named(username).await,
        }
    }

    async fn users_matching(&self, word: &str) -> Result<Vec<UserId>, StoreError> {
        self.inner.users_matching(word).await
    }

    fn changes(&self) -> Option<Arc<dyn Changes>> {
        match self.bug {
            UserBug::CountsNoChanges => Some(self.uncounted.clone()),
            _ => UserDirectory::changes(&self.inner),
        }
    }

    fn store_id(&self) -> Option<StoreId> {
        UserDirectory::store_id(&self.inner)
    }
}

#[async_trait]
impl UserStore for BrokenUsers {
    async fn put_user(&self, mut user: User) -> Result<(), UserStoreError> {
        match self.bug {
            UserBug::ForgetsGrants => {
                for (on, permission) in self.all_grants(user.id).await {
                    self.inner.revoke(user.id, permission, on).await?;
                }
            }
            UserBug::TakesNamesOver => {
                if let Some(holder) = self.inner.user_named(&user.username).await?
                    && holder != user.id
                {
                    self.inner.remove_user(holder).await?;
                }
            }
            UserBug::KeepsAnything => {
                user.name = user.name.replace('\0', "");
                user.attributes.retain(|_, value| !value.is_array());
            }
            UserBug::LooksAtGroupsFirst => {
                for group in &user.groups {
                    let alone = User { username: "\u{1}".into(), ..user.clone() };
                    let alone = User { groups: [*group].into(), ..alone };
                    if let Err(error @ UserStoreError::UnknownGroup(_)) =
                        self.inner.put_user(alone).await
                    {
                        return Err(error);
                    }
                }
            }
            _ => {}
        }
        let id = user.id;
        self.inner.put_user(user).await?;
        let left: Vec<_> = self.removed.lock().unwrap().clone();
        for (_, on, permission) in left.into_iter().filter(|(user, ..)| *user == id) {
            self.inner.grant(id, permission, on).await?;
        }
        Ok(())
    }

    async fn remove_user(&self, user: UserId) -> Result<bool, UserStoreError> {
        if self.bug == UserBug::LeavesGrants {
            for (on, permission) in self.all_grants(user).await {
                self.removed.lock().unwrap().push((user, on, permission));
            }
        }
        self.inner.remove_user(user).await
    }

    async fn put_group(&self, group: Group) -> Result<(), UserStoreError> {
        match self.bug {
            UserBug::ForgetsMembers => {
                self.inner.remove_group(group.id).await?;
            }
            UserBug::AllowsCycles => {
                return match self.inner.put_group(group).await {
                    Err(UserStoreError::Cycle(_)) => Ok(()),
                    other => other,
                };
            }
            _ => {}
        }
        self.inner.put_group(group).await
    }

    async fn remove_group(&self, group: GroupId) -> Result<bool, UserStoreError> {
        self.removed_groups.lock().unwrap().push(group);
        self.inner.remove_group(group).await
    }

    async fn grant(
        &self,
        user: UserId,
        permission: Permission,
        on: Option<TokenId>,
    ) -> Result<(), UserStoreError> {
        self.inner.grant(user, permission, on).await
    }

    async fn revoke(
        &self,
        user: UserId,
        permission: Permission,
        on: Option<TokenId>,
    ) -> Result<(), UserStoreError> {
        if self.bug == UserBug::RevokesEverywhere {
            for (on, permission) in self.all_grants(user).await {
                self.inner.revoke(user, permission, on).await?;
            }
        }
        self.inner.revoke(user, permission, on).await
    }

    async fn users(&self, after: Option<UserId>, limit: u32) -> Result<Vec<User>, StoreError> {
        let mut users = self.inner.users(None, u32::MAX).await?;
        if self.bug == UserBug::ListsByName {
            users.sort_by(|a, b| a.username.cmp(&b.username));
        }
        for user in &mut users {
            if self.bug == UserBug::ListsAncestors {
                let profile = self.inner.profiles(&[user.id]).await?.remove(0);
                user.groups = profile.groups.iter().map(|group| group.id).collect();
            }
        }
        Ok(page(users, |user| user.id, after.as_ref(), limit, self.bug))
    }

    async fn groups(&self, after: Option<GroupId>, limit: u32) -> Result<Vec<Group>, StoreError> {
        let mut groups = self.inner.groups(None, u32::MAX).await?;
        if self.bug == UserBug::ListsGroupsByName {
            groups.sort_by(|a, b| a.name.cmp(&b.name));
        }
        Ok(page(groups, |group| group.id, after.as_ref(), limit, self.bug))
    }

    async fn grants(&self, after: Option<Grant>, limit: u32) -> Result<Vec<Grant>, StoreError> {
        let mut grants = self.inner.grants(None, u32::MAX).await?;
        match self.bug {
            UserBug::ListsNoGlobalGrants => grants.retain(|grant| grant.on.is_some()),
            UserBug::ListsGrantsAsDeclared => {
                grants.sort_by_key(|grant| (grant.user, grant.on, grant.permission));
            }
            _ => {}
        }
        Ok(page(grants, |grant| *grant, after.as_ref(), limit, self.bug))
    }
}
