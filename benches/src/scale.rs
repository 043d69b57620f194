//! How much is measured: what the figures in the documentation need, or as little as shows that it
//! works.

use std::time::Duration;

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub struct Scale {
    /// How many tokens there are.
    pub tokens: u64,
    /// How many there are where the question is what happens with many: a million.
    pub many: u64,
    /// How many turns each side gets.
    pub rounds: u64,
    /// How long a turn of callers at the same time takes.
    pub turn: Duration,
    /// Of how many calls one is made.
    thinned: u64,
}

impl Scale {
    /// A hundred thousand tokens, and as many calls as give steady figures.
    pub const FULL: Self = Self {
        tokens: 100_000,
        many: 1_000_000,
        rounds: 7,
        turn: Duration::from_millis(500),
        thinned: 1,
    };

    /// Some seconds for everything. The figures mean nothing.
    pub const QUICK: Self = Self {
        tokens: 2_000,
        many: 4_000,
        rounds: 5,
        turn: Duration::from_millis(10),
        thinned: 200,
    };

    /// With another number of turns.
    #[must_use]
    pub fn rounds(self, rounds: u64) -> Self {
        Self { rounds, ..self }
    }

    /// How many calls a turn makes that would have `calls`.
    pub fn calls(&self, calls: u64) -> u64 {
        (calls / self.thinned).max(5)
    }
}
