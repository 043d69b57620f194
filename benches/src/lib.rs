//! What the benches share: a hundred thousand tokens, and a comparison that interleaves.

pub mod compare;
pub mod load;
