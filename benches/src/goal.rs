//! What is to be reached: one goal a row of the report.

use serde::{Deserialize, Serialize};

/// Something to be reached, judged by one figure.
#[derive(Debug)]
pub struct Goal {
    /// By what the code and the figures name it.
    pub id: &'static str,
    /// What is measured.
    pub what: &'static str,
    /// Where the figure must be.
    pub bound: Bound,
    /// What the figure is of.
    pub unit: Unit,
    /// What is measured beside it, which a ratio is of.
    pub beside: &'static str,
}

/// Where a figure must be.
#[derive(Debug, Clone, Copy)]
pub enum Bound {
    /// No higher.
    AtMost(f64),
    /// No lower.
    AtLeast(f64),
}

/// What a figure is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Unit {
    /// So many times what is beside it.
    Times,
    /// Seconds.
    Seconds,
    /// Calls, or tokens, a second.
    PerSecond,
    /// Bytes.
    Bytes,
}

impl Goal {
    /// Whether a figure is where it must be.
    pub fn is_met_by(&self, figure: f64) -> bool {
        match self.bound {
            Bound::AtMost(most) => figure <= most,
            Bound::AtLeast(least) => figure >= least,
        }
    }

    /// The goal of that id.
    pub fn named(id: &str) -> &'static Self {
        GOALS.iter().find(|goal| goal.id == id).unwrap_or_else(|| panic!("no goal {id:?}"))
    }
}

const fn at_most(
    id: &'static str,
    what: &'static str,
    most: f64,
    unit: Unit,
    beside: &'static str,
) -> Goal {
    Goal { id, what, bound: Bound::AtMost(most), unit, beside }
}

const fn at_least(
    id: &'static str,
    what: &'static str,
    least: f64,
    unit: Unit,
    beside: &'static str,
) -> Goal {
    Goal { id, what, bound: Bound::AtLeast(least), unit, beside }
}

use Unit::{Bytes, PerSecond, Seconds, Times};

const LOOK_UP: &str = "the bare look-ups";
const EXCLUSIVE: &str = "the bare look-ups, EXCLUSIVE";
const STATEMENTS: &str = "the bare statements";

/// Every goal, in the order of the report.
#[rustfmt::skip]
pub const GOALS: &[Goal] = &[
    at_most("authenticate-shared", "authenticate, SQLite, shared file, one caller", 1.4, Times, LOOK_UP),
    at_least("authenticate-two", "authenticate, SQLite, shared file, two callers", 1.8, Times, "one caller"),
    at_most("authenticate-single", "authenticate, SQLite, single process", 1.8, Times, EXCLUSIVE),
    at_most("authenticate-memory", "authenticate, memory, 10⁵ tokens", 0.65e-6, Seconds, "two maps"),
    at_most("authenticate-memory-many", "authenticate, memory, 10⁶ tokens", 1e-6, Seconds, ""),
    at_least("authenticate-memory-two", "authenticate, memory, two threads", 2.5e6, PerSecond, "one thread"),
    at_most("authenticate-cached-single", "authenticate, cached, single process, 10⁵ tokens", 0.65e-6, Seconds, EXCLUSIVE),
    at_most("authenticate-cached-single-many", "authenticate, cached, single process, 10⁶ tokens", 1e-6, Seconds, ""),
    at_least("authenticate-cached-single-two", "authenticate, cached, single process, two threads", 2.5e6, PerSecond, "one thread"),
    at_most("authenticate-cached-shared", "authenticate, cached, shared file, exact across processes", 0.75, Times, LOOK_UP),
    at_most("update-full", "update, SQLite FULL, one caller", 1.4, Times, "one fdatasync"),
    at_least("update-full-32", "update, SQLite FULL, 32 callers", 9.0, Times, "one caller"),
    at_least("update-full-64", "update, SQLite FULL, 64 callers", 12.0, Times, "one caller"),
    at_least("update-full-peer", "update, SQLite FULL, 32 callers", 15.0, Times, "axum + sqlx"),
    at_most("update-full-32-p99", "the same, p99 at 32 callers", 5e-3, Seconds, ""),
    at_most("update-full-64-p99", "the same, p99 at 64 callers", 5e-3, Seconds, ""),
    at_most("update-full-32-p999", "the same, p99.9 at 32 callers", 30e-3, Seconds, ""),
    at_most("update-full-64-p999", "the same, p99.9 at 64 callers", 30e-3, Seconds, ""),
    at_most("update-full-log", "the same, the log at its longest", 64.0 * 1024.0 * 1024.0, Bytes, ""),
    at_most("update-normal", "update, SQLite NORMAL, one caller, p50", 1.5, Times, STATEMENTS),
    at_most("update-layout-1", "events chained, 1 update in a transaction, FULL", 1.1, Times, "events indexed by token"),
    at_most("update-layout-32", "events chained, 32 updates in a transaction, FULL", 1.1, Times, "events indexed by token"),
    at_most("update-layout-64", "events chained, 64 updates in a transaction, FULL", 1.1, Times, "events indexed by token"),
    at_least("beside", "authenticate beside a writer at full speed", 0.9, Times, "a bare connection beside it"),
    at_most("update-memory", "update, memory", 4e-6, Seconds, "two maps and a list"),
    at_least("update-memory-two", "update, memory, two threads", 1.8, Times, "one thread"),
    at_most("body", "a body from bytes to a checked change", 2.0, Times, "serde_json to a Value"),
    at_most("memory-bytes", "memory store, bytes a token of 170", 400.0, Bytes, ""),
    at_most("file-bytes", "SQLite file, bytes a token, events apart", 400.0, Bytes, ""),
    at_most("cursor", "a cursor's page anywhere in 10⁶ tokens", 1.2, Times, "the first page"),
    at_most("search-limited", "a search among one's own 100 tokens, 10⁵ users", 1.5, Times, "10³ users"),
    at_most("authenticate-beside-scans", "authenticate beside 8 searches of 10⁶ tokens, p99", 5e-3, Seconds, "without them"),
    at_most("owner-deleted", "the end of an owner of 2 × 10⁵ tokens, a token", 2.0, Times, "2.5 × 10⁴ tokens"),
    at_least("import", "import into an empty store", 1e5, PerSecond, "a table without an index"),
    at_least("batches", "create in batches of 1,000, with events", 2e4, PerSecond, ""),
    at_least("sweep", "sweep, beside four callers who update", 2e4, PerSecond, ""),
    at_most("sweep-p99", "their updates meanwhile, p99", 10e-3, Seconds, ""),
    at_least("http-get", "HTTP, GET one token, 8 connections", 0.5, Times, "axum answering `/ping`"),
    at_least("http-put", "HTTP, PUT FULL, 32 connections", 7.0, Times, "axum + sqlx"),
    at_most("http-put-p99", "the same, p99", 20e-3, Seconds, ""),
    at_least("postgres-authenticate-1", "PostgreSQL, authenticate, 1 caller", 0.87, Times, STATEMENTS),
    at_least("postgres-authenticate-8", "PostgreSQL, authenticate, 8 callers", 0.87, Times, STATEMENTS),
    at_least("postgres-authenticate-32", "PostgreSQL, authenticate, 32 callers", 0.87, Times, STATEMENTS),
    at_least("postgres-update-1", "PostgreSQL, update, 1 caller", 0.87, Times, STATEMENTS),
    at_least("postgres-update-8", "PostgreSQL, update, 8 callers", 0.87, Times, STATEMENTS),
    at_least("postgres-update-32", "PostgreSQL, update, 32 callers", 0.87, Times, STATEMENTS),
];
