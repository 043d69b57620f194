//! The state that the vectors start from.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Map, Value};
use tokenkeep::{
    Change, Commit, Group, GroupId, Identifier, Intent, KeyDigest, KeyScheme, ManualClock,
    Permission, Policy, Revision, SealingKey, SeededRandom, Timestamp, Token, TokenId, TokenKey,
    TokenService, TokenStore, User, UserId, UserStore, UserType,
};
use uuid::Uuid;

use crate::backend::Backend;

/// `vectors/fixture.json`.
#[derive(Debug, Deserialize)]
pub struct Fixture {
    now: String,
    installation_id: String,
    default_token_duration: String,
    minimum_key_length: usize,
    groups: Vec<GroupRow>,
    users: Vec<UserRow>,
    tokens: Vec<TokenRow>,
}

#[derive(Debug, Deserialize)]
struct GroupRow {
    group_uuid: Uuid,
    name: String,
    is_superuser: bool,
    parent: Option<Uuid>,
    attributes: Map<String, Value>,
}

#[derive(Debug, Deserialize)]
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

/// How the service of the vectors keeps keys: sealed, since they view them.
pub fn key_scheme() -> KeyScheme {
    KeyScheme::sealing(SealingKey::new(1, [7; 32]))
}

/// A token as the vectors write it, with its plain key.
#[derive(Debug, Clone, Deserialize, PartialEq)]
pub struct TokenRow {
    pub pk: String,
    pub managed: Option<String>,
    pub identifier: String,
    pub key: String,
    pub intent: String,
    pub user: i64,
    pub description: String,
    pub expires: Option<String>,
    pub expiring: bool,
}

impl Fixture {
    /// The fixture that the project keeps.
    pub fn read() -> Self {
        serde_json::from_str(include_str!("../vectors/fixture.json")).unwrap()
    }

    /// What the clock reads for a whole case.
    pub fn now(&self) -> Timestamp {
        self.now.parse().unwrap()
    }

    /// The tokens by their `pk`.
    pub fn rows(&self) -> BTreeMap<String, TokenRow> {
        self.tokens.iter().map(|row| (row.pk.clone(), row.clone())).collect()
    }

    /// A service with the fixture's settings and a clock that stands still.
    pub fn service(&self, backend: &Backend) -> TokenService {
        let duration = tokenkeep::parse_duration(&self.default_token_duration).unwrap();
        let builder = TokenService::builder(backend.tokens.clone(), backend.users.clone())
            .clock(Arc::new(ManualClock::at(self.now())))
            .policy(Policy {
                default_duration: duration,
                minimum_key_length: self.minimum_key_length,
            })
            .keys(key_scheme())
            .installation_id(self.installation_id.as_str());
        pollster::block_on(builder.open()).unwrap()
    }

    /// Writes everything into an empty store.
    pub async fn load(&self, tokens: &dyn TokenStore, users: &dyn UserStore) {
        for group in &self.groups {
            users.put_group(group.to_group()).await.unwrap();
        }
        for user in &self.users {
            users.put_user(user.to_user(self.now())).await.unwrap();
            for permission in &user.permissions {
                let permission = Permission::from_name(permission).unwrap();
                users.grant(UserId::new(user.id), permission, None).await.unwrap();
            }
            for (permission, token) in &user.object_permissions {
                let permission = Permission::from_name(permission).unwrap();
                let token = Some(TokenId::from(*token));
                users.grant(UserId::new(user.id), permission, token).await.unwrap();
            }
        }
        let insert = |row: &TokenRow| Change::Insert(Arc::new(row.to_token(self.now())));
        let changes = self.tokens.iter().map(insert).collect();
        tokens.commit(Commit { changes, events: Vec::new() }).await.unwrap();
    }
}

impl GroupRow {
    fn to_group(&self) -> Group {
        Group {
            id: GroupId::from(self.group_uuid),
            name: self.name.clone(),
            is_superuser: self.is_superuser,
            parent: self.parent.map(GroupId::from),
            attributes: self.attributes.clone(),
        }
    }
}

impl UserRow {
    fn to_user(&self, now: Timestamp) -> User {
        User {
            name: self.name.clone(),
            email: self.email.clone(),
            is_active: self.is_active,
            user_type: UserType::from_name(&self.user_type).unwrap(),
            path: self.path.clone(),
            attributes: self.attributes.clone(),
            groups: self.groups.iter().map(|id| GroupId::from(*id)).collect(),
            last_login: self.last_login.as_ref().map(|at| at.parse().unwrap()),
            ..User::new(UserId::new(self.id), self.uuid, &*self.username, now)
        }
    }
}

impl TokenRow {
    fn to_token(&self, now: Timestamp) -> Token {
        let id = TokenId::from(self.pk.parse::<Uuid>().unwrap());
        let key = TokenKey::from(self.key.clone());
        Token {
            id,
            identifier: self.identifier.parse::<Identifier>().unwrap(),
            intent: Intent::from_name(&self.intent).unwrap(),
            owner: UserId::new(self.user),
            description: self.description.as_str().into(),
            expires: self.expires.as_ref().map(|at| at.parse().unwrap()),
            expiring: self.expiring,
            managed: self.managed.as_ref().map(|marker| marker.parse().unwrap()),
            revision: Revision::FIRST,
            created: now,
            updated: now,
            last_used: None,
            owner_may_view_key: false,
            key_digest: key_scheme().digest(&key),
            sealed_key: key_scheme().seal(&key, id, &SeededRandom::new(1)).unwrap(),
        }
    }

    /// Whether the stored token is what this row says. A key of `<generated>` stands for any.
    pub fn is(&self, token: &Token) -> bool {
        let key_is_right = self.key == "<generated>"
            || token.key_digest == KeyDigest::of(&TokenKey::from(self.key.clone()));
        key_is_right
            && (self.pk == "<new>" || self.pk == token.id.to_string())
            && self.managed.as_deref() == token.managed.as_ref().map(|marker| marker.as_str())
            && self.identifier == token.identifier.as_str()
            && self.intent == token.intent.as_str()
            && self.user == token.owner.get()
            && *self.description == *token.description
            && self.expires == token.expires.map(|at| at.to_string())
            && self.expiring == token.expiring
    }
}
