//! A torrent: pieces with a list of hashes, peers that have some of them, and no tree.

use std::net::SocketAddr;

use sha2::{Digest, Sha256};

use super::{NoProofs, Parts, Picker, Shape, Space, Terms};
use crate::range_set::RangeSet;
use crate::slices::Slices;
use crate::time::Time;

const BLOCK: u64 = 16 << 10;
const PIECE: u64 = 2 * BLOCK;

fn peer(n: u8) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, n], 6881))
}

#[test]
#[allow(clippy::single_range_in_vec_init, reason = "a goal of one range")]
fn a_torrent_comes_from_peers_that_have_some_of_it_and_the_sender_of_a_wrong_piece_is_found() {
    let length = 10 * PIECE - 1000;
    let content: Vec<u8> = (0..length).map(|n| (n % 251) as u8).collect();
    let hashes: Vec<_> = content.chunks(PIECE as usize).map(Sha256::digest).collect();
    let pieces = |numbers: &[u64]| -> RangeSet {
        numbers.iter().map(|n| n * PIECE..((n + 1) * PIECE).min(length)).collect()
    };
    let (seeder, even, odd) = (peer(1), pieces(&[0, 2, 4, 6, 8]), pieces(&[1, 3, 5, 7, 9]));
    let peers = [(seeder, None), (peer(2), Some(&even)), (peer(3), Some(&odd))];
    let mut wrong = content.clone();
    wrong[3 * PIECE as usize + 5] ^= 1;

    let shape = Shape { length, unit: PIECE, least_extent: PIECE, is_one: false };
    let mut picker = Picker::new(shape, vec![0..length], RangeSet::new());
    let (mut received, mut asked, mut blamed) = (vec![0; content.len()], 0, Vec::new());
    while !picker.is_complete() {
        let before = asked;
        for (address, has) in peers {
            let has = has.map(|has| has as &dyn Parts);
            let terms = Terms { has, ..Terms::new(address, BLOCK, PIECE) };
            let wanted = match blamed.contains(&address) {
                true => None,
                false => picker.next_wanted(Time::ZERO, &terms, &NoProofs),
            };
            let Some(wanted) = wanted else { continue };
            let (start, end) = (wanted.range.start as usize, wanted.range.end as usize);
            asked += wanted.range.end - wanted.range.start;
            let sends = if address == seeder { &wrong } else { &content };
            for key in picker.overlapping(Space::Content, &wanted.range) {
                picker.fill(key, address, wanted.range.start, Slices::new(&[&sends[start..end]]));
                let Some((range, bytes)) = picker.full(key) else { continue };
                if Sha256::digest(bytes) == hashes[(range.start / PIECE) as usize] {
                    received[range.start as usize..range.end as usize].copy_from_slice(bytes);
                    picker.finish(key);
                } else if let Some((liar, spoilt)) = picker.start_over(key) {
                    assert_eq!(spoilt, PIECE);
                    blamed.push(liar);
                    picker.release(liar);
                }
            }
            #[cfg(debug_assertions)]
            picker.check_invariants();
        }
        assert!(asked > before, "no peer is asked for what is missing");
    }
    assert_eq!(blamed, [seeder]);
    assert!(received == content);
    assert_eq!(asked, length + PIECE, "only the wrong piece is asked for twice");
}
