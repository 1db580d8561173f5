#![allow(missing_docs, clippy::print_stdout, clippy::unwrap_used)]
use cjp2p_tests::content;
use cjp2p_tests::sim::Link;
use cjp2p_tests::sim::swarm::{ORIGIN, Swarm};
use std::time::Duration;
fn main() {
    let a: Vec<u64> = std::env::args().skip(1).filter_map(|n| n.parse().ok()).collect();
    let (n, mib, secs) = (a[0] as u16, a[1], a[2]);
    let bytes = content::bytes(7, (mib << 20) as usize);
    let home = |d| Link::rated(20, d, 128 << 10);
    let mut swarm = Swarm::new(u64::from(n) + 1, bytes.clone(), home(15));
    swarm.start_all(n, |r| home(r.u64(5..=25)), Duration::from_millis(a.get(3).copied().unwrap_or(0)));
    for _ in 0..secs * 2 {
        swarm.world.run_for(Duration::from_millis(500));
        let mut all = cjp2p_wire::transfer::ranges::RangeSet::new();
        let mut done: Vec<u64> = vec![];
        let mut sources = 0;
        for (address, _, job) in &swarm.getters {
            let p = swarm.world.peer(*address);
            done.push(p.node.progress(*job).map_or(0, |p| p.done) * 100 / bytes.len() as u64);
            sources += p.node.progress(*job).map_or(0, |p| p.sources);
            if let Some(f) = p.blobs.fetched.get(job) {
                for r in f.done.iter() {
                    all.insert(r);
                }
            }
        }
        done.sort();
        let over = done.iter().filter(|d| **d == 100).count();
        println!(
            "{:?}: min {} med {} max {} over {over}; in swarm {} %; copies {:.2}; wasted {:?}; sources {}",
            swarm.world.now(),
            done[0],
            done[done.len() / 2],
            done[done.len() - 1],
            all.total() * 100 / bytes.len() as u64,
            swarm.copies(),
            swarm.received(),
            sources / n as usize
        );
        if over == n as usize {
            break;
        }
    }
    let t = swarm.world.traffic(ORIGIN);
    println!("{t:?}");
    for (address, _, job) in &swarm.getters {
        let p = swarm.world.peer(*address);
        if !p.is_over(*job) {
            println!("{address}: {:?}\n{:#?}", p.node.progress(*job), p.node.fetch(*job).map(|f| f.debug()));
            break;
        }
    }
}
