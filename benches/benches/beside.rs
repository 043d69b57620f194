//! Prints what was found out about one question; `src/question/beside.rs` asks it.

fn main() {
    tokenkeep_benches::bench("beside");
}
