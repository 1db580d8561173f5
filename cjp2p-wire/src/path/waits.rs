//! How long requests wait at the peer, as it says: no part of the path.

use std::collections::VecDeque;
use std::time::Duration;

use crate::time::Time;

/// How many waits are remembered: those of the requests that may be answered next.
pub const MAX_WAITS: usize = 8;

/// What the peer was asked and has said of its waits. Requests that left at one time have one number.
#[derive(Clone, Debug)]
pub struct Waits {
    // Invariant: at most `MAX_WAITS`, each number once.
    told: VecDeque<(u64, Duration)>,
    /// The peer was last asked about requests that left then.
    asked_at: Time,
}

impl Default for Waits {
    fn default() -> Waits {
        Waits { told: VecDeque::new(), asked_at: Time::NEVER }
    }
}

/// The number that stands for when requests left.
fn number_of(sent_at: Time) -> u64 {
    sent_at.as_nanos() / 1000
}

impl Waits {
    /// The number to ask with about the requests that leave now; once for all of them.
    pub fn ask(&mut self, now: Time) -> Option<u64> {
        let is_asked = std::mem::replace(&mut self.asked_at, now) == now;
        (!is_asked).then(|| number_of(now))
    }

    /// Notes how long the requests with this number waited.
    pub fn on_told(&mut self, number: u64, time: Duration) {
        self.told.retain(|(other, _)| *other != number);
        if self.told.len() >= MAX_WAITS {
            self.told.pop_front();
        }
        self.told.push_back((number, time));
    }

    /// What the path itself took of the `time` between a request that left at `sent_at` and its answer. A wait that is longer than
    /// that time is a lie.
    pub fn on_the_path(&self, sent_at: Time, time: Duration) -> Duration {
        let told = self.told.iter().find(|(number, _)| *number == number_of(sent_at));
        told.and_then(|(_, waited)| time.checked_sub(*waited)).unwrap_or(time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_waits_the_last_are_remembered() {
        let mut waits = Waits::default();
        let sent_at = |ms| Time::from_millis(ms);
        for ms in 0..1000 {
            let number = waits.ask(sent_at(ms)).unwrap();
            (0..3).for_each(|n| waits.on_told(number, Duration::from_millis(n)));
        }
        assert_eq!(waits.told.len(), MAX_WAITS);
        let on_the_path = |ms| waits.on_the_path(sent_at(ms), Duration::from_millis(10)).as_millis();
        assert_eq!([991, 992, 999].map(on_the_path), [10, 8, 8]);
    }
}
