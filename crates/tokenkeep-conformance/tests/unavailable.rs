//! Tests of a backend that is not there: each asks by its name, and runs nothing.

use std::sync::Arc;

use async_trait::async_trait;
use tokenkeep::{TokenStore, UserStore};
use tokenkeep_conformance::{Harness, STORE_CASES, USER_STORE_CASES, UserHarness};

struct Absent;

#[async_trait]
impl Harness for Absent {
    async fn open(&self) -> Arc<dyn TokenStore> {
        unreachable!("it is not there")
    }
}

#[async_trait]
impl UserHarness for Absent {
    async fn open(&self) -> Arc<dyn UserStore> {
        unreachable!("it is not there")
    }
}

fn available(test: &str) -> bool {
    let of_store = STORE_CASES.iter().map(|case| ("store", case.name));
    let of_directory = USER_STORE_CASES.iter().map(|case| ("directory", case.name));
    let mut names = of_store.chain(of_directory);
    assert!(
        names.any(|(module, name)| test == format!("unavailable::{module}::{name}")),
        "there is no test {test}"
    );
    false
}

mod store {
    tokenkeep_conformance::store_tests!(if super::available, super::Absent);
}

mod directory {
    tokenkeep_conformance::user_store_tests!(if super::available, super::Absent);
}
