//! What was measured, the marks that it is held to, and the tables of both: the one way in which measuring programs print them.

use std::fmt;

/// What a figure is held to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mark {
    /// So much or more.
    AtLeast(f64),
    /// So much or less.
    AtMost(f64),
    /// From so much to so much.
    Between(f64, f64),
    /// Nothing: it is only told.
    None,
}

impl Mark {
    /// Whether a figure is as it should be.
    pub fn is_met(&self, value: f64) -> bool {
        match *self {
            Mark::AtLeast(least) => value >= least,
            Mark::AtMost(most) => value <= most,
            Mark::Between(least, most) => (least..=most).contains(&value),
            Mark::None => true,
        }
    }

    /// The figure as a multiple of the mark, where that says something.
    fn ratio(&self, value: f64) -> String {
        match *self {
            Mark::AtLeast(mark) | Mark::AtMost(mark) if mark > 0.0 => format!("{:.2}", value / mark),
            _ => String::new(),
        }
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Mark::AtLeast(least) => write!(f, "≥ {least}"),
            Mark::AtMost(most) => write!(f, "≤ {most}"),
            Mark::Between(least, most) => write!(f, "{least} to {most}"),
            Mark::None => Ok(()),
        }
    }
}

/// One figure of one run.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    /// What it is, with its unit: "Mbit/s".
    pub what: &'static str,
    /// What it is held to.
    pub mark: Mark,
    /// The figure.
    pub value: f64,
}

impl Figure {
    /// A figure that is held to a mark.
    pub fn new(what: &'static str, mark: Mark, value: f64) -> Figure {
        Figure { what, mark, value }
    }
}

/// What became of one row of the table: the figures of each run, or why there are none.
pub type Measured = Result<Vec<Vec<Figure>>, String>;

/// The first lines of the table.
pub const HEAD: &str = "| row | what | mark | median | ratio | each run |\n|---|---|---|---|---|---|";

/// The lines of one row, and whether all its marks are met. Each run has the same figures.
pub fn lines(row: &str, measured: &Measured) -> (String, bool) {
    let runs = match measured {
        Ok(runs) => runs,
        Err(why) => {
            let why = why.replace(['\n', '|'], " ");
            return (format!("| {row} | {why} | | | | |\n"), false);
        }
    };
    let (mut lines, mut met) = (String::new(), true);
    for (n, figure) in runs.first().into_iter().flatten().enumerate() {
        let values: Vec<f64> = runs.iter().filter_map(|run| run.get(n)).map(|figure| figure.value).collect();
        let median = median(&values);
        let is_met = figure.mark.is_met(median);
        met &= is_met;
        let missed = if is_met { "" } else { " (missed)" };
        let each: Vec<String> = values.iter().map(|value| digits(*value)).collect();
        lines += &format!(
            "| {} | {} | {} | {}{missed} | {} | {} |\n",
            if n == 0 { row } else { "" },
            figure.what,
            figure.mark,
            digits(median),
            figure.mark.ratio(median),
            each.join(" "),
        );
    }
    (lines, met)
}

/// The first lines of a Markdown table with these columns.
pub fn head<S: AsRef<str>>(columns: &[S]) -> String {
    let names: Vec<String> = columns.iter().map(|name| name.as_ref().to_owned()).collect();
    format!("{}\n|{}", line(&names), "---|".repeat(columns.len()))
}

/// One line of a Markdown table.
pub fn line(cells: &[String]) -> String {
    format!("| {} |", cells.join(" | "))
}

/// One line of a Markdown table, of cells of any types that can be shown.
#[macro_export]
macro_rules! row {
    ($($cell:expr),+ $(,)?) => { $crate::table::line(&[$($cell.to_string()),+]) };
}

/// A figure with as many digits as say something.
pub fn digits(value: f64) -> String {
    if value < 10.0 { format!("{value:.2}") } else { format!("{value:.1}") }
}

/// The one in the middle; of two in the middle, the lower. 0 of none.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted.get(sorted.len().saturating_sub(1) / 2).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_the_median_of_its_runs_and_tells_whether_the_mark_is_met() {
        let run = |rate, wasted| {
            vec![
                Figure::new("Mbit/s", Mark::AtLeast(50.0), rate),
                Figure::new("wasted, %", Mark::AtMost(1.0), wasted),
            ]
        };
        let measured = Ok(vec![run(55.0, 2.0), run(10.0, 0.5), run(60.0, 1.5)]);
        let (lines, met) = lines("a link", &measured);
        assert_eq!(
            lines,
            "| a link | Mbit/s | ≥ 50 | 55.0 | 1.10 | 55.0 10.0 60.0 |\n\
             |  | wasted, % | ≤ 1 | 1.50 (missed) | 1.50 | 2.00 0.50 1.50 |\n"
        );
        assert!(!met);
    }

    #[test]
    fn a_table_has_a_head_and_rows_of_as_many_cells() {
        assert_eq!(head(&["what", "figure"]), "| what | figure |\n|---|---|");
        assert_eq!(row!["datagrams", 7], "| datagrams | 7 |");
        assert_eq!(row!["", format!("{:.1} %", 2.0)], "|  | 2.0 % |");
    }

    #[test]
    fn a_row_that_failed_says_why_and_is_not_met() {
        assert_eq!(
            lines("a link", &Err("failed: no".into())),
            ("| a link | failed: no | | | | |\n".into(), false)
        );
    }

    #[test]
    fn a_share_is_met_from_end_to_end() {
        let mark = Mark::Between(30.0, 70.0);
        assert_eq!([29.9, 30.0, 70.0, 70.1].map(|share| mark.is_met(share)), [false, true, true, false]);
    }
}
