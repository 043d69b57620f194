//! Networks, servers and processes that fail, under a store that must not lose, repeat or misreport
//! anything.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]
#![allow(clippy::indexing_slicing)]

mod network;
mod pool;
mod processes;
mod rows;
mod scene;
mod silence;
mod standby;
