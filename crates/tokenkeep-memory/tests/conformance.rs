//! The memory store does what every backend must do.

use std::sync::Arc;

use async_trait::async_trait;
use tokenkeep::{TokenStore, UserStore};
use tokenkeep_conformance::{Harness, UserHarness};
use tokenkeep_memory::MemoryStore;

#[derive(Default)]
struct Memory(Arc<MemoryStore>);

#[async_trait]
impl Harness for Memory {
    async fn open(&self) -> Arc<dyn TokenStore> {
        self.0.clone()
    }
}

#[async_trait]
impl UserHarness for Memory {
    async fn open(&self) -> Arc<dyn UserStore> {
        self.0.clone()
    }
}

mod store {
    tokenkeep_conformance::store_tests!(super::Memory::default());
}

mod directory {
    tokenkeep_conformance::user_store_tests!(super::Memory::default());
}
