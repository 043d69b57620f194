//! Tokens as one would write them for a service by axum and sqlx, in a SQLite file: a pool as sqlx
//! makes it, a transaction for each change. It reads, compares and writes what tokenkeep
//! does, except that it knows no groups and no markers, and writes no identifier into an event.
//!
//! `peer-sqlx DIRECTORY TOKENS`: prints the address where it serves HTTP, and then answers turns
//! that are made in process.

mod http;
mod tokens;

use std::path::Path;

use tokenkeep_load::{Asked, Times, USERS, Work, answer, identifier, key, pick, turn};
use tokio::runtime::Runtime;

use crate::tokens::Tokens;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let directory = arguments.next().unwrap();
    let count: u64 = arguments.next().unwrap().parse().unwrap();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let tokens = runtime.block_on(Tokens::filled(Path::new(&directory), count));
    let address = runtime.block_on(http::serve(tokens.clone()));
    answer(&address, |asked| run(&runtime, &tokens, asked, count));
}

fn run(runtime: &Runtime, tokens: &Tokens, asked: Asked, count: u64) -> Times {
    turn(runtime, asked.callers, asked.lasting, asked.first, |_| {
        let tokens = tokens.clone();
        move |call| {
            let tokens = tokens.clone();
            async move {
                if asked.work == Work::Authenticate {
                    let key = key(pick(call, count) & !1);
                    tokens.authenticate(&key).await.unwrap().unwrap();
                } else {
                    let number = pick(call, count) | 1;
                    let caller = i64::try_from(number % USERS).unwrap();
                    let text = format!("changed by call {call}");
                    tokens.update(caller, &identifier(number), &text).await.unwrap();
                }
            }
        }
    })
}
