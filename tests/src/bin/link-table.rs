//! Prints how fetches do over simulated links, as Markdown tables.
//!
//! `cargo run --release -p cjp2p-tests --bin link-table > docs/link-table.md`
//!
//! Everything follows from fixed seeds: a change in the fetch machine shows as a change in the tables.

#![allow(clippy::print_stdout)] // It prints tables.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use cjp2p_tests::content;
use cjp2p_tests::sim::{Link, Peer, World};
use cjp2p_tests::{row, table};

const RATES: [u64; 4] = [1, 10, 100, 1000];
const MTUS: [usize; 3] = [1280, 1500, 9000];
const QUEUES: [f64; 3] = [0.25, 1.0, 4.0];

/// When the second of two fetches begins, how long both then have to find their shares, and for how long these are
/// measured.
const SECOND_AT: Duration = Duration::from_secs(3);
const SETTLING: Duration = Duration::from_secs(5);
const MEASURING: Duration = Duration::from_secs(10);

fn main() {
    println!("# Fetches over simulated links\n");
    println!(
        "Made by `cargo run --release -p cjp2p-tests --bin link-table > docs/link-table.md`, in some minutes."
    );
    println!("The same over emulated links with the real programs: [links.md](links.md).\n");
    one_source();
    two_fetches();
}

/// Does all the work on all cores; what came of it is in the order of the work.
fn on_all_cores<W: Sync>(work: &[W], run: impl Fn(&W) -> String + Sync) -> Vec<String> {
    let next = AtomicUsize::new(0);
    let results = Mutex::new(vec![String::new(); work.len()]);
    let take_turns = || {
        loop {
            let n = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = work.get(n) else { break };
            let result = run(item);
            results.lock().unwrap_or_else(PoisonError::into_inner)[n] = result;
        }
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| (0..cores).for_each(|_| drop(scope.spawn(take_turns))));
    results.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// One table for each rate.
fn one_source() {
    println!("## One source\n");
    println!(
        "The file is what the link carries in 4 s, 64 KiB to 32 MiB. Goodput is content in the file per second,"
    );
    println!(
        "start-up included, as a share of the link's rate, for each MTU; JSON, base64 and headers leave 0.64 at"
    );
    println!(
        "1500. Wasted is what came and was of no use, mostly because it came twice; queueing is the time that a"
    );
    println!(
        "packet waits to leave the source, in the middle of all; of both the worst of the three. Loss is per"
    );
    println!("packet, each way. Queues are in round trips of the rate (BDP), and hold two packets at least.");
    for megabits in RATES {
        println!("\n### {megabits} Mbit/s\n");
        let goodput = MTUS.map(|mtu| format!("goodput at {mtu}"));
        let goodput = goodput.each_ref().map(String::as_str);
        let columns = [&["RTT ms", "loss", "queue"], &goodput[..], &["wasted", "queueing ms"]].concat();
        println!("{}", table::head(&columns));
        let mut work = Vec::new();
        for rtt in [1, 20, 100, 300] {
            for loss in [0.0, 0.001, 0.01, 0.02, 0.05] {
                work.extend(QUEUES.map(|queue| (rtt, loss, queue)));
            }
        }
        let row = |&(rtt, loss, queue): &(u64, f64, f64)| {
            let runs = MTUS.map(|mtu| fetch(megabits, rtt, loss, queue, mtu));
            let goodput = runs.each_ref().map(|run| run.goodput.as_str()).join(" | ");
            let worst = |of: fn(&Fetch) -> f64| runs.iter().map(of).fold(0.0, f64::max);
            let (wasted, queueing) = (worst(|run| run.wasted) * 100.0, worst(|run| run.queueing) * 1000.0);
            row![
                rtt,
                format!("{} %", loss * 100.0),
                queue,
                goodput,
                format!("{wasted:.1} %"),
                format!("{queueing:.1}")
            ]
        };
        on_all_cores(&work, row).iter().for_each(|row| println!("{row}"));
    }
}

struct Fetch {
    goodput: String,
    wasted: f64,
    queueing: f64,
}

fn fetch(megabits: u64, rtt: u64, loss: f64, queue_bdp: f64, mtu: usize) -> Fetch {
    let rate = megabits * 125_000;
    let product = rate * rtt / 1000;
    let link = Link {
        rate: Some(rate),
        delay: Duration::from_micros(rtt * 500 / 2),
        loss: loss / 2.0,
        queue: ((product as f64 * queue_bdp) as u64).max(2 * mtu as u64),
        mtu,
        ..Link::default()
    };
    let length = (rate * 4 * 64 / 100).clamp(64 << 10, 32 << 20) as usize;
    let [getter, source] = [1, 2].map(at);
    let mut world = World::new(megabits * 1_000_003 + rtt * 101 + (loss * 1000.0) as u64);
    world.add(getter, link, peer(1, mtu));
    let mut sharing = peer(2, mtu);
    let id = sharing.store.share(content::bytes(1, length), None);
    world.add(source, link, sharing);
    let job = world.with_peer(getter, |peer, now| peer.fetch(now, &id, &[source]));
    let over = world.run_until(Duration::from_secs(300), |world| world.peer(getter).is_over(job));
    let progress = world.peer(getter).node.progress(job).unwrap_or_default();
    let goodput = length as f64 / world.now().as_secs_f64() / rate as f64;
    Fetch {
        goodput: if over { format!("{goodput:.2}") } else { "not over".to_owned() },
        wasted: progress.wasted as f64 / progress.received.max(1) as f64,
        queueing: world.median_queueing(source).as_secs_f64(),
    }
}

/// Two getters behind one bottleneck: the uplink of the source that both fetch from.
fn two_fetches() {
    println!("\n## Two fetches through one bottleneck\n");
    println!(
        "Two getters fetch from one source, whose uplink is the bottleneck; it answers each as it asks. The"
    );
    println!(
        "second begins {} s after the first. Measured over {} s, from {} s after that.",
        SECOND_AT.as_secs(),
        MEASURING.as_secs(),
        SETTLING.as_secs()
    );
    println!(
        "Jain's index is 1 where both get the same, 0.5 where one gets all. The queue is in BDP of the longer"
    );
    println!("round trip.\n");
    println!(
        "{}",
        table::head(&[
            "Mbit/s",
            "RTT ms, first and second",
            "loss",
            "queue",
            "goodput, first and second",
            "Jain's index",
            "queueing ms"
        ])
    );
    let mut work = Vec::new();
    for megabits in [10, 100] {
        for rtts in [[20, 20], [100, 100], [20, 100], [100, 20]] {
            for loss in [0.0, 0.01] {
                work.extend(QUEUES.map(|queue| (megabits, rtts, loss, queue)));
            }
        }
    }
    let row = |&(megabits, rtts, loss, queue): &(u64, [u64; 2], f64, f64)| {
        let (shares, queueing) = share(megabits, rtts, loss, queue);
        let [first, second] = shares;
        let index = (first + second).powi(2) / (2.0 * (first.powi(2) + second.powi(2)));
        row![
            megabits,
            format!("{}, {}", rtts[0], rtts[1]),
            format!("{} %", loss * 100.0),
            queue,
            format!("{first:.2}, {second:.2}"),
            format!("{index:.2}"),
            format!("{queueing:.1}")
        ]
    };
    on_all_cores(&work, row).iter().for_each(|row| println!("{row}"));
}

/// The goodput of each fetch as a share of the rate, and the median queueing in milliseconds.
fn share(megabits: u64, rtts: [u64; 2], loss: f64, queue_bdp: f64) -> ([f64; 2], f64) {
    let rate = megabits * 125_000;
    let product = rate * rtts[0].max(rtts[1]) / 1000;
    let bottleneck = Link {
        rate: Some(rate),
        delay: Duration::ZERO,
        loss,
        queue: ((product as f64 * queue_bdp) as u64).max(3000),
        ..Link::default()
    };
    // More than one alone could fetch in all that time.
    let length = (rate * (SECOND_AT + SETTLING + MEASURING).as_secs() * 70 / 100) as usize;
    let mut world = World::new(megabits * 1_000_003 + rtts[0] * 101 + rtts[1] * 7 + (loss * 1000.0) as u64);
    let source = at(1);
    let mut sharing = Peer::new(1);
    let id = sharing.store.share(content::bytes(1, length), None);
    world.add(source, bottleneck, sharing);
    let getters = [at(2), at(3)];
    for (n, (getter, rtt)) in getters.into_iter().zip(rtts).enumerate() {
        let link = Link { rate: None, delay: Duration::from_micros(rtt * 500), ..Link::default() };
        world.add(getter, link, Peer::new(2 + n as u64));
    }
    let start =
        |world: &mut World, getter| world.with_peer(getter, |peer, now| peer.fetch(now, &id, &[source]));
    let first = start(&mut world, getters[0]);
    world.run_for(SECOND_AT);
    let second = start(&mut world, getters[1]);
    world.run_for(SETTLING);
    let done = |world: &World| {
        let of = |getter, job| world.peer(getter).node.progress(job).map_or(0, |progress| progress.done);
        [of(getters[0], first), of(getters[1], second)]
    };
    let before = done(&world);
    world.run_for(MEASURING);
    let after = done(&world);
    let goodput = |n: usize| (after[n] - before[n]) as f64 / MEASURING.as_secs_f64() / rate as f64;
    ([goodput(0), goodput(1)], world.median_queueing(source).as_secs_f64() * 1000.0)
}

fn at(n: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, n], 24254))
}

/// A peer that knows what its route carries.
fn peer(seed: u64, mtu: usize) -> Peer {
    let mut peer = Peer::new(seed);
    peer.mtu = mtu;
    peer
}
