//! One viewer, beside the origin or behind relays: how late it has what goes in.

use std::thread;
use std::time::Duration;

use cjp2p_tests::lab::Error;
use cjp2p_tests::sim::Link;
use cjp2p_tests::table::{Figure, Mark};

use crate::stage::{Bench, Pieces, Stage, delays, link, per_mille};

/// Viewers have this time to find their peers.
const SETTLING: Duration = Duration::from_secs(2);
/// A line with a time stamp, each 50 ms, for 20 s.
const LINES: Pieces = Pieces { length: 40, every: Duration::from_millis(50), count: 400 };
/// 4 Mbit/s in pieces of seven packets of MPEG-TS, for 20 s.
const VIDEO: Pieces = Pieces { length: 7 * 188, every: Duration::from_micros(2632), count: 7600 };

pub(crate) fn pair(bench: &Bench) -> Result<Vec<Figure>, Error> {
    let delays = measure(bench, &[link(1000, 1, 1 << 20), link(1000, 0, 1 << 20)], LINES)?;
    Ok(vec![
        Figure::new("median delay, ms", Mark::AtMost(20.0), per_mille(&delays, 500)),
        Figure::new("99 % of delays, ms", Mark::AtMost(60.0), per_mille(&delays, 990)),
    ])
}

pub(crate) fn chain(bench: &Bench) -> Result<Vec<Figure>, Error> {
    let delays = measure(bench, &[link(100, 50, 256 << 10); 5], LINES)?;
    Ok(vec![
        Figure::new("median delay, ms", Mark::AtMost(250.0), per_mille(&delays, 500)),
        Figure::new("99 % of delays, ms", Mark::None, per_mille(&delays, 990)),
    ])
}

pub(crate) fn loss(bench: &Bench) -> Result<Vec<Figure>, Error> {
    let lossy = Link { loss: 0.01, ..link(100, 100, 256 << 10) };
    let delays = measure(bench, &[lossy, link(1000, 0, 1 << 20)], VIDEO)?;
    Ok(vec![
        Figure::new("median delay, ms", Mark::AtMost(250.0), per_mille(&delays, 500)),
        Figure::new("99.9 % of delays, ms", Mark::AtMost(600.0), per_mille(&delays, 999)),
    ])
}

/// The delays of the last of a row of viewers, each of which is told of the one before alone.
fn measure(bench: &Bench, links: &[Link], pieces: Pieces) -> Result<Vec<f64>, Error> {
    let mut stage = Stage::new(bench, links, pieces)?;
    let mut last = None;
    for host in 1..links.len() {
        last = Some(stage.view(host, host - 1, true)?);
    }
    thread::sleep(SETTLING);
    let sent = stage.feed()?;
    stage.finish()?;
    // The first lines find the paths.
    delays(&sent, last.into_iter().collect(), pieces.count / 20)
}
