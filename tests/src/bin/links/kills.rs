//! A fetch that is killed again and again, and goes on each time.

use std::fs;
use std::time::Duration;

use cjp2p_tests::lab::Error;
use cjp2p_tests::sim::Link;
use cjp2p_tests::table::{Figure, Mark};

use crate::bench::{Bench, LIMIT, OUTPUT, Stage, bdp, link};

/// The getter lives for a random time up to this: a few lives make a fetch.
const LONGEST_LIFE: f64 = 2.0;

/// What was on its way when the getter was killed is gone after this.
const DRAINING: Duration = Duration::from_millis(150);

pub(crate) fn kill_and_resume(bench: &Bench) -> Result<Vec<Figure>, Error> {
    let stage = Stage::new(bench, &[Link { loss: 0.01, ..link(50, 20, bdp(50, 20)) }], 32)?;
    let came = || stage.lab.traffic(0).udp_in;
    let mut random = fastrand::Rng::with_seed(bench.count());
    stage.finish(&mut stage.get(&[])?)?;
    let undisturbed = came();
    let (mut kills, mut fetches) = (0, 0);
    while kills < bench.kills {
        fs::remove_file(stage.folder.path().join(OUTPUT))?;
        loop {
            let mut get = stage.get(&[])?;
            if kills < bench.kills {
                let life = random.f64() * LONGEST_LIFE;
                if get.wait_until(LIMIT, |get| get.seconds() >= life)?.is_none() {
                    // What still comes did not reach it, so it is not what is fetched twice.
                    stage.lab.wires().set_up(0, false);
                    get.kill()?;
                    std::thread::sleep(DRAINING);
                    stage.lab.wires().set_up(0, true);
                    kills += 1;
                    continue;
                }
            }
            stage.finish(&mut get)?;
            break;
        }
        fetches += 1;
        eprintln!("links: kills: {kills} so far, {fetches} fetches complete");
    }
    let more = (came() - undisturbed) as f64 - (undisturbed * fetches) as f64;
    let content = more * stage.length as f64 / undisturbed as f64;
    Ok(vec![
        Figure::new("fetched again per kill, KiB", Mark::AtMost(1024.0), content / f64::from(kills) / 1024.0),
        Figure::new("kills", Mark::None, f64::from(kills)),
    ])
}
