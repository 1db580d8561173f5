//! The largest recent delivery rate: what the path's bottleneck carries (BBR's windowed maximum filter).

use std::collections::VecDeque;
use std::time::Duration;

use crate::time::Time;

/// A delivery rate counts for this time, and for [`RATE_ROUNDS`] rounds at least.
pub const RATE_MEMORY: Duration = Duration::from_secs(3);
/// See [`RATE_MEMORY`].
pub const RATE_ROUNDS: u64 = 10;

/// The rates that may still become the largest. All in bytes per second.
#[derive(Clone, Debug, Default)]
pub struct RateFilter {
    // Invariant: rates fall and rounds rise from front to back; the front is the maximum.
    samples: VecDeque<Sample>,
}

#[derive(Clone, Copy, Debug)]
struct Sample {
    round: u64,
    at: Time,
    rate: f64,
}

impl RateFilter {
    /// The largest rate that still counts; zero where none does.
    pub fn largest(&self) -> f64 {
        self.samples.front().map_or(0.0, |sample| sample.rate)
    }

    /// Whether no rate was noted yet.
    pub fn is_empty(&self) -> bool {
        self.samples.is_empty()
    }

    /// Notes a rate that was measured in this round.
    pub fn note(&mut self, now: Time, round: u64, rate: f64) {
        while self.samples.back().is_some_and(|sample| sample.rate <= rate) {
            self.samples.pop_back();
        }
        self.samples.push_back(Sample { round, at: now, rate });
        while self.samples.len() > 1
            && self.samples[0].round + RATE_ROUNDS < round
            && now.since(self.samples[0].at) > RATE_MEMORY
        {
            self.samples.pop_front();
        }
    }

    /// Multiplies all rates by `factor`.
    pub fn scale(&mut self, factor: f64) {
        for sample in &mut self.samples {
            sample.rate *= factor;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_the_largest_of_those_that_are_not_forgotten(
            steps in prop::collection::vec((0..2000u64, 0..4u64, 0..100u32), 1..60),
        ) {
            let (mut rates, mut all) = (RateFilter::default(), Vec::new());
            let (mut now, mut round) = (Time::ZERO, 0);
            for (ms, rounds, rate) in steps {
                now += Duration::from_millis(ms);
                round += rounds;
                rates.note(now, round, rate.into());
                all.push((now, round, f64::from(rate)));
                let largest_since = |least: &dyn Fn(Time, u64) -> bool| {
                    let kept = all.iter().filter(|(at, round, _)| least(*at, *round));
                    kept.map(|(.., rate)| *rate).fold(0.0, f64::max)
                };
                let late = |at: Time, of: u64| of + RATE_ROUNDS >= round || now.since(at) <= RATE_MEMORY;
                prop_assert_eq!(rates.largest(), largest_since(&late));
            }
        }
    }
}
