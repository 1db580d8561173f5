//! Links that change under a running fetch.

use std::time::Duration;

use cjp2p_tests::lab::wires::Wires;
use cjp2p_tests::lab::{Error, Get};
use cjp2p_tests::table::{Figure, Mark};

use crate::bench::{Bench, LIMIT, Stage, bdp, link, wasted_percent};

/// The link before the change: Mbit/s, and milliseconds of a round trip.
const RATE: u64 = 50;
const RTT: u64 = 40;

/// When the change begins, in seconds after the start, and from when on the rate before it is taken.
const CHANGE_AT: f64 = 5.0;
const STEADY_FROM: f64 = 2.0;

/// The rate is back when it is such a share of what the link now allows, over so many seconds.
const BACK: f64 = 0.8;
const WINDOW: f64 = 0.5;

pub(crate) fn rate_halves(bench: &Bench) -> Result<Vec<Figure>, Error> {
    let halve = |wires: &mut Wires| wires.change(1, |link| link.rate = Some(RATE * 125_000 / 2));
    measure(bench, 0.5, halve, Duration::ZERO, |_| {})
}

pub(crate) fn rtt_triples(bench: &Bench) -> Result<Vec<Figure>, Error> {
    measure(bench, 1.0, |wires| wires.change(1, |link| link.delay *= 3), Duration::ZERO, |_| {})
}

pub(crate) fn blackout(bench: &Bench) -> Result<Vec<Figure>, Error> {
    measure(bench, 1.0, |wires| wires.set_up(1, false), Duration::from_secs(2), |wires| wires.set_up(1, true))
}

pub(crate) fn mtu_falls(bench: &Bench) -> Result<Vec<Figure>, Error> {
    measure(bench, 1.0, |wires| wires.change(1, |link| link.swallows_above = 1280), Duration::ZERO, |_| {})
}

pub(crate) fn port_changes(bench: &Bench) -> Result<Vec<Figure>, Error> {
    measure(bench, 1.0, |wires| wires.rebind_ports(0), Duration::ZERO, |_| {})
}

/// Begins a change, and ends it after `lasting`: how soon the rate is back at this share of what it was.
fn measure(
    bench: &Bench,
    share: f64,
    begin: impl FnOnce(&mut Wires),
    lasting: Duration,
    end: impl FnOnce(&mut Wires),
) -> Result<Vec<Figure>, Error> {
    let stage = Stage::new(bench, &[link(RATE, RTT, bdp(RATE, RTT))], 48)?;
    let mut get = stage.get(&[])?;
    let wait = |get: &mut Get, seconds: f64| get.wait_until(LIMIT, |get| get.seconds() >= seconds);
    wait(&mut get, CHANGE_AT)?;
    begin(&mut stage.lab.wires());
    wait(&mut get, CHANGE_AT + lasting.as_secs_f64())?;
    end(&mut stage.lab.wires());
    let changed = get.seconds();
    let outcome = stage.finish(&mut get)?;
    let expected = get.growth.rate(STEADY_FROM, CHANGE_AT) * share;
    let pause = get.growth.longest_pause(changed, outcome.seconds);
    let back = get.growth.back_after(changed, expected * BACK, WINDOW);
    Ok(vec![
        Figure::new("back at 80 % of the rate after, s", Mark::AtMost(3.0), back.unwrap_or(f64::INFINITY)),
        Figure::new("longest pause of the file after, s", Mark::None, pause),
        Figure::new("wasted, %", Mark::None, wasted_percent(&outcome)),
    ])
}
