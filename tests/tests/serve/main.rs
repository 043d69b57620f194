//! The example `serve`, as its users run it.

mod first_run;
mod key_files;
mod refusals;
mod seeded;
mod stopping;
