//! What becomes of a managed token that is there.

use crate::fields::TokenField;
use crate::input::{Field, FieldError, FieldErrors, TokenChange, wanted};
use crate::policy::{self, Circumstances};
use crate::timestamp::Timestamp;
use crate::token::{Intent, Token};

/// The token as `change` wants it, apart from its key; equal to `token` when nothing that `change`
/// sets differs. `gets_new_key` says that the key will differ, whatever else does.
///
/// The process that owns the token decides like the system on a create: any expiry, and whether it
/// expires. What nobody can change stays: the owner, and the intent of a single-use token. A token
/// that is taken over is the process's from then on: its owner loses the right to view the key.
pub(crate) fn bring_back(
    token: &Token,
    change: &TokenChange,
    gets_new_key: bool,
    around: &Circumstances,
) -> Result<Token, FieldErrors> {
    let mut errors = change.refusals();
    let other_owner = wanted(&change.owner).filter(|owner| **owner != token.owner);
    errors.add(TokenField::User, other_owner.map(|_| FieldError::OwnerFixed));
    errors.into_result()?;

    let intent = policy::intent_after(token.intent, &change.intent);
    let intent = intent.map_err(policy::on(TokenField::Intent))?;
    policy::check_expiry_chosen(change, intent).map_err(policy::on(TokenField::Expires))?;
    let expiring = wanted(&change.expiring).copied().unwrap_or(token.expiring);
    let after = Token {
        managed: policy::kept_or(&change.managed, token.managed.clone()),
        identifier: policy::set_or(&change.identifier, &token.identifier),
        description: policy::set_or(&change.description, &token.description),
        intent,
        expiring,
        owner_may_view_key: token.owner_may_view_key && token.managed.is_some(),
        expires: wanted_expiry(token, change, intent, expiring),
        ..token.clone()
    };
    if after == *token && !gets_new_key {
        return Ok(after);
    }
    let expires = match intent {
        Intent::Api => Some(around.default_expiry()),
        _ => around.fill_in(after.expires, expiring),
    };
    Ok(Token { expires, ..after })
}

/// The expiry as far as it is looked at. A token that expires has one, so that a wanted null is
/// the one it has.
fn wanted_expiry(
    token: &Token,
    change: &TokenChange,
    intent: Intent,
    expiring: bool,
) -> Option<Timestamp> {
    match change.expires {
        Ok(Field::Set(expires)) if intent != Intent::Api => Some(expires),
        Ok(Field::Clear) if intent != Intent::Api && !expiring => None,
        _ => token.expires,
    }
}
