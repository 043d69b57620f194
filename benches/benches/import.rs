//! Prints what was found out about one question; `src/question/import.rs` asks it.

fn main() {
    tokenkeep_benches::bench("import");
}
