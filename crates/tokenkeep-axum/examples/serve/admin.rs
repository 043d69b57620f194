//! The administrator of an empty store, and a new key for one who has lost it.

use std::path::{Path, PathBuf};

use tokenkeep::{
    Caller, Expected, Group, GroupId, Intent, KeyChange, SystemRandom, Timestamp, TokenChange,
    TokenError, TokenKey, TokenService, User, UserId, UserStore, UserStoreError,
};

use crate::Result;
use crate::draft::Draft;

const USERNAME: &str = "akadmin";
const IDENTIFIER: &str = "akadmin-api";

/// The group of the administrator has the same id everywhere: several instances that start at once
/// write one group.
pub(crate) const ADMINS: GroupId =
    GroupId::from_bytes(0x9c1f_6e0e_573d_4b52_a40b_6d0f_d1b1_2a3e_u128.to_be_bytes());

/// Makes the superuser `akadmin` and its token, whose key is in `file` before anything is committed.
/// Returns the lines that say so; `None` when another instance has made them.
pub(crate) async fn create(
    users: &dyn UserStore,
    tokens: &TokenService,
    now: Timestamp,
    file: &Path,
    url: &str,
) -> Result<Option<Vec<String>>> {
    let key = match NewKey::write(file) {
        // Its key may have the file already.
        Err(_) if users.user_named(USERNAME).await?.is_some() => return Ok(None),
        key => key?,
    };
    users.put_group(Group { is_superuser: true, ..Group::new(ADMINS, "authentik Admins") }).await?;
    let uuid = crate::random_uuid()?;
    // A random id overwrites no user. Of several instances that start at once, one gets the username.
    let id = UserId::new(i64::from((uuid.as_fields().0 >> 1).max(1)));
    let admin = User {
        name: "authentik Default Admin".into(),
        groups: [ADMINS].into(),
        ..User::new(id, uuid, USERNAME, now)
    };
    match users.put_user(admin).await {
        Err(UserStoreError::UsernameTaken(_)) => return Ok(None),
        put => put?,
    }
    let key = key.keep()?;
    make_token(tokens, IDENTIFIER, id).await?;
    tokens.set_key(&Caller::System, IDENTIFIER, KeyChange::new(key.expose())).await?;
    Ok(Some(vec![
        format!(
            "The store was empty. Its administrator is {USERNAME}, with the token {IDENTIFIER}."
        ),
        format!("The key is in {}. To update the token:", file.display()),
        curl(url, id, file)?,
    ]))
}

/// Gives the superuser of that name a new key for its token, which is made where there is none.
/// Returns the line that says so.
pub(crate) async fn renew(
    users: &dyn UserStore,
    tokens: &TokenService,
    username: &str,
    file: &Path,
) -> Result<String> {
    let named = users.user_named(username).await?;
    let id = named.ok_or_else(|| format!("there is no user {username:?}: see --admin"))?;
    let profile = users.profiles(&[id]).await?.into_iter().next();
    if !profile.is_some_and(|profile| profile.is_superuser() && profile.user.is_active) {
        return Err(format!("{username:?} is not an active superuser: see --admin").into());
    }
    let key = NewKey::write(file)?.keep()?;
    let identifier = match tokens.retrieve(&Caller::System, IDENTIFIER).await {
        Ok(view) if view.token.owner == id && view.token.intent == Intent::Api => {
            // It gets a new expiry, too.
            tokens.rotate(&Caller::System, IDENTIFIER, Expected::Anything).await?;
            IDENTIFIER.to_owned()
        }
        Ok(_) | Err(TokenError::NotFound) => {
            let identifier = format!("admin-{}", crate::random_uuid()?.simple());
            make_token(tokens, &identifier, id).await?;
            identifier
        }
        Err(error) => return Err(error.into()),
    };
    tokens.set_key(&Caller::System, &identifier, KeyChange::new(key.expose())).await?;
    Ok(format!("{username} has a new key for the token {identifier}, in {}", file.display()))
}

async fn make_token(tokens: &TokenService, identifier: &str, owner: UserId) -> Result<()> {
    let change = TokenChange::new()
        .identifier(identifier)
        .owner(owner)
        .intent(Intent::Api)
        // An expired token would lock the administrator out.
        .expiring(false);
    tokens.create(&Caller::System, change).await?;
    Ok(())
}

/// A key that is on the disk, and not yet a key of a token.
struct NewKey {
    key: TokenKey,
    file: Draft,
    path: PathBuf,
}

impl NewKey {
    /// Writes a key. Nothing has been changed when this fails.
    fn write(path: &Path) -> Result<Self> {
        if path.symlink_metadata().is_ok() {
            let path = path.display();
            return Err(format!("{path} exists: move it away, or see --admin-key-file").into());
        }
        let key = TokenKey::generate(&SystemRandom)?;
        let file =
            Draft::write(path, format!("{}\n", key.expose())).map_err(|e| about(path, &e))?;
        Ok(Self { key, file, path: path.into() })
    }

    /// Gives the file its name.
    fn keep(self) -> Result<TokenKey> {
        self.file.keep().map_err(|error| about(&self.path, &error))?;
        Ok(self.key)
    }
}

fn about(path: &Path, error: &std::io::Error) -> String {
    format!("cannot write the key to {}: {error}: see --admin-key-file", path.display())
}

/// The update that authentik's page shows, ready to be pasted.
fn curl(url: &str, id: UserId, file: &Path) -> Result<String> {
    let body = format!(
        r#"{{"managed": null, "identifier": "{IDENTIFIER}", "intent": "api", "user": {id}, "description": "updated with curl", "expires": null, "expiring": false}}"#
    );
    let file = std::path::absolute(file)?.display().to_string().replace('\'', r"'\''");
    Ok(format!(
        "curl -L -X PUT '{url}/api/v3/core/tokens/{IDENTIFIER}/' \
         -H 'Content-Type: application/json' -H 'Accept: application/json' \
         -H \"Authorization: Bearer $(cat '{file}')\" -d '{body}'"
    ))
}
