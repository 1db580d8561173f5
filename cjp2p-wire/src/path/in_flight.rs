//! The requests in flight to one peer, and which of them are lost.
//!
//! Loss is detected as in RFC 9002: by later answers, by time, and at last by a probe timeout.

mod request;

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

pub use self::request::{Again, Answers, MAX_BLOCKS, RequestedBlock, Sequence};

use self::request::{SentRequest, first_bits};
use crate::path::congestion::Congestion;
use crate::path::rtt::{Rtt, SHORT_PATH};
use crate::path::waits::Waits;
use crate::time::Time;

/// A request is lost when this many later ones were answered (RFC 9002, kPacketThreshold).
pub const REORDERING: u64 = 3;
/// That number grows up to this, as the path shows that answers overtake each other by more.
pub const MAX_REORDERING: u64 = 128;
/// After this many probe timeouts in a row the peer counts as gone.
pub const PTOS_UNTIL_GONE: u32 = 3;
/// Requests that are sent again after a probe timeout (RFC 9002, section 6.2.4).
pub const PROBES: usize = 2;
/// A lost request is remembered for this time, since its answer may come late.
pub const LATE: Duration = Duration::from_secs(2);
/// It is remembered for this time if only [`FEW`] are: they wait in line at a source that sends little in a second.
pub const VERY_LATE: Duration = Duration::from_secs(60);
/// See [`VERY_LATE`].
pub const FEW: usize = 64;
/// An answer is sooner than the path can be crossed if the shortest round trip is longer by more than this part of it: an answer
/// may always be a little quicker than all before.
pub const CROSSING_VARIES: u32 = 8;
/// How many requests a path remembers at most, lost ones included.
pub const MAX_REQUESTS: usize = 16_384;
/// One peer's path: its round trip, its congestion controller, and the requests in flight, each with a `T` that says what it
/// asks for.
#[derive(Clone, Debug)]
pub struct InFlight<T> {
    /// The round trip.
    pub rtt: Rtt,
    /// How much may be in flight.
    pub congestion: Congestion,
    // By the sequence number of their first block.
    requests: BTreeMap<Sequence, SentRequest<T>>,
    next: Sequence,
    // The latest block that was answered.
    answered: Option<Sequence>,
    reordering: u64,
    pto_count: u32,
    // How often the wait for an answer is doubled beyond what the round trips say.
    backoff: u32,
    last_answer_at: Time,
    // Blocks that may be asked for after a probe timeout, whatever the window says.
    probes: usize,
    // Invariant: the number of live blocks.
    live: usize,
    // The request and answer times of the last measured round trip.
    measured: (Time, Time),
    // How long what is taken in now was here before it was read.
    waited_here: Duration,
    waits: Waits,
}

impl<T: Clone> InFlight<T> {
    /// A path of which nothing is known, for answers of `block` bytes.
    pub fn new(block: u64) -> InFlight<T> {
        InFlight {
            rtt: Rtt::default(),
            congestion: Congestion::new(block),
            requests: BTreeMap::new(),
            next: 0,
            answered: None,
            reordering: REORDERING,
            pto_count: 0,
            backoff: 0,
            last_answer_at: Time::ZERO,
            probes: 0,
            live: 0,
            measured: (Time::NEVER, Time::NEVER),
            waited_here: Duration::ZERO,
            waits: Waits::default(),
        }
    }

    /// How many bytes of answers may be asked for now, as the first of a burst or after others; 0 where none may. A single
    /// block may be longer.
    pub fn allowance(&self, now: Time, is_first: bool) -> u64 {
        if self.requests.len() >= MAX_REQUESTS {
            return 0;
        }
        // While the peer is silent, a few requests probe whether it is back.
        if self.pto_count > 0 {
            let may = self.live == 0 || self.probes > 0;
            return u64::from(may);
        }
        // An answer to a new block shows what one to an old block cannot: when it was asked for.
        let probes = u64::from(self.probes > 0 && self.congestion.in_flight() > 0);
        self.congestion.allowance(now, self.rtt.min(), is_first).max(probes)
    }

    /// Whether the path is local or [short](SHORT_PATH).
    pub fn is_short(&self) -> bool {
        self.congestion.is_local() || self.rtt.min() <= SHORT_PATH
    }

    /// How many probe timeouts there were in a row.
    pub fn pto_count(&self) -> u32 {
        self.pto_count
    }

    /// Whether the peer counts as gone.
    pub fn is_gone(&self) -> bool {
        self.pto_count >= PTOS_UNTIL_GONE
    }

    /// How many blocks are in flight.
    pub fn live(&self) -> usize {
        self.live
    }

    /// How many requests are remembered, recently lost ones included.
    pub fn remembered(&self) -> usize {
        self.requests.len()
    }

    /// Notes a request.
    pub fn on_sent(&mut self, now: Time, what: T, answers: Answers, again: Again) -> Sequence {
        debug_assert!((1..=MAX_BLOCKS).contains(&answers.blocks));
        let stamp = self.congestion.on_sent(now, answers.total());
        let sequence = self.next;
        self.next += u64::from(answers.blocks);
        self.live += answers.blocks as usize;
        self.probes = self.probes.saturating_sub(answers.blocks as usize);
        let open = first_bits(answers.blocks.into());
        self.requests
            .insert(sequence, SentRequest { what, stamp, sent_at: now, answers, again, open, lost: 0 });
        sequence
    }

    /// What a request asked for, while it is remembered.
    pub fn get(&self, request: Sequence) -> Option<&T> {
        self.requests.get(&request).map(|request| &request.what)
    }

    /// Whether an answer to this request may be one to an earlier request for some of the same bytes.
    pub fn again(&self, request: Sequence) -> Again {
        self.requests.get(&request).map_or(Again::No, |request| request.again)
    }

    /// When this request left, where its answer can be none to an earlier one.
    pub fn sent_at(&self, request: Sequence) -> Option<Time> {
        self.requests
            .get(&request)
            .filter(|request| request.again == Again::No)
            .map(|request| request.sent_at)
    }

    /// Whether this block is open: it neither came nor was asked for anew.
    pub fn is_open(&self, block: RequestedBlock) -> bool {
        self.requests.get(&block.request).is_some_and(|request| request.has_open(block))
    }

    /// A bit for each block of a request that is open, the first block's the lowest.
    pub fn open_blocks(&self, request: Sequence) -> u64 {
        self.requests.get(&request).map_or(0, |request| request.open)
    }

    /// Whether this block is live: open, and not lost.
    pub fn is_live(&self, block: RequestedBlock) -> bool {
        let request = self.requests.get(&block.request);
        request.is_some_and(|request| request.has_open(block) && request.live() & block.bit() != 0)
    }

    /// The oldest live block of a request for which `matches` holds.
    pub fn oldest(&self, matches: impl Fn(&T) -> bool) -> Option<RequestedBlock> {
        let mut live = self.requests.iter().filter(|(_, request)| request.live() != 0);
        let (&sequence, request) = live.find(|(_, request)| matches(&request.what))?;
        Some(RequestedBlock { request: sequence, nth: request.live().trailing_zeros() })
    }

    /// Says how long the answers that are noted next were here before they were read.
    pub fn set_waited_here(&mut self, waited: Duration) {
        self.waited_here = waited;
    }

    /// Whether the peer should say how long the requests wait that leave now: the number to ask with, once for all of them. Between
    /// processes of one machine the path is known to be short.
    pub fn ask_wait(&mut self, now: Time) -> Option<u64> {
        if self.congestion.is_local() { None } else { self.waits.ask(now) }
    }

    /// Notes how long the requests with this number waited at the peer, as it says.
    pub fn on_waited(&mut self, number: u64, time: Duration) {
        self.waits.on_told(number, time);
    }

    /// Notes that a block came, exactly as it was asked for or not. Returns what its request asked for, once for each block,
    /// and whether it was the last one open.
    pub fn on_answer(&mut self, now: Time, block: RequestedBlock, is_exact: bool) -> Option<(T, bool)> {
        self.on_answer_of(now, block, is_exact, None)
    }

    /// The same for an answer of `came` bytes, if that is less than was asked for.
    pub fn on_answer_of(
        &mut self,
        now: Time,
        block: RequestedBlock,
        is_exact: bool,
        came: Option<u64>,
    ) -> Option<(T, bool)> {
        if !self.is_open(block) {
            return None;
        }
        self.on_bits(now, block.request, block.bit(), is_exact, came)
    }

    /// Notes that these blocks of a request came together, each exactly as it was asked for, and none that came before. Returns the
    /// same as [`InFlight::on_answer`].
    pub fn on_answers(&mut self, now: Time, request: Sequence, blocks: Range<u32>) -> Option<(T, bool)> {
        let bits = first_bits(blocks.end.into()) & !first_bits(blocks.start.into());
        self.on_bits(now, request, bits, true, None)
    }

    fn on_bits(
        &mut self,
        now: Time,
        sequence: Sequence,
        bits: u64,
        is_exact: bool,
        came: Option<u64>,
    ) -> Option<(T, bool)> {
        let request = self.requests.get_mut(&sequence)?;
        if bits == 0 || request.open & bits != bits {
            return None;
        }
        let (stamp, sent_at) = (request.stamp, request.sent_at);
        let came_at = now - self.waited_here;
        // Bytes cut in another way were asked for in another way: they answer an earlier request, which is forgotten.
        let again = if is_exact || !self.rtt.is_known() { request.again } else { Again::Yes };
        let (live, late) = (request.live() & bits, bits & !request.live());
        let whole = request.bytes_of(live);
        let bytes = came.map_or(whole, |came| came.min(whole));
        request.open &= !bits;
        request.lost &= !bits;
        let what = request.what.clone();
        let is_last = request.open == 0;
        if is_last {
            self.requests.remove(&sequence);
        }
        let latest = RequestedBlock { request: sequence, nth: bits.ilog2() };
        self.measure(now, latest, sent_at, again);
        if live != 0 {
            self.live -= live.count_ones() as usize;
            self.congestion.on_withdrawn(whole - bytes);
            if again == Again::No {
                let times = self.rtt.times(now, self.is_short());
                self.congestion.on_arrived(came_at, stamp, bytes, times);
            } else {
                self.congestion.on_arrived_unclear(came_at, bytes);
            }
        }
        if late != 0 {
            // They were not lost but late: answers overtake each other on this path.
            let first = sequence + u64::from(late.trailing_zeros());
            let overtaken = self.answered.map_or(0, |answered| answered.saturating_sub(first));
            self.reordering = self.reordering.max(overtaken + 1).min(MAX_REORDERING);
        }
        Some((what, is_last))
    }

    /// Takes what the time of an answer shows: the peer is there, later requests overtook earlier ones, the round trip is known.
    fn measure(&mut self, now: Time, block: RequestedBlock, sent_at: Time, again: Again) {
        let was_silent = std::mem::take(&mut self.pto_count) > 0;
        self.last_answer_at = now;
        // An answer that comes sooner than the path can be crossed is to an earlier request, and was only late (as in RFC 8985,
        // section 6.2, step 2).
        let waited = now.since(sent_at);
        let crossing = self.rtt.min() - self.rtt.min() / CROSSING_VARIES;
        let on_the_way = waited.saturating_sub(self.waited_here);
        let is_early = again != Again::No && self.rtt.is_known() && on_the_way < crossing;
        if is_early {
            self.probes = if was_silent { PROBES } else { self.probes };
        } else {
            self.probes = 0;
            self.answered = self.answered.max(Some(block.sequence()));
        }
        // So is, most likely, an answer after a probe timeout that took much longer than expected. The path may have become
        // slower: if that went unnoticed, everything in flight would be asked for again and again, and never measured.
        let is_late = self.backoff > 0 && waited > self.rtt.timeout(0);
        if !is_early && !is_late {
            // The answer came as soon as expected: the path is what it was.
            self.backoff = 0;
        }
        let asked_at = match again {
            Again::No => Some(sent_at),
            Again::Since(first) => (is_early || is_late).then_some(first),
            Again::Yes => None,
        };
        // Blocks of one request that arrive together measure the same.
        if let Some(asked_at) = asked_at.filter(|&asked_at| self.measured != (asked_at, now)) {
            self.measured = (asked_at, now);
            // The answer may be to any of the requests in between.
            let most = self.rtt.timeout(self.backoff + 1);
            let measured = now.since(asked_at);
            if again == Again::No {
                let rtt = self.waits.on_the_path(sent_at, measured.saturating_sub(self.waited_here));
                self.rtt.sample_within(now, measured, rtt);
            } else {
                self.rtt.sample(now, measured.min(most));
            }
            self.backoff = 0;
        }
    }

    /// Forgets a block that is asked for anew. Returns when it was asked for first, if it was open.
    pub fn supersede(&mut self, block: RequestedBlock) -> Option<Again> {
        let request = self.requests.get_mut(&block.request).filter(|request| request.has_open(block))?;
        let first = match request.again {
            Again::No => Again::Since(request.sent_at),
            earlier => earlier,
        };
        if request.close(block) {
            self.congestion.on_withdrawn(request.answers.of(block.nth));
            self.live -= 1;
        }
        if request.open == 0 {
            self.requests.remove(&block.request);
        }
        Some(first)
    }

    /// Forgets a request: nobody needs its answers any more.
    pub fn withdraw(&mut self, request: Sequence) {
        if let Some(request) = self.requests.remove(&request) {
            self.congestion.on_withdrawn(request.bytes_of(request.live()));
            self.live -= request.live().count_ones() as usize;
        }
    }

    /// Finds what is lost by now, and returns it: which blocks of which request.
    pub fn detect_losses(&mut self, now: Time) -> Vec<(T, Range<u32>)> {
        let mut lost = Vec::new();
        if let Some(answered) = self.answered {
            let loss_delay = self.loss_delay();
            for (&sequence, request) in self.requests.range_mut(..answered) {
                if request.live() == 0 {
                    continue;
                }
                let later = if now.since(request.sent_at) >= loss_delay { 1 } else { self.reordering };
                let overtaken = first_bits((answered + 1).saturating_sub(sequence + later)) & request.live();
                self.live -= overtaken.count_ones() as usize;
                self.congestion.on_lost(request.sent_at, request.bytes_of(overtaken));
                mark_lost(request, overtaken, &mut lost);
            }
        }
        if self.live > 0 && now >= self.timeout_at() {
            self.pto_count += 1;
            self.backoff += 1;
            // It may only be a pause. Two blocks are asked for again, and the others stay in flight: if they are lost, the
            // answers to those two show it.
            let mut left = if self.pto_count < PTOS_UNTIL_GONE { PROBES } else { usize::MAX };
            self.probes = PROBES;
            if self.pto_count >= 2 {
                self.congestion.restart(now);
            }
            for request in self.requests.values_mut() {
                let mut probed = request.live();
                while probed.count_ones() as usize > left {
                    probed &= !(1 << probed.ilog2());
                }
                left -= probed.count_ones() as usize;
                self.live -= probed.count_ones() as usize;
                // Nobody knows whether they are lost: they are asked for again to find out (RFC 9002, section 6.2).
                self.congestion.on_withdrawn(request.bytes_of(probed));
                mark_lost(request, probed, &mut lost);
            }
        }
        while let Some((&oldest, request)) = self.requests.first_key_value() {
            let age = now.since(request.sent_at);
            let is_of_few = self.requests.len() <= FEW && age < VERY_LATE;
            if request.live() != 0 || age < LATE + self.rtt.smoothed() || is_of_few {
                break;
            }
            self.requests.remove(&oldest);
        }
        lost
    }

    /// When [`InFlight::detect_losses`] should be called next, or [`Time::NEVER`].
    pub fn next_check_at(&self) -> Time {
        if self.live == 0 {
            return Time::NEVER;
        }
        // A request that was overtaken is lost once the loss delay has passed.
        let overtaken = self.answered.and_then(|answered| {
            let mut earlier = self.requests.range(..answered);
            let (_, request) =
                earlier.find(|(sequence, request)| request.live() & first_bits(answered - *sequence) != 0)?;
            Some(request.sent_at + self.loss_delay())
        });
        self.timeout_at().min(overtaken.unwrap_or(Time::NEVER))
    }

    /// How long a request may stay in flight while later ones are answered (RFC 9002, kTimeThreshold and kGranularity).
    fn loss_delay(&self) -> Duration {
        self.rtt.smoothed().max(self.rtt.latest_wait()) * 9 / 8 + Duration::from_millis(1)
    }

    /// When the next probe timeout ends, counted from the newest request, or from the last answer if that was later. Answers to
    /// later requests decide about an older one.
    fn timeout_at(&self) -> Time {
        let newest = self.requests.values().rev().find(|request| request.live() != 0);
        newest.map_or(Time::NEVER, |request| {
            request.sent_at.max(self.last_answer_at) + self.rtt.timeout(self.backoff)
        })
    }
}

/// Marks some live blocks of a request as lost.
fn mark_lost<T: Clone>(request: &mut SentRequest<T>, mut blocks: u64, lost: &mut Vec<(T, Range<u32>)>) {
    request.lost |= blocks;
    while blocks != 0 {
        let start = blocks.trailing_zeros();
        let end = start + (blocks >> start).trailing_ones();
        lost.push((request.what.clone(), start..end));
        blocks &= !first_bits(end.into());
    }
}

#[cfg(test)]
mod tests;
