//! Counts round trips by what was delivered, and what each of them lost.

use std::time::Duration;

use crate::time::Time;

/// A round is long if even its quickest answer took this many times the shortest round trip. The path's own window makes up to
/// [`CRUISE_WINDOW`](crate::path::congestion::CRUISE_WINDOW) times.
pub const STRETCHED_DELAY: f64 = 2.5;
/// The path is stretched when all rounds were long for this time, without loss.
pub const STRETCHED_AFTER: Duration = Duration::from_secs(1);

/// What a round trip showed.
#[derive(Clone, Copy, Debug)]
pub struct Round {
    /// Its number.
    pub number: u64,
    /// The share of its bytes that was lost.
    pub loss: f64,
    /// The time that its quickest answer took; [`Duration::MAX`] if none was measured.
    pub quickest: Duration,
}

/// The round trips of one path. A round ends when an answer arrives to a request that left after the round began.
#[derive(Clone, Debug)]
pub struct Rounds {
    number: u64,
    // The round ends with an answer to a request that left when so many bytes were delivered.
    ends_at: u64,
    lost: u64,
    delivered: u64,
    quickest: Duration,
    long_since: Option<Time>,
    is_stretched: bool,
}

impl Rounds {
    /// Begins to count, on a path that has delivered so many bytes.
    pub fn starting_at(delivered: u64) -> Rounds {
        Rounds {
            number: 0,
            ends_at: delivered,
            lost: 0,
            delivered: 0,
            quickest: Duration::MAX,
            long_since: None,
            is_stretched: false,
        }
    }

    /// The number of the present round.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Whether the path seems to have become longer: see [`STRETCHED_AFTER`].
    pub fn is_stretched(&self) -> bool {
        self.is_stretched
    }

    /// Notes lost bytes.
    pub fn on_lost(&mut self, bytes: u64) {
        self.lost += bytes;
    }

    /// Notes bytes that arrived.
    pub fn on_arrived(&mut self, bytes: u64) {
        self.delivered += bytes;
    }

    /// Notes the round trip of an answer, to a request that left when `before` bytes were delivered; now there are
    /// `delivered`. Returns whether a new round began.
    pub fn on_measured(&mut self, rtt: Duration, before: u64, delivered: u64) -> bool {
        self.quickest = self.quickest.min(rtt);
        let is_new = before >= self.ends_at;
        if is_new {
            self.number += 1;
            self.ends_at = delivered;
        }
        is_new
    }

    /// Sums up the round that ended, on a path whose shortest round trip is `min_rtt`.
    pub fn finish(&mut self, now: Time, min_rtt: Duration) -> Round {
        let sent = self.lost + self.delivered;
        let loss = self.lost as f64 / sent.max(1) as f64;
        let round = Round { number: self.number, loss, quickest: self.quickest };
        let is_measured = round.quickest != Duration::MAX;
        if self.lost == 0 && is_measured && round.quickest > min_rtt.mul_f64(STRETCHED_DELAY) {
            let since = *self.long_since.get_or_insert(now);
            self.is_stretched = now.since(since) >= STRETCHED_AFTER;
        } else {
            self.long_since = None;
            self.is_stretched = false;
        }
        self.lost = 0;
        self.delivered = 0;
        self.quickest = Duration::MAX;
        round
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Duration = Duration::from_millis(40);

    #[test]
    fn a_round_ends_with_the_answer_to_what_was_sent_after_it_began() {
        let mut rounds = Rounds::starting_at(0);
        assert!(rounds.on_measured(RTT, 0, 1000));
        assert!(!rounds.on_measured(RTT, 0, 2000));
        assert!(rounds.on_measured(RTT, 1000, 3000));
        assert_eq!(rounds.number(), 2);
    }

    #[test]
    fn a_round_counts_its_own_losses_only() {
        let mut rounds = Rounds::starting_at(0);
        rounds.on_lost(1000);
        rounds.on_arrived(3000);
        rounds.on_measured(RTT, 0, 3000);
        assert_eq!(rounds.finish(Time::ZERO, RTT).loss, 0.25);
        let next = rounds.finish(Time::ZERO, RTT);
        assert_eq!((next.loss, next.quickest), (0.0, Duration::MAX));
    }

    #[test]
    fn a_path_is_stretched_after_a_second_of_long_rounds_without_loss() {
        let mut rounds = Rounds::starting_at(0);
        for n in 0..=10u64 {
            rounds.on_measured(RTT * 3, n, n);
            rounds.finish(Time::from_millis(n * 100), RTT);
            assert_eq!(rounds.is_stretched(), n == 10, "{n}");
        }
        rounds.on_measured(RTT * 3, 11, 11);
        rounds.on_lost(1);
        rounds.finish(Time::from_millis(1100), RTT);
        assert!(!rounds.is_stretched());
    }
}
