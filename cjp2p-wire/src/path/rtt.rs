//! The round-trip time of one path, and how long to wait for an answer (RFC 6298, with the minimum over a window).

use std::collections::VecDeque;
use std::time::Duration;

use crate::time::Time;

/// Assumed before anything was measured (RFC 9002, section 6.2.2).
pub const INITIAL_RTT: Duration = Duration::from_millis(333);
/// How long a minimum counts.
pub const MIN_RTT_WINDOW: Duration = Duration::from_secs(10);
/// Each such span has its minimum.
const MIN_RTT_SPAN: Duration = Duration::from_secs(1);
/// The shortest wait for an answer: a process on a busy machine may wait tens of milliseconds for its turn.
pub const MIN_TIMEOUT: Duration = Duration::from_millis(50);
/// The longest wait for an answer.
pub const MAX_TIMEOUT: Duration = Duration::from_secs(8);
/// A path with a round trip no longer than this is short: how soon both ends wake up matters more than its length.
pub const SHORT_PATH: Duration = Duration::from_millis(2);

/// The round trips of a path, as its congestion controller needs them.
#[derive(Clone, Copy, Debug)]
pub struct PathTimes {
    /// The smallest recent one.
    pub min: Duration,
    /// The last one.
    pub latest: Duration,
    /// Whether the smallest was measured so long ago that it should be measured anew.
    pub min_is_old: bool,
    /// What both ends need beside the path itself, smoothed: to read and to answer.
    pub ends: Duration,
    /// Whether the path is short: see [`SHORT_PATH`].
    pub is_short: bool,
}

/// The round-trip estimate of one path.
#[derive(Clone, Debug)]
pub struct Rtt {
    smoothed: Option<Duration>,
    variation: Duration,
    latest: Duration,
    // The last one, with what both ends waited.
    latest_wait: Duration,
    // What both ends waited, smoothed.
    ends: Duration,
    // The minimum of each span of the window, with the time when it was measured. Invariant: empty before any sample only.
    minima: VecDeque<Minimum>,
    // Invariant: the least of `minima`.
    min: Minimum,
    span_ends: Time,
}

#[derive(Clone, Copy, Debug)]
struct Minimum {
    rtt: Duration,
    at: Time,
}

impl Default for Rtt {
    fn default() -> Rtt {
        Rtt {
            smoothed: None,
            variation: INITIAL_RTT / 2,
            latest: INITIAL_RTT,
            latest_wait: INITIAL_RTT,
            ends: Duration::ZERO,
            minima: VecDeque::new(),
            min: Minimum { rtt: INITIAL_RTT, at: Time::ZERO },
            span_ends: Time::ZERO,
        }
    }
}

impl Rtt {
    /// Takes a measured round trip. Only answers to requests that were sent once may be measured (Karn's algorithm).
    pub fn sample(&mut self, now: Time, rtt: Duration) {
        self.sample_within(now, rtt, rtt);
    }

    /// The same where both ends were busy: the answer was there after `wait`, of which `rtt` is the round trip of the path itself.
    pub fn sample_within(&mut self, now: Time, wait: Duration, rtt: Duration) {
        self.latest = rtt;
        self.latest_wait = wait;
        self.ends = (self.ends * 7 + wait.saturating_sub(rtt)) / 8;
        match self.smoothed {
            None => {
                self.smoothed = Some(wait);
                self.variation = wait / 2;
            }
            Some(smoothed) => {
                self.variation = (self.variation * 3 + smoothed.abs_diff(wait)) / 4;
                self.smoothed = Some((smoothed * 7 + wait) / 8);
            }
        }
        self.note_minimum(Minimum { rtt, at: now });
    }

    fn note_minimum(&mut self, new: Minimum) {
        match self.minima.back_mut() {
            Some(last) if new.at < self.span_ends => {
                if new.rtt <= last.rtt {
                    *last = new;
                }
            }
            _ => {
                self.minima.push_back(new);
                self.span_ends = new.at + MIN_RTT_SPAN;
            }
        }
        while self.minima.len() > 1 && new.at.since(self.minima[0].at) > MIN_RTT_WINDOW {
            self.minima.pop_front();
        }
        self.min = self.minima.iter().rev().copied().min_by_key(|minimum| minimum.rtt).unwrap_or(new);
    }

    /// Whether anything was measured yet.
    pub fn is_known(&self) -> bool {
        self.smoothed.is_some()
    }

    /// The smoothed time from a request to its answer: the round trip, and what both ends waited.
    pub fn smoothed(&self) -> Duration {
        self.smoothed.unwrap_or(INITIAL_RTT)
    }

    /// The time from a request to its answer that was measured last.
    pub fn latest_wait(&self) -> Duration {
        self.latest_wait
    }

    /// The shortest round trip of the last [`MIN_RTT_WINDOW`].
    pub fn min(&self) -> Duration {
        self.min.rtt
    }

    /// The round trips as of `now`, of a path that is short or is not.
    pub fn times(&self, now: Time, is_short: bool) -> PathTimes {
        let min_is_old = now.since(self.min.at) > MIN_RTT_WINDOW * 9 / 10;
        PathTimes { min: self.min.rtt, latest: self.latest, min_is_old, ends: self.ends, is_short }
    }

    /// How long to wait for an answer, doubled `doublings` times.
    pub fn timeout(&self, doublings: u32) -> Duration {
        let wait = self.smoothed() + (self.variation * 4).max(Duration::from_millis(1));
        (wait.max(MIN_TIMEOUT) * 2u32.saturating_pow(doublings.min(16))).min(MAX_TIMEOUT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn before_any_sample_the_wait_is_about_a_second() {
        assert_eq!(Rtt::default().timeout(0), Duration::from_nanos(999_000_000));
    }

    #[test]
    fn a_steady_path_is_waited_for_hardly_longer_than_its_round_trip() {
        let mut rtt = Rtt::default();
        for i in 0..100 {
            rtt.sample(Time::from_millis(i * 10), 50 * MS);
        }
        assert!(rtt.timeout(0) < 52 * MS, "{:?}", rtt.timeout(0));
        assert_eq!(rtt.timeout(2), rtt.timeout(0) * 4);
        assert_eq!(rtt.timeout(30), MAX_TIMEOUT);
    }

    #[test]
    fn the_minimum_is_forgotten_after_its_window() {
        let mut rtt = Rtt::default();
        rtt.sample(Time::from_millis(0), 10 * MS);
        rtt.sample(Time::from_millis(9_000), 30 * MS);
        assert_eq!(rtt.min(), 10 * MS);
        rtt.sample(Time::from_millis(10_001), 30 * MS);
        assert_eq!(rtt.min(), 30 * MS);
    }

    #[test]
    fn what_was_measured_within_the_window_counts_when_an_older_minimum_is_forgotten() {
        let mut rtt = Rtt::default();
        rtt.sample(Time::from_millis(0), 10 * MS);
        rtt.sample(Time::from_millis(9_000), 12 * MS);
        rtt.sample(Time::from_millis(9_500), 30 * MS);
        rtt.sample(Time::from_millis(10_500), 35 * MS);
        assert_eq!((rtt.min(), rtt.min.at), (12 * MS, Time::from_millis(9_000)));
    }

    #[test]
    fn what_both_ends_wait_counts_for_the_time_limit_and_not_for_the_path() {
        let mut rtt = Rtt::default();
        for i in 0..100 {
            rtt.sample_within(Time::from_millis(i * 40), 40 * MS, MS / 10);
        }
        let times = rtt.times(Time::from_millis(4000), true);
        assert_eq!((times.min, times.latest), (MS / 10, MS / 10));
        assert!(times.ends > 39 * MS && times.ends < 40 * MS, "{times:?}");
        assert!(rtt.timeout(0) >= 40 * MS && rtt.latest_wait() == 40 * MS);
    }
}
