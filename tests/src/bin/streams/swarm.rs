//! Many viewers, and an origin that could not serve them all.

use std::thread;
use std::time::Duration;

use cjp2p_tests::lab::Error;
use cjp2p_tests::sim::Link;
use cjp2p_tests::table::{Figure, Mark};

use crate::stage::{Bench, Pieces, Stage, delays, link, per_mille};

const VIEWERS: usize = 40;
/// 2 Mbit/s in pieces of seven packets of MPEG-TS, for 40 s.
const VIDEO: Pieces = Pieces { length: 7 * 188, every: Duration::from_micros(5264), count: 7600 };
/// Pieces that do not count, 5 s of them: viewers come.
const SKIPPED: usize = 950;

pub(crate) fn forty(bench: &Bench) -> Result<Vec<Figure>, Error> {
    let links: Vec<Link> = std::iter::once(link(10, 20, 64 << 10))
        .chain(std::iter::repeat_n(link(5, 20, 64 << 10), VIEWERS))
        .collect();
    let mut stage = Stage::new(bench, &links, VIDEO)?;
    let mut seen = Vec::new();
    for host in 1..=VIEWERS {
        seen.push(stage.view(host, 0, false)?);
        thread::sleep(Duration::from_millis(25));
    }
    let before = stage.lab.traffic(0).udp_out;
    let sent = stage.feed()?;
    let copies = (stage.lab.traffic(0).udp_out - before) as f64 / VIDEO.total() as f64;
    stage.finish()?;
    let delays = delays(&sent, seen, SKIPPED)?;
    Ok(vec![
        Figure::new("copies that the origin sent", Mark::AtMost(2.5), copies),
        Figure::new("median delay, ms", Mark::AtMost(1000.0), per_mille(&delays, 500)),
        Figure::new("99 % of delays, ms", Mark::None, per_mille(&delays, 990)),
    ])
}
