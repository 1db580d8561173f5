//! How many datagrams each suggested address was sent that has not shown that it is there. Counted apart from the
//! [`contacts`](super::contacts), of which many may be forgotten at any time: a host that was named against its will shall hardly
//! notice, however many name it, and whatever else happens between.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use crate::time::Time;

/// Datagrams that a suggested address is sent in all until it is validated, for whatever purpose and however many downloads there are.
pub(crate) const MAX_UNVALIDATED_DATAGRAMS: u32 = 3;
/// Addresses remembered. At most eight new ones are tried in a second, so they are for a quarter of an hour.
pub(crate) const MAX_PROBED: usize = 8192;

#[derive(Clone, Copy, Debug)]
struct Probed {
    datagrams: u32,
    /// When the last of them was sent.
    at: Time,
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Probes {
    by_address: BTreeMap<SocketAddr, Probed>,
    // Invariant: each of them once, and others that were forgotten; at most MAX_PROBED.
    order: VecDeque<SocketAddr>,
}

impl Probes {
    /// Whether one more datagram may go to this address; if so, counts it.
    pub(super) fn may_send(&mut self, now: Time, address: SocketAddr) -> bool {
        if let Some(probed) = self.by_address.get_mut(&address) {
            let may = probed.datagrams < MAX_UNVALIDATED_DATAGRAMS;
            if may {
                *probed = Probed { datagrams: probed.datagrams + 1, at: now };
            }
            return may;
        }
        if self.order.len() >= MAX_PROBED
            && let Some(first) = self.order.pop_front()
        {
            self.by_address.remove(&first);
        }
        self.order.push_back(address);
        self.by_address.insert(address, Probed { datagrams: 1, at: now });
        true
    }

    /// Whether it had all its datagrams.
    pub(super) fn has_had_all(&self, address: SocketAddr) -> bool {
        self.by_address.get(&address).is_some_and(|probed| probed.datagrams >= MAX_UNVALIDATED_DATAGRAMS)
    }

    /// Whether it had all its datagrams in vain, the last of them `timeout` ago or longer.
    pub(super) fn is_spent(&self, now: Time, address: SocketAddr, timeout: Duration) -> bool {
        self.has_had_all(address)
            && self.by_address.get(&address).is_some_and(|probed| now.since(probed.at) >= timeout)
    }

    /// It is there after all.
    pub(super) fn forget(&mut self, address: SocketAddr) {
        if self.by_address.remove(&address).is_some() {
            self.order.retain(|other| *other != address);
        }
    }

    /// How many are remembered.
    pub(super) fn len(&self) -> usize {
        self.order.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(n: u32) -> SocketAddr {
        SocketAddr::from((std::net::Ipv4Addr::from_bits(n), 24254))
    }

    #[test]
    fn an_address_is_sent_three_datagrams_and_more_only_once_it_has_answered() {
        let mut probes = Probes::default();
        let sent =
            |probes: &mut Probes| (0..10).filter(|&n| probes.may_send(Time::from_millis(n), at(1))).count();
        assert_eq!(sent(&mut probes), 3);
        assert!(probes.has_had_all(at(1)) && !probes.has_had_all(at(2)));
        let timeout = Duration::from_secs(1);
        assert!(!probes.is_spent(Time::from_millis(1001), at(1), timeout));
        assert!(probes.is_spent(Time::from_millis(1002), at(1), timeout));
        probes.forget(at(1));
        assert_eq!((sent(&mut probes), probes.len()), (3, 1));
    }

    #[test]
    fn so_many_are_remembered_and_the_first_makes_room() {
        let mut probes = Probes::default();
        for n in 0..MAX_PROBED as u32 + 1 {
            (0..3).for_each(|_| assert!(probes.may_send(Time::ZERO, at(n))));
        }
        assert_eq!(probes.len(), MAX_PROBED);
        assert_eq!(probes.by_address.len(), MAX_PROBED);
        assert!(!probes.has_had_all(at(0)) && probes.has_had_all(at(1)));
    }
}
