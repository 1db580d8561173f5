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
    length: u64,
    piece: u64,
    /// For each piece, how many leechers have some of it.
    counts: Vec<u32>,
    /// For each piece, its place in the order of pieces that are equally rare.
    ranks: Vec<u32>,
    /// All pieces, the rarest first as it was when they were sorted.
    order: Vec<u32>,
    /// So many of these, from the first, are nobody's choice any more.
    passed: usize,
    /// The counts have changed since.
    is_stale: bool,
    /// The piece that each source is giving.
    places: BTreeMap<SocketAddr, usize>,
    counted_at: Time,
}

impl Rarity {
    /// Content of `length` bytes of which no leecher has anything yet.
    pub fn new(length: u64, random: &mut fastrand::Rng) -> Rarity {
        let piece = length.div_ceil(MAX_PIECES).next_power_of_two().max(MIN_PIECE);
        Rarity::of_pieces(length, piece, random)
    }

    /// The same, counted in pieces of so many bytes, however many these are.
    pub fn of_pieces(length: u64, piece: u64, random: &mut fastrand::Rng) -> Rarity {
        let pieces = length.div_ceil(piece) as usize;
        let mut ranks: Vec<u32> = (0..pieces as u32).collect();
        random.shuffle(&mut ranks);
        let (counts, order) = (vec![0; pieces], Vec::new());
        let mut rarity = Rarity {
            length,
            piece,
            counts,
            ranks,
            order,
            passed: 0,
            is_stale: false,
            places: BTreeMap::new(),
            counted_at: Time::ZERO,
        };
        rarity.sort();
        rarity
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
        self.sort();
    }

    /// A leecher has these pieces, which it had not before. The order follows with [`refresh`](Rarity::refresh).
    pub fn gained(&mut self, pieces: Range<u32>) {
        for count in self.counts.get_mut(pieces.start as usize..pieces.end as usize).unwrap_or_default() {
            *count += 1;
        }
        self.is_stale = true;
    }

    /// A leecher with these pieces has gone, or has all of them now.
    pub fn lost(&mut self, pieces: Range<u32>) {
        for count in self.counts.get_mut(pieces.start as usize..pieces.end as usize).unwrap_or_default() {
            *count = count.saturating_sub(1);
        }
        self.is_stale = true;
    }

    /// Orders the pieces anew where counts have changed.
    pub fn refresh(&mut self, now: Time) {
        if self.is_stale {
            self.counted_at = now;
            self.sort();
        }
    }

    fn sort(&mut self) {
        let (counts, ranks) = (&self.counts, &self.ranks);
        if self.order.is_empty() {
            self.order = (0..counts.len() as u32).collect();
        }
        self.order.sort_unstable_by_key(|&n| (counts[n as usize], ranks[n as usize]));
        self.is_stale = false;
        self.reopen();
    }

    /// Something may be missing again that was taken.
    pub(super) fn reopen(&mut self) {
        self.passed = 0;
    }

    /// This source is none any more.
    pub(super) fn leave(&mut self, source: SocketAddr) {
        self.places.remove(&source);
    }

    fn range(&self, n: usize) -> Range<u64> {
        let start = n as u64 * self.piece;
        start..(start + self.piece).min(self.length)
    }

    /// Where in `within` this source goes on: in the piece where it is as long as `has_more` there, then in the rarest of
    /// those that have something, if possible the next one. What `is_taken` as a whole is no choice for any source.
    pub fn next(
        &mut self,
        source: SocketAddr,
        within: &Range<u64>,
        has_more: impl Fn(Range<u64>) -> bool,
        is_taken: impl Fn(Range<u64>) -> bool,
    ) -> Option<Range<u64>> {
        let pieces = (within.start / self.piece) as usize..within.end.div_ceil(self.piece) as usize;
        let pieces = pieces.start..pieces.end.min(self.counts.len());
        let piece = self.piece;
        let range = |n: usize| {
            let start = n as u64 * piece;
            start.max(within.start)..(start + piece).min(within.end)
        };
        let usable = |n: usize| pieces.contains(&n) && has_more(range(n));
        let here = self.places.get(&source).copied();
        if let Some(here) = here
            && usable(here)
        {
            return Some(range(here));
        }
        while let Some(&n) = self.order.get(self.passed)
            && is_taken(self.range(n as usize))
        {
            self.passed += 1;
        }
        let key = |n: usize| (self.counts[n], self.ranks[n]);
        let left = &self.order[self.passed..];
        let best = if pieces.len() < left.len() / 4 {
            pieces.clone().filter(|&n| usable(n)).min_by_key(|&n| key(n))?
        } else {
            left.iter().map(|&n| n as usize).find(|&n| usable(n))?
        };
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
        assert_eq!(rarity.next(source(1), &all, |_| true, |_| false), Some(piece(2)));
        assert_eq!(rarity.next(source(2), &all, |range| range != piece(2), |_| false), Some(piece(3)));
        assert_eq!(rarity.next(source(3), &(0..100), |_| true, |_| false), Some(0..100));
        assert_eq!(rarity.next(source(3), &all, |_| false, |_| false), None);
    }

    #[test]
    fn a_source_goes_on_where_it_is_and_then_with_what_follows() {
        let mut rarity = rarity(2, 100);
        let all = 0..100 * MIN_PIECE;
        let first = rarity.next(source(1), &all, |_| true, |_| false).unwrap();
        assert_eq!(rarity.next(source(1), &all, |_| true, |_| false), Some(first.clone()));
        let next = rarity.next(source(1), &all, |range| range != first, |_| false).unwrap();
        assert_eq!(next.start, first.end);
        // What a leecher has meanwhile is passed over.
        rarity.count(Time::ZERO, [[next.end..next.end + 1].into_iter().collect()].iter());
        let other = rarity.next(source(1), &all, |range| range != first && range != next, |_| false).unwrap();
        assert_ne!(other.start, next.end);
    }

    #[test]
    fn different_leechers_begin_at_different_places() {
        let all = 0..100 * MIN_PIECE;
        let begun: std::collections::BTreeSet<u64> = (0..20)
            .filter_map(|seed| Some(rarity(seed, 100).next(source(1), &all, |_| true, |_| false)?.start))
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
            assert_eq!(
                rarity.next(source(1), &(length - 1..length), |_| true, |_| false),
                Some(length - 1..length)
            );
        }
    }

    #[test]
    fn pieces_counted_one_by_one_are_chosen_as_a_search_through_all_would() {
        const PIECES: u64 = 50;
        let mut random = fastrand::Rng::with_seed(7);
        let mut rarity = Rarity::of_pieces(PIECES * 10 - 3, 10, &mut random);
        let mut counts = [0u32; PIECES as usize];
        for step in 0..500 {
            let first = random.u32(..PIECES as u32);
            let pieces = first..random.u32(first..=PIECES as u32);
            let gained = random.bool() || pieces.clone().any(|n| counts[n as usize] == 0);
            for n in pieces.clone() {
                counts[n as usize] = if gained { counts[n as usize] + 1 } else { counts[n as usize] - 1 };
            }
            match gained {
                true => rarity.gained(pieces),
                false => rarity.lost(pieces),
            }
            rarity.refresh(Time::ZERO);
            assert_eq!(rarity.counts, counts);
            let taken: Vec<bool> = (0..PIECES).map(|_| random.u8(..10) < 7).collect();
            let is_taken = |range: Range<u64>| taken[(range.start / 10) as usize];
            let within = random.u64(..100)..random.u64(100..PIECES * 10 - 3);
            let chosen = rarity.next(source((step % 200) as u8), &within, |range| !is_taken(range), is_taken);
            let open = (within.start / 10..within.end.div_ceil(10)).filter(|&n| !taken[n as usize]);
            let rarest = open.map(|n| counts[n as usize]).min();
            if step < 200 {
                assert_eq!(chosen.map(|range| counts[(range.start / 10) as usize]), rarest, "step {step}");
            } else {
                assert_eq!(chosen.is_some(), rarest.is_some());
            }
        }
    }
}
