//! Whether what many callers see of a token can be told as one story, on every backend, with a cache
//! and without, in one process and from several.
//!
//! A history is made of the random calls of eight tasks on a few tokens, each written down with its
//! times and its answer, and is judged token by token. `cargo test` makes 500 on each backend,
//! `TOKENKEEP_HISTORIES` as many as it says.

mod four_processes;
mod one_process;
mod record;
