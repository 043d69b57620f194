//! Prints what was found out about one question; `src/question/size.rs` asks it.

fn main() {
    tokenkeep_benches::bench("size");
}
