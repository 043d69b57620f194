//! The tokens and what is done with them.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use sha2::{Digest, Sha256};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{FromRow, SqlitePool};
use tokenkeep_load::{USERS, identifier, key, scattered};

/// The tokens in a file.
#[derive(Debug, Clone)]
pub struct Tokens {
    pool: SqlitePool,
}

/// A row.
#[derive(Debug, Clone, FromRow, Serialize)]
pub struct Token {
    /// Its id.
    #[serde(skip)]
    pub id: Vec<u8>,
    identifier: String,
    intent: String,
    /// Whose it is.
    pub owner: i64,
    description: String,
    expires: Option<i64>,
    expiring: bool,
    managed: Option<String>,
    revision: i64,
}

const SCHEMA: &str = "
    CREATE TABLE token (
        id BLOB NOT NULL, identifier TEXT NOT NULL, intent TEXT NOT NULL, owner INTEGER NOT NULL,
        description TEXT NOT NULL, expires INTEGER, expiring INTEGER NOT NULL, managed TEXT,
        revision INTEGER NOT NULL, created INTEGER NOT NULL, updated INTEGER NOT NULL,
        key_digest BLOB NOT NULL);
    CREATE UNIQUE INDEX token_id ON token (id);
    CREATE UNIQUE INDEX token_identifier ON token (identifier);
    CREATE UNIQUE INDEX token_key_digest ON token (key_digest);
    CREATE INDEX token_owner ON token (owner);
    CREATE INDEX token_expires ON token (expires) WHERE expiring;
    CREATE TABLE user_account (id INTEGER PRIMARY KEY, is_active INTEGER NOT NULL);
    CREATE TABLE event (
        at INTEGER NOT NULL, id INTEGER NOT NULL, token BLOB NOT NULL, owner INTEGER NOT NULL,
        revision INTEGER NOT NULL, kind TEXT NOT NULL, changed INTEGER NOT NULL, actor INTEGER,
        PRIMARY KEY (at, id)) WITHOUT ROWID;
    CREATE INDEX event_token ON event (token, revision);";

impl Tokens {
    /// So many tokens in a file of their own. It is filled without a flush, and then opened with the
    /// pool that sqlx makes unless told otherwise, with full durability.
    pub async fn filled(directory: &Path, count: u64) -> Self {
        let options = SqliteConnectOptions::new()
            .filename(directory.join("tokens.db"))
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal);
        let filling = options.clone().synchronous(SqliteSynchronous::Off);
        fill(&SqlitePool::connect_with(filling).await.unwrap(), count).await;
        let options = options.synchronous(SqliteSynchronous::Full);
        Self { pool: SqlitePoolOptions::new().connect_with(options).await.unwrap() }
    }

    /// The token of a key, if its owner is active.
    ///
    /// # Errors
    ///
    /// The database's.
    pub async fn authenticate(&self, key: &str) -> Result<Option<Token>, sqlx::Error> {
        let digest = Sha256::digest(key).to_vec();
        let select = "SELECT * FROM token WHERE key_digest = ?";
        let token: Option<Token> =
            sqlx::query_as(select).bind(digest).fetch_optional(&self.pool).await?;
        let Some(token) = token else { return Ok(None) };
        let is_active = self.is_active(token.owner).await?;
        Ok(is_active.then_some(token))
    }

    async fn is_active(&self, user: i64) -> Result<bool, sqlx::Error> {
        let select = "SELECT is_active FROM user_account WHERE id = ?";
        let found = sqlx::query_scalar(select).bind(user).fetch_optional(&self.pool).await?;
        Ok(found.unwrap_or(false))
    }

    /// The token of that name, if the caller owns it.
    ///
    /// # Errors
    ///
    /// The database's; none such is `RowNotFound`.
    pub async fn find(&self, caller: i64, identifier: &str) -> Result<Token, sqlx::Error> {
        let select = "SELECT * FROM token WHERE identifier = ? AND owner = ?";
        sqlx::query_as(select).bind(identifier).bind(caller).fetch_one(&self.pool).await
    }

    /// Changes a description with an event, again and again until nobody was faster. The expiry of an
    /// `api` token is a day from now, as with tokenkeep.
    ///
    /// # Errors
    ///
    /// The database's; a caller who is not active and a token that is another's are `RowNotFound`.
    pub async fn update(
        &self,
        caller: i64,
        identifier: &str,
        text: &str,
    ) -> Result<Token, sqlx::Error> {
        if !self.is_active(caller).await? {
            return Err(sqlx::Error::RowNotFound);
        }
        loop {
            let token = self.find(caller, identifier).await?;
            if let Some(changed) = self.try_update(token, text).await? {
                return Ok(changed);
            }
        }
    }

    async fn try_update(&self, token: Token, text: &str) -> Result<Option<Token>, sqlx::Error> {
        let now = now();
        let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        let changed = if token.intent == "api" {
            sqlx::query(
                "UPDATE token SET revision = revision + 1, updated = ?, description = ?, \
                 expires = ? WHERE id = ? AND revision = ?",
            )
            .bind(now)
            .bind(text)
            .bind(now + 86_400_000_000)
        } else {
            sqlx::query(
                "UPDATE token SET revision = revision + 1, updated = ?, description = ? \
                 WHERE id = ? AND revision = ?",
            )
            .bind(now)
            .bind(text)
        };
        let changed =
            changed.bind(&token.id).bind(token.revision).execute(&mut *transaction).await?;
        if changed.rows_affected() == 0 {
            return Ok(None);
        }
        let event = "INSERT INTO event (at, id, token, owner, revision, kind, changed, actor) \
                     VALUES (?, abs(random()), ?, ?, ?, 'updated', 16, ?)";
        sqlx::query(event)
            .bind(now)
            .bind(&token.id)
            .bind(token.owner)
            .bind(token.revision + 1)
            .bind(token.owner)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        let revision = token.revision + 1;
        Ok(Some(Token { description: text.to_owned(), revision, ..token }))
    }
}

#[allow(clippy::disallowed_methods, reason = "this program has no clock of tokenkeep's")]
fn now() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros()).unwrap()
}

async fn fill(pool: &SqlitePool, count: u64) {
    sqlx::raw_sql(SCHEMA).execute(pool).await.unwrap();
    let mut transaction = pool.begin().await.unwrap();
    for user in 0..i64::try_from(USERS).unwrap() {
        let insert = sqlx::query("INSERT INTO user_account VALUES (?, TRUE)").bind(user);
        insert.execute(&mut *transaction).await.unwrap();
    }
    for number in 0..count {
        let intent = if number.is_multiple_of(2) { "api" } else { "app_password" };
        let insert = "INSERT INTO token VALUES \
                      (?, ?, ?, ?, ?, 253402300799999999, TRUE, NULL, 1, 0, 0, ?)";
        sqlx::query(insert)
            .bind(scattered(number).to_be_bytes().to_vec())
            .bind(identifier(number))
            .bind(intent)
            .bind(i64::try_from(number % USERS).unwrap())
            .bind(format!("deploys service {number} from the pipeline"))
            .bind(Sha256::digest(key(number)).to_vec())
            .execute(&mut *transaction)
            .await
            .unwrap();
    }
    transaction.commit().await.unwrap();
}
