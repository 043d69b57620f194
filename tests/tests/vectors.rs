//! Every vector that the service can answer so far, on every backend.

use std::collections::BTreeMap;
use std::io::Write;

use serde_json::{Value, json};
use tokenkeep::{BodyError, Caller, TokenChange, TokenError, TokenService};
use tokenkeep_tests::backend::{Loaded, LoadedMemory, LoadedSqlite};
use tokenkeep_tests::fixture::Fixture;
use tokenkeep_tests::vectors::{Answer, Case, all_tokens, cases};

#[test]
fn every_vector_holds_on_memory() {
    let fixture = Fixture::read();
    run(&fixture, "memory", &LoadedMemory(&fixture));
}

#[test]
fn every_vector_holds_on_sqlite() {
    let fixture = Fixture::read();
    run(&fixture, "sqlite", &LoadedSqlite::new(&fixture));
}

/// The families of which every vector can be sent, by the start of their names.
const DRIVEN: [&str; 9] = [
    "put-",
    "patch-",
    "post-",
    "access-put",
    "access-patch",
    "access-get",
    "access-header PUT",
    "body-shape",
    "content-type",
];

/// Sends each case to a fresh store, and prints how many held, family by family.
fn run(fixture: &Fixture, name: &str, loaded: &dyn Loaded) {
    let mut held: BTreeMap<String, u32> = BTreeMap::new();
    let mut not_driven: BTreeMap<String, Vec<u32>> = BTreeMap::new();
    let mut wrong = Vec::new();
    for case in cases() {
        let backend = loaded.fresh();
        let service = fixture.service(&backend);
        let Some(answer) = pollster::block_on(send(&service, &case)) else {
            let what = format!("{} {}", case.family, case.method);
            not_driven.entry(what).or_default().push(case.id);
            continue;
        };
        let after = pollster::block_on(all_tokens(&*backend.tokens));
        match case.check(&answer, &fixture.rows(), &after) {
            Ok(()) => *held.entry(format!("{} {}", case.family, case.method)).or_default() += 1,
            Err(error) => wrong.push(format!("case {} ({}): {error}", case.id, case.family)),
        }
    }
    report(name, &held, &not_driven);
    for family in DRIVEN {
        let is_of = |name: &String| name.starts_with(family);
        assert!(held.keys().any(is_of), "{name}: no vector of {family} was sent");
        let skipped = not_driven.keys().find(|name| is_of(name));
        assert_eq!(skipped, None, "{name}: vectors that can be sent were not");
    }
    assert!(wrong.is_empty(), "{name}: {} vectors fail\n{}", wrong.len(), wrong.join("\n"));
}

/// Prints the counts, also where the output of tests that pass is not shown.
fn report(name: &str, held: &BTreeMap<String, u32>, not_driven: &BTreeMap<String, Vec<u32>>) {
    let total: u32 = held.values().sum();
    let waiting: usize = not_driven.values().map(Vec::len).sum();
    let mut lines = vec![format!("{name}: {total} vectors hold")];
    lines.extend(held.iter().map(|(family, count)| format!("  {family}: {count}")));
    lines.push(format!("{name}: {waiting} vectors wait for operations that are not built yet"));
    let named = |(what, ids): (&String, &Vec<u32>)| format!("  {what}: {} {ids:?}", ids.len());
    lines.extend(not_driven.iter().map(named));
    let text = lines.join("\n") + "\n";
    // What is written to the handle itself is not captured.
    std::io::stdout().lock().write_all(text.as_bytes()).unwrap();
}

/// Answers a case through the service as HTTP would; `None` when it asks for an operation that is
/// not built yet.
async fn send(service: &TokenService, case: &Case) -> Option<Answer> {
    // HTTP takes away the white space around a header's value (RFC 9110, section 5.5).
    let header = case.authorization.as_ref().map(|value| value.trim().as_bytes());
    let answer = match service.authenticate(header).await {
        Ok(authenticated) => operate(service, case, &authenticated.caller()).await?,
        Err(error) => Err(error),
    };
    Some(answer.unwrap_or_else(|error| Answer { status: status(&error), body: error.to_json() }))
}

async fn operate(
    service: &TokenService,
    case: &Case,
    caller: &Caller,
) -> Option<Result<Answer, TokenError>> {
    let path = case.path.strip_prefix("/api/v3/core/tokens/").unwrap();
    let identifier = path.strip_suffix('/').unwrap_or(path);
    let answer = match (case.method.as_str(), identifier) {
        ("POST", "") => {
            let created = service.create(caller, change(case)).await;
            created.map(|created| Answer { status: 201, body: json!(created.view) })
        }
        (_, identifier) if identifier.is_empty() || identifier.contains(['/', '?']) => return None,
        ("GET", identifier) => {
            let view = service.retrieve(caller, identifier).await;
            view.map(|view| Answer { status: 200, body: json!(view) })
        }
        ("PUT", identifier) => {
            let updated = service.update(caller, identifier, change(case)).await;
            updated.map(|updated| Answer { status: 200, body: json!(updated.view) })
        }
        ("PATCH", identifier) => {
            let updated = service.partial_update(caller, identifier, change(case)).await;
            updated.map(|updated| Answer { status: 200, body: json!(updated.view) })
        }
        _ => return None,
    };
    Some(answer)
}

fn change(case: &Case) -> TokenChange {
    match case.content_type.as_deref() {
        Some("application/json") | None => {
            TokenChange::from_json(case.body.as_deref().unwrap_or_default().as_bytes())
        }
        Some(other) => TokenChange::unreadable(BodyError::UnsupportedMediaType(other.into())),
    }
}

/// The status of SPEC "Errors".
fn status(error: &TokenError) -> u16 {
    match error.code() {
        "invalid" | "parse_error" => 400,
        "not_authenticated" | "authentication_failed" | "permission_denied" => 403,
        "not_found" => 404,
        "precondition_failed" => 412,
        "payload_too_large" => 413,
        "unsupported_media_type" => 415,
        "unavailable" => 503,
        _ => 500,
    }
}

#[test]
fn the_comparison_itself_can_fail() {
    let fixture = Fixture::read();
    let backend = LoadedMemory(&fixture).fresh();
    let case = cases().into_iter().find(|case| case.family == "access-get").unwrap();
    let service = fixture.service(&backend);
    let answer = pollster::block_on(send(&service, &case)).unwrap();
    let rows = pollster::block_on(all_tokens(&*backend.tokens));
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
