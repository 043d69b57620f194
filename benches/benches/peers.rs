//! Prints what was found out about one question; `src/question/peers.rs` asks it.

fn main() {
    tokenkeep_benches::bench("peers");
}
