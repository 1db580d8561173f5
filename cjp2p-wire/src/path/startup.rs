//! Finds a path's rate quickly, and sees when the path is full.
//!
//! The rate over a whole round trip shows only what was asked for one round trip earlier. Requests are paced, so their
//! answers come as a train. A train that comes as fast as it was asked for shows that the path carries at least that rate. An
//! eighth of a round trip is enough to see that (as in paced chirping: Misund and Briscoe, "Paced Chirping: Rapid flow
//! start with very low queuing delay", 2019). Trains count only during startup.

use std::time::Duration;

use crate::path::rtt::PathTimes;
use crate::time::Time;

/// The shortest train that shows anything, in blocks.
pub const TRAIN_BLOCKS: u64 = 16;
/// A train lasts at least a round trip divided by this.
pub const TRAIN_SPAN: u32 = 8;
/// And at least this long: datagrams that are read at once did not arrive at once.
pub const MIN_TRAIN: Duration = Duration::from_millis(1);
/// This many answers in a row that are all late show a queue.
pub const RISE_SAMPLES: u32 = 16;
/// An answer is late by an eighth of the round trip, and at least by this (RFC 9406, MIN_RTT_THRESH).
pub const MIN_RISE: Duration = Duration::from_millis(4);
/// Startup ends after this many rounds in which the rate did not grow by [`GROWTH`].
pub const FULL_ROUNDS: u32 = 3;
/// See [`FULL_ROUNDS`].
pub const GROWTH: f64 = 1.25;

/// What startup has seen of a path.
#[derive(Clone, Debug)]
pub struct Startup {
    // When the present train began, and what had arrived by then.
    train: Option<(Time, u64)>,
    last_arrival: Time,
    rate: f64,
    // Of the answers counted in `samples`.
    least_round_trip: Duration,
    samples: u32,
    queue_builds_up: bool,
    // The rate that rounds must exceed by `GROWTH`, and how many did not.
    full_rate: f64,
    full_rounds: u32,
}

impl Default for Startup {
    fn default() -> Startup {
        Startup::above(0.0)
    }
}

impl Startup {
    /// Looks for more than this rate, in bytes per second.
    pub fn above(full_rate: f64) -> Startup {
        Startup {
            train: None,
            last_arrival: Time::ZERO,
            rate: 0.0,
            least_round_trip: Duration::MAX,
            samples: 0,
            queue_builds_up: false,
            full_rate,
            full_rounds: 0,
        }
    }

    /// The largest rate of a train, in bytes per second; zero while there was none.
    pub fn rate(&self) -> f64 {
        self.rate
    }

    /// Whether even the quickest of several answers waited in a queue: the path is full.
    pub fn queue_builds_up(&self) -> bool {
        self.queue_builds_up
    }

    /// Takes the rate that a round showed, which was not app-limited. Returns whether the path is full.
    pub fn on_round(&mut self, rate: f64) -> bool {
        if rate >= self.full_rate * GROWTH {
            self.full_rate = rate;
            self.full_rounds = 0;
            return false;
        }
        self.full_rounds += 1;
        self.full_rounds >= FULL_ROUNDS
    }

    /// Notes an answer, with which `delivered` bytes arrived in all. A train has at least `train` bytes. It was asked for at `most`
    /// bytes per second: it cannot have come faster, but may have been read faster.
    pub fn on_arrived(&mut self, now: Time, delivered: u64, train: u64, most: f64, times: PathTimes) {
        let shortest = (times.min / TRAIN_SPAN).max(MIN_TRAIN);
        if now.since(self.last_arrival) > shortest {
            self.train = None;
        }
        self.last_arrival = now;
        let (since, before) = *self.train.get_or_insert((now, delivered));
        let (span, bytes) = (now.since(since), delivered - before);
        if span >= shortest && bytes >= train {
            self.rate = self.rate.max((bytes as f64 / span.as_secs_f64()).min(most));
            self.train = Some((now, delivered));
        }
        self.least_round_trip = self.least_round_trip.min(times.latest);
        self.samples += 1;
        if self.samples == RISE_SAMPLES {
            self.queue_builds_up = self.least_round_trip > times.min + (times.min / 8).max(MIN_RISE);
            self.least_round_trip = Duration::MAX;
            self.samples = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Duration = Duration::from_millis(80);

    fn times(latest: Duration) -> PathTimes {
        PathTimes { min: RTT, latest, min_is_old: false, ends: Duration::ZERO, is_short: false }
    }

    /// Blocks of 1000 bytes that arrive a millisecond apart, with these round trips in milliseconds.
    fn arrive(startup: &mut Startup, from_ms: u64, round_trips: impl IntoIterator<Item = u64>, most: f64) {
        for (n, rtt) in round_trips.into_iter().enumerate() {
            let now = Time::from_millis(from_ms + n as u64);
            let delivered = (from_ms + n as u64) * 1000;
            startup.on_arrived(now, delivered, 16_000, most, times(Duration::from_millis(rtt)));
        }
    }

    #[test]
    fn a_train_shows_the_rate_before_a_round_trip_is_over() {
        let mut startup = Startup::default();
        arrive(&mut startup, 100, [80; 16], 1e9);
        assert_eq!(startup.rate(), 0.0);
        arrive(&mut startup, 116, [80; 1], 1e9);
        assert_eq!(startup.rate(), 1e6);
    }

    #[test]
    fn a_pause_before_a_train_does_not_make_it_slow() {
        let mut startup = Startup::default();
        arrive(&mut startup, 0, [80; 1], 1e9);
        arrive(&mut startup, 100, [80; 17], 1e9);
        assert_eq!(startup.rate(), 1e6);
    }

    #[test]
    fn a_train_that_is_read_at_once_is_no_faster_than_it_was_asked_for() {
        let mut startup = Startup::default();
        arrive(&mut startup, 100, [80; 17], 0.4e6);
        assert_eq!(startup.rate(), 0.4e6);
    }

    #[test]
    fn a_path_is_full_after_three_rounds_without_a_quarter_more() {
        let mut startup = Startup::above(100.0);
        let rounds = [124.0, 124.0, 125.0, 156.0, 156.0, 156.0];
        assert_eq!(rounds.map(|rate| startup.on_round(rate)), [false, false, false, false, false, true]);
    }

    #[test]
    fn a_queue_is_seen_when_even_the_quickest_answers_are_late() {
        let mut startup = Startup::default();
        arrive(&mut startup, 100, (0..16).map(|n| if n == 7 { 81 } else { 120 }), 1e9);
        assert!(!startup.queue_builds_up());
        arrive(&mut startup, 116, [91; 16], 1e9);
        assert!(startup.queue_builds_up());
    }
}
