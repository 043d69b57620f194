//! Users, groups and tokens from a file, in the format of `tests/vectors/fixture.json`. This file
//! stands on its own: tokenkeep's tests load their fixture with it, too.

use std::error::Error;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Map, Value};
use tokenkeep::{
    Change, Commit, Group, GroupId, Intent, KeyScheme, Permission, Random, Revision, Timestamp,
    Token, TokenId, TokenKey, TokenStore, User, UserId, UserStore, UserType,
};
use uuid::Uuid;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// What a file holds. It has no `Debug`: there are plain keys in it.
#[derive(Deserialize)]
pub(crate) struct Seed {
    #[serde(default)]
    groups: Vec<GroupRow>,
    #[serde(default)]
    users: Vec<UserRow>,
    #[serde(default)]
    tokens: Vec<TokenRow>,
}

#[derive(Deserialize)]
struct GroupRow {
    group_uuid: Uuid,
    name: String,
    is_superuser: bool,
    parent: Option<Uuid>,
    attributes: Map<String, Value>,
}

#[derive(Deserialize)]
struct UserRow {
    id: i64,
    uuid: Uuid,
    username: String,
    name: String,
    email: String,
    is_active: bool,
    #[serde(rename = "type")]
    user_type: String,
    path: String,
    attributes: Map<String, Value>,
    last_login: Option<String>,
    groups: Vec<Uuid>,
    permissions: Vec<String>,
    object_permissions: Vec<(String, Uuid)>,
}

/// A token with its plain key.
#[derive(Deserialize)]
struct TokenRow {
    pk: Uuid,
    managed: Option<String>,
    identifier: String,
    key: String,
    intent: String,
    user: i64,
    description: String,
    expires: Option<String>,
    expiring: bool,
}

impl Seed {
    /// Reads the text of a file.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        // The error itself would quote what it has found, which might be a key.
        serde_json::from_str(text).map_err(|error| {
            format!("not a seed, at line {} column {}", error.line(), error.column()).into()
        })
    }

    /// Writes everything into an empty store, as entered at `now`. All of it is read before the
    /// first row is written, and the tokens come last, in one commit: a seed that fails leaves no
    /// token, and can be loaded again.
    pub(crate) async fn load(
        &self,
        tokens: &dyn TokenStore,
        users: &dyn UserStore,
        keys: &KeyScheme,
        random: &dyn Random,
        now: Timestamp,
    ) -> Result<()> {
        let inserts = self.tokens.iter().map(|row| row.insert(keys, random, now));
        let changes = inserts.collect::<Result<_>>()?;
        let read = self.users.iter().map(|row| Ok((row.to_user(now)?, row.grants()?)));
        let read = read.collect::<Result<Vec<_>>>()?;
        // A parent may come after its child.
        for group in &self.groups {
            users.put_group(Group { parent: None, ..group.to_group() }).await?;
        }
        for group in self.groups.iter().filter(|group| group.parent.is_some()) {
            users.put_group(group.to_group()).await?;
        }
        for (user, grants) in read {
            let id = user.id;
            users.put_user(user).await?;
            for (permission, token) in grants {
                users.grant(id, permission, token).await?;
            }
        }
        Ok(tokens.commit(Commit { changes, events: Vec::new() }).await?)
    }
}

impl GroupRow {
    fn to_group(&self) -> Group {
        Group {
            is_superuser: self.is_superuser,
            parent: self.parent.map(GroupId::from),
            attributes: self.attributes.clone(),
            ..Group::new(GroupId::from(self.group_uuid), self.name.as_str())
        }
    }
}

impl UserRow {
    fn to_user(&self, now: Timestamp) -> Result<User> {
        Ok(User {
            name: self.name.clone(),
            email: self.email.clone(),
            is_active: self.is_active,
            user_type: UserType::from_name(&self.user_type).ok_or("an unknown type of user")?,
            path: self.path.clone(),
            attributes: self.attributes.clone(),
            groups: self.groups.iter().map(|id| GroupId::from(*id)).collect(),
            last_login: time(self.last_login.as_deref())?,
            ..User::new(UserId::new(self.id), self.uuid, self.username.as_str(), now)
        })
    }

    /// The permissions, each on all tokens or on one.
    fn grants(&self) -> Result<Vec<(Permission, Option<TokenId>)>> {
        let global = self.permissions.iter().map(|name| (name, None));
        let single = self.object_permissions.iter().map(|(name, id)| (name, Some(*id)));
        let grants = global.chain(single).map(|(name, token)| {
            let permission = Permission::from_name(name).ok_or("an unknown permission")?;
            Ok((permission, token.map(TokenId::from)))
        });
        grants.collect()
    }
}

impl TokenRow {
    fn insert(&self, keys: &KeyScheme, random: &dyn Random, now: Timestamp) -> Result<Change> {
        let id = TokenId::from(self.pk);
        let key = TokenKey::from(self.key.clone());
        Ok(Change::Insert(Arc::new(Token {
            id,
            identifier: self.identifier.parse()?,
            intent: Intent::from_name(&self.intent).ok_or("an unknown intent")?,
            owner: UserId::new(self.user),
            description: self.description.as_str().into(),
            expires: time(self.expires.as_deref())?,
            expiring: self.expiring,
            managed: self.managed.as_deref().map(str::parse).transpose()?,
            revision: Revision::FIRST,
            created: now,
            updated: now,
            last_used: None,
            owner_may_view_key: false,
            key_digest: keys.digest(&key),
            sealed_key: keys.seal(&key, id, random)?,
        })))
    }
}

fn time(text: Option<&str>) -> Result<Option<Timestamp>> {
    Ok(text.map(str::parse).transpose()?)
}
