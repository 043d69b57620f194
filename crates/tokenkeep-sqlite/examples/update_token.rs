//! Updates a token with every rule, in one SQLite file:
//!
//! ```text
//! cargo run --example update_token [FILE]
//! ```
//!
//! Without a name the file is `update_token.db`. It is made when it is not there, and can be used
//! again and again.

#![allow(clippy::print_stdout)]

use std::error::Error;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokenkeep::{
    Caller, Clock, EventQuery, Group, GroupId, Intent, Permission, Revision, SystemClock,
    TokenChange, TokenError, TokenId, TokenService, TokenStore, User, UserId, UserStore,
};
use tokenkeep_sqlite::SqliteStore;
use uuid::Uuid;

const ADMIN: UserId = UserId::new(1);
const ALICE: UserId = UserId::new(2);
const AUDITOR: UserId = UserId::new(3);

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).unwrap_or_else(|| "update_token.db".into());
    let store = Arc::new(SqliteStore::open(&path)?);
    let builder = TokenService::builder(store.clone(), store.clone())
        .installation_id("5f0a1c1e7e1c4f0e9a7f3f5a4a4a4a4a");
    let tokens = pollster::block_on(builder.open())?;
    pollster::block_on(async {
        ensure_users(&store).await?;
        let seen = ensure_token(&tokens).await?;
        accepted(&tokens).await?;
        refused(&tokens).await?;
        forbidden(&tokens).await?;
        stale(&tokens, seen).await?;
        recorded(&tokens, &store).await
    })
}

/// Writes the users that the example needs: an administrator, an owner, and somebody who may look.
async fn ensure_users(users: &SqliteStore) -> Result<(), Box<dyn Error>> {
    let now = SystemClock.now();
    let group_id =
        |number: u128| GroupId::from(Uuid::from_u128(0x4000_8000_0000_0000_0000 + number));
    let (admins, staff, developers) = (group_id(1), group_id(2), group_id(3));
    let group = Group { is_superuser: true, ..Group::new(admins, "authentik Admins") };
    users.put_group(group).await?;
    users.put_group(Group::new(staff, "staff")).await?;
    users.put_group(Group { parent: Some(staff), ..Group::new(developers, "developers") }).await?;

    let user = |id: UserId, username: &str, name: &str| User {
        name: name.into(),
        email: format!("{username}@example.com"),
        ..User::new(
            id,
            Uuid::from_u128(0x1000 + u128::from(id.get().unsigned_abs())),
            username,
            now,
        )
    };
    let admin = user(ADMIN, "akadmin", "authentik Default Admin");
    users.put_user(User { groups: [admins].into(), ..admin }).await?;
    let alice = user(ALICE, "alice", "Alice");
    users.put_user(User { groups: [developers].into(), ..alice }).await?;
    users.put_user(user(AUDITOR, "auditor", "Auditor")).await?;
    users.grant(AUDITOR, Permission::ViewToken, None).await?;
    Ok(())
}

/// Creates the token unless an earlier run has, and returns its version.
async fn ensure_token(tokens: &TokenService) -> Result<(TokenId, Revision), TokenError> {
    match tokens.retrieve(&Caller::System, "ci").await {
        Ok(view) => Ok(view.version()),
        Err(TokenError::NotFound) => {
            let new = TokenChange::new()
                .identifier("ci")
                .owner(ALICE)
                .intent(Intent::AppPassword)
                .description("created by the example");
            Ok(tokens.create(&Caller::System, new).await?.view.version())
        }
        Err(error) => Err(error),
    }
}

/// The update that the original page shows, with every field.
async fn accepted(tokens: &TokenService) -> Result<(), Box<dyn Error>> {
    let body = json!({
        "managed": "goauthentik.io/examples/ci",
        "identifier": "ci",
        "intent": "app_password",
        "user": ALICE,
        "description": "deploys from the pipeline",
        "expires": SystemClock.now().saturating_add(Duration::from_secs(43_200)),
        "expiring": true,
    });
    let updated = tokens.update(&Caller::User(ADMIN), "ci", change(&body)).await?;
    heading("PUT /api/v3/core/tokens/ci/")?;
    show(&body)?;
    heading("The answer")?;
    writeln!(io::stdout(), "{}", serde_json::to_string_pretty(&updated.view)?)?;
    writeln!(io::stdout(), "changed: {}", updated.changed)?;
    if let Some(marker) = updated.managed_by() {
        writeln!(io::stdout(), "managed by {marker}: its next reconcile may overwrite this")?;
    }
    Ok(())
}

/// All fields that are wrong are reported together.
async fn refused(tokens: &TokenService) -> Result<(), Box<dyn Error>> {
    let body = json!({
        "managed": "",
        "identifier": "not a slug",
        "intent": "API",
        "user": 99,
        "expires": "tomorrow",
        "expiring": "maybe",
    });
    let answer = tokens.update(&Caller::User(ALICE), "ci", change(&body)).await;
    heading("Refused: several fields at once")?;
    show_error(answer.err())
}

/// Who may see a token may not change it yet.
async fn forbidden(tokens: &TokenService) -> Result<(), Box<dyn Error>> {
    let change = TokenChange::new().description("by the auditor");
    let answer = tokens.partial_update(&Caller::User(AUDITOR), "ci", change).await;
    heading("Forbidden: somebody who may only look")?;
    show_error(answer.err())
}

/// A change that is based on an older revision is not applied to a newer one.
async fn stale(tokens: &TokenService, seen: (TokenId, Revision)) -> Result<(), Box<dyn Error>> {
    let change = TokenChange::new().description("based on old news").expecting(seen);
    let answer = tokens.partial_update(&Caller::User(ALICE), "ci", change).await;
    heading("Stale: based on a revision that is no more")?;
    show_error(answer.err())
}

/// Every change has left its event.
async fn recorded(tokens: &TokenService, store: &SqliteStore) -> Result<(), Box<dyn Error>> {
    let id = tokens.retrieve(&Caller::User(ALICE), "ci").await?.token.id;
    heading("What the events say")?;
    let page = store.events(&EventQuery { token: Some(id), ..EventQuery::default() }).await?;
    for event in page.events {
        writeln!(io::stdout(), "{event}")?;
    }
    Ok(())
}

fn change(body: &Value) -> TokenChange {
    TokenChange::from_json(body.to_string().as_bytes())
}

fn heading(text: &str) -> io::Result<()> {
    writeln!(io::stdout(), "\n## {text}\n")
}

fn show(value: &Value) -> io::Result<()> {
    writeln!(io::stdout(), "{value:#}")
}

/// Shows a refusal, which must have happened.
fn show_error(error: Option<TokenError>) -> Result<(), Box<dyn Error>> {
    let error = error.ok_or("this should have been refused")?;
    Ok(show(&error.to_json())?)
}
