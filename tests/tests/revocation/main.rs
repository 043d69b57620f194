//! Who is let in after a revocation: nobody whose authentication starts after it was acknowledged,
//! in whichever process, with a cache and without.
//!
//! Each race takes a token that is in use, and revokes it while it is used on. `cargo test` runs
//! 2,000 on each backend, `TOKENKEEP_REVOCATION_RACES` as many as it says.

mod one_process;
mod race;
mod staleness;
mod two_processes;
