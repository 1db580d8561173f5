//! What is on its way from one peer, and what was lost of it.
//!
//! Loss is told as in RFC 9002: by later answers, by time, and at last by silence.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use crate::path::congestion::{PathTimes, Stamp, Window};
use crate::path::headroom::SHORT_PATH;
use crate::path::rtt::{MIN_RTT_WINDOW, Rtt};
use crate::time::Time;

/// A request is lost when so many later ones were answered (RFC 9002, kPacketThreshold).
pub const REORDERING: u64 = 3;
/// As the path shows that answers overtake each other by more, up to this.
pub const MAX_REORDERING: u64 = 128;
/// After so many silent timeouts in a row the peer is taken for gone.
pub const PTOS_UNTIL_GONE: u32 = 3;
/// Requests that ask again after a silence (RFC 9002, section 6.2.4).
pub const PROBES: usize = 2;
/// A request given up is remembered for so long, since its answer may come late.
pub const LATE: Duration = Duration::from_secs(2);
/// And for so long where there are only [`FEW`]: a source that sends little in a second has them wait in line.
pub const VERY_LATE: Duration = Duration::from_secs(60);
/// See [`VERY_LATE`].
pub const FEW: usize = 64;
/// How many requests a path remembers at the most, those given up included.
pub const MAX_FLIGHTS: usize = 16_384;
/// The most blocks of one request.
pub const MAX_BLOCKS: u32 = u64::BITS;

/// The number of a block that was asked for on its path; later ones are larger.
pub type Sequence = u64;

/// One block of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Asked {
    /// The sequence number of the request's first block.
    pub request: Sequence,
    /// Which of the request's blocks.
    pub nth: u32,
}

impl Asked {
    fn sequence(self) -> Sequence {
        self.request + u64::from(self.nth)
    }

    fn bit(self) -> u64 {
        1 << self.nth
    }
}

/// What a request will bring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answers {
    /// So many blocks, [`MAX_BLOCKS`] at the most.
    pub blocks: u32,
    /// Bytes of the answer with each of them but the last.
    pub bytes: u64,
    /// Bytes of the answer with the last of them.
    pub last: u64,
}

impl Answers {
    /// A single one.
    pub fn one(bytes: u64) -> Answers {
        Answers { blocks: 1, bytes, last: bytes }
    }

    fn total(&self) -> u64 {
        u64::from(self.blocks - 1) * self.bytes + self.last
    }

    fn of(&self, nth: u32) -> u64 {
        if nth + 1 == self.blocks { self.last } else { self.bytes }
    }
}

/// Whether some of the same bytes were asked of the same peer before: then nobody knows which request an answer is to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// They were not.
    No,
    /// They were, so long ago that it is not remembered when.
    Yes,
    /// They were, at this time for the first time.
    Since(Time),
}

impl Again {
    /// The same of a request for what two earlier ones asked for.
    pub fn or(self, other: Again) -> Again {
        match (self, other) {
            (Again::Since(one), Again::Since(other)) => Again::Since(one.min(other)),
            (Again::Since(time), _) | (_, Again::Since(time)) => Again::Since(time),
            (Again::Yes, _) | (_, Again::Yes) => Again::Yes,
            (Again::No, Again::No) => Again::No,
        }
    }
}

#[derive(Clone, Debug)]
struct Flight<T> {
    what: T,
    stamp: Stamp,
    sent_at: Time,
    answers: Answers,
    again: Again,
    // A bit for each block: that neither came nor was asked for anew. Invariant: not zero.
    open: u64,
    // Invariant: of those that are open, those that were given up.
    lost: u64,
}

impl<T> Flight<T> {
    fn live(&self) -> u64 {
        self.open & !self.lost
    }

    /// Bytes of the answers to these blocks.
    fn bytes_of(&self, blocks: u64) -> u64 {
        let last = blocks >> (self.answers.blocks - 1) & 1;
        let others = u64::from(blocks.count_ones()) - last;
        others * self.answers.bytes + last * self.answers.last
    }
}

/// A bit for each of the first `count` blocks.
fn first_bits(count: u64) -> u64 {
    if count >= u64::from(u64::BITS) { u64::MAX } else { (1 << count) - 1 }
}

/// One peer's path: round trip, window, and the requests on their way, each with a `T` that says what it asked for.
#[derive(Clone, Debug)]
pub struct InFlight<T> {
    /// The round trip.
    pub rtt: Rtt,
    /// The window.
    pub window: Window,
    // By the sequence number of their first block.
    flights: BTreeMap<Sequence, Flight<T>>,
    next: Sequence,
    /// The latest block that came.
    answered: Option<Sequence>,
    reordering: u64,
    pto_count: u32,
    // By how many doublings the wait for an answer is longer than what was measured says.
    backoff: u32,
    last_answer_at: Time,
    // Blocks that may be asked for although the peer is silent, or was and what came since says little.
    probes: usize,
    // Invariant: the blocks that are open and not lost.
    live: usize,
    /// When what was sent and received that last gave a measure of the round trip.
    measured: (Time, Time),
}

impl<T: Clone> InFlight<T> {
    /// A path about which nothing is known, for answers of `block` bytes.
    pub fn new(block: u64) -> InFlight<T> {
        InFlight {
            rtt: Rtt::default(),
            window: Window::new(block),
            flights: BTreeMap::new(),
            next: 0,
            answered: None,
            reordering: REORDERING,
            pto_count: 0,
            backoff: 0,
            last_answer_at: Time::ZERO,
            probes: 0,
            live: 0,
            measured: (Time::NEVER, Time::NEVER),
        }
    }

    /// How many bytes of answers may be asked for now, as the first of a burst or after others; 0 where none may. A single
    /// block may be longer.
    pub fn allowance(&self, now: Time, first: bool) -> u64 {
        if self.flights.len() >= MAX_FLIGHTS {
            return 0;
        }
        // While the peer is silent, few requests ask whether it is back.
        if self.pto_count > 0 {
            let may = self.live == 0 || self.probes > 0;
            return u64::from(may);
        }
        // A new block tells what an old one cannot, of which nobody knows when it was asked for.
        let tests = u64::from(self.probes > 0 && self.window.in_flight() > 0);
        self.window.allowance(now, self.rtt.min(), first).max(tests)
    }

    /// Whether it is so short that how soon both ends have their turn matters more than its length.
    pub fn is_short(&self) -> bool {
        self.window.is_inside() || self.rtt.min() <= SHORT_PATH
    }

    /// How many waits in a row ended in silence.
    pub fn pto_count(&self) -> u32 {
        self.pto_count
    }

    /// Whether the peer is taken for gone.
    pub fn is_gone(&self) -> bool {
        self.pto_count >= PTOS_UNTIL_GONE
    }

    /// How many blocks are on their way.
    pub fn live(&self) -> usize {
        self.live
    }

    /// How many requests are remembered, those given up lately included.
    pub fn remembered(&self) -> usize {
        self.flights.len()
    }

    /// Notes a request.
    pub fn on_sent(&mut self, now: Time, what: T, answers: Answers, again: Again) -> Sequence {
        debug_assert!((1..=MAX_BLOCKS).contains(&answers.blocks));
        let stamp = self.window.on_sent(now, answers.total());
        let request = self.next;
        self.next += u64::from(answers.blocks);
        self.live += answers.blocks as usize;
        self.probes = self.probes.saturating_sub(answers.blocks as usize);
        let open = first_bits(answers.blocks.into());
        self.flights.insert(request, Flight { what, stamp, sent_at: now, answers, again, open, lost: 0 });
        request
    }

    /// What a request asked for, while some of it is remembered.
    pub fn flight(&self, request: Sequence) -> Option<&T> {
        self.flights.get(&request).map(|flight| &flight.what)
    }

    /// Whether this block is open: it neither came nor was asked for anew.
    pub fn is_open(&self, asked: Asked) -> bool {
        self.flights
            .get(&asked.request)
            .is_some_and(|flight| asked.nth < flight.answers.blocks && flight.open & asked.bit() != 0)
    }

    /// Whether that block is open, and not given up.
    pub fn is_live(&self, asked: Asked) -> bool {
        let flight = self.flights.get(&asked.request);
        flight.is_some_and(|flight| asked.nth < flight.answers.blocks && flight.live() & asked.bit() != 0)
    }

    /// The oldest block on its way of a request for which `matches` holds.
    pub fn oldest(&self, matches: impl Fn(&T) -> bool) -> Option<Asked> {
        let mut live = self.flights.iter().filter(|(_, flight)| flight.live() != 0);
        let (&request, flight) = live.find(|(_, flight)| matches(&flight.what))?;
        Some(Asked { request, nth: flight.live().trailing_zeros() })
    }

    /// Notes that a block came, just as it was asked for or not quite. Returns what its request asked for, once for each block,
    /// and whether it was the last one open.
    pub fn on_answer(&mut self, now: Time, asked: Asked, is_exact: bool) -> Option<(T, bool)> {
        self.on_answer_of(now, asked, is_exact, None)
    }

    /// The same of an answer of so many bytes, if they are fewer than the block's.
    pub fn on_answer_of(
        &mut self,
        now: Time,
        asked: Asked,
        is_exact: bool,
        came: Option<u64>,
    ) -> Option<(T, bool)> {
        let flight = self.flights.get_mut(&asked.request)?;
        if asked.nth >= flight.answers.blocks || flight.open & asked.bit() == 0 {
            return None;
        }
        let (stamp, sent_at) = (flight.stamp, flight.sent_at);
        // What was cut otherwise was asked for otherwise: it answers an earlier request, which is forgotten.
        let again = if is_exact || !self.rtt.is_known() { flight.again } else { Again::Yes };
        let whole = flight.answers.of(asked.nth);
        let bytes = came.map_or(whole, |came| came.min(whole));
        let was_lost = flight.lost & asked.bit() != 0;
        flight.open &= !asked.bit();
        flight.lost &= !asked.bit();
        let what = flight.what.clone();
        let is_last = flight.open == 0;
        if is_last {
            self.flights.remove(&asked.request);
        }
        let was_silent = std::mem::take(&mut self.pto_count) > 0;
        self.last_answer_at = now;
        // Sooner than the path can be crossed: it is the answer to an earlier request, which was only late (as in RFC 8985,
        // section 6.2, step 2).
        let waited = now.since(sent_at);
        let is_early = again != Again::No && self.rtt.is_known() && waited < self.rtt.min();
        if is_early {
            self.probes = if was_silent { PROBES } else { self.probes };
        } else {
            self.probes = 0;
            self.answered = self.answered.max(Some(asked.sequence()));
        }
        // So is, most likely, one that comes after a silence and took much longer than expected. If it went unnoticed that the
        // path is slower than it was, what is on its way would be asked for again and again, and never measured.
        let is_late = self.backoff > 0 && waited > self.rtt.timeout(0);
        if !is_early && !is_late {
            // As soon as expected: the path is what it was.
            self.backoff = 0;
        }
        let asked_at = match again {
            Again::No => Some(sent_at),
            Again::Since(first) => (is_early || is_late).then_some(first),
            Again::Yes => None,
        };
        // What came together with others of the same request tells the same.
        if let Some(asked_at) = asked_at.filter(|&asked_at| self.measured != (asked_at, now)) {
            self.measured = (asked_at, now);
            // Whatever was asked for in between may have been answered instead.
            let most = self.rtt.timeout(self.backoff + 1);
            let measured = now.since(asked_at);
            self.rtt.sample(now, if again == Again::No { measured } else { measured.min(most) });
            self.backoff = 0;
        }
        if was_lost {
            // It was only late: others overtake on this path.
            let overtaken = self.answered.map_or(0, |answered| answered.saturating_sub(asked.sequence()));
            self.reordering = self.reordering.max(overtaken + 1).min(MAX_REORDERING);
        } else if again != Again::No {
            self.window.on_withdrawn(whole - bytes);
            self.live -= 1;
            self.window.on_arrived_unclear(now, bytes);
        } else {
            self.window.on_withdrawn(whole - bytes);
            self.live -= 1;
            let times = PathTimes {
                min: self.rtt.min(),
                latest: self.rtt.latest(),
                min_is_old: now.since(self.rtt.min_at()) > MIN_RTT_WINDOW * 9 / 10,
                is_short: self.is_short(),
            };
            self.window.on_arrived(now, stamp, bytes, times);
        }
        Some((what, is_last))
    }

    /// Forgets a block that is asked for anew. Returns when it was asked for first, if it was open.
    pub fn supersede(&mut self, asked: Asked) -> Option<Again> {
        let flight = self.flights.get_mut(&asked.request)?;
        if asked.nth >= flight.answers.blocks || flight.open & asked.bit() == 0 {
            return None;
        }
        let first = match flight.again {
            Again::No => Again::Since(flight.sent_at),
            earlier => earlier,
        };
        if flight.lost & asked.bit() == 0 {
            self.window.on_withdrawn(flight.answers.of(asked.nth));
            self.live -= 1;
        }
        flight.open &= !asked.bit();
        flight.lost &= !asked.bit();
        if flight.open == 0 {
            self.flights.remove(&asked.request);
        }
        Some(first)
    }

    /// Forgets the requests for which `matches` holds: their answers are of no use any more.
    pub fn withdraw(&mut self, matches: impl Fn(&T) -> bool) {
        let (window, live) = (&mut self.window, &mut self.live);
        self.flights.retain(|_, flight| {
            let keep = !matches(&flight.what);
            if !keep {
                window.on_withdrawn(flight.bytes_of(flight.live()));
                *live -= flight.live().count_ones() as usize;
            }
            keep
        });
    }

    /// Gives up what is lost by now, and returns what it asked for: which blocks of which request.
    pub fn detect_losses(&mut self, now: Time) -> Vec<(T, Range<u32>)> {
        let mut lost = Vec::new();
        if let Some(answered) = self.answered {
            let patience = self.patience();
            for (&request, flight) in self.flights.range_mut(..answered) {
                if flight.live() == 0 {
                    continue;
                }
                let waited_for = if now.since(flight.sent_at) >= patience { 1 } else { self.reordering };
                let given_up =
                    first_bits((answered + 1).saturating_sub(request + waited_for)) & flight.live();
                self.live -= given_up.count_ones() as usize;
                self.window.on_lost(flight.sent_at, flight.bytes_of(given_up));
                give_up(flight, given_up, &mut lost);
            }
        }
        if self.live > 0 && now >= self.timeout_at() {
            self.pto_count += 1;
            self.backoff += 1;
            // It may only be a pause: two blocks are asked for again, and the others are still waited for. If they are lost,
            // the answers to those two tell.
            let mut left = if self.pto_count < PTOS_UNTIL_GONE { PROBES } else { usize::MAX };
            self.probes = PROBES;
            if self.pto_count >= 2 {
                self.window.restart(now);
            }
            for flight in self.flights.values_mut() {
                let mut given_up = flight.live();
                while given_up.count_ones() as usize > left {
                    given_up &= !(1 << given_up.ilog2());
                }
                left -= given_up.count_ones() as usize;
                self.live -= given_up.count_ones() as usize;
                // Whether it is lost, is not known: it is asked for again to find out (RFC 9002, section 6.2).
                self.window.on_withdrawn(flight.bytes_of(given_up));
                give_up(flight, given_up, &mut lost);
            }
        }
        while let Some((&oldest, flight)) = self.flights.first_key_value() {
            let age = now.since(flight.sent_at);
            let is_of_few = self.flights.len() <= FEW && age < VERY_LATE;
            if flight.live() != 0 || age < LATE + self.rtt.smoothed() || is_of_few {
                break;
            }
            self.flights.remove(&oldest);
        }
        lost
    }

    /// When [`InFlight::detect_losses`] should be called next, or [`Time::NEVER`].
    pub fn next_check_at(&self) -> Time {
        if self.live == 0 {
            return Time::NEVER;
        }
        // One that was overtaken is lost when it has been waited for long enough.
        let overtaken = self.answered.and_then(|answered| {
            let mut earlier = self.flights.range(..answered);
            let (_, flight) =
                earlier.find(|(request, flight)| flight.live() & first_bits(answered - *request) != 0)?;
            Some(flight.sent_at + self.patience())
        });
        self.timeout_at().min(overtaken.unwrap_or(Time::NEVER))
    }

    /// How long a request is waited for while later ones are answered (RFC 9002, kTimeThreshold and kGranularity).
    fn patience(&self) -> Duration {
        self.rtt.smoothed().max(self.rtt.latest()) * 9 / 8 + Duration::from_millis(1)
    }

    /// When the silence becomes a timeout: counted from the newest request, or from the last answer if that was later. An
    /// older request is judged by the answers to later ones.
    fn timeout_at(&self) -> Time {
        let newest = self.flights.values().rev().find(|flight| flight.live() != 0);
        newest.map_or(Time::NEVER, |flight| {
            flight.sent_at.max(self.last_answer_at) + self.rtt.timeout(self.backoff)
        })
    }
}

/// Gives up some live blocks of a request.
fn give_up<T: Clone>(flight: &mut Flight<T>, mut blocks: u64, lost: &mut Vec<(T, Range<u32>)>) {
    flight.lost |= blocks;
    while blocks != 0 {
        let start = blocks.trailing_zeros();
        let end = start + (blocks >> start).trailing_ones();
        lost.push((flight.what.clone(), start..end));
        blocks &= !first_bits(end.into());
    }
}

#[cfg(test)]
mod tests;
