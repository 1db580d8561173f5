//! Measures the real programs over emulated links, and prints a Markdown table.
//!
//! `cargo build --release --workspace && sudo target/release/links > docs/links.md`
//!
//! Needs root and Linux: each host is a network namespace of its own. Nothing leaves these.

#![allow(clippy::print_stdout)] // It prints a table.

mod bench;
mod changes;
mod first_bytes;
mod kills;
mod liars;
mod one_source;
mod several;
mod swarm;
mod wires;

use std::io::Write;
use std::process::ExitCode;

use cjp2p_tests::lab::{Error, Programs, rows, scratch};
use cjp2p_tests::table::{self, Figure};
use clap::Parser;

use bench::Bench;

/// Measures the real programs over emulated links, and prints a Markdown table.
///
/// Exit status: 0 if every mark is met, 1 if one is missed or something failed, 2 if the command line is wrong.
#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    rows: rows::Chosen,
    /// Runs of each row, of which the table has the median
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// How often the row `kills` kills
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    kills: u32,
}

/// One row of the table.
struct Row {
    /// Its name on the command line.
    name: &'static str,
    /// What the table calls it.
    title: &'static str,
    /// Whether it is measured once whatever `--runs` says: it takes long, or repeats within.
    once: bool,
    measure: fn(&Bench) -> Result<Vec<Figure>, Error>,
}

const fn row(
    name: &'static str,
    title: &'static str,
    measure: fn(&Bench) -> Result<Vec<Figure>, Error>,
) -> Row {
    Row { name, title, once: false, measure }
}

const ROWS: &[Row] = &[
    row("wires", "the wires: 10,000 packets a second, 10 ms one way", wires::lateness),
    row("plain", "100 Mbit/s, 100 ms, queue 256 KiB, 32 MiB", one_source::plain),
    row("loss-1", "100 Mbit/s, 100 ms, queue 256 KiB, 32 MiB, loss 1 %", one_source::loss_1),
    row("loss-5", "100 Mbit/s, 100 ms, queue 256 KiB, 32 MiB, loss 5 %", one_source::loss_5),
    row("short", "20 Mbit/s, 20 ms, queue 64 KiB, 16 MiB", one_source::short),
    row("far", "100 Mbit/s, 300 ms, queue 1 MiB, loss 0.1 %, 32 MiB", one_source::far),
    row("queue", "50 Mbit/s, 40 ms, queue 4 BDP, alone, 32 MiB", one_source::queue),
    row("queue-deep", "20 Mbit/s, 20 ms, queue 16 BDP, alone, 16 MiB", one_source::queue_deep),
    row("bbr", "50 Mbit/s, 40 ms, queue 1 BDP, beside TCP (BBR)", one_source::beside_bbr),
    row("cubic", "50 Mbit/s, 40 ms, queue 1 BDP, beside TCP (CUBIC)", one_source::beside_cubic),
    row("four", "four sources of 25 Mbit/s, 20 to 200 ms, 64 MiB", several::four),
    row("four-kill", "four sources, the nearest killed half way", several::four_with_one_killed),
    row("liars", "four sources, three of them liars from half way", liars::three_of_four),
    row("first-bytes", "100 Mbit/s, 100 ms, 8 GiB: 64 KiB to a pipe", first_bytes::head),
    row("range", "100 Mbit/s, 100 ms, 8 GiB: 1 MiB from the middle", first_bytes::range),
    row("chain", "100 Mbit/s, 40 ms: A from the origin, B only from A, 32 MiB", swarm::chain),
    row("twenty", "20 getters and an origin of 10 Mbit/s, 40 ms each, 8 MiB", swarm::twenty),
    row("rate-halves", "50 Mbit/s, 40 ms, 48 MiB: the rate halves", changes::rate_halves),
    row("rtt-triples", "50 Mbit/s, 40 ms, 48 MiB: the round trip triples", changes::rtt_triples),
    row("blackout", "50 Mbit/s, 40 ms, 48 MiB: a blackout of 2 s", changes::blackout),
    row("mtu-falls", "50 Mbit/s, 40 ms, 48 MiB: packets above 1,280 bytes vanish", changes::mtu_falls),
    row("port-changes", "50 Mbit/s, 40 ms, 48 MiB: the getter's port changes", changes::port_changes),
    Row {
        once: true,
        ..row(
            "kills",
            "50 Mbit/s, 20 ms, loss 1 %, 32 MiB: kill -9, resumed each time",
            kills::kill_and_resume,
        )
    },
];

fn main() -> ExitCode {
    rows::main("links", || run(&Cli::parse()))
}

fn run(cli: &Cli) -> Result<ExitCode, Error> {
    let rows = match cli.rows.of("links", ROWS, |row| (row.name, row.title)) {
        Ok(rows) => rows,
        Err(end) => return Ok(end),
    };
    if !nix::unistd::geteuid().is_root() {
        return Err("network namespaces and TUN interfaces need root".into());
    }
    if !std::path::Path::new("/dev/net/tun").exists() {
        return Err("/dev/net/tun: not there: load the kernel's module tun".into());
    }
    let programs = Programs::beside_this()?;
    let scratch = scratch::folder(&std::env::temp_dir(), "cjp2p-links-")?;
    let bench = Bench::new(programs, scratch.path(), cli.kills);

    print_head(cli);
    let mut all_met = true;
    for row in rows {
        let runs = if row.once { 1 } else { cli.runs };
        let one = |run| {
            eprintln!("links: {}: run {} of {runs}", row.name, run + 1);
            let figures = (row.measure)(&bench).map_err(|error| error.to_string());
            match &figures {
                Ok(figures) => {
                    let told: Vec<_> = figures.iter().map(|f| format!("{:.2} {}", f.value, f.what)).collect();
                    eprintln!("links: {}: {}", row.name, told.join(", "));
                }
                Err(why) => eprintln!("links: {}: {why}", row.name),
            }
            figures
        };
        let title = format!("`{}`: {}", row.name, row.title);
        let (lines, met) = table::lines(&title, &(0..runs).map(one).collect());
        print!("{lines}");
        std::io::stdout().flush()?;
        all_met &= met;
    }
    Ok(if all_met { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What the document says before the table.
fn print_head(cli: &Cli) {
    println!("{}", HEAD.replace("RUNS", &cli.runs.to_string()).replace("KILLS", &cli.kills.to_string()));
    println!("{}", table::HEAD);
}

const HEAD: &str = "\
# The real programs over emulated links

Made by `cargo build --release --workspace && sudo target/release/links > docs/links.md`, in about half an hour:
cjp2p-serve and cjp2p-get, each in a network namespace of its own, with wires between them in user space. Medians of
RUNS runs, each without any state of the one before. Whatever was fetched to a file was compared with what was shared.

A link is given by its rate, its round trip, and the bytes that a full queue holds, also in rate times round trip (BDP);
that is what it holds where nothing is said. The four sources have round trips of 20, 60, 100 and 200 ms and queues of
128 KiB. Packets have at most 1,500 bytes, and are lost at random, each way. The getter's own link has 1 Gbit/s and no
delay.

- `wires`: how exact the wires themselves were on the machine that all this was measured on.
- Mbit/s: content in the file per second, the start of cjp2p-get included. Headers leave 93 of 100 Mbit/s to raw content, and 64 to
  JSON. After that: from the event to the end.
- Wasted: what came and was of no use, as a share of all that came.
- Queueing: how long a packet waited to leave the source, in the middle of all packets.
- `bbr`, `cubic`: both flows go from one host to one other. TCP begins 5 s before the fetch; 5 s after that, shares of the
  link are counted for 15 s, headers included.
- `first-bytes`: from the start of the process until the reader of the pipe has them.
- `chain`: A fetches with cjp2p-get into a folder that its cjp2p-serve shares; B is told of both. No packet gets from the
  origin to B.
- `twenty`: each knows all others by `--peer`, and ends when it has all. A copy is what the origin sends to one alone.
- Changes of a link come 5 s after the start; of the blackout the end counts. Back: the file grows for half a second with
  at least 80 % of the rate before, or of half of that where the link's rate halved.
- `kills`: after up to 2 s, KILLS times. What was on its way then does not count as fetched.
";
