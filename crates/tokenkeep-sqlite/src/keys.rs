//! The secrets that rows need, and their check values.

use std::collections::BTreeSet;
use std::num::NonZeroU8;

use rusqlite::{Connection, OptionalExtension, Row, params};
use tokenkeep::{KeyCheck, KeyUsage, SecretId};

use crate::columns::Columns;
use crate::error::Fault;
use crate::tokens;

/// The ids that the first byte of a column has, from the lowest on: one look-up in an index for each.
macro_rules! next_byte {
    ($byte:literal, $from:literal) => {
        tokens::rows_at!(
            $byte,
            concat!("SELECT rowid AS place FROM token WHERE ", $from, " LIMIT 1")
        )
    };
}

pub(crate) fn usage(connection: &Connection) -> Result<KeyUsage, Fault> {
    let peppers = first_bytes(
        connection,
        next_byte!("substr(key_digest, 1, 1)", "key_digest >= ?1 ORDER BY key_digest"),
        1,
    )?;
    let sealing_keys = first_bytes(
        connection,
        next_byte!(
            "substr(sealed_key, 1, 1)",
            "sealed_key IS NOT NULL AND substr(sealed_key, 1, 1) >= ?1 \
             ORDER BY substr(sealed_key, 1, 1)"
        ),
        0,
    )?;
    Ok(KeyUsage {
        peppers: peppers.into_iter().filter_map(NonZeroU8::new).collect(),
        sealing_keys,
        checks: checks(connection)?,
    })
}

fn first_bytes(
    connection: &Connection,
    sql: &'static str,
    lowest: u8,
) -> Result<BTreeSet<u8>, Fault> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut ids = BTreeSet::new();
    let mut from = Some(lowest);
    while let Some(first) = from {
        let read = |row: &Row<'_>| {
            Ok(Columns::of(row, "token").bytes("key").map(|bytes| bytes.first().copied()))
        };
        let Some(byte) = statement.query_row([[first]], read).optional()? else { break };
        let id = byte?.filter(|id| *id >= first).ok_or_else(Fault::of_index)?;
        ids.insert(id);
        from = id.checked_add(1);
    }
    Ok(ids)
}

fn checks(connection: &Connection) -> Result<Vec<KeyCheck>, Fault> {
    let mut select = connection.prepare_cached("SELECT kind, id, value FROM key_check")?;
    let mut rows = select.query(())?;
    let mut checks = Vec::new();
    while let Some(row) = rows.next()? {
        let mut columns = Columns::of(row, "key_check");
        let is_pepper = columns.parsed("kind", |kind| match kind {
            PEPPER => Some(true),
            SEALING_KEY => Some(false),
            _ => None,
        })?;
        let id = u8::try_from(columns.integer("id")?).map_err(|_| columns.corrupt("id"))?;
        let secret = if is_pepper {
            SecretId::Pepper(NonZeroU8::new(id).ok_or_else(|| columns.corrupt("id"))?)
        } else {
            SecretId::SealingKey(id)
        };
        let value = columns.bytes("value")?.try_into().map_err(|_| columns.corrupt("value"))?;
        checks.push(KeyCheck { secret, value });
    }
    Ok(checks)
}

const PEPPER: &str = "pepper";
const SEALING_KEY: &str = "sealing key";

/// Records a check value unless there is one, and returns the one that is there.
pub(crate) fn record(connection: &Connection, check: KeyCheck) -> Result<KeyCheck, Fault> {
    let (kind, id) = match check.secret {
        SecretId::Pepper(id) => (PEPPER, id.get()),
        SecretId::SealingKey(id) => (SEALING_KEY, id),
    };
    let mut insert = connection.prepare_cached(
        "INSERT INTO key_check (kind, id, value) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
    )?;
    insert.execute(params![kind, id, check.value.as_slice()])?;
    let recorded = checks(connection)?.into_iter().find(|known| known.secret == check.secret);
    recorded.ok_or_else(Fault::of_index)
}
