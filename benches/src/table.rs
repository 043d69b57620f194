//! Figures as tables in Markdown.

use std::fmt::Write;

use crate::compare::Spread;
use crate::finding::{Done, Peer, Row};
use crate::goal::{Bound, Goal, Unit};

/// The table of goals.
pub fn of_goals(rows: &[Row]) -> String {
    let mut table = "| | goal | floor | tokenkeep | ratio or figure, and spread | met |\n\
                     |---|---|---|---|---|---|\n"
        .to_owned();
    for row in rows {
        let goal = Goal::named(&row.goal);
        let shown = |figure: Option<crate::finding::Figure>| {
            figure.map_or_else(String::new, |figure| figure_of(figure.value, figure.unit))
        };
        let what = if row.note.is_empty() {
            goal.what.to_owned()
        } else {
            format!("{} ({})", goal.what, row.note)
        };
        let judged = row.judged.map_or_else(String::new, |judged| spread(judged, goal.unit));
        let met = match row.is_met() {
            Some(true) => "yes",
            Some(false) => "**no**",
            None => "not measured",
        };
        let cells = [&what, &bound(goal), &shown(row.floor), &shown(row.ours), &judged, met];
        writeln!(table, "| {} |", cells.join(" | ")).unwrap();
    }
    table
}

/// The table of other systems, nothing when there are none.
pub fn of_peers(peers: &[Peer]) -> String {
    if peers.is_empty() {
        return String::new();
    }
    let mut table = "| | callers | theirs a second | p99 | tokenkeep a second | p99 | ratio |\n\
                     |---|---|---|---|---|---|---|\n"
        .to_owned();
    for peer in peers {
        let done = |done: &Done| {
            let rate = figure_of(done.rate, Unit::PerSecond);
            format!("{rate} | {}", figure_of(done.p99, Unit::Seconds))
        };
        let (theirs, ours) = (done(&peer.theirs), done(&peer.ours));
        let ratio = spread(peer.ratio, Unit::Times);
        writeln!(table, "| {} | {} | {theirs} | {ours} | {ratio} |", peer.what, peer.callers)
            .unwrap();
    }
    table
}

fn bound(goal: &Goal) -> String {
    let (sign, figure) = match goal.bound {
        Bound::AtMost(most) => ("≤", most),
        Bound::AtLeast(least) => ("≥", least),
    };
    match goal.unit {
        Unit::Times => format!("{sign} {figure} × {}", goal.beside),
        unit => format!("{sign} {}", figure_of(figure, unit)),
    }
}

/// The median, between the lowest and the highest.
fn spread(Spread { low, median, high }: Spread, unit: Unit) -> String {
    let [low, median, high] = [low, median, high].map(|figure| figure_of(figure, unit));
    if low == high { median } else { format!("{median} ({low} to {high})") }
}

/// A figure with its unit.
pub fn figure_of(figure: f64, unit: Unit) -> String {
    match unit {
        Unit::Times => format!("{figure:.2}"),
        Unit::Seconds if figure < 1e-6 => format!("{:.0} ns", figure * 1e9),
        Unit::Seconds if figure < 1e-4 => format!("{:.2} µs", figure * 1e6),
        Unit::Seconds if figure < 1e-3 => format!("{:.0} µs", figure * 1e6),
        Unit::Seconds if figure < 1.0 => format!("{:.2} ms", figure * 1e3),
        Unit::Seconds => format!("{figure:.2} s"),
        Unit::PerSecond => format!("{}/s", with_thousands(figure)),
        Unit::Bytes if figure >= 1_048_576.0 => format!("{:.1} MiB", figure / 1_048_576.0),
        Unit::Bytes => format!("{figure:.0} bytes"),
    }
}

fn with_thousands(figure: f64) -> String {
    let digits = format!("{figure:.0}");
    let mut shown = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_the_unit_that_suits_them() {
        let shown = [
            (9.1e-7, Unit::Seconds, "910 ns"),
            (9.12e-6, Unit::Seconds, "9.12 µs"),
            (2.25e-4, Unit::Seconds, "225 µs"),
            (2.5e-3, Unit::Seconds, "2.50 ms"),
            (1_234_567.0, Unit::PerSecond, "1,234,567/s"),
            (400.0, Unit::Bytes, "400 bytes"),
            (67_108_864.0, Unit::Bytes, "64.0 MiB"),
        ];
        for (figure, unit, text) in shown {
            assert_eq!(figure_of(figure, unit), text);
        }
    }

    #[test]
    fn a_row_says_whether_its_goal_was_met() {
        let judged = |median| Spread { low: 1.0, median, high: 3.0 };
        let of = |median| of_goals(&[Row::figure("memory-bytes", judged(median))]);
        assert!(of(400.0).contains("| ≤ 400 bytes | "), "{}", of(400.0));
        assert!(of(400.0).trim_end().ends_with("| yes |"));
        assert!(of(401.0).trim_end().ends_with("| **no** |"));
        let missing = of_goals(&[Row::not_measured("memory-bytes", "no server")]);
        assert!(missing.contains("(no server)") && missing.contains("| not measured |"));
    }
}
