//! Makes the real programs fail: kills them, fails each of their writes, fills their disk, and refuses each of their system calls.
//! Prints Markdown tables.
//!
//! `cargo build --release --workspace && target/release/faults kills` (or `writes`, `full` or `refused`; without any, all four)
//!
//! Nothing leaves loopback. Ends with 1 if anything is lost or wrong.

#![allow(clippy::print_stdout)] // It prints tables.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;

use cjp2p_tests::faults::callers::CALLERS;
use cjp2p_tests::faults::full::{self, Room};
use cjp2p_tests::faults::jobs::JOBS;
use cjp2p_tests::faults::kills::VICTIMS;
use cjp2p_tests::faults::{Bench, refused, writes};
use cjp2p_tests::lab::Error;
use cjp2p_tests::lab::document::Output;
use cjp2p_tests::real::strace;
use cjp2p_tests::{row, table};
use clap::Parser;

/// Bytes that are fetched where each write fails, and where the disk is full.
const SMALL: usize = 2_500_000;
/// And where fetches are killed, at this rate: so that kills find them in the middle.
const LARGE: usize = 24 << 20;
const RATE: &str = "100M";

/// Makes the real programs fail: kills them, fails each of their writes, fills their disk, and refuses each of their system calls.
/// Prints Markdown tables.
///
/// Exit status: 0 if nothing is lost or wrong, 1 if anything is, or something failed, 2 if the command line is wrong.
#[derive(Parser)]
struct Cli {
    /// Which faults: all of them, unless named
    #[arg(value_parser = ["kills", "writes", "full", "refused"])]
    faults: Vec<String>,
    /// Kills of all writers together
    #[arg(long, default_value_t = 1000)]
    kills: usize,
    /// The instants of the kills follow from it; another one each time, if it is not given
    #[arg(long)]
    seed: Option<u64>,
    /// Only writers, or tools at their work, whose name has this in it
    #[arg(long, default_value = "")]
    only: String,
    /// Puts each table into the part of this document that is called `faults kills`, `faults writes`, ...
    #[arg(long, value_name = "DOCUMENT")]
    into: Option<PathBuf>,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(&cli) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("faults: {error}");
            ExitCode::FAILURE
        }
    }
}

type Table = fn(&Cli, u64, &mut Output) -> Result<bool, Error>;

fn run(cli: &Cli) -> Result<bool, Error> {
    let seed = cli.seed.unwrap_or_else(|| fastrand::u64(..1 << 32));
    eprintln!("faults: seed {seed}");
    let tables: [(&str, Table); 4] =
        [("kills", kills), ("writes", writes), ("full", fill), ("refused", refuse)];
    let mut all_well = true;
    for (name, table) in tables {
        if cli.faults.is_empty() || cli.faults.iter().any(|fault| fault == name) {
            let mut output = Output::new(cli.into.as_deref(), &format!("faults {name}"))?;
            all_well &= table(cli, seed, &mut output)?;
            output.finish()?;
        }
    }
    Ok(all_well)
}

fn tell(writer: &str, wrong: &[String]) {
    for what in wrong {
        eprintln!("faults: {writer}: {what}");
    }
}

fn kills(cli: &Cli, seed: u64, output: &mut Output) -> Result<bool, Error> {
    let bench = Bench::new(LARGE, Some(RATE))?;
    let victims: Vec<_> = VICTIMS.iter().filter(|victim| victim.name.contains(&cli.only)).collect();
    let columns = ["writer", "kills", "came to its end in between", "may be lost", "most lost", "wrong"];
    output.print(&format!("Seed {seed}.\n\n{}\n", table::head(&columns)))?;
    let mut all_well = true;
    for victim in &victims {
        let tally = victim.kill(&bench, cli.kills.div_ceil(victims.len()), seed)?;
        tell(victim.name, &tally.wrong);
        all_well &= tally.wrong.is_empty();
        output.print(&format!(
            "{}\n",
            row![
                victim.name,
                tally.kills,
                tally.completed,
                victim.promise,
                tally.most_lost,
                tally.wrong.len()
            ]
        ))?;
    }
    Ok(all_well)
}

fn writes(cli: &Cli, seed: u64, output: &mut Output) -> Result<bool, Error> {
    if let Some(why) = strace::unavailable() {
        return Err(format!("no call can be made to fail here: {why}").into());
    }
    let bench = Bench::new(SMALL, None)?;
    output.print(&format!(
        "{}\n",
        table::head(&[
            "writer",
            "calls that can fail",
            "runs in which one failed",
            "ended with 0",
            "with 1",
            "with 7",
            "wrong"
        ])
    ))?;
    let mut all_well = true;
    for job in JOBS.iter().filter(|job| job.name.contains(&cli.only)) {
        let tally = writes::fail_each(&bench, job, None, seed)?;
        tell(job.name, &tally.wrong);
        all_well &= tally.wrong.is_empty();
        let ended = |code| tally.codes.get(&code).copied().unwrap_or(0);
        output.print(&format!(
            "{}\n",
            row![job.name, tally.points, tally.runs(), ended(0), ended(1), ended(7), tally.wrong.len()]
        ))?;
    }
    Ok(all_well)
}

fn fill(cli: &Cli, _: u64, output: &mut Output) -> Result<bool, Error> {
    if let Some(why) = full::unavailable() {
        return Err(format!("no small disk can be mounted here: {why}").into());
    }
    let bench = Bench::new(SMALL, None)?;
    let rooms = full::rooms(SMALL);
    let columns: Vec<&str> = ["writer"].into_iter().chain(rooms.iter().map(|(name, _)| *name)).collect();
    output.print(&format!("{}\n", table::head(&columns)))?;
    let mut all_well = true;
    for job in JOBS.iter().filter(|job| job.name.contains(&cli.only)) {
        let ended = rooms.iter().map(|(name, room): &(&str, Room)| {
            full::run(&bench, job, *room).map_or_else(
                |error| {
                    all_well = false;
                    tell(job.name, &[format!("{name}: {error}")]);
                    "wrong".into()
                },
                |code| code.to_string(),
            )
        });
        let ended: Vec<String> = ended.collect();
        output.print(&format!("{}\n", row![job.name, ended.join(" | ")]))?;
    }
    Ok(all_well)
}

fn refuse(cli: &Cli, seed: u64, output: &mut Output) -> Result<bool, Error> {
    if let Some(why) = strace::unavailable() {
        return Err(format!("no call can be made to fail here: {why}").into());
    }
    let bench = Bench::new(SMALL, None)?;
    let callers: Vec<_> = CALLERS.iter().filter(|caller| caller.name.contains(&cli.only)).collect();
    let mut tallies = Vec::new();
    for caller in &callers {
        let tally = refused::refuse_each(&bench, caller, None, seed)?;
        tell(caller.name, &tally.wrong);
        tallies.push(tally);
    }
    let columns: Vec<&str> = ["call"].into_iter().chain(callers.iter().map(|caller| caller.name)).collect();
    output.print(&format!("{}\n", table::head(&columns)))?;
    let calls: BTreeSet<&String> = tallies.iter().flat_map(|tally| tally.rows.keys()).collect();
    for call in calls {
        let cells = tallies.iter().map(|tally| {
            let Some(row) = tally.rows.get(call).filter(|row| row.runs > 0) else { return String::new() };
            let codes = row.codes.iter().map(i32::to_string);
            let memory = (row.out_of_memory > 0).then(|| "no memory".to_owned());
            let codes: Vec<String> = codes.chain(memory).collect();
            format!("{} in {}", codes.join(", "), row.runs)
        });
        output.print(&format!("{}\n", row![format!("`{call}`"), cells.collect::<Vec<_>>().join(" | ")]))?;
    }
    let sums = tallies.iter().map(|tally| tally.rows.values().map(|row| row.runs).sum::<usize>().to_string());
    output.print(&format!("{}\n", row!["all runs", sums.collect::<Vec<_>>().join(" | ")]))?;
    let wrong = tallies.iter().map(|tally| tally.wrong.len().to_string());
    output.print(&format!("{}\n", row!["of these wrong", wrong.collect::<Vec<_>>().join(" | ")]))?;
    Ok(tallies.iter().all(|tally| tally.wrong.is_empty()))
}
