//! Backs off when the path's queue overflows, and regains the rate step by step.
//!
//! A model of the path alone takes what it once saw to be possible. That starves flows that slow down at each loss, as most of
//! TCP does (CUBIC, RFC 9438). Loss alone means nothing here: radio links lose at random. But loss while the queue stood all
//! through a round trip means that the queue overflowed. Then both flows slow down by the same factor, and both come back over
//! seconds. A flow that does not slow down (TCP with BBR) makes the queue overflow again at once. To back off from such a
//! flow would be to give up.

use std::time::Duration;

use crate::path::rounds::Round;
use crate::time::Time;

/// What is left of the rate after the queue overflowed: CUBIC's factor (RFC 9438, section 4.6).
pub const CUT: f64 = 0.7;
/// A queue stands if the quickest answer of a whole round trip took this many times the path's shortest.
pub const STANDING_QUEUE: f64 = 1.25;
/// How often more is tried while the rate is held back: CUBIC needs some 2 to 6 s to regain its rate.
pub const RECOVERY_INTERVAL: Duration = Duration::from_millis(750);
/// This share of the rate before a cut should be regained before the queue overflows again.
pub const REGAINED: f64 = 0.9;
/// This many times in a row it need not be, since a flow that has too much must come down. After more, backing off does not
/// help.
pub const MAX_CONCESSIONS: u32 = 2;
/// A concession is forgotten after this time: the path may have changed.
pub const CONCESSION_AGE: Duration = Duration::from_secs(10);
/// Backing off does not help either if the queue overflows again within this time.
pub const HASTY: Duration = Duration::from_secs(1);
/// How long a flow then does not back off.
pub const NO_BACK_OFF: Duration = Duration::from_secs(8);
/// That time doubles with each further failure, up to this.
pub const MAX_NO_BACK_OFF: Duration = Duration::from_secs(32);

/// What to do after a round.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Reaction {
    /// Go on as before.
    None,
    /// The queue overflowed: slow down.
    Slower,
    /// Backing off did not help: return to the rate before it, in bytes per second.
    Regain(f64),
}

/// How far one flow holds back.
#[derive(Clone, Debug)]
pub struct Fairness {
    bound: f64,
    cut_from: f64,
    cut_at: Time,
    cut_in_round: u64,
    concessions: u32,
    // The rate before the first concession.
    conceded_from: f64,
    no_back_off_until: Time,
    no_back_off_for: Duration,
}

impl Default for Fairness {
    fn default() -> Fairness {
        Fairness {
            bound: f64::INFINITY,
            cut_from: 0.0,
            cut_at: Time::ZERO,
            cut_in_round: 0,
            concessions: 0,
            conceded_from: 0.0,
            no_back_off_until: Time::ZERO,
            no_back_off_for: NO_BACK_OFF,
        }
    }
}

impl Fairness {
    /// The largest rate that is fair, in bytes per second; infinite if no flow needs room.
    pub fn bound(&self) -> f64 {
        self.bound
    }

    /// Whether the rate is held back.
    pub fn holds_back(&self) -> bool {
        self.bound.is_finite()
    }

    /// Whether more should be tried often, at the present `rate` in bytes per second: the rate is held back, or a vain
    /// concession is not regained.
    pub fn is_behind(&self, now: Time, rate: f64) -> bool {
        self.holds_back() || (now < self.no_back_off_until && rate < self.conceded_from)
    }

    /// Takes a round that ended, on a path whose shortest round trip is `min_rtt`, at `rate` bytes per second.
    pub fn on_round(&mut self, now: Time, round: Round, min_rtt: Duration, rate: f64) -> Reaction {
        let overflowed = round.loss > 0.0
            && round.quickest != Duration::MAX
            && round.quickest > min_rtt.mul_f64(STANDING_QUEUE);
        // What was in flight when the rate was cut may still be lost.
        let too_early = round.number <= self.cut_in_round + 1;
        if !overflowed || too_early || now < self.no_back_off_until {
            return Reaction::None;
        }
        if rate < self.cut_from * REGAINED && now.since(self.cut_at) < CONCESSION_AGE {
            let hasty = now.since(self.cut_at) < HASTY;
            self.concessions += if hasty { 2 } else { 1 };
        } else {
            self.concessions = 0;
            self.conceded_from = rate;
            // Backing off helped the last time, or that was long ago.
            if now.since(self.no_back_off_until) > HASTY {
                self.no_back_off_for = NO_BACK_OFF;
            }
        }
        if self.concessions > MAX_CONCESSIONS {
            self.bound = f64::INFINITY;
            self.concessions = 0;
            self.cut_from = 0.0;
            self.no_back_off_until = now + self.no_back_off_for;
            self.no_back_off_for = (self.no_back_off_for * 2).min(MAX_NO_BACK_OFF);
            return Reaction::Regain(self.conceded_from);
        }
        self.bound = rate * CUT;
        self.cut_from = rate;
        self.cut_at = now;
        self.cut_in_round = round.number;
        Reaction::Slower
    }

    /// Raises the bound by `gain`: more was tried and the queue did not overflow. The path carries at most `rate` bytes per
    /// second as far as known. Beyond that no bound is needed, nor above the rate at which the queue last overflowed.
    pub fn on_more_worked(&mut self, gain: f64, rate: f64) {
        self.bound *= gain;
        if self.bound > rate || self.bound >= self.cut_from {
            self.bound = f64::INFINITY;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Duration = Duration::from_millis(40);

    fn round(number: u64, lost: bool, quickest_ms: u64) -> Round {
        Round { number, loss: if lost { 0.1 } else { 0.0 }, quickest: Duration::from_millis(quickest_ms) }
    }

    fn at(ms: u64) -> Time {
        Time::from_millis(ms)
    }

    #[test]
    fn loss_without_a_standing_queue_is_no_reason_to_slow_down() {
        let mut fairness = Fairness::default();
        assert_eq!(fairness.on_round(at(1000), round(10, true, 49), RTT, 100.0), Reaction::None);
        assert_eq!(fairness.on_round(at(1040), round(11, false, 80), RTT, 100.0), Reaction::None);
        assert!(!fairness.holds_back());
    }

    #[test]
    fn an_overflow_cuts_the_rate_once_and_the_rate_returns_in_steps() {
        let mut fairness = Fairness::default();
        assert_eq!(fairness.on_round(at(1000), round(10, true, 80), RTT, 100.0), Reaction::Slower);
        assert_eq!(fairness.on_round(at(1080), round(11, true, 80), RTT, 70.0), Reaction::None);
        assert_eq!(fairness.bound(), 70.0);
        fairness.on_more_worked(1.25, 200.0);
        assert_eq!(fairness.bound(), 87.5);
        fairness.on_more_worked(1.25, 200.0);
        assert!(!fairness.holds_back());
    }

    /// The queue overflows at these times, in milliseconds, 80 ms a round, at these rates.
    fn overflow(fairness: &mut Fairness, times_and_rates: &[(u64, f64)]) -> Vec<Reaction> {
        let cut = |&(ms, rate): &(u64, f64)| fairness.on_round(at(ms), round(ms / 80, true, 80), RTT, rate);
        times_and_rates.iter().map(cut).collect()
    }

    #[test]
    fn a_flow_stops_backing_off_from_one_that_never_does() {
        let mut fairness = Fairness::default();
        // At once, again and again.
        assert_eq!(
            overflow(&mut fairness, &[(1000, 100.0), (1300, 70.0), (1600, 49.0)]),
            [Reaction::Slower, Reaction::Slower, Reaction::Regain(100.0)]
        );
        assert!(!fairness.holds_back() && fairness.is_behind(at(1700), 60.0));
        // Or slowly, each time before the rate is regained.
        let mut fairness = Fairness::default();
        let slowly = [(1000, 100.0), (3000, 87.0), (5000, 76.0), (7000, 66.0)];
        let mut given_up = vec![Reaction::Slower; 3];
        given_up.push(Reaction::Regain(100.0));
        assert_eq!(overflow(&mut fairness, &slowly), given_up);
        assert!(!fairness.is_behind(at(7000), 100.0));
        // Later the flow tries again.
        assert_eq!(
            overflow(&mut fairness, &[(14_900, 100.0), (15_100, 100.0)]),
            [Reaction::None, Reaction::Slower]
        );
    }

    #[test]
    fn a_flow_backs_off_again_and_again_from_one_that_does_too() {
        let mut fairness = Fairness::default();
        for n in 1..100 {
            let reaction = fairness.on_round(at(n * 1500), round(n * 20, true, 80), RTT, 100.0);
            assert_eq!(reaction, Reaction::Slower, "{n}");
        }
    }

    #[test]
    fn a_flow_backs_off_ever_more_rarely_from_one_that_never_does() {
        let mut fairness = Fairness::default();
        let mut given_up = Vec::new();
        for n in 0..1000 {
            let now = at(n * 100);
            let rate = fairness.bound().min(100.0);
            if let Reaction::Regain(_) = fairness.on_round(now, round(n * 5, true, 80), RTT, rate) {
                given_up.push(now);
            }
        }
        let pauses: Vec<u64> = given_up.windows(2).map(|two| two[1].since(two[0]).as_secs()).collect();
        assert_eq!(pauses, [8, 16, 32, 32]);
        // Once the other backs off after all, everything is as at first.
        let later = at(200_000);
        assert_eq!(fairness.on_round(later, round(9000, true, 80), RTT, 100.0), Reaction::Slower);
        assert_eq!(fairness.no_back_off_for, NO_BACK_OFF);
    }
}
