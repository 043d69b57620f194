//! What every [`tokenkeep`] backend must do, as test cases that anyone can run.
//!
//! A backend's tests implement [`Harness`] and name it in [`store_tests!`], which makes a test of
//! every case; the names are stable. A backend with a directory of its own does the same with
//! [`UserHarness`] and [`user_store_tests!`]. Each case cites the Behavior clauses of
//! [`TokenStore`](tokenkeep::TokenStore) and [`UserStore`](tokenkeep::UserStore) that it tests, and
//! no clause is without a case.
//!
//! [`judge`] tells whether a history of many callers' calls is linearizable.
//!
//! ```
//! use std::sync::Arc;
//! use async_trait::async_trait;
//! use tokenkeep::TokenStore;
//! use tokenkeep_conformance::Harness;
//! use tokenkeep_memory::MemoryStore;
//!
//! #[derive(Default)]
//! struct Memory(Arc<MemoryStore>);
//!
//! #[async_trait]
//! impl Harness for Memory {
//!     async fn open(&self) -> Arc<dyn TokenStore> {
//!         self.0.clone()
//!     }
//! }
//!
//! mod conformance {
//!     tokenkeep_conformance::store_tests!(super::Memory::default());
//! }
//! ```
#![forbid(unsafe_code)]
// A case fails by panicking: that is what it is for.
#![allow(clippy::panic, clippy::expect_used, clippy::indexing_slicing)]

mod cases;
mod harness;
mod history;
mod sample;
mod suite;

pub use harness::{BoxFuture, Case, Harness, UserHarness};
pub use history::{Call, Operation, Outcome, Verdict, Version, judge};
#[doc(hidden)]
pub use suite::__always;
pub use suite::{STORE_CASES, USER_STORE_CASES, check_store, run_store_case, run_user_store_case};
