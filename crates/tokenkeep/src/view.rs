//! A token and its owner as JSON: the shape of authentik's page.

use std::sync::Arc;

use serde::ser::{Serialize, SerializeStruct, Serializer};
use sha2::{Digest, Sha256};

use crate::token::{Revision, Token, TokenId};
use crate::user::{Group, Profile, User, UserId};

/// A token with its owner. Serialises in the shape of `core_tokens_retrieve`, without key,
/// revision and anything else that is kept beside it.
///
/// ```
/// # pollster::block_on(async {
/// # use std::sync::Arc;
/// # use tokenkeep::{Caller, Timestamp, TokenChange, TokenService, User, UserId, UserStore};
/// # use tokenkeep_memory::MemoryStore;
/// # let store = Arc::new(MemoryStore::new());
/// # let alice = User::new(UserId::new(2), uuid::Uuid::from_u128(2), "alice", Timestamp::MIN);
/// # store.put_user(alice).await?;
/// # let service = TokenService::builder(store.clone(), store).open().await?;
/// # let caller = Caller::User(UserId::new(2));
/// # service.create(&caller, TokenChange::new().identifier("ci")).await?;
/// let view = service.retrieve(&caller, "ci").await?;
/// let json = serde_json::to_value(&view)?;
/// assert_eq!(json["identifier"], "ci");
/// assert_eq!(json["user_obj"]["username"], "alice");
/// assert_eq!(view.revision().get(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct TokenView {
    /// The token.
    pub token: Arc<Token>,
    /// The owner; `None` when the directory knows it no more, which is `null` in JSON.
    pub owner: Option<Arc<Profile>>,
    installation_id: Arc<str>,
}

impl TokenView {
    pub(crate) fn new(
        token: Arc<Token>,
        owner: Option<Arc<Profile>>,
        installation_id: Arc<str>,
    ) -> Self {
        Self { token, owner, installation_id }
    }

    /// Returns the token's revision.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.token.revision
    }

    /// Returns the version that is shown, to be [expected](crate::Expected) by an operation that is
    /// based on it.
    #[must_use]
    pub fn version(&self) -> (TokenId, Revision) {
        (self.token.id, self.token.revision)
    }
}

impl Serialize for TokenView {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let token = &*self.token;
        let owner = self.owner.as_deref();
        let owner =
            owner.map(|profile| UserView { profile, installation_id: &self.installation_id });
        let mut json = serializer.serialize_struct("Token", 9)?;
        json.serialize_field("pk", &token.id)?;
        json.serialize_field("managed", &token.managed)?;
        json.serialize_field("identifier", &token.identifier)?;
        json.serialize_field("intent", &token.intent)?;
        json.serialize_field("user", &token.owner)?;
        json.serialize_field("user_obj", &owner)?;
        json.serialize_field("description", &*token.description)?;
        json.serialize_field("expires", &token.expires)?;
        json.serialize_field("expiring", &token.expiring)?;
        json.end()
    }
}

/// `user_obj`.
struct UserView<'a> {
    profile: &'a Profile,
    installation_id: &'a str,
}

impl Serialize for UserView<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (profile, user) = (self.profile, &*self.profile.user);
        let direct = user.groups.iter().filter_map(|id| profile.group(*id));
        let groups: Vec<_> = direct.map(|group| GroupView { group, profile }).collect();
        let mut json = serializer.serialize_struct("User", 20)?;
        json.serialize_field("pk", &user.id)?;
        json.serialize_field("username", &user.username)?;
        json.serialize_field("name", &user.name)?;
        json.serialize_field("is_active", &user.is_active)?;
        json.serialize_field("last_login", &user.last_login)?;
        json.serialize_field("date_joined", &user.date_joined)?;
        json.serialize_field("is_superuser", &profile.is_superuser())?;
        json.serialize_field("groups", &user.groups)?;
        json.serialize_field("groups_obj", &groups)?;
        json.serialize_field("roles", &[(); 0])?;
        json.serialize_field("roles_obj", &[(); 0])?;
        json.serialize_field("email", &user.email)?;
        json.serialize_field("avatar", user.avatar.as_deref().unwrap_or(User::DEFAULT_AVATAR))?;
        json.serialize_field("attributes", &user.attributes)?;
        json.serialize_field("uid", &uid(user.id, self.installation_id))?;
        json.serialize_field("path", &user.path)?;
        json.serialize_field("type", &user.user_type)?;
        json.serialize_field("uuid", &user.uuid.to_string())?;
        json.serialize_field("password_change_date", &user.password_change_date)?;
        json.serialize_field("last_updated", &user.last_updated)?;
        json.end()
    }
}

/// An entry of `groups_obj`.
struct GroupView<'a> {
    group: &'a Group,
    profile: &'a Profile,
}

impl Serialize for GroupView<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let group = self.group;
        let parent = group.parent.and_then(|parent| self.profile.group(parent));
        let mut json = serializer.serialize_struct("Group", 7)?;
        json.serialize_field("pk", &group.id)?;
        json.serialize_field("num_pk", &group.id.number())?;
        json.serialize_field("name", &group.name)?;
        json.serialize_field("is_superuser", &group.is_superuser)?;
        json.serialize_field("parent", &group.parent)?;
        json.serialize_field("parent_name", &parent.map(|parent| parent.name.as_str()))?;
        json.serialize_field("attributes", &group.attributes)?;
        json.end()
    }
}

/// `uid`: what stands for the user towards others, different in every installation.
fn uid(user: UserId, installation_id: &str) -> String {
    use std::fmt::Write;
    let digest = Sha256::digest(format!("{user}-{installation_id}"));
    digest.iter().fold(String::with_capacity(64), |mut hex, byte| {
        // Writing to a string does not fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}
