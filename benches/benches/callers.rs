//! Prints what was found out about one question; `src/question/callers.rs` asks it.

fn main() {
    tokenkeep_benches::bench("callers");
}
