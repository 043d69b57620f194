//! Rows of tokens.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokenkeep::{
    Intent, KeyDigest, Lookup, Revision, SealedKey, StoreError, Token, TokenId, Touch, UserId,
};
use tokio_postgres::Row;
use uuid::Uuid;

use crate::columns::Columns;
use crate::error::Fault;
use crate::pool::Connections;
use crate::statement::marker_digest;
use crate::value::Value;

/// The columns of a token, in the order in which [`read`] takes them.
macro_rules! columns {
    () => {
        "id, identifier, intent, owner, description, expires, expiring, managed, revision, \
         created, updated, last_used, owner_may_view_key, key_digest, sealed_key"
    };
}
pub(crate) use columns;

/// Finds one token.
pub(crate) async fn find(
    connections: &Connections,
    lookup: Lookup<'_>,
) -> Result<Option<Arc<Token>>, StoreError> {
    let (sql, value) = finding(lookup);
    let rows = connections.query(sql, &[value]).await?;
    Ok(rows.first().map(read).transpose()?.map(Arc::new))
}

pub(crate) fn finding(lookup: Lookup<'_>) -> (&'static str, Value<'_>) {
    match lookup {
        Lookup::Id(id) => (
            concat!("SELECT ", columns!(), " FROM tokenkeep_token WHERE id = $1"),
            (*id.as_bytes()).into(),
        ),
        Lookup::Identifier(identifier) => (
            concat!("SELECT ", columns!(), " FROM tokenkeep_token WHERE identifier = $1"),
            identifier.as_str().into(),
        ),
        Lookup::Marker(marker) => (
            concat!("SELECT ", columns!(), " FROM tokenkeep_token WHERE managed_digest = $1"),
            marker_digest(Some(marker)),
        ),
        Lookup::KeyDigest(digest) => (
            concat!("SELECT ", columns!(), " FROM tokenkeep_token WHERE key_digest = $1"),
            digest.as_bytes().as_slice().into(),
        ),
    }
}

/// The owners of tokens, each once.
pub(crate) async fn owners(
    connections: &Connections,
    ids: &[TokenId],
) -> Result<Vec<UserId>, StoreError> {
    let sql = "SELECT DISTINCT owner FROM tokenkeep_token WHERE id = ANY ($1)";
    let ids = ids.iter().map(|id| Uuid::from_bytes(*id.as_bytes())).collect();
    let rows = connections.query(sql, &[Value::Uuids(ids)]).await?;
    let owner = |row: &Row| Columns::of(row, "tokenkeep_token").get("owner").map(UserId::new);
    Ok(rows.iter().map(owner).collect::<Result<_, Fault>>()?)
}

/// A token from a row of `columns!()`.
pub(crate) fn read(row: &Row) -> Result<Token, Fault> {
    let mut columns = Columns::of(row, "tokenkeep_token");
    Ok(Token {
        id: TokenId::from_bytes(columns.key::<Uuid>("id")?.into_bytes()),
        identifier: columns.parsed("identifier", |text: &str| text.parse().ok())?,
        intent: columns.parsed("intent", Intent::from_name)?,
        owner: UserId::new(columns.get("owner")?),
        description: columns.get::<&str>("description")?.into(),
        expires: columns.time_or_null("expires")?,
        expiring: columns.get("expiring")?,
        managed: columns.parsed_or_null("managed", |text: &str| text.parse().ok())?,
        revision: columns.parsed("revision", Revision::new)?,
        created: columns.time("created")?,
        updated: columns.time("updated")?,
        last_used: columns.time_or_null("last_used")?,
        owner_may_view_key: columns.get("owner_may_view_key")?,
        key_digest: read_digest(&mut columns)?,
        sealed_key: columns.get::<Option<&[u8]>>("sealed_key")?.map(SealedKey::from_bytes),
    })
}

fn read_digest(columns: &mut Columns<'_>) -> Result<KeyDigest, Fault> {
    columns.parsed("key_digest", KeyDigest::from_bytes)
}

/// Records when tokens were used, only ever forward. The rows are locked in one order, so that
/// instances that flush at the same time wait for each other, and do not stand in a circle.
pub(crate) async fn touch(connections: &Connections, touches: &[Touch]) -> Result<(), StoreError> {
    let mut latest = BTreeMap::new();
    for touch in touches {
        let at = latest.entry(*touch.token.as_bytes()).or_insert(touch.at);
        *at = touch.at.max(*at);
    }
    let latest: Vec<_> = latest.into_iter().collect();
    for part in latest.chunks(TOUCHED_AT_ONCE) {
        let ids = part.iter().map(|(id, _)| Uuid::from_bytes(*id)).collect();
        let times = part.iter().map(|(_, at)| at.as_micros()).collect();
        let sql = "WITH used (id, at) AS (SELECT * FROM unnest($1::uuid[], $2::bigint[])), \
             locked AS (SELECT id FROM tokenkeep_token WHERE id = ANY ($1) \
                        ORDER BY id FOR UPDATE) \
             UPDATE tokenkeep_token SET last_used = used.at FROM used JOIN locked USING (id) \
             WHERE tokenkeep_token.id = used.id \
             AND (last_used IS NULL OR last_used < used.at)";
        connections.query(sql, &[Value::Uuids(ids), Value::Numbers(times)]).await?;
    }
    Ok(())
}

/// How many rows are touched by one statement: what takes some milliseconds.
const TOUCHED_AT_ONCE: usize = 1_000;
