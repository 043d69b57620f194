//! Who may do what to which token: every cell of a table that was written from SPEC alone.

use std::io::Write;

use async_trait::async_trait;
use serde_json::{Value, json};
use tokenkeep::{Caller, Expected, KeyChange, TokenChange, TokenError, TokenList, TokenService};
use tokenkeep_tests::access::{Asked, Door, Findings, Operation, Row, Stage, acts};
use tokenkeep_tests::backend::{Backend, KeptPostgres, Loaded};

/// The service itself.
struct ServiceDoor<'a> {
    service: &'a TokenService,
    /// Whom it takes a caller for.
    taken_for: fn(Caller) -> Caller,
}

#[async_trait]
impl Door for ServiceDoor<'_> {
    async fn ask(&self, caller: Caller, asked: &Asked) -> Option<Result<Value, Value>> {
        Some(self.answer((self.taken_for)(caller), asked).await.map_err(|error| error.to_json()))
    }
}

impl ServiceDoor<'_> {
    async fn answer(&self, caller: Caller, asked: &Asked) -> Result<Value, TokenError> {
        let (tokens, caller, name) = (self.service, &caller, asked.identifier.as_str());
        let body = asked.body.to_string();
        let change = || TokenChange::from_json(body.as_bytes());
        Ok(match asked.operation {
            Operation::List => {
                json!(tokens.list(caller, &TokenList::new().identifier(name)).await?)
            }
            Operation::Create => json!(tokens.create(caller, change()).await?.view),
            Operation::Retrieve => json!(tokens.retrieve(caller, name).await?),
            Operation::Update => json!(tokens.update(caller, name, change()).await?.view),
            Operation::PartialUpdate => {
                json!(tokens.partial_update(caller, name, change()).await?.view)
            }
            Operation::Delete => {
                tokens.delete(caller, name, Expected::Anything).await?;
                Value::Null
            }
            Operation::ViewKey => json!({"key": tokens.view_key(caller, name).await?.expose()}),
            Operation::SetKey => {
                json!(tokens.set_key(caller, name, KeyChange::from_json(body.as_bytes())).await?)
            }
            Operation::Rotate => {
                let rotated = tokens.rotate(caller, name, Expected::Anything).await?;
                json!({"key": rotated.key.expose()})
            }
            Operation::UsedBy => json!(tokens.used_by(caller, name).await?),
        })
    }
}

fn play(act: &[Row], backend: Backend, taken_for: fn(Caller) -> Caller, findings: &mut Findings) {
    pollster::block_on(async {
        let stage = Stage::set(act, backend).await;
        let door = ServiceDoor { service: &stage.service, taken_for };
        stage.play(act, &door, findings).await;
    });
}

/// Drives the whole table, each act on a store of its own.
fn drive(backend: impl Fn() -> Backend) {
    let (mut findings, mut name) = (Findings::default(), "");
    for act in acts() {
        let backend = backend();
        name = backend.name;
        play(&act, backend, |caller| caller, &mut findings);
    }
    let Findings { asked, wrong } = findings;
    // What is written to the handle itself is not captured.
    writeln!(std::io::stdout().lock(), "{name}: {asked} cells of the access table").unwrap();
    assert_eq!(asked, 54_400, "a cell was not asked");
    assert!(wrong.is_empty(), "{name}: {} wrong\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn every_cell_of_the_access_table_holds_on_memory() {
    drive(Backend::memory);
}

#[test]
fn every_cell_of_the_access_table_holds_on_sqlite() {
    drive(Backend::sqlite);
}

#[test]
fn every_cell_of_the_access_table_holds_on_sqlite_alone() {
    drive(Backend::sqlite_alone);
}

#[test]
fn every_cell_of_the_access_table_holds_on_postgres() {
    if let Some(kept) = KeptPostgres::empty() {
        drive(|| kept.fresh());
    }
}

/// The control: a service that takes everybody for the system. Each operation on a token shows it.
#[test]
fn a_service_that_lets_everybody_in_is_found_out() {
    let mut findings = Findings::default();
    for act in acts().iter().step_by(5) {
        play(act, Backend::memory(), |_| Caller::System, &mut findings);
    }
    for operation in [
        "retrieve",
        "used_by",
        "list",
        "update",
        "partial_update",
        "delete",
        "view_key",
        "set_key",
        "rotate",
        "create_for_other",
    ] {
        let shown = format!(" {operation}: ok instead of ");
        assert!(findings.wrong.iter().any(|wrong| wrong.contains(&shown)), "{operation}");
    }
}
