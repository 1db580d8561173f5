//! Many small files: how long they take, and what they take of memory.

use std::time::Instant;

use cjp2p_cli::Exit;

use super::super::Options;
use super::support::{Thing, Things, World, insert};

const FILES: u32 = 100_000;

#[test]
#[ignore = "takes long: cargo test --release -p cjp2p-get --lib many -- --ignored --nocapture"]
fn a_hundred_thousand_small_files_are_written_and_found_right_again() {
    let mut things = Things::new();
    for nth in 0..FILES {
        let bytes = [nth.to_le_bytes().as_slice(), &[7; 1020]].concat();
        insert(&mut things, format!("{}/{nth}", nth / 1000).as_bytes(), Thing::File(bytes, false));
    }
    let mut world = World::new();
    let mut changed = things.clone();
    changed.insert(b"7/7000".to_vec(), Thing::File(b"another".to_vec(), false));
    for (what, list, asked) in
        [("written", &things, FILES as usize), ("found right", &things, 0), ("one changed", &changed, 1)]
    {
        let begun = Instant::now();
        let ended = world.fetch(list, Options { delete: true, ..Options::default() });
        println!("{what}: {FILES} files of 1 KiB in {} ms", begun.elapsed().as_millis());
        assert_eq!((ended.exit(), ended.asked.len()), (Exit::Done, asked));
    }
    assert!(world.found() == changed);
}
