//! What a process leaves behind that was killed, or whose disk has lost its power: everything that it
//! acknowledged, and nothing by half.
//!
//! A child process writes to a SQLite file or a PostgreSQL server and tells each call as it begins and
//! as it ends. It is killed, at some moment or at a certain system call, or the storage fails under it,
//! and the rows are opened again. What is there then is judged together with what was told.

mod aftermath;
mod at_every_write;
mod child;
mod damage;
mod faults;
mod kills;
mod postgres_power_cuts;
mod power_cuts;
