//! Who may do what to which token (SPEC "Access").

use std::fmt;

use crate::token::Token;
use crate::user::UserId;

/// On whose behalf an operation runs. A service looks the user up in its directory at every
/// operation: an id is no right by itself, and an inactive user is refused everything.
///
/// ```
/// use tokenkeep::{Caller, UserId};
///
/// assert_eq!(Caller::User(UserId::new(2)).to_string(), "user 2");
/// assert_eq!(Caller::System.to_string(), "the system");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Caller {
    /// The program that embeds tokenkeep: what a superuser may do, and more on a create. Never what
    /// a request asked for.
    System,
    /// A user, as authenticated by tokenkeep or by the host.
    User(UserId),
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System => f.write_str("the system"),
            Self::User(id) => write!(f, "user {id}"),
        }
    }
}

/// A right that a user can hold, globally or on a single token.
///
/// ```
/// use tokenkeep::Permission;
///
/// assert_eq!(Permission::ViewToken.as_str(), "authentik_core.view_token");
/// assert_eq!(Permission::from_name("authentik_core.view_token"), Some(Permission::ViewToken));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Permission {
    /// See tokens of others.
    ViewToken,
    /// Create tokens. Everybody may create tokens for themselves without it.
    AddToken,
    /// Change tokens of others.
    ChangeToken,
    /// Delete tokens of others.
    DeleteToken,
    /// View keys.
    ViewTokenKey,
    /// Set keys.
    SetTokenKey,
}

impl Permission {
    /// Every permission.
    pub const ALL: [Self; 6] = [
        Self::ViewToken,
        Self::AddToken,
        Self::ChangeToken,
        Self::DeleteToken,
        Self::ViewTokenKey,
        Self::SetTokenKey,
    ];

    /// The name in storage, authentik's.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ViewToken => "authentik_core.view_token",
            Self::AddToken => "authentik_core.add_token",
            Self::ChangeToken => "authentik_core.change_token",
            Self::DeleteToken => "authentik_core.delete_token",
            Self::ViewTokenKey => "authentik_core.view_token_key",
            Self::SetTokenKey => "authentik_core.set_token_key",
        }
    }

    /// The permission of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|permission| permission.as_str() == name)
    }
}

/// A set of [`Permission`]s.
///
/// ```
/// use tokenkeep::{Permission, Permissions};
///
/// let held = Permissions::from_iter([Permission::ViewToken]);
/// assert!(held.contains(Permission::ViewToken));
/// assert!(!held.contains(Permission::ChangeToken));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Permissions(u8);

impl Permissions {
    /// No permission.
    pub const NONE: Self = Self(0);

    /// Whether `permission` is in the set.
    #[must_use]
    pub const fn contains(self, permission: Permission) -> bool {
        self.0 & (1 << permission as u8) != 0
    }

    /// The set with `permission` in it.
    #[must_use]
    pub const fn with(self, permission: Permission) -> Self {
        Self(self.0 | 1 << permission as u8)
    }

    /// The set with `permission` not in it.
    #[must_use]
    pub const fn without(self, permission: Permission) -> Self {
        Self(self.0 & !(1 << permission as u8))
    }

    /// What is in either set.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl FromIterator<Permission> for Permissions {
    fn from_iter<I: IntoIterator<Item = Permission>>(permissions: I) -> Self {
        permissions.into_iter().fold(Self::NONE, Self::with)
    }
}

impl fmt::Debug for Permissions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let held = Permission::ALL.into_iter().filter(|permission| self.contains(*permission));
        f.debug_set().entries(held).finish()
    }
}

/// What a caller is, apart from its permissions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) caller: Caller,
    /// The system, or a member of a superuser group.
    pub(crate) is_superuser: bool,
}

/// What somebody wants to do to a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    View,
    Change,
}

/// What [`judge`] says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Allowed,
    /// The caller sees the token, and may not do this to it.
    Forbidden,
    /// To this caller there is no such token.
    Hidden,
    /// It depends on permissions that have not been loaded.
    AskPermissions,
}

/// Whether the caller may do this. Superusers and owners are judged without their permissions,
/// which cost a read: pass `None` first, and load them only for
/// [`AskPermissions`](Verdict::AskPermissions).
pub(crate) fn judge(
    action: Action,
    who: Standing,
    token: &Token,
    permissions: Option<Permissions>,
) -> Verdict {
    let is_owner = who.caller == Caller::User(token.owner);
    if who.is_superuser || is_owner {
        return Verdict::Allowed;
    }
    let Some(held) = permissions else {
        return Verdict::AskPermissions;
    };
    if !held.contains(Permission::ViewToken) {
        return Verdict::Hidden;
    }
    let needed = match action {
        Action::View => Permission::ViewToken,
        Action::Change => Permission::ChangeToken,
    };
    if held.contains(needed) { Verdict::Allowed } else { Verdict::Forbidden }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::{KeyDigest, TokenKey};
    use crate::timestamp::Timestamp;
    use crate::token::{Intent, Revision, TokenId};

    fn token_of(owner: i64) -> Token {
        Token {
            id: TokenId::from_bytes([1; 16]),
            identifier: "ci".parse().unwrap(),
            intent: Intent::Api,
            owner: UserId::new(owner),
            description: "".into(),
            expires: None,
            expiring: false,
            managed: None,
            revision: Revision::FIRST,
            created: Timestamp::MIN,
            updated: Timestamp::MIN,
            last_used: None,
            owner_may_view_key: false,
            key_digest: KeyDigest::of(&TokenKey::from("key".to_owned())),
            sealed_key: None,
        }
    }

    fn user(id: i64) -> Standing {
        Standing { caller: Caller::User(UserId::new(id)), is_superuser: false }
    }

    #[test]
    fn owners_and_superusers_are_judged_without_permissions() {
        let superuser = Standing { is_superuser: true, ..user(9) };
        let system = Standing { caller: Caller::System, is_superuser: true };
        for action in [Action::View, Action::Change] {
            for who in [user(2), superuser, system] {
                assert_eq!(judge(action, who, &token_of(2), None), Verdict::Allowed);
            }
            assert_eq!(judge(action, user(3), &token_of(2), None), Verdict::AskPermissions);
        }
    }

    #[test]
    fn others_need_to_see_a_token_before_anything_else() {
        let all: Permissions = Permission::ALL.into_iter().collect();
        let blind = all.without(Permission::ViewToken);
        let judged = |action, held| judge(action, user(3), &token_of(2), Some(held));
        for (action, held, verdict) in [
            (Action::View, Permissions::NONE, Verdict::Hidden),
            (Action::View, blind, Verdict::Hidden),
            (Action::Change, blind, Verdict::Hidden),
            (Action::View, Permissions::NONE.with(Permission::ViewToken), Verdict::Allowed),
            (Action::Change, all.without(Permission::ChangeToken), Verdict::Forbidden),
            (Action::Change, all, Verdict::Allowed),
        ] {
            assert_eq!(judged(action, held), verdict, "{action:?} with {held:?}");
        }
    }

    #[test]
    fn permissions_are_a_set() {
        let pair = Permissions::NONE.with(Permission::ViewToken).with(Permission::SetTokenKey);
        assert_eq!(format!("{pair:?}"), "{ViewToken, SetTokenKey}");
        assert_eq!(pair.without(Permission::ViewToken).union(pair), pair);
        assert!(!pair.without(Permission::ViewToken).contains(Permission::ViewToken));
    }
}
