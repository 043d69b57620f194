//! What the verify cache is locked and counted with: the standard library's, or those of shuttle, which
//! tries the orders in which threads can meet. See `docs/TESTING.md`.

#[cfg(not(tokenkeep_shuttle))]
pub(crate) use std::sync::{Mutex, MutexGuard, atomic::AtomicU64};

#[cfg(tokenkeep_shuttle)]
pub(crate) use shuttle::sync::{Mutex, MutexGuard, atomic::AtomicU64};
