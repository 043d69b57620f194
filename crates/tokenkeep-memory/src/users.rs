//! Users, groups and permissions.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use async_trait::async_trait;
use tokenkeep::{
    Changes, Grant, Group, GroupId, Permission, Permissions, Profile, StoreError, StoreId, Subject,
    TokenId, TokenStore, User, UserDirectory, UserId, UserStore, UserStoreError,
};

use crate::store::MemoryStore;

/// The directory's rows.
#[derive(Default)]
pub(crate) struct Users {
    users: BTreeMap<UserId, Arc<User>>,
    ids: HashMap<String, UserId>,
    groups: BTreeMap<GroupId, Arc<Group>>,
    /// What each user holds, globally under `None`.
    grants: BTreeMap<UserId, BTreeMap<Option<TokenId>, Permissions>>,
    /// Who was given a permission on a token.
    granted: HashMap<TokenId, BTreeSet<UserId>>,
}

impl Users {
    fn profile(&self, id: UserId) -> Option<Profile> {
        let user = self.users.get(&id)?.clone();
        let mut groups: Vec<Arc<Group>> = Vec::new();
        for direct in &user.groups {
            for group in self.with_ancestors(*direct) {
                if groups.iter().any(|known| known.id == group.id) {
                    // Its ancestors are known too.
                    break;
                }
                groups.push(group.clone());
            }
        }
        Some(Profile { user, groups })
    }

    /// A group, its parent, and so on.
    fn with_ancestors(&self, group: GroupId) -> impl Iterator<Item = &Arc<Group>> {
        let first = self.groups.get(&group);
        std::iter::successors(first, |group| self.groups.get(&group.parent?))
    }

    fn put_user(&mut self, user: User) -> Result<(), UserStoreError> {
        user.check_storable()?;
        if self.ids.get(&user.username).is_some_and(|holder| *holder != user.id) {
            return Err(UserStoreError::UsernameTaken(user.username));
        }
        if let Some(unknown) = user.groups.iter().find(|group| !self.groups.contains_key(group)) {
            return Err(UserStoreError::UnknownGroup(*unknown));
        }
        let (id, username) = (user.id, user.username.clone());
        if let Some(before) = self.users.insert(id, Arc::new(user)) {
            self.ids.remove(&before.username);
        }
        self.ids.insert(username, id);
        Ok(())
    }

    fn put_group(&mut self, group: Group) -> Result<(), UserStoreError> {
        group.check_storable()?;
        if let Some(parent) = group.parent {
            if parent == group.id || self.with_ancestors(parent).any(|known| known.id == group.id) {
                return Err(UserStoreError::Cycle(group.id));
            }
            if !self.groups.contains_key(&parent) {
                return Err(UserStoreError::UnknownGroup(parent));
            }
        }
        self.groups.insert(group.id, Arc::new(group));
        Ok(())
    }

    fn remove_group(&mut self, id: GroupId) -> bool {
        for user in self.users.values_mut().filter(|user| user.groups.contains(&id)) {
            Arc::make_mut(user).groups.remove(&id);
        }
        for child in self.groups.values_mut().filter(|group| group.parent == Some(id)) {
            Arc::make_mut(child).parent = None;
        }
        self.groups.remove(&id).is_some()
    }

    fn permissions(&self, user: UserId, on: Option<TokenId>) -> Permissions {
        let grants = self.grants.get(&user);
        let held = |on| grants.and_then(|grants| grants.get(&on)).copied().unwrap_or_default();
        held(None).union(held(on))
    }

    /// Whether the username of a user contains a text in lower case.
    pub(crate) fn is_named(&self, user: UserId, text: &str) -> bool {
        let user = self.users.get(&user);
        user.is_some_and(|user| user.username.to_ascii_lowercase().contains(text))
    }

    /// Whether any user holds a permission on one of these tokens.
    pub(crate) fn has_grants_on(&self, tokens: &[TokenId]) -> bool {
        tokens.iter().any(|token| self.granted.contains_key(token))
    }

    /// Deletes the permissions that are held on these tokens.
    pub(crate) fn forget_tokens(&mut self, tokens: &[TokenId]) {
        for token in tokens {
            for user in self.granted.remove(token).into_iter().flatten() {
                if let Some(grants) = self.grants.get_mut(&user) {
                    grants.remove(&Some(*token));
                }
            }
        }
    }

    /// The grants from those of a user on.
    fn grants_from(&self, user: Bound<UserId>) -> impl Iterator<Item = Grant> {
        let places = self
            .grants
            .range((user, Bound::Unbounded))
            .flat_map(|(user, places)| places.iter().map(|(on, held)| (*user, *on, *held)));
        places.flat_map(|(user, on, held)| {
            let held = by_name().into_iter().filter(move |permission| held.contains(*permission));
            held.map(move |permission| Grant { user, on, permission })
        })
    }
}

/// Every permission, in the order of the names.
fn by_name() -> [Permission; 6] {
    let mut permissions = Permission::ALL;
    permissions.sort_unstable_by_key(|permission| permission.as_str());
    permissions
}

/// The rows behind one, or from the first on.
fn behind<K: Ord + Copy, V: Clone>(
    rows: &BTreeMap<K, Arc<V>>,
    after: Option<K>,
    limit: u32,
) -> Vec<V> {
    let start = after.map_or(Bound::Unbounded, Bound::Excluded);
    let rows = rows.range((start, Bound::Unbounded)).take(limit as usize);
    rows.map(|(_, row)| V::clone(row)).collect()
}

#[async_trait]
impl UserDirectory for MemoryStore {
    async fn is_active(&self, user: UserId) -> Result<Option<bool>, StoreError> {
        Ok(self.users().users.get(&user).map(|user| user.is_active))
    }

    async fn profiles(&self, users: &[UserId]) -> Result<Vec<Profile>, StoreError> {
        let rows = self.users();
        Ok(users.iter().filter_map(|user| rows.profile(*user)).collect())
    }

    async fn permissions(
        &self,
        user: UserId,
        on: Option<TokenId>,
    ) -> Result<Permissions, StoreError> {
        Ok(self.users().permissions(user, on))
    }

    async fn granted_tokens(
        &self,
        user: UserId,
        permission: Permission,
    ) -> Result<Vec<TokenId>, StoreError> {
        let rows = self.users();
        let grants = rows.grants.get(&user).into_iter().flatten();
        let granted = grants.filter(|(_, held)| held.contains(permission));
        Ok(granted.filter_map(|(token, _)| *token).collect())
    }

    async fn user_named(&self, username: &str) -> Result<Option<UserId>, StoreError> {
        Ok(self.users().ids.get(username).copied())
    }

    async fn users_matching(&self, word: &str) -> Result<Vec<UserId>, StoreError> {
        let word = word.to_ascii_lowercase();
        let rows = self.users();
        let matching =
            rows.ids.iter().filter(|(name, _)| name.to_ascii_lowercase().contains(&word));
        Ok(matching.map(|(_, id)| *id).collect())
    }

    fn changes(&self) -> Option<Arc<dyn Changes>> {
        Some(self.changes.clone())
    }

    fn store_id(&self) -> Option<StoreId> {
        Some(TokenStore::store_id(self))
    }
}

#[async_trait]
impl UserStore for MemoryStore {
    async fn put_user(&self, user: User) -> Result<(), UserStoreError> {
        let _changing = self.changes.begin(vec![Subject::User(user.id)]);
        self.users_mut().put_user(user)
    }

    async fn remove_user(&self, user: UserId) -> Result<bool, UserStoreError> {
        let _changing = self.changes.begin(vec![Subject::User(user)]);
        let mut rows = self.users_mut();
        let removed = rows.users.remove(&user);
        if let Some(removed) = &removed {
            rows.ids.remove(&removed.username);
        }
        rows.grants.remove(&user);
        Ok(removed.is_some())
    }

    async fn put_group(&self, group: Group) -> Result<(), UserStoreError> {
        self.users_mut().put_group(group)
    }

    async fn remove_group(&self, group: GroupId) -> Result<bool, UserStoreError> {
        Ok(self.users_mut().remove_group(group))
    }

    async fn grant(
        &self,
        user: UserId,
        permission: Permission,
        on: Option<TokenId>,
    ) -> Result<(), UserStoreError> {
        let mut rows = self.users_mut();
        if !rows.users.contains_key(&user) {
            return Err(UserStoreError::UnknownUser(user));
        }
        let held = rows.grants.entry(user).or_default().entry(on).or_default();
        *held = held.with(permission);
        if let Some(token) = on {
            rows.granted.entry(token).or_default().insert(user);
        }
        Ok(())
    }

    async fn revoke(
        &self,
        user: UserId,
        permission: Permission,
        on: Option<TokenId>,
    ) -> Result<(), UserStoreError> {
        let mut rows = self.users_mut();
        if let Some(held) = rows.grants.get_mut(&user).and_then(|grants| grants.get_mut(&on)) {
            *held = held.without(permission);
        }
        Ok(())
    }

    async fn users(&self, after: Option<UserId>, limit: u32) -> Result<Vec<User>, StoreError> {
        Ok(behind(&self.users().users, after, limit))
    }

    async fn groups(&self, after: Option<GroupId>, limit: u32) -> Result<Vec<Group>, StoreError> {
        Ok(behind(&self.users().groups, after, limit))
    }

    async fn grants(&self, after: Option<Grant>, limit: u32) -> Result<Vec<Grant>, StoreError> {
        let rows = self.users();
        let start = after.map_or(Bound::Unbounded, |after| Bound::Included(after.user));
        let grants = rows.grants_from(start);
        let is_behind = |grant: &Grant| after.is_none_or(|after| *grant > after);
        Ok(grants.filter(is_behind).take(limit as usize).collect())
    }
}
