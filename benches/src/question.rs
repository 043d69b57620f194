//! The questions, one file each: what tokenkeep does and what stands beside it, measured in turns.

pub mod authenticate;
pub mod beside;
pub mod body;
pub mod callers;
pub mod http;
pub mod import;
pub mod list;
pub mod peers;
pub mod postgres;
pub mod scans;
pub mod size;
pub mod sweep;
pub mod update;

use crate::finding::Findings;
use crate::scale::Scale;

/// A question and who answers it.
#[derive(Debug)]
pub struct Question {
    /// By what the command line and the figures name it.
    pub name: &'static str,
    /// Measures it.
    pub measure: fn(&Scale) -> Findings,
}

/// All of them, in the order in which they are asked.
pub const QUESTIONS: &[Question] = &[
    Question { name: "authenticate", measure: authenticate::measure },
    Question { name: "update", measure: update::measure },
    Question { name: "callers", measure: callers::measure },
    Question { name: "beside", measure: beside::measure },
    Question { name: "body", measure: body::measure },
    Question { name: "size", measure: size::measure },
    Question { name: "list", measure: list::measure },
    Question { name: "scans", measure: scans::measure },
    Question { name: "import", measure: import::measure },
    Question { name: "sweep", measure: sweep::measure },
    Question { name: "http", measure: http::measure },
    Question { name: "peers", measure: peers::measure },
    Question { name: "postgres", measure: postgres::measure },
];
