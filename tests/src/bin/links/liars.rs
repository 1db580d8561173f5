//! Sources that turn liars half way.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cjp2p_tests::lab::Error;
use cjp2p_tests::real::host::Host;
use cjp2p_tests::sim::liars::{Liar, Lie};
use cjp2p_tests::table::{Figure, Mark};

use crate::bench::{Bench, LIMIT, Stage, megabits, wasted_percent};
use crate::several;

/// Host 1 stays honest; the others begin to lie when half of the file is there, each in its way.
pub(crate) fn three_of_four(bench: &Bench) -> Result<Vec<Figure>, Error> {
    let stage = Stage::with_silent(bench, &several::sources(), 64, 3)?;
    let content = Arc::new(std::fs::read(stage.content())?);
    let have_turned = Arc::new(AtomicBool::new(false));
    let lies = [Lie::Content, Lie::Tree, Lie::Length(stage.length / 2)];
    let mut liars = Vec::new();
    for (host, lie) in (2..).zip(lies) {
        let (content, turned, address) = (content.clone(), have_turned.clone(), stage.lab.address(host));
        let liar = move || Liar::new(lie, &content, host as u64).that_turns(turned);
        liars.push(stage.lab.run(host, move || Host::start_at(address, liar))?);
    }
    let mut get = stage.get(&["-v"])?;
    get.wait_until(LIMIT, |get| get.growth.last() >= stage.length / 2)?;
    have_turned.store(true, Ordering::Relaxed);
    let (turned_at, had) = (get.seconds(), get.growth.last());
    let outcome = stage.finish(&mut get)?;
    let rest = outcome.seconds - turned_at;
    let named = liars.iter().filter(|liar| outcome.said.contains(&liar.address.to_string()));
    Ok(vec![
        // 25 Mbit/s carry 16 of content.
        Figure::new(
            "Mbit/s after that",
            Mark::AtLeast(13.0),
            megabits(stage.length.saturating_sub(had), rest),
        ),
        Figure::new("liars named", Mark::AtLeast(3.0), named.count() as f64),
        Figure::new("wasted, %", Mark::None, wasted_percent(&outcome)),
    ])
}
