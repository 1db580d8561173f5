//! Giving way to others on the path: slower after its queue ran over, faster again step by step.
//!
//! A model of the path alone takes what it once saw to be possible, and so starves flows that slow down at each loss,
//! as most of TCP does (CUBIC, RFC 9438). Loss alone says nothing here: radio links lose at random. But loss while the
//! queue stood all through a round trip means that it ran over. Then both slow down by the same factor, and both come
//! back over seconds. A flow that does not slow down (TCP with BBR) makes the queue run over again at once: toward such
//! a one giving way would mean giving up.

use std::time::Duration;

use crate::time::Time;

/// What is left of the rate after the queue ran over: CUBIC's factor (RFC 9438, section 4.6).
pub const CUT: f64 = 0.7;
/// A queue stands where the quickest answer of a whole round trip took so much longer than the path's shortest.
pub const STANDING_QUEUE: f64 = 1.25;
/// How often more is tried while the rate is held back: CUBIC needs some 2 to 6 s to come back to where it was.
pub const RECOVERY_INTERVAL: Duration = Duration::from_millis(750);
/// So much of the rate before a cut should be regained before the queue runs over again.
pub const REGAINED: f64 = 0.9;
/// So many times in a row it need not be: he who has too much must come down. After more, giving way does not help.
pub const MAX_CONCESSIONS: u32 = 2;
/// After so long a concession is forgotten: the path may have changed.
pub const CONCESSION_AGE: Duration = Duration::from_secs(10);
/// Nor does it help where the queue runs over again so soon.
pub const HASTY: Duration = Duration::from_secs(1);
/// For how long it is then not tried.
pub const NO_BACK_OFF: Duration = Duration::from_secs(8);
/// Twice as long each time that it did not help again, up to this.
pub const MAX_NO_BACK_OFF: Duration = Duration::from_secs(32);

/// What is noted of one round trip.
#[derive(Clone, Copy, Debug)]
pub struct Round {
    /// Its number.
    pub number: u64,
    /// Whether anything was lost.
    pub lost: bool,
    /// The time its quickest answer took.
    pub quickest: Duration,
}

/// What to do after a round.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Reaction {
    /// Go on as before.
    None,
    /// The queue ran over: be slower.
    Slower,
    /// To be slower did not help: go as fast again as before that, in bytes per second.
    Regain(f64),
}

/// How far we hold back.
#[derive(Clone, Debug)]
pub struct Fairness {
    bound: f64,
    cut_from: f64,
    cut_at: Time,
    cut_in_round: u64,
    concessions: u32,
    // The rate before the first of them.
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
    /// The most bytes per second to go at; infinite where nobody needs to be given way to.
    pub fn bound(&self) -> f64 {
        self.bound
    }

    /// Whether the rate is held back.
    pub fn holds_back(&self) -> bool {
        self.bound.is_finite()
    }

    /// Whether more should be tried often, while going at `rate` bytes per second: the rate is held back, or what was
    /// conceded in vain is not regained.
    pub fn is_behind(&self, now: Time, rate: f64) -> bool {
        self.holds_back() || (now < self.no_back_off_until && rate < self.conceded_from)
    }

    /// Looks at a round that ended, on a path whose shortest round trip is `shortest`, while going at `rate` bytes per
    /// second.
    pub fn on_round(&mut self, now: Time, round: Round, shortest: Duration, rate: f64) -> Reaction {
        let ran_over = round.lost
            && round.quickest != Duration::MAX
            && round.quickest > shortest.mul_f64(STANDING_QUEUE);
        // What was on its way when the rate was cut may still be lost.
        let too_early = round.number <= self.cut_in_round + 1;
        if !ran_over || too_early || now < self.no_back_off_until {
            return Reaction::None;
        }
        if rate < self.cut_from * REGAINED && now.since(self.cut_at) < CONCESSION_AGE {
            let hasty = now.since(self.cut_at) < HASTY;
            self.concessions += if hasty { 2 } else { 1 };
        } else {
            self.concessions = 0;
            self.conceded_from = rate;
            // It helped the last time, or that was long ago.
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

    /// More was tried, up to `gain` times the bound, and the queue did not run over. What the path carries at the most is
    /// `rate` bytes per second, as far as known: beyond that no bound is needed, nor where it has run over before.
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
        Round { number, lost, quickest: Duration::from_millis(quickest_ms) }
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
    fn a_queue_that_ran_over_is_answered_once_and_made_up_for_in_steps() {
        let mut fairness = Fairness::default();
        assert_eq!(fairness.on_round(at(1000), round(10, true, 80), RTT, 100.0), Reaction::Slower);
        assert_eq!(fairness.on_round(at(1080), round(11, true, 80), RTT, 70.0), Reaction::None);
        assert_eq!(fairness.bound(), 70.0);
        fairness.on_more_worked(1.25, 200.0);
        assert_eq!(fairness.bound(), 87.5);
        fairness.on_more_worked(1.25, 200.0);
        assert!(!fairness.holds_back());
    }

    /// The queue runs over at these times, in milliseconds, 80 ms a round, at these rates.
    fn run_over(fairness: &mut Fairness, times_and_rates: &[(u64, f64)]) -> Vec<Reaction> {
        let cut = |&(ms, rate): &(u64, f64)| fairness.on_round(at(ms), round(ms / 80, true, 80), RTT, rate);
        times_and_rates.iter().map(cut).collect()
    }

    #[test]
    fn who_does_not_give_way_in_turn_is_not_given_way_to() {
        let mut fairness = Fairness::default();
        // At once, again and again.
        assert_eq!(
            run_over(&mut fairness, &[(1000, 100.0), (1300, 70.0), (1600, 49.0)]),
            [Reaction::Slower, Reaction::Slower, Reaction::Regain(100.0)]
        );
        assert!(!fairness.holds_back() && fairness.is_behind(at(1700), 60.0));
        // Or slowly, each time before we are back.
        let mut fairness = Fairness::default();
        let slowly = [(1000, 100.0), (3000, 87.0), (5000, 76.0), (7000, 66.0)];
        let mut given_up = vec![Reaction::Slower; 3];
        given_up.push(Reaction::Regain(100.0));
        assert_eq!(run_over(&mut fairness, &slowly), given_up);
        assert!(!fairness.is_behind(at(7000), 100.0));
        // Later it is tried again.
        assert_eq!(
            run_over(&mut fairness, &[(14_900, 100.0), (15_100, 100.0)]),
            [Reaction::None, Reaction::Slower]
        );
    }

    #[test]
    fn who_gives_way_is_given_way_to_again_and_again() {
        let mut fairness = Fairness::default();
        for n in 1..100 {
            let reaction = fairness.on_round(at(n * 1500), round(n * 20, true, 80), RTT, 100.0);
            assert_eq!(reaction, Reaction::Slower, "{n}");
        }
    }

    #[test]
    fn it_is_tried_ever_more_rarely_with_who_never_gives_way() {
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
        // Who gives way after all is given way to as at first.
        let later = at(200_000);
        assert_eq!(fairness.on_round(later, round(9000, true, 80), RTT, 100.0), Reaction::Slower);
        assert_eq!(fairness.no_back_off_for, NO_BACK_OFF);
    }
}
