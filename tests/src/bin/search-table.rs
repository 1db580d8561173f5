//! Prints how content is found by asking on, in simulated networks of up to a hundred thousand peers, as a Markdown table.
//!
//! `cargo run --release -p cjp2p-tests --bin search-table > docs/search.md`
//!
//! All but the memory follows from fixed seeds. With numbers as arguments it prints only the networks of so many peers.

#![allow(clippy::print_stdout)] // It prints a table.

use std::time::Duration;

use cjp2p_tests::real::server::resident_memory;
use cjp2p_tests::sim::search::{Found, Network, address, random_tables};
use cjp2p_tests::{row, table};

/// From everybody to everybody.
const ROUND_TRIP: Duration = Duration::from_millis(80);
/// Peers that each greets, as cjp2p-serve does.
const GREETED: usize = 20;
/// Contents looked for in each network.
const CONTENTS: usize = 40;
/// How long each is looked for.
const LIMIT: Duration = Duration::from_secs(30);

fn main() {
    let only: Vec<usize> = std::env::args().skip(1).filter_map(|n| n.parse().ok()).collect();
    println!("# Searching, simulated\n");
    println!(
        "Made by `cargo run --release -p cjp2p-tests --bin search-table`, which needs some GB of memory and minutes. Peers are\n\
         80 ms from each other, and each greets {GREETED} others drawn at random, as cjp2p-serve greets those in its table. Contents\n\
         are on one of a hundred peers each, who tell those that they greeted; {CONTENTS} are looked for, each by somebody new who\n\
         knows as many peers as are in its table. Datagrams are those that the asker had sent when the first byte came, the\n\
         questions of the fetch that has begun included. Memory, contacts, traffic are means for each peer, all of it before the searches.\n"
    );
    println!(
        "{}",
        table::head(&[
            "peers",
            "asker's table",
            "found",
            "median datagrams",
            "9 of 10",
            "median time",
            "9 of 10",
            "memory",
            "contacts",
            "sent when greeting"
        ])
    );
    for peers in [1000, 10_000, 100_000] {
        if only.is_empty() || only.contains(&peers) {
            measure(peers, &[10, 50]);
        }
    }
    println!(
        "\nThe same where a single one of all peers has a content, and only those {GREETED} whom it greeted know. The rarer it is, the more\n\
         must be asked: a search of this kind is no index of the world, which is what the DHT is for.\n"
    );
    println!("{}", table::head(&["peers", "found within 30 s", "median datagrams of those"]));
    for peers in [1000, 10_000] {
        if only.is_empty() || only.contains(&peers) {
            let mut network = random_tables(2, peers, GREETED, CONTENTS, 1, ROUND_TRIP);
            let found = search_all(&mut network, 50);
            println!(
                "{}",
                row![peers, format!("{} of {CONTENTS}", found.len()), middle(&found, |f| f.datagrams, 5)]
            );
        }
    }
}

fn measure(peers: usize, tables: &[usize]) {
    let before = resident_memory(std::process::id());
    let mut network = random_tables(1, peers, GREETED, CONTENTS, peers / 100, ROUND_TRIP);
    let memory = resident_memory(std::process::id()).saturating_sub(before) / peers as u64;
    let nodes = (0..peers).map(|n| &network.world.peer(address(n)).node);
    let (mut contacts, mut datagrams, mut bytes) = (0, 0, 0);
    for node in nodes {
        contacts += node.sizes().contacts;
        datagrams += node.counters().datagrams_out;
        bytes += node.counters().bytes_out;
    }
    let (contacts, datagrams, bytes) =
        (contacts / peers, datagrams / peers as u64, bytes / peers as u64 / 1024);
    for &table in tables {
        let found = search_all(&mut network, table);
        println!(
            "{}",
            row![
                peers,
                table,
                format!("{} of {CONTENTS}", found.len()),
                middle(&found, |f| f.datagrams, 5),
                middle(&found, |f| f.datagrams, 9),
                format!("{} ms", middle(&found, |f| f.after.as_millis() as u64, 5)),
                format!("{} ms", middle(&found, |f| f.after.as_millis() as u64, 9)),
                format!("{} KiB", memory / 1024),
                contacts,
                format!("{datagrams}, {bytes} KiB")
            ]
        );
    }
}

fn search_all(network: &mut Network, table: usize) -> Vec<Found> {
    let search = |content| {
        let known = network.pick(table);
        network.search(&known, content, LIMIT)
    };
    (0..CONTENTS).filter_map(search).collect()
}

/// What so many of ten stay below.
fn middle(found: &[Found], of: impl Fn(&Found) -> u64, tenths: usize) -> String {
    let mut all: Vec<u64> = found.iter().map(of).collect();
    all.sort_unstable();
    all.get(all.len() * tenths / 10).map_or("-".into(), u64::to_string)
}
