//! What the fuzz targets share: the vectors' fixture, what the vectors say of single values, and the
//! rules of SPEC once more, written another way than the product has them.
#![forbid(unsafe_code)]

pub mod bytes;
pub mod pools;
pub mod rules;
#[path = "../../crates/tokenkeep-axum/examples/serve/seed.rs"]
mod seed;
pub mod text;
pub mod time;
pub mod world;

use std::sync::LazyLock;

/// Whether this is the control: each target then looks at a product with a bug in it, and must find
/// it (`fuzz/run --control`).
pub fn is_broken() -> bool {
    static BROKEN: LazyLock<bool> =
        LazyLock::new(|| std::env::var_os("TOKENKEEP_FUZZ_BROKEN").is_some());
    *BROKEN
}
