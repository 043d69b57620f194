//! What a store gets that is empty.

use tokenkeep::{
    Caller, Group, GroupId, Intent, Random, SystemRandom, Timestamp, TokenChange, TokenService,
    User, UserId, UserStore,
};
use uuid::{Builder, Uuid};

use crate::Result;

const ADMIN: UserId = UserId::new(1);

/// Makes the superuser `akadmin` and its token, and returns the lines that say so.
pub(crate) async fn fill(
    users: &dyn UserStore,
    tokens: &TokenService,
    now: Timestamp,
    url: &str,
) -> Result<Vec<String>> {
    let admins = GroupId::from(random_uuid()?);
    users.put_group(Group { is_superuser: true, ..Group::new(admins, "authentik Admins") }).await?;
    let admin = User {
        name: "authentik Default Admin".into(),
        groups: [admins].into(),
        ..User::new(ADMIN, random_uuid()?, "akadmin", now)
    };
    users.put_user(admin).await?;
    let change = TokenChange::new()
        .identifier("akadmin-api")
        .owner(ADMIN)
        .intent(Intent::Api)
        // Nobody could be let in again once it had expired.
        .expiring(false);
    let created = tokens.create(&Caller::System, change).await?;
    Ok(vec![
        "The store was empty: it has a superuser now, akadmin, and a token, akadmin-api. Its key is"
            .to_owned(),
        "shown here and nowhere else. To update the token:".to_owned(),
        curl(url, created.key.expose()),
    ])
}

/// The update that authentik's page shows, ready to be pasted.
fn curl(url: &str, key: &str) -> String {
    let body = r#"{"managed": null, "identifier": "akadmin-api", "intent": "api", "user": 1, "description": "updated with curl", "expires": null, "expiring": false}"#;
    format!(
        "curl -L -X PUT '{url}/api/v3/core/tokens/akadmin-api/' \
         -H 'Content-Type: application/json' -H 'Accept: application/json' \
         -H 'Authorization: Bearer {key}' -d '{body}'"
    )
}

fn random_uuid() -> Result<Uuid> {
    let mut bytes = [0; 16];
    SystemRandom.fill(&mut bytes)?;
    Ok(Builder::from_random_bytes(bytes).into_uuid())
}
