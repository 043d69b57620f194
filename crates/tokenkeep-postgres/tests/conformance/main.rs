//! The PostgreSQL store does what every backend must do. Each case runs on a database of its own,
//! opened more than once.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]
#![allow(clippy::indexing_slicing)]

mod harness;
mod servers;

mod store {
    tokenkeep_conformance::store_tests!(
        if tokenkeep_test_server::available,
        crate::harness::Postgres::shared()
    );
}

mod directory {
    tokenkeep_conformance::user_store_tests!(
        if tokenkeep_test_server::available,
        crate::harness::Postgres::shared()
    );
}
