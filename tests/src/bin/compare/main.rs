//! Measures the tools beside those that people have, in alternating runs, and prints Markdown tables.
//!
//! `cargo build --release --workspace && sudo target/release/compare`

mod bench;
mod folders;
mod gateway;
mod gets;
mod hashes;
mod installed;
mod net;
mod others;
mod ours;
mod process;
mod report;
mod servers;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use cjp2p_tests::lab::document::Output;
use cjp2p_tests::lab::{Error, Programs, rows, scratch};
use clap::Parser;

use bench::{Bench, MIB};
use installed::{Missing, Others};
use report::{Line, Memory};

/// Where all files are: memory, so that no disk is measured.
const FILES: &str = "/dev/shm";

/// Memory that stays free beside the files, in bytes.
const SPARE: u64 = 512 * MIB;

/// Measures the tools beside those that people have, in alternating runs, and prints Markdown tables.
///
/// Exit status: 0 if all marks that were measured are met, 1 if one is missed or something failed, 2 if the command line is
/// wrong. What needs a program or a right that is not here is told, and counts for nothing.
#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    rows: rows::Chosen,
    /// Runs of each row that count; there is one before them that does not
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// How many MiB are fetched and hashed
    #[arg(long, value_name = "MIB", default_value_t = 1024, value_parser = clap::value_parser!(u64).range(1..))]
    size: u64,
    /// How many files the rows `restart` and `folder` have
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..))]
    files: u32,
    /// Put the tables into this document too, between its lines `<!-- compare -->` and `<!-- end of compare -->`
    #[arg(long, value_name = "FILE")]
    into: Option<PathBuf>,
}

/// One row of the table.
struct Row {
    /// Its name on the command line.
    name: &'static str,
    /// What the table calls it.
    title: &'static str,
    /// The room that its files take, in bytes, by the length of the content and the number of files.
    room: fn(u64, u64) -> u64,
    measure: fn(&Bench) -> Result<Vec<Line>, Error>,
}

const fn row(
    name: &'static str,
    title: &'static str,
    room: fn(u64, u64) -> u64,
    measure: fn(&Bench) -> Result<Vec<Line>, Error>,
) -> Row {
    Row { name, title, room, measure }
}

/// The content.
fn once(size: u64, _files: u64) -> u64 {
    size
}

/// The content, and a copy of it.
fn twice(size: u64, _files: u64) -> u64 {
    2 * size
}

/// The content, and two copies of it.
fn thrice(size: u64, _files: u64) -> u64 {
    3 * size
}

/// The content and a copy of it, and what each of many getters fetches, with its copy.
fn of_many(size: u64, _files: u64) -> u64 {
    2 * size + 2 * servers::HUNDRED.together().max(servers::THOUSAND.together())
}

/// A page and what the system keeps of each file, twice, and as much for what the server remembers.
fn small_files(_size: u64, files: u64) -> u64 {
    files * 24576
}

const ROWS: &[Row] = &[
    row("veth", "cjp2p-get -o over veth; nginx to curl -o", twice, gets::veth),
    row("torrent", "cjp2p-get -o over veth; libtorrent over TCP, as it comes", twice, gets::torrent),
    row(
        "torrent-tuned",
        "cjp2p-get -o over veth; libtorrent over TCP, set up for high performance",
        twice,
        gets::tuned_torrent,
    ),
    row("aria2", "cjp2p-get -o over veth; nginx to aria2c", twice, gets::aria2),
    row("loopback", "cjp2p-get -o over loopback; nginx to curl -o", twice, gets::loopback),
    row("gateway", "cjp2p-http from a peer over veth to curl -o; cjp2p-get -o", thrice, gateway::fetched),
    row(
        "gateway-cached",
        "cjp2p-http from its cache to curl -o over loopback; nginx",
        thrice,
        gateway::cached,
    ),
    row("pipe", "cjp2p-get to standard output over loopback; cjp2p-get -o", twice, gets::pipe),
    row("sha256", "cjp2p-get -o by SHA-256 id over veth; by BLAKE3 id", twice, gets::sha256),
    row("hash-blake3", "cjp2p-hash -a blake3; b3sum", once, hashes::b3sum),
    row("hash-sha256", "cjp2p-hash -a sha256; openssl dgst -sha256", once, hashes::openssl),
    row("hash-sum", "cjp2p-hash -a sha256; sha256sum", once, hashes::sha256sum),
    row("hash-all", "cjp2p-hash -a all; the slower of both hashes alone", once, hashes::all),
    row("restart", "cjp2p-serve started again over unchanged files", small_files, servers::restart),
    row(
        "folder",
        "cjp2p-get folder/... of small files over veth; rsync -a from its daemon",
        small_files,
        folders::small,
    ),
    row("hundred", "100 getters of 16 MiB each over veth; one of all", of_many, servers::hundred),
    row(
        "thousand",
        "1,000 getters of 1 MiB each over veth, from when all are ready; one of all",
        of_many,
        servers::thousand,
    ),
    row(
        "hundred-lo",
        "100 getters of 16 MiB each over loopback; one of all",
        of_many,
        servers::hundred_loopback,
    ),
];

fn main() -> ExitCode {
    rows::main("compare", || run(&Cli::parse()))
}

fn run(cli: &Cli) -> Result<ExitCode, Error> {
    let rows = match cli.rows.of("compare", ROWS, |row| (row.name, row.title)) {
        Ok(rows) => rows,
        Err(end) => return Ok(end),
    };
    let size = cli.size * MIB;
    let room = rows.iter().map(|row| (row.room)(size, cli.files.into())).max().unwrap_or(0);
    check_room(room + SPARE)?;
    let programs = Programs::beside_this()?;
    let mut output = Output::new(cli.into.as_deref(), "compare")?;
    let scratch = scratch::folder(Path::new(FILES), "cjp2p-compare-")?;
    let others = Others::default();
    let about = about(cli, &others);
    let bench = Bench::new(programs, others, scratch.path(), cli.runs as usize, size, cli.files as usize);

    output.print(&format!("{about}\n\n{}", report::HEAD))?;
    let mut all_met = true;
    let mut memory: Vec<(&str, Memory)> = Vec::new();
    for row in rows {
        eprintln!("compare: {}: {}", row.name, row.title);
        let measured = (row.measure)(&bench);
        match &measured {
            Ok(lines) => all_met &= lines.iter().all(|line| line.is_met() != Some(false)),
            Err(why) => {
                eprintln!("compare: {}: {why}", row.name);
                all_met &= why.is::<Missing>();
            }
        }
        output.print(&report::row(&format!("`{}`: {}", row.name, row.title), measured.as_deref()))?;
        if let Some(taken) = bench.take_memory() {
            all_met &= taken.is_met();
            memory.push((row.name, taken));
        }
    }
    output.print(&report::memory(&memory))?;
    output.finish()?;
    Ok(if all_met { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Whether the files have room, in memory.
fn check_room(needed: u64) -> Result<(), Error> {
    let system = rustix::fs::statfs(FILES).map_err(|error| format!("{FILES}: {error}"))?;
    /// What the system calls a tmpfs.
    const TMPFS: u64 = 0x0102_1994;
    if system.f_type as u64 != TMPFS {
        return Err(format!("{FILES} is no tmpfs").into());
    }
    let free = system.f_bavail * system.f_bsize as u64;
    let memory = std::fs::read_to_string("/proc/meminfo")?;
    let available = memory.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let available = available.and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<u64>().ok());
    let free = free.min(available.unwrap_or(0) * 1024);
    if free < needed {
        let told = |bytes: u64| bytes.div_ceil(MIB);
        return Err(format!(
            "{FILES} has room for {} MiB, and {} are needed: choose a smaller --size, or fewer rows",
            told(free),
            told(needed)
        )
        .into());
    }
    Ok(())
}

/// What was measured with, and on what.
fn about(cli: &Cli, others: &Others) -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let busy = read("/proc/loadavg").split(' ').next().unwrap_or("?").to_owned();
    format!(
        "Runs that count: {}, each of {} MiB. On: {cores} cores ({}), Linux {}, load before the start {busy}. Beside: {}.",
        cli.runs,
        cli.size,
        model.unwrap_or("unknown"),
        read("/proc/sys/kernel/osrelease").trim(),
        others.versions(),
    )
}
