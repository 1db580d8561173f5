//! Programs that measure the rows of a table, and are told on the command line which.

use std::process::ExitCode;

use clap::Args;

use super::{Error, namespace};

/// Which rows to measure, from the command line.
#[derive(Args, Clone, Debug)]
pub struct Chosen {
    /// Only these rows
    rows: Vec<String>,
    /// List the rows, and end
    #[arg(long)]
    list: bool,
}

impl Chosen {
    /// Those of `rows`, all if none is named; `about` gives the name of a row and its title.
    ///
    /// # Errors
    ///
    /// How `program` ends instead: the rows were listed, or one that is named is not there.
    #[allow(clippy::print_stdout, reason = "the list is what was asked for")]
    pub fn of<'a, R>(
        &self,
        program: &str,
        rows: &'a [R],
        about: impl Fn(&R) -> (&str, &str),
    ) -> Result<Vec<&'a R>, ExitCode> {
        if self.list {
            for (name, title) in rows.iter().map(&about) {
                println!("{name:13} {title}");
            }
            return Err(ExitCode::SUCCESS);
        }
        if let Some(unknown) = self.rows.iter().find(|name| rows.iter().all(|row| about(row).0 != **name)) {
            eprintln!("{program}: {unknown}: no such row; --list shows them");
            return Err(ExitCode::from(2));
        }
        let is_chosen = |row: &&R| self.rows.is_empty() || self.rows.iter().any(|name| name == about(row).0);
        Ok(rows.iter().filter(is_chosen).collect())
    }
}

/// The `main` of a program that measures with hosts that are [namespaces](namespace): `run` does it, and an error is told.
pub fn main(program: &str, run: impl FnOnce() -> Result<ExitCode, Error>) -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_some_and(|first| first == namespace::EXEC) {
        eprintln!("{program}: {}", namespace::become_program(arguments));
        return ExitCode::FAILURE;
    }
    run().unwrap_or_else(|error| {
        eprintln!("{program}: {error}");
        ExitCode::FAILURE
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROWS: &[(&str, &str)] = &[("one", "The first"), ("two", "The second"), ("three", "The third")];

    fn chosen(names: &[&str], list: bool) -> Result<Vec<&'static str>, ExitCode> {
        let rows = names.iter().map(|name| name.to_string()).collect();
        let chosen = Chosen { rows, list }.of("program", ROWS, |row| *row)?;
        Ok(chosen.into_iter().map(|row| row.0).collect())
    }

    #[test]
    fn rows_are_measured_in_their_own_order_and_unknown_ones_are_told() {
        assert_eq!(chosen(&[], false), Ok(vec!["one", "two", "three"]));
        assert_eq!(chosen(&["three", "one"], false), Ok(vec!["one", "three"]));
        assert_eq!(chosen(&["one", "four"], false), Err(ExitCode::from(2)));
        assert_eq!(chosen(&["four"], true), Err(ExitCode::SUCCESS));
    }
}
