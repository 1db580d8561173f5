//! Measures live streams of the real programs over emulated links, and prints a Markdown table.
//!
//! `cargo build --release --workspace && sudo target/release/streams > docs/stream-table.md`
//!
//! Needs root and Linux: each host is a network namespace of its own. Nothing leaves these.

#![allow(clippy::print_stdout)] // It prints a table.

mod delays;
mod stage;
mod swarm;

use std::io::Write;
use std::process::ExitCode;

use cjp2p_tests::lab::{Error, Programs, rows, scratch};
use cjp2p_tests::table::{self, Figure};
use clap::Parser;

use stage::Bench;

/// Measures live streams of the real programs over emulated links, and prints a Markdown table.
///
/// Exit status: 0 if every mark is met, 1 if one is missed or something failed, 2 if the command line is wrong.
#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    rows: rows::Chosen,
    /// Runs of each row, of which the table has the median
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
}

/// One row of the table.
struct Row {
    /// Its name on the command line.
    name: &'static str,
    /// What the table calls it.
    title: &'static str,
    measure: fn(&Bench) -> Result<Vec<Figure>, Error>,
}

const fn row(
    name: &'static str,
    title: &'static str,
    measure: fn(&Bench) -> Result<Vec<Figure>, Error>,
) -> Row {
    Row { name, title, measure }
}

const ROWS: &[Row] = &[
    row("pair", "1 Gbit/s, 1 ms: a line each 50 ms", delays::pair),
    row("chain", "100 Mbit/s, 100 ms each: over three relays in a row, a line each 50 ms", delays::chain),
    row("loss", "100 Mbit/s, 100 ms, loss 1 %: 4 Mbit/s", delays::loss),
    row("swarm", "an origin of 10 Mbit/s and 40 viewers of 5 Mbit/s, 40 ms: 2 Mbit/s", swarm::forty),
];

fn main() -> ExitCode {
    rows::main("streams", || run(&Cli::parse()))
}

fn run(cli: &Cli) -> Result<ExitCode, Error> {
    let rows = match cli.rows.of("streams", ROWS, |row| (row.name, row.title)) {
        Ok(rows) => rows,
        Err(end) => return Ok(end),
    };
    if !nix::unistd::geteuid().is_root() {
        return Err("network namespaces and TUN interfaces need root".into());
    }
    let programs = Programs::beside_this()?;
    let scratch = scratch::folder(&std::env::temp_dir(), "cjp2p-streams-")?;
    let bench = Bench::new(programs, scratch.path());

    println!("{}", HEAD.replace("RUNS", &cli.runs.to_string()));
    println!("{}", table::HEAD);
    let mut all_met = true;
    for row in rows {
        let one = |run| {
            eprintln!("streams: {}: run {} of {}", row.name, run + 1, cli.runs);
            let figures = (row.measure)(&bench).map_err(|error| error.to_string());
            match &figures {
                Ok(figures) => {
                    let told: Vec<_> = figures.iter().map(|f| format!("{:.2} {}", f.value, f.what)).collect();
                    eprintln!("streams: {}: {}", row.name, told.join(", "));
                }
                Err(why) => eprintln!("streams: {}: {why}", row.name),
            }
            figures
        };
        let title = format!("`{}`: {}", row.name, row.title);
        let (lines, met) = table::lines(&title, &(0..cli.runs).map(one).collect());
        print!("{lines}");
        std::io::stdout().flush()?;
        all_met &= met;
    }
    Ok(if all_met { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

const HEAD: &str = "\
# Live streams over emulated links

Made by `cargo build --release --workspace && sudo target/release/streams > docs/stream-table.md`: cjp2p-serve and cjp2p-get, each in a
network namespace of its own, with wires between them in user space, as for [links](links.md). Medians of RUNS runs.

A link is given by its rate and its round trip; where there are several viewers, by the round trip between any two. Packets have at
most 1,500 bytes, and are lost at random, each way.

- Delay: from when bytes are written into the pipe of the origin until a reader has them from the pipe of the viewer. What every viewer
  writes is compared with what went in, and has to end with it.
- `chain`: each viewer is told of the one before alone.
- `swarm`: each viewer is told of the origin alone. The first 5 s, when viewers come, do not count. A copy is the bytes of the stream;
  what the origin sends is counted with all headers.
";
