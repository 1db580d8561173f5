//! One getter and one source: rates, the queue it makes, and a flow of TCP beside it.

use std::time::Duration;

use cjp2p_tests::lab::Error;
use cjp2p_tests::lab::tcp::TcpFlow;
use cjp2p_tests::sim::Link;
use cjp2p_tests::table::{Figure, Mark};

use crate::bench::{Bench, LIMIT, Stage, bdp, link, megabits, wasted_percent};

/// How long TCP has the link alone, and how long both then take to find their shares.
const SETTLING: f64 = 5.0;

/// How long shares are measured.
const MEASURING: f64 = 15.0;

pub(crate) fn plain(bench: &Bench) -> Result<Vec<Figure>, Error> {
    rate(bench, link(100, 100, 256 << 10), 32, 75.0, Mark::AtMost(1.0))
}

pub(crate) fn loss_1(bench: &Bench) -> Result<Vec<Figure>, Error> {
    let lossy = Link { loss: 0.01, ..link(100, 100, 256 << 10) };
    rate(bench, lossy, 32, 70.0, Mark::AtMost(3.0))
}

pub(crate) fn loss_5(bench: &Bench) -> Result<Vec<Figure>, Error> {
    let lossy = Link { loss: 0.05, ..link(100, 100, 256 << 10) };
    rate(bench, lossy, 32, 58.0, Mark::None)
}

pub(crate) fn short(bench: &Bench) -> Result<Vec<Figure>, Error> {
    rate(bench, link(20, 20, 64 << 10), 16, 17.0, Mark::AtMost(1.0))
}

pub(crate) fn far(bench: &Bench) -> Result<Vec<Figure>, Error> {
    let lossy = Link { loss: 0.001, ..link(100, 300, 1 << 20) };
    rate(bench, lossy, 32, 52.0, Mark::AtMost(3.0))
}

fn rate(bench: &Bench, link: Link, mebibytes: u64, least: f64, wasted: Mark) -> Result<Vec<Figure>, Error> {
    let stage = Stage::new(bench, &[link], mebibytes)?;
    let outcome = stage.finish(&mut stage.get(&[])?)?;
    Ok(vec![
        Figure::new("Mbit/s", Mark::AtLeast(least), megabits(stage.length, outcome.seconds)),
        Figure::new("wasted, %", wasted, wasted_percent(&outcome)),
    ])
}

pub(crate) fn queue(bench: &Bench) -> Result<Vec<Figure>, Error> {
    queueing(bench, link(50, 40, 4 * bdp(50, 40)), 32)
}

pub(crate) fn queue_deep(bench: &Bench) -> Result<Vec<Figure>, Error> {
    queueing(bench, link(20, 20, 16 * bdp(20, 20)), 16)
}

fn queueing(bench: &Bench, link: Link, mebibytes: u64) -> Result<Vec<Figure>, Error> {
    let stage = Stage::new(bench, &[link], mebibytes)?;
    let outcome = stage.finish(&mut stage.get(&[])?)?;
    let median = stage.lab.wires().take_median_queueing(1);
    Ok(vec![
        Figure::new("queueing of a packet, ms", Mark::AtMost(60.0), median.as_secs_f64() * 1000.0),
        Figure::new("Mbit/s", Mark::None, megabits(stage.length, outcome.seconds)),
    ])
}

pub(crate) fn beside_bbr(bench: &Bench) -> Result<Vec<Figure>, Error> {
    beside_tcp(bench, "bbr")
}

pub(crate) fn beside_cubic(bench: &Bench) -> Result<Vec<Figure>, Error> {
    beside_tcp(bench, "cubic")
}

fn beside_tcp(bench: &Bench, congestion_control: &str) -> Result<Vec<Figure>, Error> {
    let rate = 50;
    // More than the link carries while this runs: the getter is killed at the end.
    let stage = Stage::new(bench, &[link(rate, 40, bdp(rate, 40))], 160)?;
    let flow = TcpFlow::start(&stage.lab, 1, 0, congestion_control)?;
    std::thread::sleep(Duration::from_secs_f64(SETTLING));
    let mut get = stage.get(&[])?;
    let mut wait = |seconds: f64| get.wait_until(LIMIT, |get| get.seconds() >= seconds);
    wait(SETTLING)?;
    let before = stage.lab.traffic(0);
    let ended = wait(SETTLING + MEASURING)?;
    let after = stage.lab.traffic(0);
    if ended.is_some() {
        return Err("the fetch was over too soon to tell".into());
    }
    drop(flow);
    let percent = |bytes: u64| megabits(bytes, MEASURING) / rate as f64 * 100.0;
    let mark = Mark::Between(35.0, 65.0);
    Ok(vec![
        Figure::new("cjp2p-get, % of the link", mark, percent(after.udp_in - before.udp_in)),
        Figure::new("TCP, % of the link", mark, percent(after.tcp_in - before.tcp_in)),
    ])
}
