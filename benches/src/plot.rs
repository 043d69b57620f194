//! Plots as SVG, with as little as they need.

use std::fmt::Write;

use crate::figures::Figures;
use crate::finding::Line;
use crate::goal::Unit;
use crate::table::figure_of;

/// What is drawn.
#[derive(Debug)]
pub struct Plot {
    /// By what the lines and the file name it.
    pub id: &'static str,
    /// What it shows.
    pub title: &'static str,
    /// What is to the right.
    pub x: Axis,
    /// What is upwards.
    pub y: Axis,
}

/// One of the two directions.
#[derive(Debug, Clone, Copy)]
pub struct Axis {
    label: &'static str,
    unit: Option<Unit>,
    /// Each power of ten, or of two, as far from the next.
    is_logarithmic: bool,
}

const CALLERS: Axis = Axis { label: "callers", unit: None, is_logarithmic: true };
const TOOK: Axis = Axis { label: "took", unit: Some(Unit::Seconds), is_logarithmic: true };

/// Every plot of the document.
pub const PLOTS: &[Plot] = &[
    Plot {
        id: "callers-rate",
        title: "Durable updates a second",
        x: CALLERS,
        y: Axis { label: "a second", unit: Some(Unit::PerSecond), is_logarithmic: false },
    },
    Plot { id: "callers-latency", title: "What a durable update takes", x: CALLERS, y: TOOK },
    Plot {
        id: "tokens",
        title: "What an authentication takes",
        x: Axis { label: "tokens", unit: None, is_logarithmic: true },
        y: TOOK,
    },
    Plot {
        id: "over-time",
        title: "What durable updates of 32 callers take, in each hundredth of a second",
        x: Axis { label: "seconds", unit: None, is_logarithmic: false },
        y: TOOK,
    },
];

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 400.0;
/// Left, right, top, bottom.
const MARGINS: [f64; 4] = [80.0, 240.0, 40.0, 50.0];
const COLOURS: [&str; 6] = ["#0b62a8", "#c4570c", "#2b7d2b", "#8a3ab9", "#555555", "#b0203a"];

/// Draws a plot.
pub fn svg(plot: &Plot, figures: &Figures) -> String {
    let lines = figures.lines(plot.id);
    let x = Scale::over(plot.x, lines.iter().flat_map(|line| line.points.iter().map(|p| p.0)));
    let y = Scale::over(plot.y, lines.iter().flat_map(|line| line.points.iter().map(|p| p.1)));
    let [left, right, top, bottom] = MARGINS;
    let place_x = |value: f64| left + x.share(value) * (WIDTH - left - right);
    let place_y = |value: f64| HEIGHT - bottom - y.share(value) * (HEIGHT - top - bottom);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>\n"
    );
    text(&mut svg, left, 22.0, "start", plot.title);
    text(&mut svg, (left + WIDTH - right) / 2.0, HEIGHT - 12.0, "middle", plot.x.label);
    for value in x.ticks() {
        let at = place_x(value);
        rule(&mut svg, (at, top), (at, HEIGHT - bottom));
        text(&mut svg, at, HEIGHT - bottom + 18.0, "middle", &plot.x.shown(value));
    }
    for value in y.ticks() {
        let at = place_y(value);
        rule(&mut svg, (left, at), (WIDTH - right, at));
        text(&mut svg, left - 8.0, at + 4.0, "end", &plot.y.shown(value));
    }
    for (index, line) in lines.iter().enumerate() {
        let colour = COLOURS[index % COLOURS.len()];
        draw(&mut svg, line, colour, place_x, place_y);
        let at = top + 14.0 + index as f64 * 20.0;
        let from = WIDTH - right + 14.0;
        writeln!(
            svg,
            "<rect x=\"{from:.1}\" y=\"{:.1}\" width=\"14\" height=\"4\" fill=\"{colour}\"/>",
            at - 6.0
        )
        .unwrap();
        text(&mut svg, from + 20.0, at, "start", &line.name);
    }
    svg + "</svg>\n"
}

fn draw(
    svg: &mut String,
    line: &Line,
    colour: &str,
    place_x: impl Fn(f64) -> f64,
    place_y: impl Fn(f64) -> f64,
) {
    let places: Vec<_> = line.points.iter().map(|(x, y)| (place_x(*x), place_y(*y))).collect();
    let path: Vec<_> = places.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    writeln!(
        svg,
        "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\"/>",
        path.join(" ")
    )
    .unwrap();
    // Where there are many, the line says enough.
    for (x, y) in places.iter().filter(|_| places.len() < 20) {
        writeln!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"/>").unwrap();
    }
}

fn rule(svg: &mut String, from: (f64, f64), to: (f64, f64)) {
    let ((x1, y1), (x2, y2)) = (from, to);
    writeln!(
        svg,
        "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"#dddddd\"/>"
    )
    .unwrap();
}

fn text(svg: &mut String, x: f64, y: f64, anchor: &str, text: &str) {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>")
        .unwrap();
}

impl Axis {
    fn shown(&self, value: f64) -> String {
        match self.unit {
            Some(Unit::Seconds) if value < 0.99e-6 => format!("{:.0} ns", value * 1e9),
            Some(Unit::Seconds) if value < 0.99e-3 => {
                format!("{:.0} µs", value * 1e6)
            }
            Some(Unit::Seconds) => format!("{:.0} ms", value * 1e3),
            Some(unit) => figure_of(value, unit),
            None => format!("{value}"),
        }
    }
}

/// From where to where an axis goes.
struct Scale {
    low: f64,
    high: f64,
    is_logarithmic: bool,
}

impl Scale {
    /// Over all values; over nothing in particular where there are none.
    fn over(axis: Axis, values: impl Iterator<Item = f64> + Clone) -> Self {
        let is_logarithmic = axis.is_logarithmic;
        let low = values.clone().fold(f64::INFINITY, f64::min);
        let high = values.fold(0.0, f64::max);
        if low >= high {
            return Self { low: 1.0, high: 10.0, is_logarithmic };
        }
        let tens = |value: f64, round: fn(f64) -> f64| 10_f64.powf(round(value.log10()));
        match (is_logarithmic, axis.unit) {
            (true, Some(_)) => {
                Self { low: tens(low, f64::floor), high: tens(high, f64::ceil), is_logarithmic }
            }
            (true, None) => Self { low, high, is_logarithmic },
            (false, _) => Self { low: 0.0, high: high * 1.05, is_logarithmic },
        }
    }

    /// How far along the axis a value is.
    fn share(&self, value: f64) -> f64 {
        let Self { low, high, .. } = *self;
        if self.is_logarithmic {
            (value / low).ln() / (high / low).ln()
        } else {
            (value - low) / (high - low)
        }
    }

    /// Powers of ten, or of two where the axis spans less than three of ten; else round steps.
    fn ticks(&self) -> Vec<f64> {
        let Self { low, high, is_logarithmic } = *self;
        if is_logarithmic {
            let factor = if high / low < 900.0 && low >= 1.0 { 2.0 } else { 10.0 };
            let ticks = std::iter::successors(Some(low), |tick| Some(tick * factor));
            return ticks.take_while(|tick| *tick <= high * 1.001).collect();
        }
        let rough = (high - low) / 5.0;
        let ten = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].into_iter().find(|step| step * ten >= rough);
        let step = step.unwrap_or(10.0) * ten;
        (0..10).map(|tick| f64::from(tick) * step).take_while(|tick| *tick <= high).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::Findings;

    #[test]
    fn a_plot_has_every_line_within_its_borders() {
        let line = Line::new("tokens", "a < b", [(1_000.0, 9e-6), (1_000_000.0, 1.4e-5)]);
        let found = Findings { lines: vec![line], ..Findings::default() };
        let figures = Figures {
            questions: [("authenticate".to_owned(), found)].into(),
            ..Figures::default()
        };
        let svg = svg(&PLOTS[2], &figures);
        assert!(svg.contains("a &lt; b") && svg.contains(">1000<") && svg.contains(">1000000<"));
        assert!(svg.contains(">10 µs<") && svg.contains(">1 µs<"), "{svg}");
        let points = svg.split("points=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
        let places: Vec<f64> =
            points.split([' ', ',']).map(|place| place.parse().unwrap()).collect();
        assert_eq!(places.len(), 4);
        assert!(places.iter().all(|place| (0.0..=WIDTH).contains(place)), "{places:?}");
        assert!(places[1] > places[3], "what takes longer is further up");
    }

    #[test]
    fn nothing_is_drawn_of_nothing() {
        for plot in PLOTS {
            assert!(!svg(plot, &Figures::default()).contains("polyline"));
        }
    }
}
