//! How a fetch shares a path with others: a long TCP flow, and another fetch.

use std::net::SocketAddr;
use std::time::Duration;

use cjp2p_tests::content;
use cjp2p_tests::sim::tcp::{TcpReceiver, TcpSender};
use cjp2p_tests::sim::{Link, Peer, World};
use cjp2p_wire::time::Time;

const MEGABIT: u64 = 125_000;

fn at(n: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, n], 24254))
}

/// A getter at 1 behind a link of this rate, round trip and queue, with a source at 2. The host at 3 shares the link.
fn world(megabits: u64, rtt_ms: u64, queue_products: f64) -> (World, Link) {
    let far = Link { delay: Duration::from_millis(rtt_ms) / 4, ..Link::default() };
    let product = megabits * MEGABIT * rtt_ms / 1000;
    let near =
        Link { rate: Some(megabits * MEGABIT), queue: (product as f64 * queue_products) as u64, ..far };
    let mut world = World::new(megabits + rtt_ms);
    world.add(at(1), near, Peer::new(1));
    world.add(at(2), far, Peer::new(2));
    (world, far)
}

fn begin_fetch(world: &mut World, getter: u8, source: u8) {
    let bytes = content::bytes(getter.into(), 256 << 20);
    let id = world.with_peer(at(source), |peer, _| peer.store.share(bytes, None));
    world.with_peer(at(getter), |peer, now| peer.fetch(now, &id, &[at(source)]));
}

/// What the hosts 1 and 3 get from 7 s after now to 40 s, in megabits per second.
fn rates(world: &mut World) -> (f64, f64) {
    world.run_for(Duration::from_secs(7));
    let before = [1, 3].map(|n| world.traffic(at(n)).bytes_in);
    world.run_for(Duration::from_secs(33));
    let after = [1, 3].map(|n| world.traffic(at(n)).bytes_in);
    let rate = |n: usize| (after[n] - before[n]) as f64 / 33.0 / MEGABIT as f64;
    (rate(0), rate(1))
}

fn beside_tcp(megabits: u64, rtt_ms: u64, queue_products: f64) -> f64 {
    let (mut world, far) = world(megabits, rtt_ms, queue_products);
    world.add_behind(at(1), at(3), TcpReceiver);
    world.add(at(4), far, TcpSender::new(at(3), Time::from_millis(1)));
    world.run_for(Duration::from_secs(3));
    begin_fetch(&mut world, 1, 2);
    let (ours, theirs) = rates(&mut world);
    assert!(ours + theirs > 0.85 * megabits as f64, "{ours} and {theirs} Mbit/s");
    ours / (ours + theirs)
}

#[test]
fn a_fetch_and_a_long_tcp_flow_each_get_a_fair_part_of_a_path() {
    for (megabits, rtt_ms, queue) in [(50, 40, 1.0), (50, 40, 2.0), (100, 20, 1.0), (50, 40, 4.0)] {
        let share = beside_tcp(megabits, rtt_ms, queue);
        assert!((0.3..0.7).contains(&share), "{megabits} Mbit/s, {rtt_ms} ms, {queue} of queue: {share}");
    }
}

/// Has a fetch begin so much later than another that goes on for long, and returns its share.
fn beside_another(megabits: u64, rtt_ms: u64, queue: f64, later_by: Duration) -> f64 {
    let (mut world, far) = world(megabits, rtt_ms, queue);
    world.add_behind(at(1), at(3), Peer::new(3));
    world.add(at(4), far, Peer::new(4));
    begin_fetch(&mut world, 3, 4);
    world.run_for(later_by);
    begin_fetch(&mut world, 1, 2);
    let (later, earlier) = rates(&mut world);
    let total = later + earlier;
    assert!(total > 0.75 * megabits as f64, "{megabits} Mbit/s: {total}");
    later / total
}

#[test]
fn two_fetches_each_get_a_fair_part_of_a_path() {
    for (megabits, rtt_ms, queue) in [(50, 40, 1.0), (50, 40, 4.0), (20, 20, 1.0), (100, 20, 2.0)] {
        // Where the two meet in each other's cycle matters: what holds is that of several.
        let shares =
            [3000, 3370, 3710].map(|ms| beside_another(megabits, rtt_ms, queue, Duration::from_millis(ms)));
        let share = shares.iter().sum::<f64>() / shares.len() as f64;
        println!("{megabits} Mbit/s, {rtt_ms} ms, {queue} of queue: {shares:.2?}");
        assert!(
            (0.25..0.75).contains(&share),
            "{megabits} Mbit/s, {rtt_ms} ms, {queue} of queue: {shares:?}"
        );
        assert!(shares.iter().all(|share| (0.1..0.9).contains(share)), "{shares:?}");
    }
}
