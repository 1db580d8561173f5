//! Prints how a fetch from one source does over simulated links, as a Markdown table.
//!
//! `cargo run --release -p cjp2p-tests --bin link-table > docs/link-table.md`
//!
//! Everything follows from fixed seeds: a change in the fetch machine shows as a change in the table.

#![allow(clippy::print_stdout)] // It prints a table.

use std::net::SocketAddr;
use std::time::Duration;

use cjp2p_tests::content;
use cjp2p_tests::sim::{Link, Peer, World};

fn main() {
    println!("# One source over simulated links\n");
    println!(
        "Made by `cargo run --release -p cjp2p-tests --bin link-table`. The file is what the link carries in 4 s,"
    );
    println!(
        "64 KiB to 32 MiB. Goodput is content in the file per second, start-up included, as a share of the link's"
    );
    println!("rate; JSON, base64 and headers leave 0.64 at an MTU of 1500. Loss is per packet, each way.\n");
    println!("| Mbit/s | RTT ms | loss | queue BDP | goodput | wasted | queueing, median ms |");
    println!("|---|---|---|---|---|---|---|");
    for megabits in [1, 10, 100, 1000] {
        for rtt in [1, 20, 100, 300] {
            for loss in [0.0, 0.001, 0.01, 0.02, 0.05] {
                for queue in [0.25, 1.0, 4.0] {
                    measure(megabits, rtt, loss, queue);
                }
            }
        }
    }
}

fn measure(megabits: u64, rtt: u64, loss: f64, queue_bdp: f64) {
    let rate = megabits * 125_000;
    let product = rate * rtt / 1000;
    let queue = ((product as f64 * queue_bdp) as u64).max(3000);
    let link = Link {
        rate: Some(rate),
        delay: Duration::from_micros(rtt * 500 / 2),
        loss: loss / 2.0,
        queue,
        ..Link::default()
    };
    let length = (rate * 4 * 64 / 100).clamp(64 << 10, 32 << 20) as usize;
    let bytes = content::bytes(1, length);
    let [getter, source] = [1, 2].map(|n| SocketAddr::from(([10, 0, 0, n], 24254)));
    let mut world = World::new(megabits * 1_000_003 + rtt * 101 + (loss * 1000.0) as u64);
    world.add(getter, link, Peer::new(1));
    let mut peer = Peer::new(2);
    let id = peer.blobs.share(bytes, None);
    world.add(source, link, peer);
    let job = world.with_peer(getter, |peer, now| peer.fetch(now, &id, &[source]));
    let over = world.run_until(Duration::from_secs(300), |world| world.peer(getter).is_over(job));
    let seconds = world.now().as_secs_f64();
    let progress = world.peer(getter).node.progress(job).unwrap_or_default();
    let goodput = length as f64 / seconds / rate as f64;
    let wasted = progress.wasted as f64 / progress.received.max(1) as f64;
    let queueing = world.median_queueing(source).as_secs_f64() * 1000.0;
    let note = if over { "" } else { " (not over)" };
    println!(
        "| {megabits} | {rtt} | {} % | {queue_bdp} | {goodput:.2}{note} | {:.1} % | {queueing:.1} |",
        loss * 100.0,
        wasted * 100.0
    );
}
