//! A copy is equal row by row, however often it was stopped, and harms nothing.

mod command;
mod properties;
mod refusals;
mod stopping;
mod world;
