//! Prints what was found out about one question; `src/question/postgres.rs` asks it.

fn main() {
    tokenkeep_benches::bench("postgres");
}
