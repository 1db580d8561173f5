//! How much work strangers may cause: so many answers for each host, whoever it is that says to be there.
//!
//! Nothing is stored for a stranger. Hosts share a fixed number of buckets, chosen by a hash that nobody else can compute, so
//! nobody can aim at another's. Who has proved its address needs none of this.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::content_id::Hash;
use crate::time::Time;
use crate::transfer::serve::host_of;

/// Answers in a second to the strangers of one host, in the long run. An honest one needs a few before it has proved
/// its address; many can be behind one router.
pub const STRANGERS_ANSWERED_PER_SECOND: u32 = 1000;
/// And so many at once.
pub const STRANGERS_ANSWERED_AT_ONCE: u32 = 2000;
/// Buckets of all hosts.
pub(super) const BUCKETS: usize = 1024;

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Strangers {
    /// The time up to which the answers of each bucket have been used up; empty until there is a stranger.
    used_until: Vec<Time>,
}

impl Strangers {
    /// Whether a stranger at this address may be answered now, and if so counts it.
    pub(super) fn may_be_answered(&mut self, now: Time, from: SocketAddr, secret: &Hash) -> bool {
        let each = Duration::from_secs(1) / STRANGERS_ANSWERED_PER_SECOND;
        if self.used_until.is_empty() {
            self.used_until = vec![Time::ZERO; BUCKETS];
        }
        let Some(used_until) = self.used_until.get_mut(bucket_of(from, secret)) else { return false };
        let until = (*used_until).max(now) + each;
        let fits = until <= now + each * STRANGERS_ANSWERED_AT_ONCE;
        if fits {
            *used_until = until;
        }
        fits
    }
}

/// The bucket of a host, which nobody can compute who does not know the secret.
pub(super) fn bucket_of(from: SocketAddr, secret: &Hash) -> usize {
    let ip = match host_of(from) {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    let hash = blake3::keyed_hash(secret, &ip.octets());
    let (head, _) = hash.as_bytes().as_chunks::<2>();
    usize::from(u16::from_le_bytes(head[0])) % BUCKETS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_answered_so_often_by_whatever_port_and_others_are_answered_meanwhile() {
        let mut strangers = Strangers::default();
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
        let most = STRANGERS_ANSWERED_AT_ONCE + 5 * STRANGERS_ANSWERED_PER_SECOND;
        assert!((most - 5..=most + 5).contains(&answered[0]), "{answered:?}");
        assert_eq!(answered[1], 50);
    }

    #[test]
    fn a_million_hosts_share_the_same_memory() {
        let mut strangers = Strangers::default();
        for n in 0..1_000_000u32 {
            let from = SocketAddr::from((std::net::Ipv4Addr::from_bits(n * 4000), 1));
            strangers.may_be_answered(Time::from_millis(u64::from(n)), from, &[7; 32]);
        }
        assert_eq!(strangers.used_until.capacity(), BUCKETS);
    }
}
