//! Which parts of the content are rare among leechers: those are asked for first.
//!
//! If every leecher took the content in the same order, all would have the same parts and nothing to exchange. The one source that
//! has everything would send each part to each of them. So each begins with what the fewest have, and where many parts are
//! equally rare, at a place of its own.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::Range;

use crate::range_set::RangeSet;
use crate::time::Time;

/// The content is counted in so many pieces at the most: enough for many leechers to be in different places, and few enough
/// that what they have fits a short message.
const MAX_PIECES: u64 = 512;
/// A piece is so long at the least.
const MIN_PIECE: u64 = 64 << 10;

/// How many leechers have each part, and where each source goes on.
#[derive(Debug)]
pub struct Rarity {
    piece: u64,
    /// For each piece, how many leechers have some of it.
    counts: Vec<u32>,
    /// For each piece, its place in the order of pieces that are equally rare.
    ranks: Vec<u32>,
    /// The piece that each source is giving.
    places: BTreeMap<SocketAddr, usize>,
    counted_at: Time,
}

impl Rarity {
    /// Content of `length` bytes of which no leecher has anything yet.
    pub fn new(length: u64, random: &mut fastrand::Rng) -> Rarity {
        let piece = length.div_ceil(MAX_PIECES).next_power_of_two().max(MIN_PIECE);
        let pieces = length.div_ceil(piece) as usize;
        let mut ranks: Vec<u32> = (0..pieces as u32).collect();
        random.shuffle(&mut ranks);
        Rarity { piece, counts: vec![0; pieces], ranks, places: BTreeMap::new(), counted_at: Time::ZERO }
    }

    /// When it was last counted.
    pub fn counted_at(&self) -> Time {
        self.counted_at
    }

    /// Counts what these leechers have.
    pub fn count<'a>(&mut self, now: Time, leechers: impl Iterator<Item = &'a RangeSet>) {
        self.counted_at = now;
        self.counts.fill(0);
        for has in leechers {
            let mut counted = 0;
            for range in has.iter() {
                let first = ((range.start / self.piece) as usize).max(counted);
                counted = (range.end.div_ceil(self.piece) as usize).min(self.counts.len());
                for count in self.counts.get_mut(first..counted).unwrap_or_default() {
                    *count += 1;
                }
            }
        }
    }

    /// Where in `within` this source goes on: in the piece where it is as long as `has_more` there, then in the rarest of
    /// those that have something, if possible the next one.
    pub fn next(
        &mut self,
        source: SocketAddr,
        within: &Range<u64>,
        has_more: impl Fn(Range<u64>) -> bool,
    ) -> Option<Range<u64>> {
        let pieces = (within.start / self.piece) as usize..within.end.div_ceil(self.piece) as usize;
        let pieces = pieces.start..pieces.end.min(self.counts.len());
        let range = |n: usize| {
            let start = n as u64 * self.piece;
            start.max(within.start)..(start + self.piece).min(within.end)
        };
        let usable = |n: usize| pieces.contains(&n) && has_more(range(n));
        let here = self.places.get(&source).copied();
        if let Some(here) = here
            && usable(here)
        {
            return Some(range(here));
        }
        let key = |n: usize| (self.counts[n], self.ranks[n]);
        let mut best: Option<usize> = None;
        for n in pieces.clone() {
            if best.is_none_or(|best| key(n) < key(best)) && usable(n) {
                best = Some(n);
            }
        }
        let best = best?;
        let next = here.map(|here| here + 1).filter(|&n| usable(n) && self.counts[n] == self.counts[best]);
        let chosen = next.unwrap_or(best);
        self.places.insert(source, chosen);
        Some(range(chosen))
    }
}

#[cfg(test)]
#[allow(clippy::single_range_in_vec_init, reason = "sets of one range")]
mod tests {
    use super::*;

    fn source(n: u8) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, n], 1))
    }

    fn rarity(seed: u64, pieces: u64) -> Rarity {
        Rarity::new(pieces * MIN_PIECE, &mut fastrand::Rng::with_seed(seed))
    }

    fn piece(n: u64) -> Range<u64> {
        n * MIN_PIECE..(n + 1) * MIN_PIECE
    }

    #[test]
    fn what_the_fewest_have_comes_first() {
        let mut rarity = rarity(1, 4);
        let leechers: [RangeSet; 2] = [
            [piece(0), piece(1), piece(3)].into_iter().collect(),
            [piece(0), 70_000..70_001].into_iter().collect(),
        ];
        rarity.count(Time::ZERO, leechers.iter());
        assert_eq!(rarity.counts, [2, 2, 0, 1]);
        let all = 0..4 * MIN_PIECE;
        assert_eq!(rarity.next(source(1), &all, |_| true), Some(piece(2)));
        assert_eq!(rarity.next(source(2), &all, |range| range != piece(2)), Some(piece(3)));
        assert_eq!(rarity.next(source(3), &(0..100), |_| true), Some(0..100));
        assert_eq!(rarity.next(source(3), &all, |_| false), None);
    }

    #[test]
    fn a_source_goes_on_where_it_is_and_then_with_what_follows() {
        let mut rarity = rarity(2, 100);
        let all = 0..100 * MIN_PIECE;
        let first = rarity.next(source(1), &all, |_| true).unwrap();
        assert_eq!(rarity.next(source(1), &all, |_| true), Some(first.clone()));
        let next = rarity.next(source(1), &all, |range| range != first).unwrap();
        assert_eq!(next.start, first.end);
        // What a leecher has meanwhile is passed over.
        rarity.count(Time::ZERO, [[next.end..next.end + 1].into_iter().collect()].iter());
        let other = rarity.next(source(1), &all, |range| range != first && range != next).unwrap();
        assert_ne!(other.start, next.end);
    }

    #[test]
    fn different_leechers_begin_at_different_places() {
        let all = 0..100 * MIN_PIECE;
        let begun: std::collections::BTreeSet<u64> = (0..20)
            .filter_map(|seed| Some(rarity(seed, 100).next(source(1), &all, |_| true)?.start))
            .collect();
        assert!(begun.len() > 15, "{begun:?}");
    }

    #[test]
    fn content_of_any_length_is_counted_in_few_pieces() {
        for length in [1, MIN_PIECE, MIN_PIECE + 1, 1 << 30, (1 << 53) - 1] {
            let mut rarity = Rarity::new(length, &mut fastrand::Rng::with_seed(1));
            assert!((1..=MAX_PIECES as usize).contains(&rarity.counts.len()));
            rarity.count(Time::ZERO, [[0..length].into_iter().collect()].iter());
            assert!(rarity.counts.iter().all(|&count| count == 1));
            assert_eq!(rarity.next(source(1), &(length - 1..length), |_| true), Some(length - 1..length));
        }
    }
}
