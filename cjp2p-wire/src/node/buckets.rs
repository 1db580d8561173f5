//! Up to when hosts have used up what they may have in a second, in the same memory however many come.
//!
//! Nothing is stored for a host. Hosts share a fixed number of buckets, chosen by a hash that no other can compute, so none can
//! aim at that of another.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::content_id::Hash;
use crate::peers::address::host_of;
use crate::time::Time;

/// Buckets of all hosts.
pub(super) const BUCKETS: usize = 1024;

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Buckets {
    /// Empty until there is a host.
    used_until: Vec<Time>,
}

impl Buckets {
    /// Up to when a bucket has used up its rate.
    pub(super) fn used_until(&self, bucket: usize) -> Time {
        self.used_until.get(bucket).copied().unwrap_or(Time::ZERO)
    }

    /// Notes up to when a bucket has used up its rate.
    pub(super) fn set(&mut self, bucket: usize, until: Time) {
        if self.used_until.is_empty() {
            self.used_until = vec![Time::ZERO; BUCKETS];
        }
        if let Some(used_until) = self.used_until.get_mut(bucket) {
            *used_until = until;
        }
    }
}

/// The bucket of a host, which nobody can compute without the secret.
pub(super) fn bucket_of(from: SocketAddr, secret: &Hash) -> usize {
    let ip = match host_of(from) {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    let hash = blake3::keyed_hash(secret, &ip.octets());
    let (head, _) = hash.as_bytes().as_chunks::<2>();
    usize::from(u16::from_le_bytes(head[0])) % BUCKETS
}

/// How long this much takes at a rate.
pub(super) fn time_for(count: u64, per_second: u64) -> Duration {
    Duration::from_nanos(count.saturating_mul(1_000_000_000) / per_second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_million_hosts_share_the_same_memory_and_each_has_the_same_bucket_by_whatever_port() {
        let mut buckets = Buckets::default();
        for n in 0..1_000_000u32 {
            let at = |port| SocketAddr::from((std::net::Ipv4Addr::from_bits(n * 4000), port));
            let bucket = bucket_of(at(1), &[7; 32]);
            buckets.set(bucket, Time::from_millis(1));
            assert!(n % 1000 > 0 || bucket == bucket_of(at(2), &[7; 32]));
        }
        assert_eq!(buckets.used_until.capacity(), BUCKETS);
        assert!((0..BUCKETS).all(|bucket| buckets.used_until(bucket) == Time::from_millis(1)));
    }
}
