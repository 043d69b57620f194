//! Prints what was found out about one question; `src/question/http.rs` asks it.

fn main() {
    tokenkeep_benches::bench("http");
}
