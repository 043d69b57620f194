//! What the tests share: the vectors' fixture, the vectors themselves, and the backends.

pub mod access;
pub mod arbitrary;
pub mod backend;
pub mod broken;
pub mod broken_users;
pub mod example;
pub mod fixture;
pub mod hasty;
pub mod history;
pub mod http;
pub mod meddling;
pub mod model;
pub mod overhearing;
pub mod properties;
pub mod scene;
#[path = "../../crates/tokenkeep-axum/examples/serve/seed.rs"]
mod seed;
pub mod serve;
pub mod trail;
pub mod unreliable;
pub mod vectors;
pub mod wire;
pub mod yielding;

#[doc = include_str!("../../README.md")]
pub mod readme {}
