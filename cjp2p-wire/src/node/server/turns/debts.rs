//! Which hosts have used up their rate, and up to when.
//!
//! A host that owes nothing is not remembered. Of more than fit, the one that owes least is forgotten: it gains least by that.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use crate::time::Time;

/// Hosts that are remembered.
pub(crate) const MAX_DEBTORS: usize = 4096;

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct Debts {
    // Invariant: at most `MAX_DEBTORS`.
    by_host: BTreeMap<IpAddr, Time>,
    // Invariant: the same, the one that owes least first.
    by_time: BTreeSet<(Time, IpAddr)>,
}

impl Debts {
    /// Whether no host is remembered.
    pub(crate) fn is_empty(&self) -> bool {
        self.by_host.is_empty()
    }

    /// How many hosts are remembered.
    pub(crate) fn len(&self) -> usize {
        self.by_host.len()
    }

    /// Up to when a host has used up its rate; `None` where it owes nothing.
    pub(crate) fn paid_until(&self, host: &IpAddr) -> Option<Time> {
        self.by_host.get(host).copied()
    }

    /// Adds what takes this long to what a host owes.
    pub(crate) fn add(&mut self, now: Time, host: IpAddr, owed: Duration) {
        while let Some(&(paid_until, settled)) = self.by_time.first()
            && paid_until <= now
        {
            self.by_time.pop_first();
            self.by_host.remove(&settled);
        }
        let before = self.by_host.get(&host).copied();
        match before {
            Some(before) => {
                self.by_time.remove(&(before, host));
            }
            None if self.by_host.len() >= MAX_DEBTORS => {
                if let Some((_, least)) = self.by_time.pop_first() {
                    self.by_host.remove(&least);
                }
            }
            None => {}
        }
        let paid_until = before.unwrap_or(now) + owed;
        self.by_host.insert(host, paid_until);
        self.by_time.insert((paid_until, host));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(n: u32) -> IpAddr {
        std::net::Ipv4Addr::from_bits(n).into()
    }

    #[test]
    fn debts_add_up_and_are_forgotten_when_they_are_paid() {
        let mut debts = Debts::default();
        let second = Duration::from_secs(1);
        debts.add(Time::ZERO, host(1), second);
        debts.add(Time::ZERO, host(1), second);
        debts.add(Time::ZERO, host(2), second);
        assert_eq!(debts.paid_until(&host(1)), Some(Time::from_millis(2000)));
        debts.add(Time::from_millis(1500), host(3), second);
        assert_eq!((debts.paid_until(&host(2)), debts.len()), (None, 2));
        debts.add(Time::from_millis(2000), host(1), second);
        assert_eq!(debts.paid_until(&host(1)), Some(Time::from_millis(3000)));
    }

    #[test]
    fn of_too_many_hosts_those_that_owe_least_are_forgotten() {
        let mut debts = Debts::default();
        debts.add(Time::ZERO, host(0), Duration::from_secs(100));
        for n in 1..3 * MAX_DEBTORS as u32 {
            debts.add(Time::ZERO, host(n), Duration::from_secs(1));
            assert!(debts.len() <= MAX_DEBTORS && debts.by_time.len() == debts.len());
        }
        assert_eq!(debts.len(), MAX_DEBTORS);
        assert_eq!(debts.paid_until(&host(0)), Some(Time::from_millis(100_000)));
    }
}
