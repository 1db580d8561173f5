//! A stretch of content or tree that is being gathered.

use std::net::SocketAddr;
use std::ops::Range;

use crate::time::Time;
use crate::transfer::ranges::RangeSet;

/// Which of the two files of an id a range lies in. Tree comes first: without it nothing can be verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Space {
    /// The hash tree.
    Tree,
    /// The content itself.
    Content,
}

/// Gathers one stretch until it can be verified as a whole.
#[derive(Clone, Debug)]
pub(super) struct Extent {
    pub(super) range: Range<u64>,
    bytes: Vec<u8>,
    // Invariant: `have` and `need` are disjoint and within `range`; what is in neither is in flight.
    have: RangeSet,
    need: RangeSet,
    /// Whose it is to ask for. Nobody's where the owner went away.
    pub(super) owner: Option<SocketAddr>,
    /// A second one that asks for what the owner is slow to bring.
    pub(super) helper: Option<SocketAddr>,
    /// Who sent any of the bytes.
    pub(super) contributors: Vec<SocketAddr>,
    /// Wrong bytes from several sources came together here: this time all must come from one, so that it can be blamed.
    pub(super) sole: bool,
    pub(super) last_ask: Time,
}

impl Extent {
    pub(super) fn new(range: Range<u64>, owner: Option<SocketAddr>, now: Time) -> Extent {
        let len = (range.end - range.start) as usize;
        Extent {
            bytes: vec![0; len],
            have: RangeSet::new(),
            need: RangeSet::from_iter([range.clone()]),
            range,
            owner,
            helper: None,
            contributors: Vec::new(),
            sole: false,
            last_ask: now,
        }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn is_full(&self) -> bool {
        self.have.total() == self.range.end - self.range.start
    }

    pub(super) fn needs_asking(&self) -> bool {
        !self.need.is_empty()
    }

    pub(super) fn belongs_to(&self, source: SocketAddr) -> bool {
        self.owner == Some(source) || self.helper == Some(source)
    }

    /// Whether somebody who has this much could send some of what is to be asked for.
    pub(super) fn needs_some_of(&self, has: &RangeSet) -> bool {
        self.need.iter().any(|range| has.overlaps(range))
    }

    /// Whether somebody who has this much could send some of what is not here.
    pub(super) fn lacks_some_of(&self, has: &RangeSet) -> bool {
        self.have.gaps(self.range.clone()).any(|range| has.overlaps(range))
    }

    /// The next range to ask for, of `most` bytes at the most, or one whole block of `aligned` bytes where given; only of
    /// what the source `has`, where that is known.
    pub(super) fn next_ask(
        &mut self,
        now: Time,
        most: u64,
        aligned: Option<u64>,
        has: Option<&RangeSet>,
    ) -> Option<Range<u64>> {
        let first = match has {
            None => self.need.iter().next()?,
            Some(has) => self.need.iter().find_map(|range| has.within(range).next())?,
        };
        let ask = match aligned {
            None => first.start..first.end.min(first.start + most),
            Some(unit) => {
                let start = first.start / unit * unit;
                start..start + unit
            }
        };
        self.need.remove(ask.clone());
        self.last_ask = now;
        Some(ask)
    }

    /// What was in flight and did not come must be asked for again.
    pub(super) fn give_back(&mut self, range: Range<u64>) {
        let within = range.start.max(self.range.start)..range.end.min(self.range.end);
        if within.is_empty() {
            return;
        }
        let missing: Vec<_> = self.have.gaps(within).collect();
        for gap in missing {
            self.need.insert(gap);
        }
    }

    /// What is missing is asked for a second time, of somebody else.
    pub(super) fn ask_missing_again(&mut self) {
        self.give_back(self.range.clone());
    }

    /// Takes in bytes that came from `source`; returns how many of them were new.
    pub(super) fn fill(&mut self, source: SocketAddr, offset: u64, data: &[u8]) -> u64 {
        let start = offset.max(self.range.start);
        let end = (offset + data.len() as u64).min(self.range.end);
        if start >= end || (self.sole && self.owner != Some(source)) {
            return 0;
        }
        for gap in self.have.gaps(start..end) {
            let from = &data[(gap.start - offset) as usize..(gap.end - offset) as usize];
            let at = (gap.start - self.range.start) as usize;
            self.bytes[at..at + from.len()].copy_from_slice(from);
        }
        let new = self.have.insert(start..end);
        self.need.remove(start..end);
        if new > 0 && !self.contributors.contains(&source) {
            self.contributors.push(source);
        }
        new
    }

    /// Starts over, with all bytes from one source.
    pub(super) fn start_over(&mut self) {
        self.have = RangeSet::new();
        self.need = RangeSet::from_iter([self.range.clone()]);
        self.owner = None;
        self.helper = None;
        self.contributors.clear();
        self.sole = true;
    }
}
