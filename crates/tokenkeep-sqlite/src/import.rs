//! Many tokens at once, into a store that has none.

use rusqlite::{Connection, ErrorCode};
use thiserror::Error;
use tokenkeep::{StoreError, Token, UniqueField};

use crate::commit::insert_row;
use crate::store::SqliteStore;
use crate::writer::{Effort, Undone};

/// Why tokens were not imported. The store is as it was.
///
/// See [`SqliteStore::import`] for an example.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ImportError {
    /// The store has tokens.
    #[error("the store has tokens: import into a new one")]
    NotEmpty,
    /// Two of the tokens have the same value where each needs its own.
    #[error("two tokens have the same {}", name_of(*field))]
    Taken {
        /// What they share; the first such field where there are several.
        field: UniqueField,
    },
    /// The store could not be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

const fn name_of(field: UniqueField) -> &'static str {
    match field {
        UniqueField::Id => "id",
        UniqueField::Identifier => "identifier",
        UniqueField::Managed => "marker",
        UniqueField::Key => "key",
    }
}

impl SqliteStore {
    /// Fills a store that has no tokens, all of them or none, and tells how many they were. It takes
    /// a fraction of the time that commits would, since the indexes are built last. Others can read
    /// in the meantime, and find the store empty; nobody can write, and who waits longer than the
    /// busy timeout in another process is told so. The tokens are kept as they are given, without
    /// events.
    ///
    /// The iterator runs on the store's own thread, one token at a time; if it panics, nothing is
    /// imported. The log grows as large as the tokens, and is moved into the file afterwards. A
    /// dropped future may leave the import done.
    ///
    /// ```
    /// # pollster::block_on(async {
    /// # use tokenkeep::{Intent, KeyDigest, Revision, Timestamp, Token, TokenId, TokenKey, UserId};
    /// use tokenkeep_sqlite::{ImportError, SqliteStore};
    ///
    /// # let token = |number: u8| Token {
    /// #     id: TokenId::from_bytes([number; 16]), identifier: format!("t{number}").parse().unwrap(),
    /// #     intent: Intent::Api, owner: UserId::new(2), description: "".into(), expires: None,
    /// #     expiring: false, managed: None, revision: Revision::FIRST, created: Timestamp::MIN,
    /// #     updated: Timestamp::MIN, last_used: None, owner_may_view_key: false,
    /// #     key_digest: KeyDigest::of(&TokenKey::from(number.to_string())), sealed_key: None,
    /// # };
    /// # let directory = tempfile::tempdir()?;
    /// let store = SqliteStore::open(directory.path().join("tokens.db"))?;
    /// assert_eq!(store.import((0..100).map(token)).await?, 100);
    /// let again = store.import([token(100)]).await;
    /// assert!(matches!(again, Err(ImportError::NotEmpty)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// [`ImportError`]; the store is as it was, unless its store error's kind is
    /// [`OutcomeUnknown`](tokenkeep::StoreErrorKind::OutcomeUnknown).
    pub async fn import<I>(&self, tokens: I) -> Result<u64, ImportError>
    where
        I: IntoIterator<Item = Token> + Send + 'static,
    {
        self.writer.run(Effort::Long, Vec::new(), |connection| fill(connection, tokens)).await
    }
}

/// Fills the table of tokens in the transaction that is running, which takes back all of it when this
/// fails. A hundred thousand tokens come in at 340,000 a second, through commits of a thousand each at
/// 39,000 (`cargo bench -p tokenkeep-benches --bench import`).
pub(crate) fn fill(
    connection: &Connection,
    tokens: impl IntoIterator<Item = Token>,
) -> Result<u64, Undone<ImportError>> {
    if connection.prepare_cached("SELECT 1 FROM token LIMIT 1")?.exists(())? {
        return Err(Undone::Refused(ImportError::NotEmpty));
    }
    let indexes = indexes(connection)?;
    for index in &indexes {
        connection.execute_batch(&format!("DROP INDEX {}", index.name))?;
    }
    let mut count = 0;
    for token in tokens {
        insert_row(connection, &token, None)?;
        count += 1;
    }
    for index in &indexes {
        index.build(connection)?;
    }
    Ok(count)
}

/// An index, as the schema has it.
struct Index {
    name: String,
    sql: String,
}

/// The indexes of tokens, in the order in which they were made.
fn indexes(connection: &Connection) -> Result<Vec<Index>, rusqlite::Error> {
    let mut select = connection.prepare(
        "SELECT name, sql FROM sqlite_schema \
         WHERE type = 'index' AND tbl_name = 'token' AND sql IS NOT NULL ORDER BY rowid",
    )?;
    let read = |row: &rusqlite::Row<'_>| Ok(Index { name: row.get(0)?, sql: row.get(1)? });
    select.query_map((), read)?.collect()
}

impl Index {
    fn build(&self, connection: &Connection) -> Result<(), Undone<ImportError>> {
        match (connection.execute_batch(&self.sql), self.keeps_unique()) {
            (Err(error), Some(field))
                if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) =>
            {
                Err(Undone::Refused(ImportError::Taken { field }))
            }
            (built, _) => Ok(built?),
        }
    }

    fn keeps_unique(&self) -> Option<UniqueField> {
        match self.name.as_str() {
            "token_id" => Some(UniqueField::Id),
            "token_identifier" => Some(UniqueField::Identifier),
            "token_managed" => Some(UniqueField::Managed),
            "token_key_digest" => Some(UniqueField::Key),
            _ => None,
        }
    }
}
