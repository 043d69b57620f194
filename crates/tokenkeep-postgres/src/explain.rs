//! Why a change was refused.

use tokenkeep::{Change, Commit, CommitError, Revision, StoreError, Token, TokenId, UniqueField};
use tokio_postgres::Row;

use crate::connection::Connection;
use crate::error::Fault;
use crate::pool::Connections;
use crate::statement::{Statement, marker_digest};
use crate::tokens;

/// Finds out why the change at `place` was refused, as it looks behind the changes before it;
/// `None` when nothing stands in its way any more. Nothing is changed.
pub(crate) async fn explain(
    connections: &Connections,
    commit: &Commit,
    steps: &[Statement<'_>],
    place: usize,
) -> Result<Option<CommitError>, StoreError> {
    let Some(change) = commit.changes.get(place) else {
        return Ok(None);
    };
    let question = in_the_way(change);
    let before: Vec<_> = steps.iter().take(place).collect();
    let rows = if before.is_empty() {
        connections.query(&question.sql, &question.values).await?
    } else {
        let mut connection = connections.get().await?;
        let asked = ask_behind(&mut connection, &before, &question).await;
        connection.roll_back().await;
        match asked {
            Ok(Some(rows)) => rows,
            Ok(None) => return Ok(None),
            Err(fault) if fault.may_be_repeated() => return Ok(None),
            Err(fault) => return Err(fault.into()),
        }
    };
    let there = rows.iter().map(tokens::read).collect::<Result<Vec<_>, Fault>>()?;
    let mut earlier = commit.changes.iter().take(place).rev();
    let last = earlier.find(|earlier| earlier.token_id() == change.token_id());
    let is_released = matches!(last, Some(Change::Release { .. }));
    Ok(reason(change, place, there, is_released))
}

/// Asks in a transaction in which the steps before have been done; `None` when they cannot be done
/// any more.
async fn ask_behind(
    connection: &mut Connection,
    before: &[&Statement<'_>],
    question: &Statement<'_>,
) -> Result<Option<Vec<Row>>, Fault> {
    for (step, result) in before.iter().zip(connection.begin(before).await?) {
        match result {
            Ok(rows) if step.wants.are(rows) => {}
            Ok(_) => return Ok(None),
            Err(Fault::Refused(refusal)) if refusal.is_token_taken() => return Ok(None),
            Err(fault) => return Err(fault),
        }
    }
    Ok(Some(connection.query(&question.sql, &question.values).await?))
}

/// Asks for the token itself, and for those that have its unique values.
fn in_the_way(change: &Change) -> Statement<'_> {
    let mut question = Statement::default();
    // A released row has no identifier that could be read.
    question.push(concat!(
        "SELECT ",
        tokens::columns!(),
        " FROM tokenkeep_token WHERE identifier NOT LIKE '~%' AND (id = "
    ));
    question.bind(*change.token_id().as_bytes());
    if let Change::Insert(token) | Change::Replace { token, .. } = change {
        question.push(" OR identifier = ");
        question.bind(token.identifier.as_str());
        question.push(" OR managed_digest = ");
        question.bind(marker_digest(token.managed.as_ref()));
        question.push(" OR key_digest = ");
        question.bind(token.key_digest.as_bytes().as_slice());
    }
    question.push(")");
    question
}

fn reason(
    change: &Change,
    place: usize,
    there: Vec<Token>,
    is_released: bool,
) -> Option<CommitError> {
    let taken = |token: &Token, look_at: &dyn Fn(UniqueField) -> bool| {
        let fields = UniqueField::ALL.into_iter().filter(|field| look_at(*field));
        let mut taken =
            fields.filter(|field| there.iter().any(|other| stands_for(*field, token, other)));
        taken.next().map(|field| CommitError::Taken { change: place, field })
    };
    match change {
        Change::Insert(token) => taken(token, &|_| true),
        Change::Replace { expected, fields, token } => {
            let taken = taken(token, &|field| field.is_among(*fields));
            if is_released { taken } else { stale(token.id, *expected, place, there).or(taken) }
        }
        Change::Delete { id, expected }
        | Change::Expect { id, expected }
        | Change::Release { id, expected } => stale(*id, *expected, place, there),
        Change::Remove { .. } => {
            there.is_empty().then_some(CommitError::Stale { change: place, current: None })
        }
    }
}

fn stale(id: TokenId, expected: Revision, change: usize, there: Vec<Token>) -> Option<CommitError> {
    let current = there.into_iter().find(|token| token.id == id);
    let is_stale = current.as_ref().is_none_or(|token| token.revision != expected);
    is_stale.then(|| CommitError::Stale { change, current: current.map(Into::into) })
}

/// Whether `other` has the value that `token` wants for itself.
fn stands_for(field: UniqueField, token: &Token, other: &Token) -> bool {
    match field {
        UniqueField::Id => token.id == other.id,
        // Only of a token that is there already can the values be its own.
        _ if token.id == other.id => false,
        UniqueField::Identifier => token.identifier == other.identifier,
        UniqueField::Managed => token.managed.is_some() && token.managed == other.managed,
        UniqueField::Key => token.key_digest == other.key_digest,
    }
}

#[cfg(test)]
mod tests {
    use tokenkeep::{Intent, KeyDigest, Timestamp, TokenKey, TokenStore, UserId};
    use tokenkeep_test_server::{Server, available};
    use tokio::runtime::Runtime;

    use super::*;
    use crate::PostgresStore;

    fn insert(number: u8, name: &str) -> Change {
        let token = Token {
            id: TokenId::from_bytes([number; 16]),
            identifier: name.parse().unwrap(),
            intent: Intent::Api,
            owner: UserId::new(1),
            description: "".into(),
            expires: None,
            expiring: false,
            managed: None,
            revision: Revision::FIRST,
            created: Timestamp::MIN,
            updated: Timestamp::MIN,
            last_used: None,
            owner_may_view_key: false,
            key_digest: KeyDigest::of(&TokenKey::from(number.to_string())),
            sealed_key: None,
        };
        Change::Insert(token.into())
    }

    /// What stood in the way of one change is gone, and another one of the batch is refused by now.
    #[test]
    fn a_batch_that_is_refused_elsewhere_by_now_is_not_explained() {
        if !available("a_batch_that_is_refused_elsewhere_by_now_is_not_explained") {
            return;
        }
        let database = Server::shared().unwrap().database().unwrap();
        Runtime::new().unwrap().block_on(async {
            let store = PostgresStore::connect(&database.url()).await.unwrap();
            let there = Commit { changes: vec![insert(1, "deploy")], events: Vec::new() };
            store.commit(there).await.unwrap();
            let changes = vec![insert(2, "deploy"), insert(3, "mail")];
            let commit = Commit { changes, events: Vec::new() };
            let steps = Statement::steps_of(&commit);
            let reason = explain(&store.connections, &commit, &steps, 1).await.unwrap();
            assert!(reason.is_none(), "{reason:?}");
        });
    }
}
