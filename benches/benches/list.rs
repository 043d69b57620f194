//! Prints what was found out about one question; `src/question/list.rs` asks it.

fn main() {
    tokenkeep_benches::bench("list");
}
