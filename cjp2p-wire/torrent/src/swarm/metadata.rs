//! `MetadataFetch`: the `info` of a torrent of which only the hash is known, asked of one peer after another (BEP 9).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use cjp2p_wire::time::Time;

use super::output::ConnId;
use crate::info_hash::InfoHash;
use crate::wire::{MAX_METADATA, METADATA_PIECE};

/// So many pieces are asked for at a time.
const DEPTH: usize = 16;
/// A peer that sends none for so long is asked no more while there are others.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Peers that were asked in vain are remembered, so many.
const MAX_TRIED: usize = 1000;

#[derive(Debug)]
struct Attempt {
    from: ConnId,
    size: u32,
    /// What came, by the number of the piece; together at most `MAX_METADATA` bytes.
    got: BTreeMap<u32, Vec<u8>>,
    next: u32,
    moved_at: Time,
}

impl Attempt {
    fn pieces(&self) -> u32 {
        self.size.div_ceil(METADATA_PIECE)
    }

    fn len_of(&self, piece: u32) -> usize {
        (self.size - piece * METADATA_PIECE).min(METADATA_PIECE) as usize
    }
}

/// What came of a piece of metadata.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// More is to come.
    More,
    /// That was all, and it is right.
    Right(Vec<u8>),
    /// That was all, and it is wrong.
    Wrong,
}

/// Who is asked for what.
#[derive(Debug)]
pub(super) struct MetadataFetch {
    info_hash: InfoHash,
    attempt: Option<Attempt>,
    /// Asked in vain.
    // Invariant: at most `MAX_TRIED`.
    tried: BTreeSet<ConnId>,
}

impl MetadataFetch {
    pub(super) fn new(info_hash: InfoHash) -> MetadataFetch {
        MetadataFetch { info_hash, attempt: None, tried: BTreeSet::new() }
    }

    /// Whether a peer is to be chosen with [`begin`](MetadataFetch::begin).
    pub(super) fn is_idle(&self) -> bool {
        self.attempt.is_none()
    }

    pub(super) fn was_tried(&self, id: ConnId) -> bool {
        self.tried.contains(&id)
    }

    /// All were asked in vain: they are asked again.
    pub(super) fn try_all_again(&mut self) {
        self.tried.clear();
    }

    /// This peer, which says that there are so many bytes, is asked from now on.
    pub(super) fn begin(&mut self, now: Time, from: ConnId, size: u32) {
        if (1..=MAX_METADATA).contains(&size) {
            self.attempt = Some(Attempt { from, size, got: BTreeMap::new(), next: 0, moved_at: now });
        }
    }

    /// What to ask the present peer for now.
    pub(super) fn next_asks(&mut self) -> Option<(ConnId, Vec<u32>)> {
        let attempt = self.attempt.as_mut()?;
        let end = attempt.pieces().min(attempt.got.len() as u32 + DEPTH as u32);
        let asks = attempt.next..end.max(attempt.next);
        attempt.next = asks.end;
        (!asks.is_empty()).then(|| (attempt.from, asks.collect()))
    }

    /// The present peer is not asked any more.
    fn give_up(&mut self) {
        if let Some(attempt) = self.attempt.take()
            && self.tried.len() < MAX_TRIED
        {
            self.tried.insert(attempt.from);
        }
    }

    /// This peer sent a piece. What was not asked for is passed over.
    pub(super) fn on_data(&mut self, now: Time, from: ConnId, piece: u32, data: &[u8]) -> Progress {
        let Some(attempt) = self.attempt.as_mut().filter(|attempt| attempt.from == from) else {
            return Progress::More;
        };
        if piece >= attempt.next || data.len() != attempt.len_of(piece) {
            return Progress::More;
        }
        attempt.moved_at = now;
        attempt.got.insert(piece, data.to_vec());
        if attempt.got.len() < attempt.pieces() as usize {
            return Progress::More;
        }
        let info: Vec<u8> = attempt.got.values().flatten().copied().collect();
        if InfoHash::of(&info) == self.info_hash {
            Progress::Right(info)
        } else {
            self.give_up();
            Progress::Wrong
        }
    }

    /// This peer does not send it, or is gone.
    pub(super) fn on_refused(&mut self, from: ConnId) {
        if self.attempt.as_ref().is_some_and(|attempt| attempt.from == from) {
            self.give_up();
        }
    }

    /// Passes over a peer that sends nothing.
    pub(super) fn handle_timeout(&mut self, now: Time) {
        if self.attempt.as_ref().is_some_and(|attempt| now.since(attempt.moved_at) >= TIMEOUT) {
            self.give_up();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece_of(info: &[u8], piece: u32) -> &[u8] {
        info.chunks(METADATA_PIECE as usize).nth(piece as usize).unwrap()
    }

    fn answer_all(fetch: &mut MetadataFetch, from: ConnId, info: &[u8]) -> Progress {
        loop {
            let (asked, pieces) = fetch.next_asks().expect("something to ask for");
            assert!(asked == from && pieces.len() <= DEPTH);
            for piece in pieces.into_iter().rev() {
                let progress = fetch.on_data(Time::ZERO, from, piece, piece_of(info, piece));
                if progress != Progress::More {
                    return progress;
                }
            }
        }
    }

    #[test]
    fn metadata_of_one_peer_is_put_together_and_what_is_wrong_is_the_fault_of_that_one() {
        let info: Vec<u8> = (0..METADATA_PIECE * 40 + 7).map(|n| (n % 251) as u8).collect();
        let mut wrong = info.clone();
        wrong[5] ^= 1;
        let size = info.len() as u32;
        let mut fetch = MetadataFetch::new(InfoHash::of(&info));
        fetch.begin(Time::ZERO, ConnId(1), size);
        assert_eq!(answer_all(&mut fetch, ConnId(1), &wrong), Progress::Wrong);
        assert!(fetch.is_idle() && fetch.was_tried(ConnId(1)));
        fetch.begin(Time::ZERO, ConnId(2), size);
        assert!(answer_all(&mut fetch, ConnId(2), &info) == Progress::Right(info));
    }

    #[test]
    fn a_peer_that_sends_nothing_or_something_else_is_passed_over_after_a_while() {
        let mut fetch = MetadataFetch::new(InfoHash::of(b"x"));
        fetch.begin(Time::ZERO, ConnId(1), 20_000);
        assert_eq!(fetch.next_asks(), Some((ConnId(1), vec![0, 1])));
        for (piece, len) in [(0, 5), (1, METADATA_PIECE), (2, 0), (u32::MAX, 1)] {
            let data = vec![0; len as usize];
            assert_eq!(fetch.on_data(Time::from_millis(9_000), ConnId(1), piece, &data), Progress::More);
        }
        fetch.handle_timeout(Time::from_millis(10_000));
        assert!(fetch.is_idle());
        fetch.begin(Time::ZERO, ConnId(2), MAX_METADATA + 1);
        assert!(fetch.is_idle());
    }
}
