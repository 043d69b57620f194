//! Users and groups, as far as tokens need to know them.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::directory::UserStoreError;
use crate::timestamp::Timestamp;

/// A user's primary key: any 64-bit integer that the host's user table gives out.
///
/// ```
/// use tokenkeep::UserId;
///
/// assert_eq!(UserId::new(2).to_string(), "2");
/// assert_eq!(UserId::new(2).get(), 2);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct UserId(i64);

impl UserId {
    /// The user with this number.
    #[must_use]
    pub const fn new(number: i64) -> Self {
        Self(number)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> i64 {
        self.0
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A group's primary key.
///
/// ```
/// use tokenkeep::GroupId;
///
/// let id = GroupId::from_bytes(1_u128.to_be_bytes());
/// assert_eq!(id.to_string(), "00000000-0000-0000-0000-000000000001");
/// assert_eq!(GroupId::from_bytes(0x4000_8000_0000_0000_0001_u128.to_be_bytes()).number(), 30_224);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId(Uuid);

impl GroupId {
    /// The id with these 16 bytes, as a backend reads them from a row.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }

    /// The id's 16 bytes, as a backend writes them into a row.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// `num_pk` in JSON: the first five decimal digits of the id read as a 128-bit integer.
    #[must_use]
    pub const fn number(self) -> u128 {
        let mut number = self.0.as_u128();
        while number >= 100_000 {
            number /= 10;
        }
        number
    }
}

impl From<Uuid> for GroupId {
    fn from(id: Uuid) -> Self {
        Self(id)
    }
}

impl fmt::Display for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl Serialize for GroupId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// What kind of account a user is. tokenkeep only shows it.
///
/// ```
/// use tokenkeep::UserType;
///
/// assert_eq!(UserType::ServiceAccount.as_str(), "service_account");
/// assert_eq!(UserType::from_name("internal"), Some(UserType::Internal));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum UserType {
    /// A person of the organisation.
    #[default]
    Internal,
    /// A person from outside.
    External,
    /// A machine.
    ServiceAccount,
    /// A machine that the software itself made.
    InternalServiceAccount,
}

impl UserType {
    /// Every type.
    pub const ALL: [Self; 4] =
        [Self::Internal, Self::External, Self::ServiceAccount, Self::InternalServiceAccount];

    /// The name in JSON and in storage.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Internal => "internal",
            Self::External => "external",
            Self::ServiceAccount => "service_account",
            Self::InternalServiceAccount => "internal_service_account",
        }
    }

    /// The type of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|user_type| user_type.as_str() == name)
    }
}

impl Serialize for UserType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// A user.
///
/// ```
/// use tokenkeep::{Timestamp, User, UserId};
///
/// let entered: Timestamp = "2024-09-27T14:26:18Z".parse()?;
/// let alice = User {
///     email: "alice@example.com".into(),
///     ..User::new(UserId::new(2), uuid::Uuid::from_u128(2), "alice", entered)
/// };
/// assert!(alice.is_active);
/// assert_eq!(alice.date_joined, entered);
/// # Ok::<(), tokenkeep::FieldError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct User {
    /// The primary key, `pk` in JSON.
    pub id: UserId,
    /// The user's UUID.
    pub uuid: Uuid,
    /// The name to log in with, unique.
    pub username: String,
    /// The name to show.
    pub name: String,
    /// The address, `""` when there is none.
    pub email: String,
    /// Where the picture is; `None` shows [`DEFAULT_AVATAR`](Self::DEFAULT_AVATAR).
    pub avatar: Option<String>,
    /// Whether the user may do anything at all.
    pub is_active: bool,
    /// What kind of account it is, `type` in JSON.
    pub user_type: UserType,
    /// Where the host files the user.
    pub path: String,
    /// The user's own attributes, those of its groups not mixed in.
    pub attributes: Map<String, Value>,
    /// The groups that the user is in directly.
    pub groups: BTreeSet<GroupId>,
    /// When the user last logged in.
    pub last_login: Option<Timestamp>,
    /// When the user joined.
    pub date_joined: Timestamp,
    /// When the user was last changed.
    pub last_updated: Timestamp,
    /// When the password was last changed.
    pub password_change_date: Timestamp,
}

/// How deep attributes may be nested: less deep than any JSON reader refuses.
pub const MAX_ATTRIBUTE_DEPTH: usize = 64;

/// Whether every directory can keep these texts and attributes as they are.
fn check_storable(
    texts: &[(&'static str, &str)],
    attributes: &Map<String, Value>,
) -> Result<(), UserStoreError> {
    if let Some((field, _)) = texts.iter().find(|(_, text)| text.contains('\0')) {
        return Err(UserStoreError::NullCharacter { field });
    }
    if attributes.values().any(|value| is_deeper_than(MAX_ATTRIBUTE_DEPTH, value)) {
        return Err(UserStoreError::AttributesTooDeep);
    }
    Ok(())
}

fn is_deeper_than(depth: usize, value: &Value) -> bool {
    let Some(inner) = depth.checked_sub(1) else {
        return true;
    };
    match value {
        Value::Array(values) => values.iter().any(|value| is_deeper_than(inner, value)),
        Value::Object(values) => values.values().any(|value| is_deeper_than(inner, value)),
        _ => false,
    }
}

impl User {
    /// The picture of a user who has none.
    pub const DEFAULT_AVATAR: &str = "/static/dist/assets/images/user_default.png";

    /// An active internal user without groups who enters at `entered`: the time that every date
    /// has which is not given.
    #[must_use]
    pub fn new(id: UserId, uuid: Uuid, username: impl Into<String>, entered: Timestamp) -> Self {
        Self {
            id,
            uuid,
            username: username.into(),
            name: String::new(),
            email: String::new(),
            avatar: None,
            is_active: true,
            user_type: UserType::default(),
            path: "users".into(),
            attributes: Map::new(),
            groups: BTreeSet::new(),
            last_login: None,
            date_joined: entered,
            last_updated: entered,
            password_change_date: entered,
        }
    }

    /// Whether every directory can keep the user as it is: what a [`UserStore`](crate::UserStore)
    /// asks before it writes one.
    ///
    /// # Errors
    ///
    /// [`UserStoreError::NullCharacter`] and [`UserStoreError::AttributesTooDeep`].
    pub fn check_storable(&self) -> Result<(), UserStoreError> {
        let texts = [
            ("username", self.username.as_str()),
            ("name", &self.name),
            ("email", &self.email),
            ("avatar", self.avatar.as_deref().unwrap_or_default()),
            ("path", &self.path),
        ];
        check_storable(&texts, &self.attributes)
    }
}

/// A group of users. Its members are also members of its ancestors.
///
/// ```
/// use tokenkeep::{Group, GroupId};
///
/// let admins = GroupId::from_bytes([1; 16]);
/// let helpdesk = Group {
///     parent: Some(admins),
///     ..Group::new(GroupId::from_bytes([4; 16]), "helpdesk")
/// };
/// assert!(!helpdesk.is_superuser);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    /// The primary key, `pk` in JSON.
    pub id: GroupId,
    /// The name.
    pub name: String,
    /// Whether the members may do everything.
    pub is_superuser: bool,
    /// The group that this one is part of.
    pub parent: Option<GroupId>,
    /// Attributes that the members inherit.
    pub attributes: Map<String, Value>,
}

impl Group {
    /// A group without rights, parent and attributes.
    #[must_use]
    pub fn new(id: GroupId, name: impl Into<String>) -> Self {
        Self { id, name: name.into(), is_superuser: false, parent: None, attributes: Map::new() }
    }

    /// Whether every directory can keep the group as it is.
    ///
    /// # Errors
    ///
    /// [`UserStoreError::NullCharacter`] and [`UserStoreError::AttributesTooDeep`].
    pub fn check_storable(&self) -> Result<(), UserStoreError> {
        check_storable(&[("name", &self.name)], &self.attributes)
    }
}

/// A user together with every group that counts for it, as a
/// [`UserDirectory`](crate::UserDirectory) returns it.
///
/// ```
/// use std::sync::Arc;
/// use tokenkeep::{Group, GroupId, Profile, Timestamp, User, UserId};
///
/// let admins = Group { is_superuser: true, ..Group::new(GroupId::from_bytes([1; 16]), "admins") };
/// let mut root = User::new(UserId::new(1), uuid::Uuid::from_u128(1), "root", Timestamp::MIN);
/// root.groups.insert(admins.id);
///
/// let profile = Profile { user: Arc::new(root), groups: vec![Arc::new(admins)] };
/// assert!(profile.is_superuser());
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Profile {
    /// The user.
    pub user: Arc<User>,
    /// Every group that the user is in, directly or as a member of a descendant, each once, in
    /// any order.
    pub groups: Vec<Arc<Group>>,
}

impl Profile {
    /// Whether one of the groups is a superuser group.
    #[must_use]
    pub fn is_superuser(&self) -> bool {
        self.groups.iter().any(|group| group.is_superuser)
    }

    /// The group of that id, if it counts for the user.
    #[must_use]
    pub fn group(&self, id: GroupId) -> Option<&Group> {
        self.groups.iter().find(|group| group.id == id).map(AsRef::as_ref)
    }

    /// The value of the attribute `name` that counts: the user's own, else that of the group whose
    /// name comes last.
    ///
    /// SPEC "Update" has all attributes merged, objects deeply and lists joined. A rule reads only
    /// strings and booleans, and of those the last one replaces what was there before, so that this
    /// finds what the merge would.
    pub(crate) fn deciding_attribute(&self, name: &str) -> Option<&Value> {
        let of_groups = || {
            self.groups
                .iter()
                .filter_map(|group| Some((&group.name, group.id, group.attributes.get(name)?)))
                .max_by_key(|(name, id, _)| (*name, *id))
                .map(|(_, _, value)| value)
        };
        self.user.attributes.get(name).or_else(of_groups)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn group(number: u8, name: &str, attribute: Value) -> Arc<Group> {
        let mut group = Group::new(GroupId::from_bytes([number; 16]), name);
        group.attributes.insert("a".into(), attribute);
        Arc::new(group)
    }

    fn profile(groups: Vec<Arc<Group>>) -> Profile {
        let user = User::new(UserId::new(1), Uuid::from_u128(1), "alice", Timestamp::MIN);
        Profile { user: Arc::new(user), groups }
    }

    #[test]
    fn the_group_whose_name_comes_last_decides() {
        let groups = vec![group(1, "b", json!("from b")), group(2, "a", json!("from a"))];
        let mut profile = profile(groups);
        assert_eq!(profile.deciding_attribute("a"), Some(&json!("from b")));
        assert_eq!(profile.deciding_attribute("other"), None);

        let user = Arc::make_mut(&mut profile.user);
        user.attributes.insert("a".into(), Value::Null);
        assert_eq!(profile.deciding_attribute("a"), Some(&Value::Null), "the user's own overrides");
    }

    #[test]
    fn attributes_are_too_deep_in_objects_as_in_arrays() {
        let nest_in_array = |inner| json!([inner]);
        let nest_in_object = |inner| json!({ "inner": inner });
        for nest in [nest_in_array, nest_in_object] {
            let nested = |depth| (0..depth).fold(Value::Null, |inner, _| nest(inner));
            let mut group = Group::new(GroupId::from_bytes([1; 16]), "deep");
            group.attributes.insert("a".into(), nested(MAX_ATTRIBUTE_DEPTH - 1));
            assert!(group.check_storable().is_ok());
            group.attributes.insert("a".into(), nested(MAX_ATTRIBUTE_DEPTH));
            let refused = group.check_storable();
            assert!(matches!(refused, Err(UserStoreError::AttributesTooDeep)), "{refused:?}");
        }
    }

    #[test]
    fn a_groups_id_is_shown_as_a_uuid() {
        let id = GroupId::from_bytes([0x1f; 16]);
        assert_eq!(id.to_string(), "1f1f1f1f-1f1f-1f1f-1f1f-1f1f1f1f1f1f");
    }

    #[test]
    fn a_groups_number_is_its_first_five_digits() {
        let id = Uuid::parse_str("00000000-0000-4000-8000-000000000001").unwrap();
        assert_eq!(GroupId::from(id).number(), 30_224);
        assert_eq!(GroupId::from(Uuid::from_u128(42)).number(), 42);
    }
}
