//! Prints what was found out about one question; `src/question/authenticate.rs` asks it.

fn main() {
    tokenkeep_benches::bench("authenticate");
}
