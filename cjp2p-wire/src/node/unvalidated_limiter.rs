//! How much work strangers may cause: so many answers for each host, whoever it is that says to be there.
//!
//! Nothing is stored for a stranger: hosts share [`buckets`](super::buckets). Who has proved its address needs none of this.

use std::net::SocketAddr;
use std::time::Duration;

use super::buckets::{Buckets, bucket_of};
use crate::content_id::Hash;
use crate::time::Time;

/// Answers in a second to the strangers of one host, in the long run. An honest one needs a few before it has proved
/// its address; many can be behind one router.
pub const UNVALIDATED_ANSWERS_PER_SECOND: u32 = 1000;
/// And so many at once.
pub const UNVALIDATED_ANSWERS_AT_ONCE: u32 = 2000;

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct UnvalidatedLimiter {
    of_hosts: Buckets,
}

impl UnvalidatedLimiter {
    /// Whether a stranger at this address may be answered now, and if so counts it.
    pub(super) fn may_be_answered(&mut self, now: Time, from: SocketAddr, secret: &Hash) -> bool {
        let each = Duration::from_secs(1) / UNVALIDATED_ANSWERS_PER_SECOND;
        let bucket = bucket_of(from, secret);
        let until = self.of_hosts.used_until(bucket).max(now) + each;
        let fits = until <= now + each * UNVALIDATED_ANSWERS_AT_ONCE;
        if fits {
            self.of_hosts.set(bucket, until);
        }
        fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_answered_so_often_by_whatever_port_and_others_are_answered_meanwhile() {
        let mut strangers = UnvalidatedLimiter::default();
        let mut answered = [0; 2];
        for n in 0..50_000u32 {
            let now = Time::from_millis(u64::from(n) / 10);
            for (host, count) in answered.iter_mut().enumerate() {
                // The second asks seldom.
                if host == 0 || n % 1000 == 0 {
                    let from = SocketAddr::from(([192, 0, 2, host as u8], (n % 60_000) as u16 + 1));
                    *count += u32::from(strangers.may_be_answered(now, from, &[7; 32]));
                }
            }
        }
        let most = UNVALIDATED_ANSWERS_AT_ONCE + 5 * UNVALIDATED_ANSWERS_PER_SECOND;
        assert!((most - 5..=most + 5).contains(&answered[0]), "{answered:?}");
        assert_eq!(answered[1], 50);
    }
}
