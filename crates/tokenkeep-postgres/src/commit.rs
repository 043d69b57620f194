//! Commits: one statement where there is one change, a transaction where there are more.

use std::iter::once;

use tokenkeep::{Commit, CommitError, StoreError, StoreErrorKind};
use uuid::Uuid;

use crate::connection::{Cause, Transacted};
use crate::error::{Fault, error};
use crate::explain::explain;
use crate::pool::{Connections, MAX_ATTEMPTS};
use crate::statement::Statement;
use crate::value::Value;

/// Does a commit.
pub(crate) async fn commit(connections: &Connections, commit: &Commit) -> Result<(), CommitError> {
    let steps = Statement::steps_of(commit);
    if steps.iter().flat_map(|step| &step.values).any(Value::has_nul) {
        let kind = StoreErrorKind::Unsupported("text with NUL");
        return Err(error(kind, "PostgreSQL cannot keep it").into());
    }
    if !commit.releases_are_replaced() {
        return Err(error(StoreErrorKind::Other, "a released token is not replaced").into());
    }
    for _ in 0..MAX_ATTEMPTS {
        let refused = match steps.as_slice() {
            [] => return Ok(()),
            [step] => run_one(connections, step).await,
            steps => run_all(connections, commit, steps).await,
        };
        let Some(place) = refused.map_err(StoreError::from)? else {
            return Ok(());
        };
        if let Some(reason) = explain(connections, commit, &steps, place).await? {
            return Err(reason);
        }
        // What stood in the way is there no more.
    }
    Err(error(StoreErrorKind::Busy, "gave up after repeated conflicts with other commits").into())
}

/// Returns the place of the step that was refused; then nothing was done.
async fn run_one(connections: &Connections, step: &Statement<'_>) -> Result<Option<usize>, Fault> {
    match connections.execute(&step.sql, &step.values).await {
        Ok(rows) => Ok(rows.is_empty().then_some(0)),
        Err(Fault::Refused(refusal)) if refusal.is_token_taken() => Ok(Some(0)),
        Err(fault) => Err(fault),
    }
}

/// Returns the place of the step that was refused; then nothing was done.
async fn run_all(
    connections: &Connections,
    commit: &Commit,
    steps: &[Statement<'_>],
) -> Result<Option<usize>, Fault> {
    let lock = lock(commit);
    let statements: Vec<_> = once(&lock).chain(steps).collect();
    match connections.transact(&statements).await? {
        Transacted::Committed => Ok(None),
        Transacted::RolledBack(_, Cause::Refusal(refusal)) if !refusal.is_token_taken() => {
            Err(Fault::Refused(refusal))
        }
        // The lock is in front of the steps.
        Transacted::RolledBack(place, _) => Ok(Some(place.saturating_sub(1))),
    }
}

/// Locks the tokens in the order of their ids, so that commits that want the same ones wait for
/// each other, and do not stand in a circle.
fn lock(commit: &Commit) -> Statement<'static> {
    let ids = commit.changes.iter().map(|change| Uuid::from_bytes(*change.token_id().as_bytes()));
    Statement {
        sql: "SELECT id FROM tokenkeep_token WHERE id = ANY ($1) ORDER BY id FOR UPDATE".into(),
        values: vec![Value::Uuids(ids.collect())],
        ..Statement::default()
    }
}
