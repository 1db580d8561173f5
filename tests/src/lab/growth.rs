//! How something grew over time: rates, pauses, and when it was back to its rate.

/// Samples of a size that only grows.
#[derive(Clone, Debug, Default)]
pub struct Growth {
    /// Invariant: times ascend.
    samples: Vec<(f64, u64)>,
}

impl Growth {
    /// Adds what was there after so many seconds.
    pub fn add(&mut self, seconds: f64, bytes: u64) {
        debug_assert!(self.samples.last().is_none_or(|last| last.0 <= seconds));
        self.samples.push((seconds, bytes));
    }

    /// What was there last.
    pub fn last(&self) -> u64 {
        self.samples.last().map_or(0, |sample| sample.1)
    }

    /// What was there at this time, by the last sample before it.
    fn at(&self, seconds: f64) -> u64 {
        let after = self.samples.partition_point(|sample| sample.0 <= seconds);
        after.checked_sub(1).map_or(0, |before| self.samples[before].1)
    }

    /// Bytes per second between two times.
    pub fn rate(&self, from: f64, to: f64) -> f64 {
        (self.at(to) - self.at(from)) as f64 / (to - from)
    }

    /// The longest time without growth between two times, in seconds.
    pub fn longest_pause(&self, from: f64, to: f64) -> f64 {
        let (mut since, mut bytes, mut longest) = (from, self.at(from), 0.0f64);
        for &(at, now) in self.samples.iter().filter(|sample| (from..=to).contains(&sample.0)) {
            longest = longest.max(at - since);
            if now > bytes {
                (since, bytes) = (at, now);
            }
        }
        longest
    }

    /// How long after `from` the first stretch of `window` seconds begins that grew at this rate or faster.
    pub fn back_after(&self, from: f64, rate: f64, window: f64) -> Option<f64> {
        let end = self.samples.last()?.0;
        let starts = self.samples.iter().map(|sample| sample.0);
        let mut starts = std::iter::once(from).chain(starts.filter(|at| *at > from));
        let is_back = |at: &f64| at + window <= end && self.rate(*at, at + window) >= rate;
        starts.find(is_back).map(|at| at - from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 1,000 bytes a second for 4 s, nothing for 2 s, then 500 bytes a second; a sample each 10 ms.
    fn growth() -> Growth {
        let mut growth = Growth::default();
        for n in 0..=1000u64 {
            let bytes = match n {
                0..=400 => n * 10,
                401..=600 => 4000,
                _ => 4000 + (n - 600) * 5,
            };
            growth.add(n as f64 / 100.0, bytes);
        }
        growth
    }

    fn is_near(value: f64, expected: f64) -> bool {
        (value - expected).abs() < 0.021
    }

    #[test]
    fn rates_and_pauses_are_those_between_the_times_asked_for() {
        let growth = growth();
        assert!(is_near(growth.rate(1.0, 3.0) / 1000.0, 1.0));
        assert!(is_near(growth.rate(7.0, 9.0) / 500.0, 1.0));
        assert!(is_near(growth.longest_pause(0.0, 10.0), 2.0));
        assert!(is_near(growth.longest_pause(0.0, 3.9), 0.0));
        assert!(is_near(growth.longest_pause(0.0, 5.0), 1.0), "a pause that has not ended counts");
        assert_eq!(growth.last(), 6000);
    }

    #[test]
    fn it_is_back_with_the_first_stretch_at_the_rate() {
        let growth = growth();
        let back = |from, rate| growth.back_after(from, rate, 0.5);
        assert!(is_near(back(4.0, 495.0).expect("it came back"), 2.0));
        assert!(is_near(back(6.0, 495.0).expect("it was never slower"), 0.0));
        assert_eq!(back(4.0, 900.0), None, "it never came back to that");
        assert_eq!(back(9.8, 100.0), None, "the rest is too short to tell");
    }
}
