//! What a change may do to a token: one function a rule (SPEC "Update" and "Create").
//!
//! Everything here is pure. The service looks up what the rules need to know and passes it in.

use std::time::Duration;

use serde_json::Value;

use crate::duration::parse_duration;
use crate::fields::TokenField;
use crate::identifier::Identifier;
use crate::input::{Checked, Field, FieldError, FieldErrors, TokenChange, wanted};
use crate::managed::Marker;
use crate::timestamp::Timestamp;
use crate::token::{Intent, Token};
use crate::user::{Profile, UserId};

/// The host's settings.
///
/// ```
/// use std::time::Duration;
/// use tokenkeep::Policy;
///
/// let policy = Policy { default_duration: tokenkeep::parse_duration("days=7")?, ..Policy::default() };
/// assert_eq!(Policy::default().default_duration, Duration::from_secs(86_400));
/// # drop(policy);
/// # Ok::<(), tokenkeep::DurationError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// How long an `api` token lives from each update, and the longest life of others whose owner
    /// has no maximum of its own. A day by default.
    pub default_duration: Duration,
    /// How many characters a key that is set by hand must have: 32 by default, so that it cannot be
    /// guessed.
    pub minimum_key_length: usize,
    /// The most tokens that an owner can have before a create for it is refused, except by a
    /// superuser or the system. Creates at the same time can exceed the limit by their number.
    /// `None`, the default, is no limit.
    pub maximum_tokens_per_owner: Option<u32>,
    /// How far the clock may be ahead of the newest event before a sweep is refused: a clock that
    /// jumped ahead would sweep tokens that are valid on every other instance. Choose more than the
    /// longest time without any event. Every event counts, also one that was written by the clock after
    /// its jump, so that the check helps an instance that only sweeps, and one that also writes until
    /// its first change. `None`, the default, sweeps by the clock alone.
    pub maximum_clock_lead: Option<Duration>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            default_duration: Duration::from_secs(86_400),
            minimum_key_length: 32,
            maximum_tokens_per_owner: None,
            maximum_clock_lead: None,
        }
    }
}

/// What the rules need to know beside the token and the change.
#[derive(Debug)]
pub(crate) struct Circumstances {
    pub(crate) now: Timestamp,
    pub(crate) default_duration: Duration,
    /// The change is made by the program itself.
    pub(crate) by_system: bool,
    /// The change is made by a superuser or the program itself.
    pub(crate) by_superuser: bool,
    pub(crate) owner: OwnerPolicy,
    pub(crate) conflicts: Conflicts,
}

/// What the owner's attributes prescribe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OwnerPolicy {
    /// Whether its tokens expire.
    pub(crate) expiring: bool,
    /// How far in the future an expiry may lie.
    pub(crate) maximum_lifetime: Duration,
}

/// What stands against the wanted values, as far as it was looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "facts of one kind, each looked up by itself")]
pub(crate) struct Conflicts {
    /// Another token has the wanted identifier.
    pub(crate) identifier_taken: bool,
    /// Another token has the wanted marker.
    pub(crate) marker_taken: bool,
    /// The wanted owner does not exist.
    pub(crate) unknown_owner: bool,
    /// The owner has as many tokens as it can have.
    pub(crate) owner_is_full: bool,
}

impl OwnerPolicy {
    /// Whether tokens of a user expire: the user's own attribute alone counts.
    const TOKEN_EXPIRES: &str = "goauthentik.io/user/token-expires";

    /// The maximum lifetime: the user's own attribute, or that of its groups.
    const MAXIMUM_LIFETIME: &str = "goauthentik.io/user/token-maximum-lifetime";

    /// What `owner` prescribes. What cannot be read counts as unset; an owner that is missing
    /// prescribes nothing.
    pub(crate) fn of(owner: Option<&Profile>, default_duration: Duration) -> Self {
        let expires = owner.and_then(|owner| owner.user.attributes.get(Self::TOKEN_EXPIRES));
        let lifetime = owner.and_then(|owner| owner.deciding_attribute(Self::MAXIMUM_LIFETIME));
        let lifetime = lifetime.and_then(Value::as_str).map(parse_duration);
        Self {
            expiring: expires != Some(&Value::Bool(false)),
            maximum_lifetime: lifetime.and_then(Result::ok).unwrap_or(default_duration),
        }
    }
}

/// The token after an update: `token` with what `change` wants, if every rule allows it. Revision
/// and update time are left as they are.
pub(crate) fn update(
    token: &Token,
    change: &TokenChange,
    identifier_required: bool,
    around: &Circumstances,
) -> Result<Token, FieldErrors> {
    let mut errors = change.refusals();
    errors.add(TokenField::Managed, marker_refused(change, token.managed.as_ref(), around));
    let identifier = identifier_refused(change, identifier_required, around);
    errors.add(TokenField::Identifier, identifier);
    errors.add(TokenField::User, owner_changed(change, token.owner, around));
    errors.into_result()?;

    check_rename(token, change, around).map_err(on(TokenField::Identifier))?;

    let intent = intent_after(token.intent, &change.intent).map_err(on(TokenField::Intent))?;
    let expiring = expiring_after(token, change, around).map_err(on(TokenField::Expiring))?;
    let expires =
        expires_after(token, change, intent, expiring, around).map_err(on(TokenField::Expires))?;
    Ok(Token {
        managed: kept_or(&change.managed, token.managed.clone()),
        identifier: set_or(&change.identifier, &token.identifier),
        description: set_or(&change.description, &token.description),
        intent,
        expires,
        expiring,
        ..token.clone()
    })
}

/// What a create makes, apart from its id, key and times.
#[derive(Debug, PartialEq)]
pub(crate) struct NewToken {
    pub(crate) managed: Option<Marker>,
    pub(crate) identifier: Identifier,
    pub(crate) intent: Intent,
    pub(crate) owner: UserId,
    pub(crate) description: std::sync::Arc<str>,
    pub(crate) expires: Option<Timestamp>,
    pub(crate) expiring: bool,
    pub(crate) owner_may_view_key: bool,
}

/// What `change` creates for `caller`, who is `None` for the system.
pub(crate) fn create(
    change: &TokenChange,
    caller: Option<UserId>,
    around: &Circumstances,
) -> Result<NewToken, FieldErrors> {
    let mut errors = change.refusals();
    errors.add(TokenField::Managed, marker_refused(change, None, around));
    errors.add(TokenField::Identifier, identifier_refused(change, true, around));
    errors.add(TokenField::User, owner_refused(change, caller, around));
    errors.into_result()?;
    if around.conflicts.owner_is_full {
        return Err(FieldErrors::of(TokenField::User, [FieldError::TooManyTokens]));
    }

    // Both have just been checked: a create without an identifier or an owner was refused.
    let required = |field| FieldErrors::of(field, [FieldError::Required]);
    let identifier = wanted(&change.identifier).ok_or_else(|| required(TokenField::Identifier))?;
    let owner = wanted(&change.owner).copied().or(caller);

    let intent = intent_created(change, around).map_err(on(TokenField::Intent))?;
    let expiring = expiring_created(change, around).map_err(on(TokenField::Expiring))?;
    let expires =
        expires_created(change, intent, expiring, around).map_err(on(TokenField::Expires))?;
    Ok(NewToken {
        managed: wanted(&change.managed).cloned(),
        identifier: identifier.clone(),
        intent,
        owner: owner.ok_or_else(|| required(TokenField::User))?,
        description: wanted(&change.description).cloned().unwrap_or_default(),
        expires,
        expiring,
        owner_may_view_key: !around.by_superuser,
    })
}

/// The expiry of a token that gets a new key (SPEC "Operations", rotate): the default, and of an
/// app password no later than its owner's maximum lifetime.
pub(crate) fn rotate(token: &Token, around: &Circumstances) -> Result<Timestamp, FieldErrors> {
    match token.intent {
        Intent::Api => Ok(around.default_expiry()),
        Intent::AppPassword => Ok(around.longest_default_expiry()),
        Intent::Recovery | Intent::Verification => {
            Err(FieldErrors::of(TokenField::Intent, [FieldError::IntentNotRotatable]))
        }
    }
}

/// `managed`: only a superuser changes it, and nobody else learns whether a marker is taken.
fn marker_refused(
    change: &TokenChange,
    current: Option<&Marker>,
    around: &Circumstances,
) -> Option<FieldError> {
    let wanted = change.managed.as_ref().ok()?;
    let differs = match wanted {
        Field::Keep => false,
        Field::Clear => current.is_some(),
        Field::Set(marker) => current != Some(marker),
    };
    if differs && !around.by_superuser {
        Some(FieldError::MarkerForSuperusers)
    } else {
        around.conflicts.marker_taken.then_some(FieldError::MarkerTaken)
    }
}

/// `identifier`: required or not, and unique.
fn identifier_refused(
    change: &TokenChange,
    required: bool,
    around: &Circumstances,
) -> Option<FieldError> {
    match change.identifier {
        Ok(Field::Keep) if required => Some(FieldError::Required),
        _ => around.conflicts.identifier_taken.then_some(FieldError::IdentifierTaken),
    }
}

/// `identifier` of a managed token: only a superuser changes it. An owner who renamed its token could
/// keep the identifier of another managed token from the reconcile that wants it.
fn check_rename(
    token: &Token,
    change: &TokenChange,
    around: &Circumstances,
) -> Result<(), FieldError> {
    let renames = wanted(&change.identifier).is_some_and(|wanted| *wanted != token.identifier);
    if renames && token.managed.is_some() && !around.by_superuser {
        return Err(FieldError::ManagedIdentifierForSuperusers);
    }
    Ok(())
}

/// `user` on an update: the owner stays.
fn owner_changed(
    change: &TokenChange,
    current: UserId,
    around: &Circumstances,
) -> Option<FieldError> {
    let wanted = *wanted(&change.owner)?;
    unknown_owner(wanted, around).or((wanted != current).then_some(FieldError::OwnerFixed))
}

/// `user` on a create: users create for themselves, superusers for anybody, and the system has to
/// say for whom.
fn owner_refused(
    change: &TokenChange,
    caller: Option<UserId>,
    around: &Circumstances,
) -> Option<FieldError> {
    match (&change.owner, caller) {
        (Ok(Field::Keep), None) => Some(FieldError::Required),
        (Ok(Field::Set(wanted)), caller) if !around.by_superuser && caller != Some(*wanted) => {
            // The caller must not learn whether the user exists. authentik has no id below 1.
            let is_id = wanted.get() > 0;
            Some(if is_id { FieldError::OwnerNotSelf } else { FieldError::unknown_user(*wanted) })
        }
        (Ok(Field::Set(wanted)), _) => unknown_owner(*wanted, around),
        _ => None,
    }
}

fn unknown_owner(wanted: UserId, around: &Circumstances) -> Option<FieldError> {
    around.conflicts.unknown_owner.then(|| FieldError::unknown_user(wanted))
}

/// `intent` on an update: a single-use token keeps it, any other takes `api` or `app_password`.
pub(crate) fn intent_after(
    current: Intent,
    intent: &Checked<Intent>,
) -> Result<Intent, FieldError> {
    match wanted(intent) {
        Some(wanted) if current.is_single_use() && *wanted != current => {
            Err(FieldError::IntentFixed(current))
        }
        Some(wanted) if !current.is_single_use() && wanted.is_single_use() => {
            Err(FieldError::IntentNotAllowed(*wanted))
        }
        wanted => Ok(wanted.copied().unwrap_or(current)),
    }
}

/// `intent` on a create: `api` where nothing is said; single-use tokens are made by the system.
fn intent_created(change: &TokenChange, around: &Circumstances) -> Result<Intent, FieldError> {
    let wanted = wanted(&change.intent).copied().unwrap_or(Intent::Api);
    if wanted.is_single_use() && !around.by_system {
        return Err(FieldError::IntentNotAllowed(wanted));
    }
    Ok(wanted)
}

/// `expiring` on an update: superusers decide; others may set what the owner's attribute
/// prescribes, except on single-use tokens.
fn expiring_after(
    token: &Token,
    change: &TokenChange,
    around: &Circumstances,
) -> Result<bool, FieldError> {
    let wanted = wanted(&change.expiring).copied().unwrap_or(token.expiring);
    let prescribed = !token.intent.is_single_use() && wanted == around.owner.expiring;
    if wanted == token.expiring || around.by_superuser || prescribed {
        Ok(wanted)
    } else {
        Err(FieldError::ExpiringForSuperusers)
    }
}

/// `expiring` on a create: superusers decide; others get what the owner's attribute prescribes.
fn expiring_created(change: &TokenChange, around: &Circumstances) -> Result<bool, FieldError> {
    let wanted = wanted(&change.expiring).copied();
    let prescribed = around.owner.expiring;
    if around.by_superuser {
        Ok(wanted.unwrap_or(true))
    } else if change.in_code.contains(TokenField::Expiring) && wanted != Some(prescribed) {
        Err(FieldError::ExpiringForSuperusers)
    } else {
        Ok(prescribed)
    }
}

/// `expires` of an `api` token: JSON that chooses it is ignored, code that does is refused.
pub(crate) fn check_expiry_chosen(change: &TokenChange, intent: Intent) -> Result<(), FieldError> {
    if intent == Intent::Api && change.in_code.contains(TokenField::Expires) {
        Err(FieldError::ExpiryNotChosen)
    } else {
        Ok(())
    }
}

/// `expires` on an update.
fn expires_after(
    token: &Token,
    change: &TokenChange,
    intent: Intent,
    expiring: bool,
    around: &Circumstances,
) -> Result<Option<Timestamp>, FieldError> {
    check_expiry_chosen(change, intent)?;
    if intent == Intent::Api {
        return Ok(Some(around.default_expiry()));
    }
    let expires = kept_or(&change.expires, token.expires);
    if intent.is_single_use() && !around.by_superuser && is_later(expires, token.expires) {
        return Err(FieldError::ExpiryForSuperusers(intent));
    }
    let given = wanted(&change.expires).is_some();
    let switched = intent != token.intent || (expiring && !token.expiring);
    if given || switched {
        around.check_lifetime(expires)?;
    }
    Ok(around.fill_in(expires, expiring))
}

/// `expires` on a create: an `api` token's cannot be chosen, except by the system.
fn expires_created(
    change: &TokenChange,
    intent: Intent,
    expiring: bool,
    around: &Circumstances,
) -> Result<Option<Timestamp>, FieldError> {
    let wanted = wanted(&change.expires).copied();
    match intent {
        Intent::Api if !around.by_system || wanted.is_none() => {
            check_expiry_chosen(change, intent)?;
            return Ok(Some(around.default_expiry()));
        }
        _ if !around.by_system => around.check_lifetime(wanted)?,
        _ => {}
    }
    Ok(around.fill_in(wanted, expiring))
}

/// Whether an expiry lies behind another; none at all lies behind every one.
fn is_later(expires: Option<Timestamp>, than: Option<Timestamp>) -> bool {
    (expires.is_none(), expires) > (than.is_none(), than)
}

impl Circumstances {
    /// The expiry of an `api` token.
    pub(crate) fn default_expiry(&self) -> Timestamp {
        self.now.saturating_add(self.default_duration)
    }

    /// An expiry may not exceed the owner's maximum lifetime.
    fn check_lifetime(&self, expires: Option<Timestamp>) -> Result<(), FieldError> {
        let latest = self.now.saturating_add(self.owner.maximum_lifetime);
        match expires {
            Some(expires) if expires > latest => Err(FieldError::ExpiryTooLate { latest }),
            _ => Ok(()),
        }
    }

    /// A token that expires has an expiry.
    pub(crate) fn fill_in(&self, expires: Option<Timestamp>, expiring: bool) -> Option<Timestamp> {
        let default = expiring.then(|| self.longest_default_expiry());
        expires.or(default)
    }

    /// The default expiry, as far as the owner's maximum lifetime allows.
    fn longest_default_expiry(&self) -> Timestamp {
        self.now.saturating_add(self.default_duration.min(self.owner.maximum_lifetime))
    }
}

/// The value that a field is set to, or the one it has.
pub(crate) fn set_or<T: Clone>(field: &Checked<T>, current: &T) -> T {
    wanted(field).unwrap_or(current).clone()
}

/// What becomes of a field that can be cleared.
pub(crate) fn kept_or<T: Clone>(field: &Checked<T>, current: Option<T>) -> Option<T> {
    match field {
        Ok(Field::Set(value)) => Some(value.clone()),
        Ok(Field::Clear) => None,
        Ok(Field::Keep) | Err(_) => current,
    }
}

/// Puts an error under the name of its field.
pub(crate) fn on(field: TokenField) -> impl FnOnce(FieldError) -> FieldErrors {
    move |error| FieldErrors::of(field, [error])
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use uuid::Uuid;

    use super::*;
    use crate::access::Caller;
    use crate::input::RequestField;
    use crate::key::{KeyDigest, TokenKey};
    use crate::token::{Revision, TokenId};
    use crate::user::User;

    const DAY: Duration = Duration::from_secs(86_400);

    fn now() -> Timestamp {
        "2024-09-27T14:26:18.09Z".parse().unwrap()
    }

    fn hours(hours: u64) -> Timestamp {
        now().saturating_add(Duration::from_secs(3600 * hours))
    }

    /// What a user meets; its own maximum lifetime is two hours.
    fn around(who: Caller) -> Circumstances {
        Circumstances {
            now: now(),
            default_duration: DAY,
            by_system: who == Caller::System,
            by_superuser: who == Caller::System,
            owner: OwnerPolicy { expiring: true, maximum_lifetime: Duration::from_secs(7200) },
            conflicts: Conflicts::default(),
        }
    }

    fn by_user() -> Circumstances {
        around(Caller::User(UserId::new(2)))
    }

    fn by_superuser() -> Circumstances {
        Circumstances { by_superuser: true, ..by_user() }
    }

    fn token(intent: Intent) -> Token {
        Token {
            id: TokenId::from_bytes([1; 16]),
            identifier: "ci".parse().unwrap(),
            intent,
            owner: UserId::new(2),
            description: "".into(),
            expires: Some(hours(1)),
            expiring: true,
            managed: None,
            revision: Revision::FIRST,
            created: now(),
            updated: now(),
            last_used: None,
            owner_may_view_key: false,
            key_digest: KeyDigest::of(&TokenKey::from("key".to_owned())),
            sealed_key: None,
        }
    }

    fn partial(
        token: &Token,
        change: &TokenChange,
        around: &Circumstances,
    ) -> Result<Token, (TokenField, FieldError)> {
        update(token, change, false, around).map_err(only)
    }

    /// The one error that there is.
    #[allow(clippy::needless_pass_by_value, reason = "for map_err")]
    fn only(errors: FieldErrors) -> (TokenField, FieldError) {
        let mut all = errors.iter().map(|(field, errors)| (field, errors.to_vec()));
        let (field, errors) = all.next().unwrap();
        assert_eq!((all.next(), errors.len()), (None, 1));
        let RequestField::Token(field) = field else { unreachable!() };
        (field, errors[0].clone())
    }

    #[test]
    fn an_owners_attributes_count_where_they_can_be_read() {
        let policy = |attributes: Value| {
            let mut user = User::new(UserId::new(2), Uuid::from_u128(2), "alice", now());
            user.attributes = attributes.as_object().unwrap().clone();
            let profile = Profile { user: std::sync::Arc::new(user), groups: Vec::new() };
            let policy = OwnerPolicy::of(Some(&profile), DAY);
            (policy.expiring, policy.maximum_lifetime)
        };
        let expires = OwnerPolicy::TOKEN_EXPIRES;
        let lifetime = OwnerPolicy::MAXIMUM_LIFETIME;
        assert_eq!(policy(json!({})), (true, DAY));
        assert_eq!(policy(json!({expires: false, lifetime: "days=7"})), (false, DAY * 7));
        assert_eq!(policy(json!({expires: true, lifetime: "days=7;"})), (true, DAY));
        for unreadable in [json!("false"), json!(0), json!(null), json!({})] {
            assert_eq!(policy(json!({expires: unreadable, lifetime: unreadable})), (true, DAY));
        }
        assert_eq!(OwnerPolicy::of(None, DAY).maximum_lifetime, DAY);
    }

    #[test]
    fn an_api_tokens_expiry_is_renewed_whatever_is_wanted() {
        for body in ["{}", r#"{"expires": "2024-09-27T15:00Z"}"#, r#"{"expires": null}"#] {
            let change = TokenChange::from_json(body.as_bytes());
            let after = partial(&token(Intent::Api), &change, &by_user()).unwrap();
            assert_eq!(after.expires, Some(hours(24)), "{body}");
        }
    }

    #[test]
    fn an_api_tokens_expiry_set_in_code_is_refused() {
        let refused = Err((TokenField::Expires, FieldError::ExpiryNotChosen));
        let change = || TokenChange::new().identifier("x").owner(UserId::new(2));
        for expires in [Field::Set(hours(1)), Field::Clear] {
            for around in [by_user(), by_superuser(), around(Caller::System)] {
                let set = change().expires(expires);
                assert_eq!(partial(&token(Intent::Api), &set, &around), refused);
                let becomes = set.clone().intent(Intent::Api);
                assert_eq!(partial(&token(Intent::AppPassword), &becomes, &around), refused);
                let leaves = set.clone().intent(Intent::AppPassword);
                assert!(partial(&token(Intent::Api), &leaves, &around).is_ok());
                let created = create(&set, Some(UserId::new(2)), &around).map(drop);
                let chosen_by_system = around.by_system && expires != Field::Clear;
                let expected = if chosen_by_system { Ok(()) } else { refused.clone().map(drop) };
                assert_eq!(created.map_err(only), expected);
            }
        }
        let kept = change().expires(Field::Keep);
        assert!(partial(&token(Intent::Api), &kept, &by_user()).is_ok());
        let mixed = TokenChange::from_json(br#"{"description": "x"}"#).expires(hours(1));
        assert_eq!(partial(&token(Intent::Api), &mixed, &by_user()), refused);
    }

    #[test]
    fn an_expiry_may_reach_the_maximum_lifetime_and_no_further() {
        let app = token(Intent::AppPassword);
        for around in [by_user(), by_superuser(), around(Caller::System)] {
            let expiry = |at| partial(&app, &TokenChange::new().expires(at), &around);
            assert_eq!(expiry(hours(2)).unwrap().expires, Some(hours(2)));
            let later = hours(2).saturating_add(Duration::from_micros(1));
            let latest = hours(2);
            let refused = (TokenField::Expires, FieldError::ExpiryTooLate { latest });
            assert_eq!(expiry(later).unwrap_err(), refused);
        }
    }

    #[test]
    fn a_kept_expiry_is_checked_only_when_something_is_switched() {
        let late = Token { expires: Some(hours(9)), ..token(Intent::AppPassword) };
        let described = partial(&late, &TokenChange::new().description("x"), &by_user()).unwrap();
        assert_eq!(described.expires, Some(hours(9)));

        let too_late = (TokenField::Expires, FieldError::ExpiryTooLate { latest: hours(2) });
        let api = Token { intent: Intent::Api, ..late.clone() };
        let switched = TokenChange::new().intent(Intent::AppPassword);
        assert_eq!(partial(&api, &switched, &by_user()).unwrap_err(), too_late);

        let off = Token { expiring: false, ..late.clone() };
        let on = TokenChange::new().expiring(true);
        assert_eq!(partial(&off, &on, &by_user()).unwrap_err(), too_late);
        assert!(partial(&late, &TokenChange::new().expiring(true), &by_user()).is_ok());
        let off = TokenChange::new().expiring(false);
        assert!(partial(&late, &off, &by_superuser()).is_ok(), "switching off is no reason");
    }

    #[test]
    fn a_token_that_expires_gets_an_expiry() {
        let immortal = Token { expires: None, ..token(Intent::AppPassword) };
        let filled = partial(&immortal, &TokenChange::new(), &by_user()).unwrap();
        assert_eq!(filled.expires, Some(hours(2)), "the smaller of default and maximum");
        let cleared = TokenChange::new().expires(Field::Clear);
        let filled = partial(&token(Intent::AppPassword), &cleared, &by_user()).unwrap();
        assert_eq!(filled.expires, Some(hours(2)));
        let longer = Circumstances {
            owner: OwnerPolicy { expiring: true, maximum_lifetime: DAY * 7 },
            ..by_user()
        };
        let filled = partial(&immortal, &TokenChange::new(), &longer).unwrap();
        assert_eq!(filled.expires, Some(hours(24)));
        let off = Token { expiring: false, ..immortal };
        assert_eq!(partial(&off, &TokenChange::new(), &by_user()).unwrap().expires, None);
    }

    #[test]
    fn a_single_use_token_is_prolonged_by_superusers_only() {
        for intent in [Intent::Recovery, Intent::Verification] {
            let link = token(intent);
            let refused = Err((TokenField::Expires, FieldError::ExpiryForSuperusers(intent)));
            let later = hours(1).saturating_add(Duration::from_micros(1));
            for change in
                [TokenChange::new().expires(later), TokenChange::new().expires(Field::Clear)]
            {
                assert_eq!(partial(&link, &change, &by_user()), refused);
                assert!(partial(&link, &change, &by_superuser()).is_ok());
            }
            for at in [hours(1), hours(0)] {
                let sooner = partial(&link, &TokenChange::new().expires(at), &by_user()).unwrap();
                assert_eq!(sooner.expires, Some(at));
            }
            let endless = Token { expires: None, expiring: false, ..link };
            let clear = TokenChange::new().expires(Field::Clear);
            assert!(partial(&endless, &clear, &by_user()).is_ok(), "it had none");
            let last = Token { expires: Some(Timestamp::MAX), ..endless };
            assert_eq!(partial(&last, &clear, &by_user()), refused);
        }
    }

    #[test]
    fn intents_change_between_api_and_app_password_only() {
        let wanted = |is, wanted| {
            partial(&token(is), &TokenChange::new().intent(wanted), &by_superuser())
                .map(|after| after.intent)
        };
        for is in Intent::ALL {
            for to in Intent::ALL {
                let expected = match (is.is_single_use(), to.is_single_use()) {
                    _ if is == to => Ok(to),
                    (false, false) => Ok(to),
                    (false, true) => Err((TokenField::Intent, FieldError::IntentNotAllowed(to))),
                    (true, _) => Err((TokenField::Intent, FieldError::IntentFixed(is))),
                };
                assert_eq!(wanted(is, to), expected, "{is} to {to}");
            }
        }
    }

    #[test]
    fn whether_a_token_expires_is_for_superusers_and_the_owners_attribute() {
        let immortal = Circumstances {
            owner: OwnerPolicy { expiring: false, maximum_lifetime: DAY },
            ..by_user()
        };
        let refused = Err((TokenField::Expiring, FieldError::ExpiringForSuperusers));
        let set = |intent, is, to, around: &Circumstances| {
            let token = Token { expiring: is, ..token(intent) };
            partial(&token, &TokenChange::new().expiring(to), around).map(|after| after.expiring)
        };
        let app = Intent::AppPassword;
        assert_eq!(set(app, true, false, &immortal), Ok(false), "as prescribed");
        assert_eq!(set(app, false, true, &immortal), refused);
        assert_eq!(set(app, false, true, &by_user()), Ok(true), "as prescribed");
        assert_eq!(set(app, true, false, &by_user()), refused);
        assert_eq!(set(app, true, true, &immortal), Ok(true), "as it is");
        assert_eq!(set(Intent::Recovery, true, false, &immortal), refused);
        assert_eq!(set(Intent::Recovery, true, false, &by_superuser()), Ok(false));
    }

    #[test]
    fn of_several_rules_across_fields_the_first_is_reported() {
        let change = TokenChange::new().intent(Intent::Api).expiring(false).expires(Timestamp::MAX);
        let refused = partial(&token(Intent::Recovery), &change, &by_user()).unwrap_err();
        assert_eq!(refused.0, TokenField::Intent);
        let change = TokenChange::new().expiring(false).expires(Timestamp::MAX);
        let refused = partial(&token(Intent::Recovery), &change, &by_user()).unwrap_err();
        assert_eq!(refused.0, TokenField::Expiring);
    }

    #[test]
    fn the_system_creates_any_intent_with_any_expiry() {
        for intent in Intent::ALL {
            let change = TokenChange::new()
                .identifier("x")
                .intent(intent)
                .owner(UserId::new(2))
                .expires(Timestamp::MAX);
            let new = create(&change, None, &around(Caller::System)).unwrap();
            assert_eq!((new.intent, new.expires), (intent, Some(Timestamp::MAX)));
            assert!(new.expiring && !new.owner_may_view_key);
        }
        let change = TokenChange::new().identifier("x").owner(UserId::new(2)).expiring(false);
        let new = create(&change, None, &around(Caller::System)).unwrap();
        assert_eq!((new.intent, new.expires), (Intent::Api, Some(hours(24))));
        assert!(!new.expiring);

        let nobodys = create(&TokenChange::new().identifier("x"), None, &around(Caller::System));
        assert_eq!(only(nobodys.unwrap_err()), (TokenField::User, FieldError::Required));
        let nothing = create(&TokenChange::new(), None, &around(Caller::System)).unwrap_err();
        let required = [FieldError::Required];
        let fields = [TokenField::Identifier, TokenField::User].map(RequestField::Token);
        assert!(nothing.iter().eq(fields.map(|field| (field, required.as_slice()))), "{nothing:?}");
    }

    #[test]
    fn a_user_creates_for_itself_as_its_attribute_says() {
        let me = Some(UserId::new(2));
        let change = || TokenChange::new().identifier("x").intent(Intent::AppPassword);
        let body = br#"{"identifier": "x", "intent": "app_password", "expiring": false}"#;
        let new = create(&TokenChange::from_json(body), me, &by_user()).unwrap();
        assert!(new.expiring && new.owner_may_view_key, "whatever the body says");
        assert_eq!((new.owner, new.expires), (UserId::new(2), Some(hours(2))));

        let set_in_code = create(&change().expiring(false), me, &by_user()).unwrap_err();
        assert_eq!(only(set_in_code), (TokenField::Expiring, FieldError::ExpiringForSuperusers));
        assert!(create(&change().expiring(true), me, &by_user()).is_ok(), "as prescribed");

        let for_other = create(&change().owner(UserId::new(3)), me, &by_user()).unwrap_err();
        assert_eq!(only(for_other), (TokenField::User, FieldError::OwnerNotSelf));
        for existing in [true, false] {
            let conflicts = Conflicts { unknown_owner: !existing, ..Conflicts::default() };
            let around = Circumstances { conflicts, ..by_user() };
            for (id, error) in [
                (3, FieldError::OwnerNotSelf),
                (i64::MAX, FieldError::OwnerNotSelf),
                (0, FieldError::UnknownUser("0".into())),
                (-1, FieldError::UnknownUser("-1".into())),
            ] {
                let refused = create(&change().owner(UserId::new(id)), me, &around).unwrap_err();
                assert_eq!(only(refused), (TokenField::User, error));
            }
        }
        let recovery = create(&change().intent(Intent::Recovery), me, &by_superuser());
        let not_allowed = FieldError::IntentNotAllowed(Intent::Recovery);
        assert_eq!(only(recovery.unwrap_err()), (TokenField::Intent, not_allowed));
        let marked = create(&change().managed("m"), me, &by_user()).unwrap_err();
        assert_eq!(only(marked), (TokenField::Managed, FieldError::MarkerForSuperusers));
    }

    #[test]
    fn a_superuser_creates_for_anybody_and_does_not_let_it_view_the_key() {
        let change = TokenChange::new().identifier("x").owner(UserId::new(3)).expiring(false);
        let new = create(&change, Some(UserId::new(1)), &by_superuser()).unwrap();
        assert_eq!((new.owner, new.expiring), (UserId::new(3), false));
        assert!(!new.owner_may_view_key);
    }
}
