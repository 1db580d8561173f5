//! Looks at many worlds of liars drawn at random, for hours if need be.
//!
//! `cargo run --release -p cjp2p-tests --bin hostile-worlds -- --minutes 60`

#![allow(clippy::print_stdout)] // It prints what was looked at.

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use cjp2p_tests::sim::hostile::play;
use cjp2p_tests::{row, table};
use clap::Parser;

/// Looks at worlds of honest tools and liars, each drawn from a seed, until the time is over.
///
/// Exit status: 0 if all was well, 1 if something was not, 2 if the command line is wrong.
#[derive(Parser)]
struct Cli {
    /// The first seed
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// Look at so many worlds, and end
    #[arg(long, value_name = "N")]
    worlds: Option<u64>,
    /// End after so many minutes
    #[arg(long, default_value_t = 10)]
    minutes: u64,
    /// Threads
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    threads: u32,
}

#[derive(Default)]
struct Sum {
    worlds: u64,
    simulated: Duration,
    liars: u64,
    datagrams: u64,
    worst_ratio: f64,
    failed: Vec<u64>,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let begun = Instant::now();
    let next = AtomicU64::new(cli.first);
    let end = cli.worlds.map_or(u64::MAX, |worlds| cli.first.saturating_add(worlds));
    let sum = Mutex::new(Sum::default());
    std::thread::scope(|scope| {
        for _ in 0..cli.threads {
            scope.spawn(|| {
                while begun.elapsed() < Duration::from_secs(cli.minutes * 60) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        return;
                    }
                    let story = std::panic::catch_unwind(|| play(seed))
                        .unwrap_or_else(|_| Err("something panicked".to_owned()));
                    let mut sum = sum.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                    sum.worlds += 1;
                    match story {
                        Ok(story) => {
                            sum.simulated += story.simulated;
                            sum.liars += story.liars as u64;
                            sum.datagrams += story.datagrams;
                            sum.worst_ratio = sum.worst_ratio.max(story.worst_ratio);
                        }
                        Err(why) => {
                            eprintln!("hostile-worlds: seed {seed}: {why}");
                            sum.failed.push(seed);
                        }
                    }
                }
            });
        }
    });
    let sum = sum.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    println!("{}", table::head(&["what", "figure"]));
    println!("{}", row![format!("worlds, from seed {} on", cli.first), sum.worlds]);
    println!("{}", row!["hours simulated", format!("{:.1}", sum.simulated.as_secs_f64() / 3600.0)]);
    println!("{}", row!["liars in them", sum.liars]);
    println!("{}", row!["datagrams from honest hosts looked at", sum.datagrams]);
    println!("{}", row!["worst ratio of bytes to an unvalidated source", format!("{:.3}", sum.worst_ratio)]);
    println!("{}", row!["worlds in which something was wrong", sum.failed.len()]);
    if sum.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
