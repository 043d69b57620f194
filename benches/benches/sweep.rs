//! Prints what was found out about one question; `src/question/sweep.rs` asks it.

fn main() {
    tokenkeep_benches::bench("sweep");
}
