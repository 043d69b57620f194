//! What the rows are locked with: the real locks, or those of shuttle, which tries the orders in which
//! threads can meet. See `docs/TESTING.md`.

#[cfg(not(tokenkeep_shuttle))]
pub(crate) use {
    crossbeam_utils::sync::{ShardedLock, ShardedLockReadGuard, ShardedLockWriteGuard},
    std::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard},
};

#[cfg(tokenkeep_shuttle)]
pub(crate) use shuttle::sync::{
    RwLock, RwLock as ShardedLock, RwLockReadGuard, RwLockReadGuard as ShardedLockReadGuard,
    RwLockWriteGuard, RwLockWriteGuard as ShardedLockWriteGuard,
};
