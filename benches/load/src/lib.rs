//! The load of the benches: which calls are made, by how many at the same time, and how long they
//! took. The systems that tokenkeep is compared with are separate programs; they use this crate, so
//! that all are asked the same things in the same way.

mod callers;
mod conversation;
mod numbers;
mod times;

pub use callers::turn;
pub use conversation::{Asked, Work, answer};
pub use numbers::{USERS, identifier, key, pick, scattered};
pub use times::Times;
