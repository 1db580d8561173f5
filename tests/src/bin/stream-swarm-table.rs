//! Prints how swarms that watch a live stream do over simulated links, as a Markdown table.
//!
//! `cargo run --release -p cjp2p-tests --bin stream-swarm-table > docs/stream-swarm-table.md`
//!
//! Everything follows from fixed seeds. With numbers as arguments it prints only swarms of so many viewers; 10000 take an hour or two
//! and 6 GiB.

#![allow(clippy::print_stdout)] // It prints a table.

use std::io::Write;

use cjp2p_tests::sim::stream_swarm::{Scene, play};
use cjp2p_tests::{row, table};

/// Numbers of viewers, unless named.
const VIEWERS: [u16; 3] = [10, 100, 1000];

fn main() {
    let only: Vec<u16> = std::env::args().skip(1).filter_map(|n| n.parse().ok()).collect();
    let named: String = only.iter().map(|viewers| format!(" {viewers}")).collect();
    println!("# Live streams to swarms over simulated links\n");
    println!(
        "Made by `cargo run --release -p cjp2p-tests --bin stream-swarm-table{named}`. A stream of 2 Mbit/s comes from an origin"
    );
    println!(
        "that can send 10 Mbit/s. Viewers come one after another, ten a second, fifty where they are a thousand. They know"
    );
    println!(
        "nobody but the origin, take and send 5 Mbit/s each, with a queue of 128 KiB, and are 15 to 35 ms from it. What is"
    );
    println!(
        "said is of the twenty seconds after the last came. Copies are what the origin sent, all counted, in multiples of the"
    );
    println!(
        "stream. A delay is the time from the signing of a block until it and all before it can be read. The last but one"
    );
    println!(
        "column is the share of blocks that are late by more than two seconds. Every signature is real.\n"
    );
    println!(
        "{}",
        table::head(&[
            "viewers",
            "what is wrong",
            "copies",
            "median",
            "99 % of viewers",
            "late",
            "lack something"
        ])
    );
    for viewers in if only.is_empty() { VIEWERS.to_vec() } else { only } {
        let well = Scene::of(viewers);
        measure("nothing", &well);
        if (100..=1000).contains(&viewers) {
            measure("half of them leave at once", &Scene { leave: 50, ..well });
            measure("half of them can send only 200 kbit/s", &Scene { mute: 50, ..well });
            measure("a tenth of them lie", &Scene { liars: 10, ..well });
        }
    }
}

fn measure(wrong: &str, scene: &Scene) {
    let outcome = play(scene, 7);
    println!(
        "{}",
        row![
            scene.viewers,
            wrong,
            format!("{:.2}", outcome.copies),
            format!("{} ms", outcome.median.as_millis()),
            outcome.most.map_or("never".into(), |most| format!("{} ms", most.as_millis())),
            format!("{:.3} %", outcome.late * 100.0),
            outcome.lacking
        ]
    );
    eprintln!("{scene:?}: {outcome:?}");
    let _ = std::io::stdout().flush();
}
