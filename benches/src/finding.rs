//! What was found out: a row for each goal, and lines of points to be drawn.

use serde::{Deserialize, Serialize};

use crate::compare::{Paired, Spread, rounded};
use crate::goal::{Goal, Unit};

/// What one question has found out.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Findings {
    /// One for each goal of the question.
    pub rows: Vec<Row>,
    /// What is drawn.
    pub lines: Vec<Line>,
    /// What other systems did beside tokenkeep.
    #[serde(default)]
    pub peers: Vec<Peer>,
}

/// What became of a goal.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Row {
    /// [Which](Goal::id).
    pub goal: String,
    /// What tokenkeep took, or got done.
    pub ours: Option<Figure>,
    /// What that beside it did.
    pub floor: Option<Figure>,
    /// What the goal is judged by; none where it could not be measured.
    pub judged: Option<Spread>,
    /// What else there is to say, or why nothing was measured.
    pub note: String,
}

/// A figure with its unit.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Figure {
    /// How many.
    pub value: f64,
    /// Of what.
    pub unit: Unit,
}

/// A line of points in a plot.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Line {
    /// The [plot](crate::plot::PLOTS).
    pub plot: String,
    /// What the line is of.
    pub name: String,
    /// Its points, from left to right.
    pub points: Vec<(f64, f64)>,
}

/// What another system got done, in turns with tokenkeep.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Peer {
    /// Which, and what it did.
    pub what: String,
    /// How many callers there were.
    pub callers: u64,
    /// What it got done in a second, and the time within which 99 of 100 calls were done.
    pub theirs: Done,
    /// The same of tokenkeep.
    pub ours: Done,
    /// How many times as much tokenkeep got done.
    pub ratio: Spread,
}

/// What callers got done.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Done {
    /// Calls a second.
    pub rate: f64,
    /// Within how many seconds 99 of 100 were done.
    pub p99: f64,
}

impl Row {
    fn new(goal: &str, judged: Option<Spread>, note: String) -> Self {
        let goal = Goal::named(goal).id.to_owned();
        Self { goal, ours: None, floor: None, judged, note }
    }

    /// A goal that is judged by the ratio of two figures.
    pub fn ratio(goal: &str, paired: Paired, unit: Unit) -> Self {
        let figure = |spread: Spread| Some(Figure { value: spread.median, unit });
        let row = Self::new(goal, Some(paired.ratio), String::new());
        Self { ours: figure(paired.ours), floor: figure(paired.floor), ..row }
    }

    /// A goal that is judged by one figure, whatever is beside it.
    pub fn figure(goal: &str, ours: Spread) -> Self {
        let unit = Goal::named(goal).unit;
        let row = Self::new(goal, Some(ours), String::new());
        Self { ours: Some(Figure { value: ours.median, unit }), ..row }
    }

    /// The same, beside something.
    pub fn figure_beside(goal: &str, paired: Paired) -> Self {
        let unit = Goal::named(goal).unit;
        let note = format!("{:.2} × {}", paired.ratio.median, Goal::named(goal).beside);
        let floor = Some(Figure { value: paired.floor.median, unit });
        Self { floor, note, ..Self::figure(goal, paired.ours) }
    }

    /// A goal that could not be measured.
    pub fn not_measured(goal: &str, why: impl Into<String>) -> Self {
        Self::new(goal, None, why.into())
    }

    /// With something else to say.
    #[must_use]
    pub fn noting(self, note: impl Into<String>) -> Self {
        Self { note: note.into(), ..self }
    }

    /// Whether the goal was reached, where that is known.
    pub fn is_met(&self) -> Option<bool> {
        self.judged.map(|judged| Goal::named(&self.goal).is_met_by(judged.median))
    }
}

impl Line {
    /// A line with points from left to right.
    pub fn new(plot: &str, name: &str, points: impl IntoIterator<Item = (f64, f64)>) -> Self {
        let points = points.into_iter().map(|(x, y)| (rounded(x), rounded(y))).collect();
        Self { plot: plot.to_owned(), name: name.to_owned(), points }
    }
}
