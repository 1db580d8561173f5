//! `Extent`: a stretch of content or hashes that is being gathered.

use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

use super::parts::Parts;
use crate::range_set::RangeSet;
use crate::slices::Slices;
use crate::time::Time;

/// Which of two files a range lies in: some content, or the hashes that verify it, where these are fetched too. The tree comes
/// first: without it nothing can be verified.
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
    /// What came, or nothing where that is kept elsewhere.
    bytes: Vec<u8>,
    // Invariant: `have` and `need` are disjoint and within `range`; what is in neither is in flight.
    have: RangeSet,
    need: RangeSet,
    /// The source that is asked for it. None where that one went away.
    pub(super) owner: Option<SocketAddr>,
    /// Slower sources were asked for it before.
    pub(super) was_passed_on: bool,
    /// Sources that sent any of the bytes.
    pub(super) contributors: Vec<SocketAddr>,
    /// Wrong bytes from several sources came together here: this time all must come from one, so that it can be blamed.
    pub(super) sole: bool,
    /// When the owner should have sent all of it.
    expected: Time,
    /// When it is overdue: then another source may take it.
    due: Time,
    /// Sources that were overdue with it.
    late: Vec<SocketAddr>,
    /// How often every source that would take it was late.
    rounds: u32,
}

/// The owner has so many times as long as it should take. A source that needs less than the remaining time divided by this takes the
/// extent at once.
const TIMEOUT: u32 = 2;
/// A source that was late waits so long before it takes the extent again: others may look for something to do only now and then.
const TURN: Duration = Duration::from_millis(250);
/// After so many rounds the time that each has does not double any more.
const MAX_ROUNDS: u32 = 6;
/// Sources remembered as late with one extent.
const MAX_LATE: usize = 64;
/// Contributors remembered of one extent. A single one can be blamed for wrong bytes; of several it is not known which.
const ENOUGH_CONTRIBUTORS: usize = 2;

impl Extent {
    /// A stretch of which nothing is here and which has no owner. `memory` may be used for it.
    pub(super) fn new(range: Range<u64>, mut memory: Vec<u8>) -> Extent {
        let length = (range.end - range.start) as usize;
        if memory.capacity() < length {
            // The system gives pages of zeros when they are first written to.
            memory = vec![0; length];
        } else {
            memory.resize(length, 0);
        }
        Extent { bytes: memory, ..Extent::elsewhere(range) }
    }

    /// The same, whose bytes are kept elsewhere.
    pub(super) fn elsewhere(range: Range<u64>) -> Extent {
        Extent {
            bytes: Vec::new(),
            have: RangeSet::new(),
            need: RangeSet::from_iter([range.clone()]),
            range,
            owner: None,
            was_passed_on: false,
            contributors: Vec::new(),
            sole: false,
            expected: Time::ZERO,
            due: Time::ZERO,
            late: Vec::new(),
            rounds: 0,
        }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Its memory, for another.
    pub(super) fn into_memory(self) -> Vec<u8> {
        self.bytes
    }

    /// Puts other memory in the place of its own.
    pub(super) fn swap_memory(&mut self, memory: Vec<u8>) -> Vec<u8> {
        std::mem::replace(&mut self.bytes, memory)
    }

    pub(super) fn is_full(&self) -> bool {
        self.have.total() == self.range.end - self.range.start
    }

    pub(super) fn needs_asking(&self) -> bool {
        !self.need.is_empty()
    }

    /// The first byte that is not here.
    pub(super) fn first_lacking(&self) -> Option<u64> {
        self.have.gaps(self.range.clone()).next().map(|gap| gap.start)
    }

    /// Bytes that are not here.
    pub(super) fn missing(&self) -> u64 {
        self.range.end - self.range.start - self.have.total()
    }

    /// Bytes that another would have to send: where all must come from one, what is here already is of no use to it.
    pub(super) fn missing_of_another(&self) -> u64 {
        if self.sole { self.range.end - self.range.start } else { self.missing() }
    }

    /// Makes it this source's, which should take so long.
    pub(super) fn entrust(&mut self, now: Time, source: SocketAddr, takes: Duration) {
        self.owner = Some(source);
        self.expected = now + takes;
        self.due = now + takes * TIMEOUT * 2u32.pow(self.rounds);
    }

    /// Whether another source was asked for it and is late, so that this one may take it. The clock runs until all is here: a source
    /// gains no time by bringing little at a time, or by being asked again and again.
    pub(super) fn is_late(&self, now: Time, source: SocketAddr) -> bool {
        let pause = if self.late.contains(&source) { TURN } else { Duration::ZERO };
        self.owner != Some(source) && now >= self.due + pause
    }

    /// Whether this source, which should take so long, would bring it much sooner than its owner.
    pub(super) fn comes_sooner_from(&self, now: Time, source: SocketAddr, takes: Duration) -> bool {
        self.owner != Some(source) && now + takes * TIMEOUT < self.expected
    }

    /// Passes it to this source. What was asked of the one before may still come.
    pub(super) fn hand_over(&mut self, now: Time, source: SocketAddr, takes: Duration) {
        if self.late.contains(&source) || self.late.len() >= MAX_LATE {
            // Every source had its time. Perhaps it was too short for any of them.
            self.late.clear();
            self.rounds = (self.rounds + 1).min(MAX_ROUNDS);
        }
        if let Some(last) = self.owner.filter(|_| now >= self.due) {
            self.late.push(last);
        }
        self.was_passed_on = true;
        if self.sole {
            self.start_over();
        } else {
            self.ask_missing_again();
        }
        self.entrust(now, source, takes);
    }

    /// The owner is not asked any more: it is free for others.
    pub(super) fn release(&mut self) {
        self.owner = None;
        if self.sole && !self.is_full() {
            // A part from one source is of no use to the next.
            self.start_over();
        }
    }

    pub(super) fn belongs_to(&self, source: SocketAddr) -> bool {
        self.owner == Some(source)
    }

    /// Whether a source that has this much could send some of what is to be asked for.
    pub(super) fn needs_some_of(&self, has: &dyn Parts) -> bool {
        self.need.iter().any(|range| has.overlaps(range))
    }

    /// Whether a source that has this much could send some of what is not here.
    pub(super) fn lacks_some_of(&self, has: &dyn Parts) -> bool {
        self.have.gaps(self.range.clone()).any(|range| has.overlaps(range))
    }

    /// The next range to ask for, of at most `most` bytes, or one whole block of `aligned` bytes where given; only of
    /// what the source `has`, where that is known.
    pub(super) fn next_ask(
        &mut self,
        most: u64,
        aligned: Option<u64>,
        has: Option<&dyn Parts>,
    ) -> Option<Range<u64>> {
        let first = match has {
            None => self.need.iter().next()?,
            Some(has) => self.need.iter().find_map(|range| has.next(range))?,
        };
        let ask = match aligned {
            None => first.start..first.end.min(first.start + most),
            Some(unit) => {
                let start = first.start / unit * unit;
                start..start + unit
            }
        };
        self.need.remove(ask.clone());
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

    /// What is missing is asked for a second time, of another source.
    pub(super) fn ask_missing_again(&mut self) {
        self.give_back(self.range.clone());
    }

    /// Takes in bytes that came from `source`; returns how many of them were new.
    pub(super) fn fill(&mut self, source: SocketAddr, offset: u64, data: Slices<'_>) -> u64 {
        let start = offset.max(self.range.start);
        let end = (offset + data.len() as u64).min(self.range.end);
        if start >= end || (self.sole && self.owner != Some(source)) {
            return 0;
        }
        for gap in self.have.gaps(start..end) {
            let from = (gap.start - offset) as usize..(gap.end - offset) as usize;
            let at = (gap.start - self.range.start) as usize;
            data.copy_to(from.clone(), &mut self.bytes[at..at + from.len()]);
        }
        self.note(source, start..end)
    }

    /// The bytes of this range came from `source`, and are kept elsewhere; returns how many of them were new.
    pub(super) fn note(&mut self, source: SocketAddr, range: Range<u64>) -> u64 {
        let range = range.start.max(self.range.start)..range.end.min(self.range.end);
        if range.is_empty() || (self.sole && self.owner != Some(source)) {
            return 0;
        }
        let new = self.have.insert(range.clone());
        self.need.remove(range);
        if new > 0 && self.contributors.len() < ENOUGH_CONTRIBUTORS && !self.contributors.contains(&source) {
            self.contributors.push(source);
        }
        new
    }

    /// Starts over. All bytes must come from one source.
    pub(super) fn start_over(&mut self) {
        self.have = RangeSet::new();
        self.need = RangeSet::from_iter([self.range.clone()]);
        self.owner = None;
        self.contributors.clear();
        self.sole = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 1);
    const B: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 2);
    const C: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 3);

    fn at(ms: u64) -> Time {
        Time::from_millis(ms)
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// An extent of 1,000 bytes that was asked of this source, which should take 100 ms.
    fn asked_of(source: SocketAddr) -> Extent {
        let mut extent = Extent::new(0..1000, Vec::new());
        extent.entrust(at(0), source, ms(100));
        while extent.next_ask(100, None, None).is_some() {}
        extent
    }

    #[test]
    fn an_extent_passes_on_when_it_is_overdue_and_not_before() {
        let extent = asked_of(A);
        assert!(!extent.is_late(at(199), B));
        assert!(extent.is_late(at(200), B));
        assert!(!extent.is_late(at(200), A), "it was asked");
    }

    #[test]
    fn an_extent_passes_at_once_to_one_that_would_be_much_sooner() {
        let extent = asked_of(A);
        assert!(extent.comes_sooner_from(at(0), B, ms(49)));
        assert!(!extent.comes_sooner_from(at(0), A, ms(49)), "it was asked");
        assert!(!extent.comes_sooner_from(at(0), B, ms(50)));
        assert!(!extent.comes_sooner_from(at(60), B, ms(49)), "there is little left to wait");
    }

    #[test]
    fn a_source_that_brings_little_or_is_asked_again_and_again_gains_no_time() {
        let mut extent = asked_of(A);
        for n in 0..20 {
            extent.fill(A, n, Slices::new(&[&[1]]));
            extent.fill(A, 0, Slices::new(&[&[1]]));
            extent.give_back(n + 1..n + 2);
            extent.next_ask(1, None, None);
        }
        assert!(extent.is_late(at(200), B));
    }

    #[test]
    fn a_late_source_takes_it_again_only_after_others_could_and_then_has_more_time() {
        let mut extent = asked_of(A);
        extent.hand_over(at(200), B, ms(100));
        assert!(!extent.is_late(at(400), A), "others first");
        assert!(extent.is_late(at(400), C));
        assert!(extent.is_late(at(400) + TURN, A), "there are none");
        extent.hand_over(at(400) + TURN, A, ms(100));
        assert!(!extent.is_late(at(799) + TURN, C), "it has twice as long");
        assert!(extent.is_late(at(800) + TURN, C));
    }

    #[test]
    fn what_passes_on_is_asked_for_but_for_what_is_here() {
        let mut extent = asked_of(A);
        extent.fill(A, 0, Slices::new(&[&[1; 300]]));
        extent.hand_over(at(200), B, ms(100));
        assert_eq!(extent.next_ask(1000, None, None), Some(300..1000));
        assert_eq!(extent.fill(A, 300, Slices::new(&[&[1; 100]])), 100, "what comes late is of use");
    }

    #[test]
    fn what_must_come_from_one_source_begins_anew_with_the_next() {
        let mut extent = asked_of(A);
        extent.start_over();
        extent.entrust(at(0), A, ms(100));
        extent.fill(A, 0, Slices::new(&[&[1; 900]]));
        assert_eq!((extent.missing(), extent.missing_of_another()), (100, 1000));
        extent.hand_over(at(200), B, ms(100));
        assert_eq!((extent.owner, extent.missing()), (Some(B), 1000));
        assert_eq!(extent.fill(A, 0, Slices::new(&[&[1; 900]])), 0);
    }

    #[test]
    fn however_many_are_late_or_give_a_byte_few_are_remembered() {
        let source = |n: u16| SocketAddr::from(([192, 0, 2, 1], n));
        let mut extent = asked_of(A);
        for n in 0..1000 {
            extent.fill(source(n), u64::from(n), Slices::new(&[&[1]]));
            extent.hand_over(at(1_000_000 * u64::from(n)), source(n), ms(1));
            assert!(extent.late.len() <= MAX_LATE && extent.contributors.len() <= ENOUGH_CONTRIBUTORS);
        }
        assert_eq!(
            extent.contributors,
            [source(0), source(1)],
            "of several it is not known which is to blame"
        );
    }
}
