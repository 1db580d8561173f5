//! `Bans`: hosts that are not talked with any more.

use std::collections::{BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};

use cjp2p_wire::peers::address::{Scope, canonical, host_of};

/// So many are remembered.
const MAX_BANS: usize = 1000;

/// What is banned: a host, or one place on this machine, where many peers are one host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Banned {
    Host(IpAddr),
    Place(SocketAddr),
}

/// Hosts that did what they must not.
#[derive(Debug, Default)]
pub(super) struct Bans {
    banned: BTreeSet<Banned>,
    // Invariant: what is in `banned`, the oldest first, at most `MAX_BANS`.
    order: VecDeque<Banned>,
}

impl Bans {
    fn key(address: SocketAddr) -> Banned {
        let address = canonical(address);
        match Scope::of(address) {
            Scope::Loopback => Banned::Place(address),
            _ => Banned::Host(host_of(address)),
        }
    }

    pub(super) fn add(&mut self, address: SocketAddr) {
        let key = Bans::key(address);
        if self.banned.insert(key) {
            self.order.push_back(key);
        }
        if self.order.len() > MAX_BANS
            && let Some(oldest) = self.order.pop_front()
        {
            self.banned.remove(&oldest);
        }
    }

    pub(super) fn has(&self, address: SocketAddr) -> bool {
        self.banned.contains(&Bans::key(address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_banned_whatever_its_port_and_on_this_machine_a_place() {
        let mut bans = Bans::default();
        bans.add("1.2.3.4:5".parse().unwrap());
        bans.add("127.0.0.1:5".parse().unwrap());
        assert!(bans.has("1.2.3.4:6".parse().unwrap()) && bans.has("[::ffff:1.2.3.4]:7".parse().unwrap()));
        assert!(bans.has("127.0.0.1:5".parse().unwrap()) && !bans.has("127.0.0.1:6".parse().unwrap()));
        for n in 0..5000 {
            bans.add(SocketAddr::from(([2, 0, (n / 256) as u8, (n % 256) as u8], 1)));
            assert!(bans.banned.len() <= MAX_BANS && bans.banned.len() == bans.order.len());
        }
        assert!(!bans.has("1.2.3.4:5".parse().unwrap()));
    }
}
