//! A permission in the hands of a user.

use std::cmp::Ordering;
use std::fmt;

use crate::access::Permission;
use crate::token::TokenId;
use crate::user::UserId;

/// A permission that a user holds, globally or on one token: a row of a
/// [`UserStore`](crate::UserStore).
///
/// Grants are in the order of the users' numbers, then of the tokens' bytes, those on all tokens
/// first, then of the permissions' names.
///
/// ```
/// use tokenkeep::{Grant, Permission, TokenId, UserId};
///
/// let user = UserId::new(2);
/// let on_all = Grant { user, on: None, permission: Permission::ViewToken };
/// let on_one = Grant { on: Some(TokenId::from_bytes([0; 16])), ..on_all };
/// assert!(on_all < on_one);
/// // By name: change_token comes before view_token.
/// assert!(Grant { permission: Permission::ChangeToken, ..on_all } < on_all);
/// assert_eq!(on_all.to_string(), "authentik_core.view_token of user 2 on all tokens");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Grant {
    /// Who holds it.
    pub user: UserId,
    /// The token on which it is held; `None` for all.
    pub on: Option<TokenId>,
    /// What is held.
    pub permission: Permission,
}

impl Ord for Grant {
    fn cmp(&self, other: &Self) -> Ordering {
        let place = |grant: &Self| (grant.user, grant.on, grant.permission.as_str());
        place(self).cmp(&place(other))
    }
}

impl PartialOrd for Grant {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of user {} on ", self.permission.as_str(), self.user)?;
        match self.on {
            Some(token) => write!(f, "token {token}"),
            None => f.write_str("all tokens"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_says_who_holds_what_on_what() {
        let user = UserId::new(2);
        let on_all = Grant { user, on: None, permission: Permission::ViewToken };
        let on_one = Grant { on: Some(TokenId::from_bytes([0x1f; 16])), ..on_all };
        assert_eq!(on_all.to_string(), "authentik_core.view_token of user 2 on all tokens");
        assert_eq!(
            on_one.to_string(),
            "authentik_core.view_token of user 2 on token 1f1f1f1f-1f1f-1f1f-1f1f-1f1f1f1f1f1f"
        );
    }
}
