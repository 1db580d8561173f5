//! Four sources at different distances.

use cjp2p_tests::lab::Error;
use cjp2p_tests::sim::Link;
use cjp2p_tests::table::{Figure, Mark};

use crate::bench::{Bench, LIMIT, Stage, link, megabits, wasted_percent};

/// The links of the four, the nearest first.
pub(crate) fn sources() -> [Link; 4] {
    [20, 60, 100, 200].map(|rtt| link(25, rtt, 128 << 10))
}

pub(crate) fn four(bench: &Bench) -> Result<Vec<Figure>, Error> {
    let stage = Stage::new(bench, &sources(), 64)?;
    let outcome = stage.finish(&mut stage.get(&[])?)?;
    Ok(vec![
        Figure::new("Mbit/s", Mark::AtLeast(78.0), megabits(stage.length, outcome.seconds)),
        Figure::new("wasted, %", Mark::AtMost(1.0), wasted_percent(&outcome)),
    ])
}

pub(crate) fn four_with_one_killed(bench: &Bench) -> Result<Vec<Figure>, Error> {
    let mut stage = Stage::new(bench, &sources(), 64)?;
    let mut get = stage.get(&[])?;
    get.wait_until(LIMIT, |get| get.growth.last() >= stage.length / 2)?;
    let (killed_at, had) = (get.seconds(), get.growth.last());
    stage.serves[0].kill()?;
    let outcome = stage.finish(&mut get)?;
    let rest = outcome.seconds - killed_at;
    Ok(vec![
        Figure::new(
            "Mbit/s after that",
            Mark::AtLeast(38.0),
            megabits(stage.length.saturating_sub(had), rest),
        ),
        Figure::new(
            "longest pause of the file, s",
            Mark::AtMost(2.0),
            get.growth.longest_pause(killed_at, outcome.seconds),
        ),
        Figure::new("wasted, %", Mark::None, wasted_percent(&outcome)),
    ])
}
