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
    Delete,
    ViewKey,
    SetKey,
    Rotate,
}

impl Action {
    /// Whether it shows or changes the key, for which owning the token is not enough.
    pub(crate) const fn concerns_key(self) -> bool {
        matches!(self, Self::ViewKey | Self::SetKey | Self::Rotate)
    }
}

/// What costs a read to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Knowledge {
    /// The caller's permissions on the token.
    pub(crate) permissions: Permissions,
    /// Whether the token may let somebody act as a superuser. It is looked up only for what
    /// concerns the key.
    pub(crate) owner_may_be_superuser: bool,
}

/// What [`judge`] says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Allowed,
    /// The caller sees the token, and may not do this to it.
    Forbidden,
    /// To this caller there is no such token.
    Hidden,
    /// It depends on what has not been looked up.
    AskKnowledge,
}

/// Whether the caller may do this. Superusers and owners are mostly judged without what costs a
/// read: pass `None` first, and look it up only for [`AskKnowledge`](Verdict::AskKnowledge).
pub(crate) fn judge(
    action: Action,
    who: Standing,
    token: &Token,
    knowledge: Option<Knowledge>,
) -> Verdict {
    let is_owner = who.caller == Caller::User(token.owner);
    if who.is_superuser || (is_owner && !action.concerns_key()) {
        return Verdict::Allowed;
    }
    let Some(known) = knowledge else {
        return Verdict::AskKnowledge;
    };
    let holds = |permission| known.permissions.contains(permission);
    if !is_owner && !holds(Permission::ViewToken) {
        return Verdict::Hidden;
    }
    let is_for_superusers =
        action.concerns_key() && (token.intent.is_single_use() || known.owner_may_be_superuser);
    let may_view_key = holds(Permission::ViewTokenKey) || (is_owner && token.owner_may_view_key);
    let is_allowed = match action {
        Action::View => true,
        Action::Change => holds(Permission::ChangeToken),
        Action::Delete => holds(Permission::DeleteToken),
        Action::ViewKey => may_view_key,
        Action::SetKey => holds(Permission::SetTokenKey),
        Action::Rotate => is_owner && may_view_key,
    };
    if is_allowed && !is_for_superusers { Verdict::Allowed } else { Verdict::Forbidden }
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

    fn knowing(permissions: Permissions) -> Knowledge {
        Knowledge { permissions, owner_may_be_superuser: false }
    }

    #[test]
    fn owners_and_superusers_are_judged_without_a_read() {
        let superuser = Standing { is_superuser: true, ..user(9) };
        let system = Standing { caller: Caller::System, is_superuser: true };
        let judged = |action, who| judge(action, who, &token_of(2), None);
        for action in [Action::View, Action::Change, Action::Delete] {
            assert_eq!(judged(action, user(2)), Verdict::Allowed);
            assert_eq!(judged(action, user(3)), Verdict::AskKnowledge);
        }
        for action in [Action::ViewKey, Action::SetKey, Action::Rotate] {
            assert_eq!(judged(action, user(2)), Verdict::AskKnowledge);
            assert_eq!(judged(action, superuser), Verdict::Allowed);
            assert_eq!(judged(action, system), Verdict::Allowed);
        }
    }

    #[test]
    fn others_need_to_see_a_token_before_anything_else() {
        let all: Permissions = Permission::ALL.into_iter().collect();
        let blind = all.without(Permission::ViewToken);
        let sighted = Permissions::NONE.with(Permission::ViewToken);
        let judged = |action, held| judge(action, user(3), &token_of(2), Some(knowing(held)));
        assert_eq!(judged(Action::View, sighted), Verdict::Allowed);
        for (action, needed) in [
            (Action::Change, Permission::ChangeToken),
            (Action::Delete, Permission::DeleteToken),
            (Action::ViewKey, Permission::ViewTokenKey),
            (Action::SetKey, Permission::SetTokenKey),
        ] {
            assert_eq!(judged(action, blind), Verdict::Hidden, "{action:?}");
            assert_eq!(judged(action, all.without(needed)), Verdict::Forbidden, "{action:?}");
            assert_eq!(judged(action, sighted.with(needed)), Verdict::Allowed, "{action:?}");
        }
        assert_eq!(judged(Action::Rotate, all), Verdict::Forbidden, "owners rotate");
    }

    #[test]
    fn owning_a_token_is_not_enough_for_its_key() {
        let viewable = Token { owner_may_view_key: true, ..token_of(2) };
        let judged =
            |action, token: &Token, held| judge(action, user(2), token, Some(knowing(held)));
        let set = Permissions::NONE.with(Permission::SetTokenKey);
        let view = Permissions::NONE.with(Permission::ViewTokenKey);
        for action in [Action::ViewKey, Action::Rotate] {
            assert_eq!(judged(action, &token_of(2), Permissions::NONE), Verdict::Forbidden);
            assert_eq!(judged(action, &token_of(2), view), Verdict::Allowed);
            assert_eq!(judged(action, &viewable, Permissions::NONE), Verdict::Allowed);
        }
        assert_eq!(judged(Action::SetKey, &viewable, view), Verdict::Forbidden);
        assert_eq!(judged(Action::SetKey, &token_of(2), set), Verdict::Allowed);
    }

    #[test]
    fn keys_that_let_one_act_as_a_superuser_are_a_superusers_matter() {
        let all: Permissions = Permission::ALL.into_iter().collect();
        let known =
            |owner_may_be_superuser| Some(Knowledge { permissions: all, owner_may_be_superuser });
        for action in [Action::ViewKey, Action::SetKey, Action::Rotate] {
            for caller in [user(2), user(3)] {
                let of_superuser = judge(action, caller, &token_of(2), known(true));
                assert_eq!(of_superuser, Verdict::Forbidden);
                for intent in [Intent::Recovery, Intent::Verification] {
                    let token = Token { intent, owner_may_view_key: true, ..token_of(2) };
                    assert_eq!(judge(action, caller, &token, known(false)), Verdict::Forbidden);
                }
            }
        }
        let change = judge(Action::Change, user(3), &token_of(2), known(true));
        assert_eq!(change, Verdict::Allowed, "what is not about the key is not concerned");
    }

    #[test]
    fn permissions_are_a_set() {
        let pair = Permissions::NONE.with(Permission::ViewToken).with(Permission::SetTokenKey);
        assert_eq!(format!("{pair:?}"), "{ViewToken, SetTokenKey}");
        assert_eq!(pair.without(Permission::ViewToken).union(pair), pair);
        assert!(!pair.without(Permission::ViewToken).contains(Permission::ViewToken));
    }
}
