//! Prints how swarms do over simulated links, as a Markdown table.
//!
//! `cargo run --release -p cjp2p-tests --bin swarm-table > docs/swarm-table.md`
//!
//! Everything follows from fixed seeds: a change in the fetch machine shows as a change in the table. With numbers as
//! arguments it prints only the swarms of so many getters.

#![allow(clippy::print_stdout)] // It prints a table.

use std::time::Duration;

use cjp2p_tests::content;
use cjp2p_tests::sim::Link;
use cjp2p_tests::sim::swarm::Swarm;
use cjp2p_tests::{row, table};

/// Bytes that each getter fetches.
const LENGTH: usize = 8 << 20;

fn main() {
    let only: Vec<u16> = std::env::args().skip(1).filter_map(|n| n.parse().ok()).collect();
    println!("# Swarms over simulated links\n");
    println!(
        "Made by `cargo run --release -p cjp2p-tests --bin swarm-table`. One origin has a file of 8 MiB; the"
    );
    println!(
        "getters know it and each other. Everybody has 20 Mbit/s each way and a queue of 128 KiB, and is 20 to"
    );
    println!(
        "100 ms from everybody else. Times are in multiples of what one getter alone takes. Copies are what the"
    );
    println!(
        "origin sent, content and tree, lost packets included, in multiples of the file. Wasted is what came"
    );
    println!("twice. Other is what getters sent beside content, in multiples of the file for each.\n");
    let bytes = content::bytes(7, LENGTH);
    let alone = Swarm::alone(&bytes, home(15));
    println!("One alone takes {:.1} s.\n", alone.as_secs_f64());
    println!(
        "{}",
        table::head(&["getters", "start", "first", "median", "last", "copies", "wasted", "other"])
    );
    for getters in [2, 5, 20, 50, 100, 1000] {
        if only.is_empty() || only.contains(&getters) {
            measure(&bytes, alone, getters, Duration::ZERO, "at once");
            if getters <= 100 {
                measure(&bytes, alone, getters, alone * 2 / u32::from(getters), "one by one");
            }
        }
    }
}

/// 20 Mbit/s both ways, so far from the middle of the network.
fn home(delay: u64) -> Link {
    Link::rated(20, delay, 128 << 10)
}

fn measure(bytes: &[u8], alone: Duration, getters: u16, apart: Duration, start: &str) {
    let mut swarm = Swarm::new(u64::from(getters) + 1, bytes.to_vec(), home(15));
    swarm.start_all(getters, |random| home(random.u64(5..=25)), apart);
    let over = swarm.run(alone * 8);
    let times: Vec<f64> = swarm.times().iter().map(|t| t.as_secs_f64() / alone.as_secs_f64()).collect();
    let (received, wasted) = swarm.received();
    let other: f64 = swarm
        .getters
        .iter()
        .map(|(address, ..)| {
            let sent = swarm.world.traffic(*address).bytes_out as f64;
            // What content costs in base64, its envelope beside.
            sent - swarm.world.peer(*address).node.counters().content_out as f64 * 1.5
        })
        .sum();
    let note = if over { String::new() } else { format!(" ({} done)", times.len()) };
    println!(
        "{}",
        row![
            getters,
            start,
            format!("{:.2}", times.first().unwrap_or(&f64::NAN)),
            format!("{:.2}", times.get(times.len() / 2).unwrap_or(&f64::NAN)),
            format!("{:.2}{note}", times.last().unwrap_or(&f64::NAN)),
            format!("{:.2}", swarm.copies()),
            format!("{:.1} %", wasted as f64 * 100.0 / received.max(1) as f64),
            format!("{:.3}", other / f64::from(getters) / bytes.len() as f64)
        ]
    );
}
