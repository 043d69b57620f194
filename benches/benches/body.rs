//! Prints what was found out about one question; `src/question/body.rs` asks it.

fn main() {
    tokenkeep_benches::bench("body");
}
