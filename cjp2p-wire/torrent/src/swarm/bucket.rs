//! `Bucket`: how much may go at a rate.

use std::num::NonZeroU64;
use std::time::Duration;

use cjp2p_wire::time::Time;

/// So much time's worth may go at once.
const BURST: Duration = Duration::from_millis(250);

/// A rate, or none.
#[derive(Clone, Debug)]
pub(super) struct Bucket {
    rate: Option<NonZeroU64>,
    /// Until when what went is paid for.
    paid_until: Time,
}

impl Bucket {
    pub(super) fn new(rate: Option<NonZeroU64>) -> Bucket {
        Bucket { rate, paid_until: Time::ZERO }
    }

    /// Whether something may go now.
    pub(super) fn may(&self, now: Time) -> bool {
        self.rate.is_none() || self.paid_until <= now
    }

    /// When something may go again.
    pub(super) fn next_at(&self) -> Time {
        if self.rate.is_none() { Time::ZERO } else { self.paid_until }
    }

    /// Whether it is anything but a new one: less may go now than of that.
    pub(super) fn owes(&self, now: Time) -> bool {
        self.rate.is_some() && self.paid_until > now - BURST
    }

    /// So many bytes went.
    pub(super) fn spend(&mut self, now: Time, bytes: u64) {
        if let Some(rate) = self.rate {
            let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(rate.get());
            let takes = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
            self.paid_until = self.paid_until.max(now - BURST) + takes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_goes_than_the_rate_and_a_burst() {
        let mut bucket = Bucket::new(NonZeroU64::new(100_000));
        let mut gone = 0;
        for ms in 1_000..11_000 {
            let now = Time::from_millis(ms);
            while bucket.may(now) {
                bucket.spend(now, 1000);
                gone += 1000;
            }
        }
        assert!((1_000_000..1_030_000).contains(&gone), "{gone}");
        assert!(bucket.owes(Time::from_millis(11_000)) && !bucket.owes(Time::from_millis(12_000)));
        assert!(Bucket::new(None).may(Time::ZERO));
    }
}
