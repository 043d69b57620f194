//! Every vector of every family through the router, on every backend.

use std::collections::BTreeMap;
use std::io::Write;

use axum::Router;
use serde_json::Value;
use tokenkeep_tests::backend::{Backend, Cached, KeptPostgres, Loaded, LoadedMemory, LoadedSqlite};
use tokenkeep_tests::fixture::Fixture;
use tokenkeep_tests::http::{request_of, send};
use tokenkeep_tests::vectors::{Answer, Case, all_tokens, cases};

#[pollster::test]
async fn every_vector_holds_on_memory() {
    let fixture = Fixture::read();
    run(&fixture, "memory", &LoadedMemory(&fixture)).await;
}

#[pollster::test]
async fn every_vector_holds_on_sqlite() {
    let fixture = Fixture::read();
    run(&fixture, "sqlite", &LoadedSqlite::new(&fixture)).await;
}

#[pollster::test]
async fn every_vector_holds_on_sqlite_alone() {
    let fixture = Fixture::read();
    run(&fixture, "sqlite, alone", &LoadedSqlite::alone(&fixture)).await;
}

#[pollster::test]
async fn every_vector_holds_with_a_cache() {
    let fixture = Fixture::read();
    run(&fixture, "memory, cached", &Cached(LoadedMemory(&fixture))).await;
    run(&fixture, "sqlite, cached", &Cached(LoadedSqlite::new(&fixture))).await;
    run(&fixture, "sqlite, alone, cached", &Cached(LoadedSqlite::alone(&fixture))).await;
}

#[pollster::test]
async fn every_vector_holds_on_postgres() {
    let fixture = Fixture::read();
    if let Some(loaded) = KeptPostgres::loaded(&fixture) {
        run(&fixture, "postgres", &loaded).await;
    }
}

/// Sends each case to a fresh store, and prints how many held, family by family.
async fn run(fixture: &Fixture, name: &str, loaded: &dyn Loaded) {
    let mut held: BTreeMap<String, u32> = BTreeMap::new();
    let mut wrong = Vec::new();
    let rows = fixture.rows();
    for case in cases() {
        let backend = loaded.fresh();
        let answer = answer(fixture, &backend, &case).await;
        match case.check(&answer, &rows, &all_tokens(&*backend.tokens).await) {
            Ok(()) => *held.entry(case.family).or_default() += 1,
            Err(error) => wrong.push(format!("case {} ({}): {error}", case.id, case.family)),
        }
    }
    report(name, &held);
    assert!(wrong.is_empty(), "{name}: {} vectors fail\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(held.values().sum::<u32>() as usize, cases().len());
}

async fn answer(fixture: &Fixture, backend: &Backend, case: &Case) -> Answer {
    let router: Router = tokenkeep_axum::router(fixture.service(backend));
    send(&router, request_of(case)).await.answer()
}

/// Prints the counts, also where the output of tests that pass is not shown.
fn report(name: &str, held: &BTreeMap<String, u32>) {
    let total: u32 = held.values().sum();
    let mut lines =
        vec![format!("{name}: {total} vectors hold through the router, none is skipped")];
    lines.extend(held.iter().map(|(family, count)| format!("  {family}: {count}")));
    let text = lines.join("\n") + "\n";
    // What is written to the handle itself is not captured.
    std::io::stdout().lock().write_all(text.as_bytes()).unwrap();
}

#[pollster::test]
async fn the_comparison_itself_can_fail() {
    let fixture = Fixture::read();
    let backend = LoadedMemory(&fixture).fresh();
    let case = cases().into_iter().find(|case| case.family == "access-get").unwrap();
    let answer = answer(&fixture, &backend, &case).await;
    let rows = all_tokens(&*backend.tokens).await;
    assert_eq!(case.check(&answer, &fixture.rows(), &rows), Ok(()));

    let mut more = answer.clone();
    more.body["more"] = Value::Null;
    assert!(case.check(&more, &fixture.rows(), &rows).is_err(), "a key too many");
    let other = Answer { status: 500, ..answer.clone() };
    assert!(case.check(&other, &fixture.rows(), &rows).is_err(), "another status");
    assert!(case.check(&answer, &fixture.rows(), &rows[1..]).is_err(), "a row too few");
    let mut changed = rows.clone();
    changed[0].description = "changed".into();
    assert!(case.check(&answer, &fixture.rows(), &changed).is_err(), "another row");
}
