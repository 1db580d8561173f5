//! What was measured, and the tables of it.

use std::fmt::Write;

use cjp2p_tests::lab::Error;
use cjp2p_tests::row;
use cjp2p_tests::table::{Mark, digits, median};

/// What a mark is about.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Held {
    /// Ours as a multiple of the other's.
    Ratio,
    /// Ours alone.
    Ours,
}

/// A line of the table: one figure of each run, ours and the other's.
pub(crate) struct Line {
    /// What it is, with its unit.
    what: String,
    ours: Vec<f64>,
    other: Vec<f64>,
    held: Held,
    mark: Mark,
}

impl Line {
    /// Ours beside another's, with a mark for the ratio.
    pub(crate) fn ratio(what: impl Into<String>, mark: Mark, ours: Vec<f64>, other: Vec<f64>) -> Line {
        Line { what: what.into(), ours, other, held: Held::Ratio, mark }
    }

    /// Ours, with a mark for it. The other's, where there is one, is only told.
    pub(crate) fn ours(what: impl Into<String>, mark: Mark, ours: Vec<f64>, other: Vec<f64>) -> Line {
        Line { what: what.into(), ours, other, held: Held::Ours, mark }
    }

    /// Ours as a multiple of the other's, run by run: what disturbs a machine for longer than a run disturbs both.
    fn ratios(&self) -> Vec<f64> {
        self.ours.iter().zip(&self.other).map(|(ours, other)| ours / other).collect()
    }

    /// Whether it is as it should be; `None` where it is held to nothing.
    pub(crate) fn is_met(&self) -> Option<bool> {
        let value = match self.held {
            Held::Ratio => median(&self.ratios()),
            Held::Ours => median(&self.ours),
        };
        (self.mark != Mark::None).then(|| self.mark.is_met(value))
    }

    /// The line in Markdown.
    pub(crate) fn markdown(&self, row: &str) -> String {
        let mark = match (self.held, self.mark) {
            (_, Mark::None) => String::new(),
            (Held::Ratio, mark) => format!("ratio {mark}"),
            (Held::Ours, mark) => format!("ours {mark}"),
        };
        let met = match self.is_met() {
            None => "",
            Some(true) => "met",
            Some(false) => "**missed**",
        };
        let [ours, other, ratios] = [spread(&self.ours), spread(&self.other), spread(&self.ratios())];
        format!("{}\n", row![row, self.what, ours, other, ratios, mark, met])
    }
}

/// The middle one, and between which others it lies.
fn spread(values: &[f64]) -> String {
    let (least, most) = values.iter().fold((f64::MAX, f64::MIN), |(a, b), v| (a.min(*v), b.max(*v)));
    match values {
        [] => String::new(),
        [one] => digits(*one),
        _ => format!("{} [{} to {}]", digits(median(values)), digits(least), digits(most)),
    }
}

/// The first lines of the table.
pub(crate) const HEAD: &str = "\
| row | what | ours | other | ratio | mark | |
|---|---|---|---|---|---|---|
";

/// The lines of one row, or why there are none.
pub(crate) fn row(title: &str, measured: Result<&[Line], &Error>) -> String {
    match measured {
        Ok(lines) => {
            lines.iter().enumerate().map(|(n, line)| line.markdown(if n == 0 { title } else { "" })).collect()
        }
        Err(why) => {
            format!("| {title} | not measured: {} | | | | | |\n", why.to_string().replace(['\n', '|'], " "))
        }
    }
}

/// The most memory that the programs of a row ever had resident, in bytes.
#[derive(Clone, Copy, Default)]
pub(crate) struct Memory {
    pub(crate) server: u64,
    pub(crate) getter: u64,
}

/// The most that each may have, in MiB.
const MOST_MEMORY: f64 = 48.0;

impl Memory {
    pub(crate) fn is_met(&self) -> bool {
        Mark::AtMost(MOST_MEMORY).is_met(mebibytes(self.server.max(self.getter)))
    }
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// The table of memory; empty where nothing was measured.
pub(crate) fn memory(rows: &[(&str, Memory)]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let mut table = String::from(
        "\n| row | cjp2p-serve, peak MiB resident | cjp2p-get | mark | |\n|---|---|---|---|---|\n",
    );
    for (name, memory) in rows {
        let of = |bytes| if bytes == 0 { String::new() } else { digits(mebibytes(bytes)) };
        let met = if memory.is_met() { "met" } else { "**missed**" };
        let mark = Mark::AtMost(MOST_MEMORY);
        // Writing to a string cannot fail.
        let _ = writeln!(
            table,
            "| `{name}` | {} | {} | each {mark} | {met} |",
            of(memory.server),
            of(memory.getter)
        );
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_that_of_the_runs_and_not_of_the_medians() {
        let line = Line::ratio("MB/s", Mark::AtLeast(0.8), vec![100.0, 20.0, 90.0], vec![100.0, 40.0, 100.0]);
        assert_eq!(
            line.markdown("a row"),
            "| a row | MB/s | 90.0 [20.0 to 100.0] | 100.0 [40.0 to 100.0] | 0.90 [0.50 to 1.00] | \
             ratio ≥ 0.8 | met |\n"
        );
    }

    #[test]
    fn a_mark_for_ours_does_not_look_at_the_other() {
        let line = Line::ours("s", Mark::AtMost(2.0), vec![2.5], vec![5.0]);
        assert_eq!(line.markdown(""), "|  | s | 2.50 | 5.00 | 0.50 | ours ≤ 2 | **missed** |\n");
        assert_eq!(line.is_met(), Some(false));
    }

    #[test]
    fn memory_counts_for_each_of_both() {
        let met = |server: u64, getter: u64| Memory { server: server << 20, getter: getter << 20 }.is_met();
        assert_eq!([met(48, 48), met(49, 1), met(1, 49)], [true, false, false]);
    }
}
