//! What is on its way from one peer, and what was lost of it.
//!
//! Loss is told as in RFC 9002: by later answers, by time, and at last by silence.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::time::Time;
use crate::transfer::rtt::{MIN_RTT_WINDOW, Rtt};
use crate::transfer::window::{PathTimes, Stamp, Window};

/// A request is lost when so many later ones were answered (RFC 9002, kPacketThreshold).
pub const REORDERING: u64 = 3;
/// As the path shows that answers overtake each other by more, up to this.
pub const MAX_REORDERING: u64 = 128;
/// After so many silent timeouts in a row the peer is taken for gone.
pub const SILENCES_UNTIL_GONE: u32 = 3;
/// Requests that ask again after the first silence (RFC 9002, section 6.2.4).
pub const PROBES: usize = 2;
/// A request given up is remembered for so long, since its answer may come late.
pub const LATE: Duration = Duration::from_secs(2);
/// How many requests a path remembers at the most, those given up included.
pub const MAX_FLIGHTS: usize = 16_384;

/// The number of a request on its path; later ones are larger.
pub type Sequence = u64;

#[derive(Clone, Debug)]
struct Flight<T> {
    what: T,
    stamp: Stamp,
    sent_at: Time,
    bytes: u64,
    again: bool,
    lost: bool,
}

/// One peer's path: round trip, window, and the requests on their way, each with a `T` that says what it asked for.
#[derive(Clone, Debug)]
pub struct Path<T> {
    /// The round trip.
    pub rtt: Rtt,
    /// The window.
    pub window: Window,
    flights: BTreeMap<Sequence, Flight<T>>,
    next: Sequence,
    /// The latest request that was answered.
    answered: Option<Sequence>,
    reordering: u64,
    silences: u32,
    last_answer_at: Time,
    // Requests that may leave although the peer is silent.
    probes: usize,
    live: usize,
}

impl<T: Clone> Path<T> {
    /// A path about which nothing is known, for answers of `block` bytes.
    pub fn new(block: u64) -> Path<T> {
        Path {
            rtt: Rtt::default(),
            window: Window::new(block),
            flights: BTreeMap::new(),
            next: 0,
            answered: None,
            reordering: REORDERING,
            silences: 0,
            last_answer_at: Time::ZERO,
            probes: 0,
            live: 0,
        }
    }

    /// Whether another request may leave now, as the `first` of a burst or after others.
    pub fn may_send(&self, now: Time, first: bool) -> bool {
        if self.flights.len() >= MAX_FLIGHTS {
            return false;
        }
        // While the peer is silent, few requests ask whether it is back.
        if self.silences > 0 {
            return self.live == 0 || (self.silences == 1 && self.probes > 0);
        }
        self.window.may_send(now, self.rtt.min(), first)
    }

    /// How many waits in a row ended in silence.
    pub fn silences(&self) -> u32 {
        self.silences
    }

    /// Whether the peer is taken for gone.
    pub fn is_gone(&self) -> bool {
        self.silences >= SILENCES_UNTIL_GONE
    }

    /// How many requests are on their way.
    pub fn live(&self) -> usize {
        self.live
    }

    /// How many requests are remembered, those given up lately included.
    pub fn remembered(&self) -> usize {
        self.flights.len()
    }

    /// Notes a request for `bytes`; `again` where the same bytes were asked of this peer before.
    pub fn on_sent(&mut self, now: Time, what: T, bytes: u64, again: bool) -> Sequence {
        let stamp = self.window.on_sent(now, bytes);
        let sequence = self.next;
        self.next += 1;
        self.live += 1;
        self.probes = self.probes.saturating_sub(1);
        self.flights.insert(sequence, Flight { what, stamp, sent_at: now, bytes, again, lost: false });
        sequence
    }

    /// What the request `sequence` asked for, while it is remembered.
    pub fn flight(&self, sequence: Sequence) -> Option<&T> {
        self.flights.get(&sequence).map(|flight| &flight.what)
    }

    /// The oldest request on its way for which `matches` holds.
    pub fn oldest(&self, matches: impl Fn(&T) -> bool) -> Option<Sequence> {
        self.flights
            .iter()
            .find(|(_, flight)| !flight.lost && matches(&flight.what))
            .map(|(&sequence, _)| sequence)
    }

    /// Notes the answer to `sequence`. Returns what was asked for, once.
    pub fn on_answer(&mut self, now: Time, sequence: Sequence) -> Option<T> {
        let flight = self.flights.remove(&sequence)?;
        self.silences = 0;
        self.last_answer_at = now;
        self.answered = self.answered.max(Some(sequence));
        if !flight.again {
            self.rtt.sample(now, now.since(flight.sent_at));
        }
        if flight.lost {
            // It was only late: others overtake on this path.
            let overtaken = self.answered.map_or(0, |answered| answered.saturating_sub(sequence));
            self.reordering = self.reordering.max(overtaken + 1).min(MAX_REORDERING);
        } else if flight.again {
            self.live -= 1;
            self.window.on_arrived_unclear(now, flight.bytes);
        } else {
            self.live -= 1;
            let times = PathTimes {
                min: self.rtt.min(),
                latest: self.rtt.latest(),
                min_is_old: now.since(self.rtt.min_at()) > MIN_RTT_WINDOW * 9 / 10,
            };
            self.window.on_arrived(now, flight.stamp, flight.bytes, times);
        }
        Some(flight.what)
    }

    /// Forgets a request whose place a new one takes. Returns whether it was still remembered.
    pub fn supersede(&mut self, sequence: Sequence) -> bool {
        let Some(flight) = self.flights.remove(&sequence) else { return false };
        if !flight.lost {
            self.window.on_withdrawn(flight.bytes);
            self.live -= 1;
        }
        true
    }

    /// Forgets the requests for which `matches` holds: their answers are of no use any more.
    pub fn withdraw(&mut self, matches: impl Fn(&T) -> bool) {
        let (window, live) = (&mut self.window, &mut self.live);
        self.flights.retain(|_, flight| {
            let keep = !matches(&flight.what);
            if !keep && !flight.lost {
                window.on_withdrawn(flight.bytes);
                *live -= 1;
            }
            keep
        });
    }

    /// Gives up what is lost by now, and returns what it asked for.
    pub fn detect_losses(&mut self, now: Time) -> Vec<T> {
        let mut lost = Vec::new();
        if let Some(answered) = self.answered {
            let patience = self.patience();
            for (&sequence, flight) in self.flights.range_mut(..answered) {
                let overtaken = answered - sequence >= self.reordering;
                if !flight.lost && (overtaken || now.since(flight.sent_at) >= patience) {
                    flight.lost = true;
                    self.live -= 1;
                    self.window.on_lost(flight.bytes);
                    lost.push(flight.what.clone());
                }
            }
        }
        if self.live > 0 && now >= self.timeout_at() {
            self.silences += 1;
            // The first silence may only be a pause: two requests ask again, and the others are still waited for.
            let given_up = if self.silences == 1 { PROBES } else { usize::MAX };
            self.probes = PROBES;
            if self.silences >= 2 {
                self.window.restart();
            }
            for flight in self.flights.values_mut().filter(|flight| !flight.lost).take(given_up) {
                flight.lost = true;
                self.live -= 1;
                self.window.on_lost(flight.bytes);
                lost.push(flight.what.clone());
            }
        }
        while let Some(oldest) = self.flights.first_entry() {
            let flight = oldest.get();
            if !flight.lost || now.since(flight.sent_at) < LATE + self.rtt.smoothed() {
                break;
            }
            oldest.remove();
        }
        lost
    }

    /// When [`Path::detect_losses`] should be called next, or [`Time::NEVER`].
    pub fn next_check_at(&self) -> Time {
        if self.live == 0 {
            return Time::NEVER;
        }
        // One that was overtaken is lost when it has been waited for long enough.
        let overtaken = self.answered.and_then(|answered| {
            let mut earlier = self.flights.range(..answered).map(|(_, flight)| flight);
            earlier.find(|flight| !flight.lost).map(|flight| flight.sent_at + self.patience())
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
        let newest = self.flights.values().rev().find(|flight| !flight.lost);
        newest.map_or(Time::NEVER, |flight| {
            flight.sent_at.max(self.last_answer_at) + self.rtt.timeout(self.silences)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Time {
        Time::from_millis(ms)
    }

    /// A path of 10 ms, with `count` requests numbered from 0 sent at 100 ms.
    fn path_with(count: u64) -> Path<u64> {
        let mut path = Path::new(1000);
        for n in 0..10 {
            let sequence = path.on_sent(at(n * 10), n, 1000, false);
            path.on_answer(at(n * 10 + 10), sequence);
        }
        for n in 0..count {
            path.on_sent(at(100), n, 1000, false);
        }
        path
    }

    #[test]
    fn a_request_is_lost_when_three_later_ones_are_answered() {
        let mut path = path_with(5);
        let first = path.oldest(|n| *n == 0).unwrap();
        path.on_answer(at(109), first + 1);
        path.on_answer(at(109), first + 2);
        assert!(path.detect_losses(at(109)).is_empty());
        path.on_answer(at(109), first + 3);
        assert_eq!(path.detect_losses(at(109)), [0]);
        assert_eq!(path.live(), 1);
    }

    #[test]
    fn a_request_that_was_overtaken_is_lost_after_a_little_more_than_a_round_trip() {
        let mut path = path_with(2);
        let first = path.oldest(|n| *n == 0).unwrap();
        path.on_answer(at(110), first + 1);
        let due = path.next_check_at();
        assert!(at(111) < due && due < at(113), "{due:?}");
        assert!(path.detect_losses(at(111)).is_empty());
        assert_eq!(path.detect_losses(due), [0]);
    }

    #[test]
    fn answers_that_keep_coming_hold_off_the_silence() {
        let mut path = path_with(20);
        let first = path.oldest(|n| *n == 0).unwrap();
        for n in 0..19 {
            // A source that limits its rate: ever later, but never silent.
            let now = at(110 + n * 15);
            assert!(path.detect_losses(now).is_empty(), "request {n}");
            path.on_answer(now, first + n);
        }
        assert_eq!((path.silences(), path.live()), (0, 1));
    }

    #[test]
    fn the_first_silence_asks_again_for_little_and_the_third_gives_up() {
        let mut path = path_with(20);
        let first = path.next_check_at();
        assert_eq!(path.detect_losses(first).len(), PROBES);
        assert_eq!((path.silences(), path.live()), (1, 20 - PROBES));
        assert!(path.may_send(first, true));
        let second = path.next_check_at();
        assert_eq!(path.detect_losses(second).len(), 20 - PROBES);
        assert!(path.may_send(second, true));
        path.on_sent(second, 99, 1000, true);
        assert!(!path.may_send(second, true));
        let third = path.next_check_at();
        assert!(third.since(second) > second.since(first));
        path.detect_losses(third);
        assert!(path.is_gone());
    }

    #[test]
    fn a_late_answer_counts_as_reordering_and_ends_the_silence() {
        let mut path = path_with(8);
        let first = path.oldest(|n| *n == 0).unwrap();
        for later in 1..=6 {
            path.on_answer(at(109), first + later);
        }
        assert_eq!(path.detect_losses(at(109)), [0]);
        assert_eq!(path.on_answer(at(110), first), Some(0));
        // From now on six may overtake one.
        for n in 100..108 {
            path.on_sent(at(120), n, 1000, false);
        }
        let next = path.oldest(|n| *n == 100).unwrap();
        for later in 1..=5 {
            path.on_answer(at(129), next + later);
        }
        assert!(path.detect_losses(at(129)).iter().all(|n| *n != 100));
    }
}
