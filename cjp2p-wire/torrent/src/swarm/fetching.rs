//! `Fetching`: which blocks to ask which peer for, and what becomes of those that come.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

use cjp2p_wire::pieces::{NoProofs, Parts, Picker, Shape, Space, Terms};
use cjp2p_wire::range_set::RangeSet;
use cjp2p_wire::time::Time;

use super::config::{Order, Torrent};
use crate::piece_set::PieceSet;
use crate::pieces::{BLOCK, Block, Pieces};

/// How fast a peer is taken to be that has not sent anything yet, in bytes per second.
const UNKNOWN_RATE: f64 = 100_000.0;

/// The pieces of a peer as bytes.
#[derive(Debug)]
struct Having<'a> {
    set: &'a PieceSet,
    pieces: Pieces,
}

impl Parts for Having<'_> {
    fn next(&self, within: Range<u64>) -> Option<Range<u64>> {
        let run = self.set.next_run(self.pieces.overlapping(&within))?;
        let (first, last) = (self.pieces.range(run.start), self.pieces.range(run.end - 1));
        Some(first.start.max(within.start)..last.end.min(within.end))
    }
}

/// One peer that may be asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Path<'a> {
    pub(super) address: SocketAddr,
    pub(super) parts: &'a PieceSet,
    /// Bytes per second, zero where nothing came yet.
    pub(super) rate: f64,
    pub(super) round_trip: Duration,
}

/// What a block was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Taken {
    /// It was wanted.
    pub(super) is_new: bool,
    /// It was the last one of its piece.
    pub(super) is_full: bool,
    /// Others were asked for it too.
    pub(super) is_doubled: bool,
}

/// What a check meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Checked {
    /// The piece is here.
    Done,
    /// It is asked for again. One peer alone sent it, or it is not known which of several.
    Wrong(Option<SocketAddr>),
    /// Nobody waited for this.
    Unexpected,
}

/// What is fetched of a torrent.
#[derive(Debug)]
pub(super) struct Fetching {
    torrent: Torrent,
    picker: Picker,
    // Invariant: the pieces that the picker has as done, but for those that were lost since.
    have: PieceSet,
    lost: PieceSet,
    // Invariant: the pieces that are wanted and not in `have`.
    needed: PieceSet,
    order: Order,
    room: u64,
    /// Who was asked last for blocks of a piece that is begun, and whether another was before.
    asked: BTreeMap<u32, (SocketAddr, bool)>,
}

impl Fetching {
    /// Everything is wanted, the rarest first.
    pub(super) fn new(
        torrent: Torrent,
        have: PieceSet,
        unchecked: &PieceSet,
        max_begun: u64,
        random: &mut fastrand::Rng,
    ) -> Fetching {
        let pieces = torrent.pieces;
        let unit = u64::from(pieces.piece_length());
        let shape = Shape { length: pieces.length(), unit, least_extent: unit, is_one: false };
        let bytes = |set: &PieceSet| -> RangeSet {
            set.runs().map(|run| pieces.range(run.start).start..pieces.range(run.end - 1).end).collect()
        };
        let all = std::iter::once(0..pieces.length()).collect();
        let most = max_begun.max(unit + 1);
        let mut picker = Picker::elsewhere(shape, all, bytes(&have), most);
        picker.wait_for_checks(&bytes(unchecked));
        picker.exact_rarity(random);
        let mut needed = PieceSet::all(pieces.count());
        have.iter().for_each(|piece| _ = needed.remove(piece));
        let (order, room) = (Order::RarestFirst, u64::MAX);
        let lost = PieceSet::none(pieces.count());
        Fetching { torrent, picker, have, lost, needed, order, room, asked: BTreeMap::new() }
    }

    pub(super) fn torrent(&self) -> &Torrent {
        &self.torrent
    }

    pub(super) fn have(&self) -> &PieceSet {
        &self.have
    }

    /// What is wanted and not here.
    pub(super) fn needed(&self) -> &PieceSet {
        &self.needed
    }

    pub(super) fn is_complete(&self) -> bool {
        self.needed.is_empty()
    }

    /// Bytes that are wanted, and how many of them are here.
    pub(super) fn progress(&self) -> (u64, u64) {
        (self.picker.wanted_done(), self.picker.wanted())
    }

    /// Returns the pieces that were begun and are given up.
    pub(super) fn want(&mut self, ranges: Vec<Range<u64>>, order: Order) -> Vec<u32> {
        let pieces = self.torrent.pieces;
        self.needed = PieceSet::none(pieces.count());
        for piece in ranges.iter().flat_map(|range| pieces.overlapping(range)) {
            if !self.have.contains(piece) {
                self.needed.insert(piece);
            }
        }
        self.order = order;
        self.picker.set_goal(ranges, false);
        let begun: Vec<u32> = self.picker.extents().iter().map(|&(_, start)| pieces.at(start)).collect();
        let given_up: Vec<u32> = self.asked.keys().copied().filter(|piece| !begun.contains(piece)).collect();
        given_up.iter().for_each(|piece| _ = self.asked.remove(piece));
        given_up
    }

    pub(super) fn set_room(&mut self, room: u64) {
        self.room = room;
    }

    /// A peer has these pieces, which it had not before, and not all.
    pub(super) fn gained(&mut self, pieces: Range<u32>, random: &mut fastrand::Rng) {
        self.picker.exact_rarity(random).gained(pieces);
    }

    /// A peer that had some pieces is gone, or has all of them now.
    pub(super) fn lost(&mut self, parts: &PieceSet, random: &mut fastrand::Rng) {
        let rarity = self.picker.exact_rarity(random);
        parts.runs().for_each(|run| rarity.lost(run));
    }

    /// Orders the pieces by how rare they are now.
    pub(super) fn refresh(&mut self, now: Time, random: &mut fastrand::Rng) {
        self.picker.exact_rarity(random).refresh(now);
    }

    /// What a peer has is more than it was when everything of it was asked for.
    pub(super) fn on_more(&mut self, address: SocketAddr) {
        self.picker.forget_used_up(address);
    }

    /// The next blocks of one piece to ask this peer for, at most so many.
    pub(super) fn next_blocks(&mut self, now: Time, path: Path<'_>, most: usize) -> Vec<Block> {
        let pieces = self.torrent.pieces;
        let having = Having { set: path.parts, pieces };
        let terms = Terms {
            blocks: most as u64,
            has: (!path.parts.is_full()).then_some(&having as &dyn Parts),
            rarest_first: self.order == Order::RarestFirst,
            round_trip: path.round_trip,
            rate: if path.rate > 0.0 { path.rate } else { UNKNOWN_RATE },
            room: self.room,
            ..Terms::new(path.address, u64::from(BLOCK), u64::from(pieces.piece_length()))
        };
        let Some(wanted) = self.picker.next_wanted(now, &terms, &NoProofs) else { return Vec::new() };
        let all = pieces.block(&wanted.range);
        let asked = self.asked.entry(all.piece).or_insert((path.address, false));
        *asked = (path.address, asked.1 || asked.0 != path.address);
        let (first, end) = (all.begin, all.begin + all.len);
        (first..end)
            .step_by(BLOCK as usize)
            .map(|begin| Block { begin, len: (end - begin).min(BLOCK), ..all })
            .collect()
    }

    /// A block came from this peer.
    pub(super) fn on_block(&mut self, address: SocketAddr, block: Block) -> Taken {
        let Some(range) = self.torrent.pieces.bytes_of(block) else { return Taken::default() };
        let key = (Space::Content, self.torrent.pieces.range(block.piece).start);
        let Some(filled) = self.picker.note(key, address, range) else { return Taken::default() };
        let is_doubled = self.asked.get(&block.piece).is_some_and(|asked| asked.1);
        Taken { is_new: filled.new > 0, is_full: filled.new > 0 && filled.is_full, is_doubled }
    }

    /// This block does not come from this peer.
    pub(super) fn give_back(&mut self, address: SocketAddr, block: Block) {
        if let Some(range) = self.torrent.pieces.bytes_of(block) {
            self.picker.give_back(address, Space::Content, &range, true);
        }
    }

    /// This peer is not asked any more for now.
    pub(super) fn release(&mut self, address: SocketAddr) {
        self.picker.release(address);
    }

    /// This peer is gone.
    pub(super) fn leave(&mut self, address: SocketAddr) {
        self.picker.leave(address);
    }

    /// The hash of a piece was compared.
    pub(super) fn on_checked(&mut self, piece: u32, is_right: bool) -> Checked {
        let range = self.torrent.pieces.range(piece);
        let key = (Space::Content, range.start);
        if self.picker.full(key).is_some() {
            if !is_right {
                return Checked::Wrong(self.picker.start_over(key).map(|(address, _)| address));
            }
            self.picker.finish(key);
        } else if self.picker.is_unchecked(&range) {
            let right = if is_right { std::iter::once(range.clone()).collect() } else { RangeSet::new() };
            self.picker.on_checked(&range, &right);
            if !is_right {
                return Checked::Wrong(None);
            }
        } else {
            return Checked::Unexpected;
        }
        self.asked.remove(&piece);
        self.have.insert(piece);
        self.needed.remove(piece);
        Checked::Done
    }

    /// A piece that was here cannot be read any more. Returns whether it was.
    pub(super) fn on_lost(&mut self, piece: u32) -> bool {
        self.have.remove(piece) && self.lost.insert(piece)
    }

    /// Panics where a field's invariant does not hold.
    #[cfg(debug_assertions)]
    pub(super) fn check_invariants(&self) {
        self.picker.check_invariants();
        let done: u64 = self.picker.done().total();
        let pieces = self.torrent.pieces;
        let here = self.have.iter().chain(self.lost.iter());
        assert_eq!(done, here.map(|piece| u64::from(pieces.len_of(piece))).sum::<u64>());
        assert!(!self.have.intersects(&self.needed));
        assert_eq!(self.picker.is_complete(), self.needed.is_empty());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::info_hash::InfoHash;

    fn fetching(count: u32, piece: u32, random: &mut fastrand::Rng) -> Fetching {
        let pieces = Pieces::new(u64::from(count) * u64::from(piece) - 5, piece).expect("it can be divided");
        let info: Arc<[u8]> = Arc::from([]);
        let torrent = Torrent { info_hash: InfoHash::of(&info), pieces, info, is_private: false };
        Fetching::new(torrent, PieceSet::none(count), &PieceSet::none(count), 64 << 20, random)
    }

    fn address(n: usize) -> SocketAddr {
        SocketAddr::from(([10, 0, (n / 256) as u8, (n % 256) as u8], 6881))
    }

    #[test]
    fn two_hundred_thousand_pieces_are_chosen_from_fifty_peers_without_a_search_through_all_each_time() {
        const PIECES: u32 = 200_000;
        let mut random = fastrand::Rng::with_seed(1);
        let mut fetching = fetching(PIECES, BLOCK, &mut random);
        let mut peers: Vec<PieceSet> = Vec::new();
        for n in 0..50 {
            let mut parts = PieceSet::none(PIECES);
            match n {
                0 => parts = PieceSet::all(PIECES),
                n => (0..PIECES).filter(|_| random.u32(..50) < n).for_each(|piece| _ = parts.insert(piece)),
            }
            if !parts.is_full() {
                parts.runs().for_each(|run| fetching.gained(run, &mut random));
            }
            peers.push(parts);
        }
        fetching.refresh(Time::ZERO, &mut random);
        let (mut came, mut step) = (0, 0u64);
        while !fetching.is_complete() {
            step += 1;
            let now = Time::from_millis(step);
            for (n, parts) in peers.iter().enumerate() {
                let path =
                    Path { address: address(n), parts, rate: 1e6, round_trip: Duration::from_millis(50) };
                for block in fetching.next_blocks(now, path, 16) {
                    let taken = fetching.on_block(address(n), block);
                    if taken.is_full {
                        came += 1;
                        assert_eq!(fetching.on_checked(block.piece, true), Checked::Done);
                    }
                }
            }
            if step.is_multiple_of(250) {
                fetching.refresh(now, &mut random);
            }
            assert!(step < u64::from(PIECES), "{came} pieces came");
        }
        assert_eq!(came, PIECES);
        #[cfg(debug_assertions)]
        fetching.check_invariants();
    }
}
