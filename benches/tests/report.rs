//! The report in its quick mode: every question is asked, of little, and the figures mean nothing.

use std::path::Path;
use std::process::Command;

use tokenkeep_benches::figures::Figures;
use tokenkeep_benches::goal::GOALS;
use tokenkeep_benches::plot::PLOTS;

fn report(arguments: &[&str]) -> bool {
    let status = Command::new(env!("CARGO_BIN_EXE_report")).args(arguments).status();
    status.unwrap().success()
}

fn figures(directory: &Path) -> Figures {
    Figures::read(&directory.join("performance/figures.json")).unwrap()
}

#[test]
fn it_measures_every_goal_and_draws_every_plot() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().to_str().unwrap();
    assert!(report(&["--quick", "--out", out]));

    let rows = figures(directory.path()).rows();
    assert_eq!(rows.len(), GOALS.len());
    for row in &rows {
        // What another system or a missing part is needed for.
        let may_be_missing = ["peer", "http-put", "cached", "postgres"];
        let is_measured = row.judged.is_some_and(|judged| judged.median > 0.0);
        let is_excused = may_be_missing.iter().any(|part| row.goal.contains(part));
        assert!(is_measured || is_excused && !row.note.is_empty(), "{row:?}");
    }
    let document = std::fs::read_to_string(directory.path().join("PERFORMANCE.md")).unwrap();
    for goal in GOALS {
        assert!(document.contains(&format!("\n| {}", goal.what)), "{}", goal.id);
    }
    for plot in PLOTS {
        let svg = directory.path().join("performance").join(format!("{}.svg", plot.id));
        assert!(std::fs::read_to_string(svg).unwrap().contains("<polyline"), "{}", plot.id);
    }
}

#[test]
fn asked_one_question_it_keeps_the_other_figures_and_the_text() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().to_str().unwrap();
    assert!(report(&["--quick", "--out", out, "body"]));
    let path = directory.path().join("PERFORMANCE.md");
    let text = std::fs::read_to_string(&path).unwrap() + "\nWhat was tried.\n";
    std::fs::write(&path, text).unwrap();

    assert!(report(&["--quick", "--out", out, "import"]));
    let figures = figures(directory.path());
    let asked: Vec<_> = figures.questions.keys().collect();
    assert_eq!(asked, ["body", "import"]);
    assert!(std::fs::read_to_string(&path).unwrap().ends_with("\nWhat was tried.\n"));
}

#[test]
fn it_refuses_what_it_does_not_know_and_quick_figures_in_the_documentation() {
    assert!(!report(&["--quick"]));
    assert!(!report(&["updates"]));
    assert!(!report(&["--slow"]));
}
