//! The recent rate of something that counts up.

use std::collections::VecDeque;
use std::time::Duration;

/// The rate is that of the last seconds, so that it follows changes but does not flicker.
const WINDOW: Duration = Duration::from_secs(8);

/// No more than one sample is kept for this time: the memory is bounded however often samples come.
const SPACING: Duration = Duration::from_millis(100);

/// Measures bytes per second over the recent past.
#[derive(Debug, Default)]
pub(super) struct Rate {
    /// Invariant: times and counts never fall; the first is the newest that is older than the window, if any is.
    samples: VecDeque<(Duration, u64)>,
}

impl Rate {
    /// Notes that the count was `done` at time `at`. A count that falls starts over.
    pub(super) fn sample(&mut self, at: Duration, done: u64) {
        if self.samples.back().is_some_and(|(_, last)| done < *last) {
            self.samples.clear();
        }
        while self.samples.len() > 1 && self.samples[1].0 + WINDOW <= at {
            self.samples.pop_front();
        }
        match self.samples.len() {
            // The newest sample moves along until it is far enough from the one before.
            count if count > 1 && at.saturating_sub(self.samples[count - 2].0) < SPACING => {
                self.samples[count - 1] = (at, done);
            }
            _ => self.samples.push_back((at, done)),
        }
    }

    /// Bytes per second; 0 before there are two samples.
    pub(super) fn per_second(&self) -> u64 {
        match (self.samples.front(), self.samples.back()) {
            (Some((from, first)), Some((to, last))) if to > from => {
                ((last - first) as f64 / (*to - *from).as_secs_f64()) as u64
            }
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn what_was_there_at_the_start_does_not_count() {
        let mut rate = Rate::default();
        rate.sample(ms(0), 1_000_000);
        assert_eq!(rate.per_second(), 0);
        rate.sample(ms(500), 1_000_500);
        assert_eq!(rate.per_second(), 1000);
    }

    #[test]
    fn the_rate_forgets_what_is_long_past() {
        let mut rate = Rate::default();
        for second in 0..100u64 {
            rate.sample(ms(second * 1000), second * 5000);
        }
        assert_eq!(rate.per_second(), 5000);
        for second in 100..120u64 {
            rate.sample(ms(second * 1000), 99 * 5000);
        }
        assert_eq!(rate.per_second(), 0);
    }

    #[test]
    fn many_samples_take_little_memory() {
        let mut rate = Rate::default();
        for n in 0..100_000u64 {
            rate.sample(ms(n), n * 7);
        }
        assert!(rate.samples.len() < 100, "{}", rate.samples.len());
        assert_eq!(rate.per_second(), 7000);
    }

    #[test]
    fn a_count_that_falls_starts_over() {
        let mut rate = Rate::default();
        rate.sample(ms(0), 100);
        rate.sample(ms(1000), 10);
        assert_eq!(rate.per_second(), 0);
    }
}
