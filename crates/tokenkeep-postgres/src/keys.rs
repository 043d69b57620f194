//! The secrets that rows need, and their check values.

use std::num::NonZeroU8;

use tokenkeep::{KeyCheck, KeyUsage, SecretId, StoreError, StoreErrorKind};
use tokio_postgres::Row;

use crate::columns::Columns;
use crate::error::{Fault, error};
use crate::pool::Connections;

/// The bytes that a column begins with, from the lowest on: one look-up in an index for each.
macro_rules! first_bytes {
    ($byte:literal, $key:literal, $behind:literal, $condition:literal) => {
        concat!(
            "WITH RECURSIVE next (byte) AS ((SELECT ",
            $byte,
            " FROM tokenkeep_token WHERE ",
            $condition,
            " ORDER BY ",
            $key,
            " LIMIT 1) UNION ALL SELECT (SELECT ",
            $byte,
            " FROM tokenkeep_token WHERE ",
            $condition,
            " AND ",
            $behind,
            " ORDER BY ",
            $key,
            " LIMIT 1) FROM next WHERE next.byte IS NOT NULL) \
             SELECT byte FROM next WHERE byte IS NOT NULL"
        )
    };
}

/// No digest comes after its pepper's id with so many of the highest byte. Those without a pepper
/// begin with a zero.
const PEPPERS: &str = first_bytes!(
    "substring(key_digest FROM 1 FOR 1)",
    "key_digest",
    "key_digest > next.byte || decode(repeat('ff', 33), 'hex')",
    "key_digest >= '\\x01'::bytea"
);

const SEALING_KEYS: &str = first_bytes!(
    "substring(sealed_key FROM 1 FOR 1)",
    "substring(sealed_key FROM 1 FOR 1)",
    "substring(sealed_key FROM 1 FOR 1) > next.byte",
    "sealed_key IS NOT NULL"
);

pub(crate) async fn usage(connections: &Connections) -> Result<KeyUsage, StoreError> {
    let byte = |row: &Row| {
        let first = |bytes: &[u8]| bytes.first().copied();
        Columns::of(row, "tokenkeep_token").parsed("key", first)
    };
    let peppers = connections.query(PEPPERS, &[]).await?;
    let peppers = peppers.iter().map(byte).collect::<Result<Vec<u8>, Fault>>()?;
    let sealing_keys = connections.query(SEALING_KEYS, &[]).await?;
    Ok(KeyUsage {
        peppers: peppers.into_iter().filter_map(NonZeroU8::new).collect(),
        sealing_keys: sealing_keys.iter().map(byte).collect::<Result<_, Fault>>()?,
        checks: checks(connections).await?,
    })
}

async fn checks(connections: &Connections) -> Result<Vec<KeyCheck>, StoreError> {
    let rows = connections.query("SELECT kind, id, value FROM tokenkeep_key_check", &[]).await?;
    Ok(rows.iter().map(read).collect::<Result<_, Fault>>()?)
}

const PEPPER: &str = "pepper";
const SEALING_KEY: &str = "sealing key";

fn read(row: &Row) -> Result<KeyCheck, Fault> {
    let mut columns = Columns::of(row, "tokenkeep_key_check");
    let is_pepper = columns.parsed("kind", |kind: &str| match kind {
        PEPPER => Some(true),
        SEALING_KEY => Some(false),
        _ => None,
    })?;
    let secret = columns.parsed("id", |id: i64| {
        let id = u8::try_from(id).ok()?;
        if is_pepper {
            NonZeroU8::new(id).map(SecretId::Pepper)
        } else {
            Some(SecretId::SealingKey(id))
        }
    })?;
    let value = columns.parsed("value", |value: &[u8]| value.try_into().ok())?;
    Ok(KeyCheck { secret, value })
}

/// Records a check value unless there is one, and returns the one that is there.
pub(crate) async fn record(
    connections: &Connections,
    check: KeyCheck,
) -> Result<KeyCheck, StoreError> {
    let (kind, id) = match check.secret {
        SecretId::Pepper(id) => (PEPPER, id.get()),
        SecretId::SealingKey(id) => (SEALING_KEY, id),
    };
    let sql = "INSERT INTO tokenkeep_key_check (kind, id, value) VALUES ($1, $2, $3) \
         ON CONFLICT DO NOTHING";
    let values = [kind.into(), i64::from(id).into(), check.value.as_slice().into()];
    connections.query(sql, &values).await?;
    let recorded = checks(connections).await?;
    let recorded = recorded.into_iter().find(|known| known.secret == check.secret);
    recorded.ok_or_else(|| error(StoreErrorKind::Other, "the check value was deleted"))
}
