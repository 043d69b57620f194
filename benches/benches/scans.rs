//! Prints what was found out about one question; `src/question/scans.rs` asks it.

fn main() {
    tokenkeep_benches::bench("scans");
}
