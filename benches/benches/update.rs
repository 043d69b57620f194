//! Prints what was found out about one question; `src/question/update.rs` asks it.

fn main() {
    tokenkeep_benches::bench("update");
}
