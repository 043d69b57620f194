//! What tokenkeep costs above the storage underneath, and beside what people would use instead.
//!
//! Each [question] is measured in turns with its floor, and answers some of the
//! [goals](goal::GOALS). A bench prints one question; `report` asks all of them and writes
//! `docs/PERFORMANCE.md`.

pub mod child;
pub mod compare;
pub mod document;
pub mod dudect;
pub mod figures;
pub mod files;
pub mod finding;
pub mod goal;
pub mod http_client;
pub mod load;
pub mod plot;
pub mod question;
pub mod scale;
pub mod statements;
pub mod table;

/// What a bench does: measures one question, and prints what it found.
pub fn bench(question: &str) {
    if child::is_child() {
        return;
    }
    let asked = question::QUESTIONS.iter().find(|known| known.name == question).unwrap();
    let found = (asked.measure)(&scale::Scale::FULL);
    print!("{}", table::of_goals(&found.rows));
    print!("{}", table::of_peers(&found.peers));
}
