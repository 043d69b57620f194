//! Longer pages, with examples that run.

#[doc = include_str!("guide/testing.md")]
pub mod testing {}

#[doc = include_str!("guide/write_a_store.md")]
pub mod write_a_store {}
