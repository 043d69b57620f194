//! The example `serve`, as its users run it.

mod admin;
mod first_run;
mod key_files;
mod limits;
mod place;
mod refusals;
mod seeded;
mod stopping;
