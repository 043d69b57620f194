//! A text of somebody's, with parts that are written anew from the figures.

use std::io;
use std::path::Path;

use crate::figures::Figures;
use crate::plot::{self, PLOTS};
use crate::table;

/// The text as it is in the repository: what a document begins with where there is none yet.
const TEXT: &str = include_str!("../../docs/PERFORMANCE.md");

/// Writes figures, plots and the document into a directory.
///
/// # Errors
///
/// When a file cannot be read or written, or the document has no place for a part.
pub fn write(figures: &Figures, directory: &Path) -> io::Result<()> {
    let plots = directory.join("performance");
    std::fs::create_dir_all(&plots)?;
    figures.write(&plots.join("figures.json"))?;
    for drawn in PLOTS {
        std::fs::write(plots.join(format!("{}.svg", drawn.id)), plot::svg(drawn, figures))?;
    }
    let path = directory.join("PERFORMANCE.md");
    let text = match std::fs::read_to_string(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(TEXT.to_owned()),
        read => read,
    };
    std::fs::write(path, fill(&text?, figures).map_err(io::Error::other)?)
}

/// The text with the figures in their places.
///
/// # Errors
///
/// Says which part has no place.
pub fn fill(text: &str, figures: &Figures) -> Result<String, String> {
    let parts = [
        ("machine", figures.machine.clone() + ".\n"),
        ("goals", table::of_goals(&figures.rows())),
        ("peers", table::of_peers(&figures.peers())),
    ];
    parts.iter().try_fold(text.to_owned(), |text, (name, part)| replace(&text, name, part))
}

/// The text with what is between the marks of a part replaced.
///
/// # Errors
///
/// When the marks are missing.
pub fn replace(text: &str, name: &str, part: &str) -> Result<String, String> {
    let (start, end) = (format!("<!-- {name} -->\n"), format!("<!-- end of {name} -->"));
    let missing = || format!("the document has no place for {name}");
    let (before, rest) = text.split_once(&start).ok_or_else(missing)?;
    let (_, after) = rest.split_once(&end).ok_or_else(missing)?;
    Ok(format!("{before}{start}\n{part}\n{end}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::goal::GOALS;

    fn committed() -> Figures {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/performance/figures.json");
        Figures::read(Path::new(path)).unwrap()
    }

    #[test]
    fn a_part_is_replaced_and_the_text_around_it_stays() {
        let text = "why\n<!-- goals -->\nold\n<!-- end of goals -->\nwhat was tried\n";
        let new = replace(text, "goals", "new").unwrap();
        assert_eq!(new, "why\n<!-- goals -->\n\nnew\n<!-- end of goals -->\nwhat was tried\n");
        assert_eq!(replace(&new, "goals", "new").unwrap(), new);
        assert!(replace(text, "peers", "new").unwrap_err().contains("peers"));
    }

    #[test]
    fn the_document_tells_the_figures_that_are_kept_beside_it() {
        assert_eq!(fill(TEXT, &committed()).unwrap(), TEXT, "run `report` with no question");
    }

    #[test]
    fn every_goal_has_been_measured_or_says_why_not() {
        let figures = committed();
        let rows: Vec<_> = figures.questions.values().flat_map(|found| &found.rows).collect();
        for goal in GOALS {
            let of_goal = rows.iter().filter(|row| row.goal == goal.id);
            assert_eq!(of_goal.count(), 1, "{}", goal.id);
        }
        assert_eq!(rows.len(), GOALS.len());
    }
}
