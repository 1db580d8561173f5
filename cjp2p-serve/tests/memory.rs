//! What a share leaves in memory once it has been read for a while, as the system counts it. A program of its own: what other tests
//! leave there would count too.

mod bench;

use std::fs;

use bench::{Bench, noise, tree_id};
use cjp2p_wire::tree::{GROUP_LEN, Geometry, RUN_ENTRIES};

/// Groups of the file.
const GROUPS: u64 = 32;

/// Bytes of memory that belong to this process alone and are resident.
fn memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("what the system says of this process");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("a line");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
}

#[test]
fn who_wants_leaves_of_a_tree_now_and_then_leaves_no_content_in_memory() {
    let bench = Bench::new();
    let content = noise(1, (GROUPS * GROUP_LEN) as usize);
    bench.write("file", &content);
    let id = tree_id(&content);
    let leaves_at = Geometry::new(content.len() as u64).unwrap().tree_length() - GROUPS * RUN_ENTRIES * 32;
    drop(content);
    let mut running = bench.ready();
    let before = memory();
    for n in 0..4 * GROUPS {
        // By different threads, as it happens: whichever is waiting.
        running.read(&id, leaves_at + n % GROUPS * RUN_ENTRIES * 32, 32).unwrap();
        running.library.forget_unused();
    }
    running.library.forget_unused();
    let more = memory().saturating_sub(before);
    assert!(more < GROUP_LEN, "{more} bytes more than before");
}
