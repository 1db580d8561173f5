//! How often the addresses of one neighbourhood may be contacted that only unvalidated sources suggested.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use super::address::{Prefix, Scope};
use crate::time::Time;

/// The pause between two such contacts in one IPv4 /24 or IPv6 /48. A source that sends us to a victim's network cannot make
/// us a nuisance there. Loopback, the link and private networks are excepted: nobody far away can send us there.
pub const NEIGHBOURS_PAUSE: Duration = Duration::from_secs(1);

/// When each neighbourhood may be contacted again.
#[derive(Clone, Debug, Default)]
pub struct Neighbourhoods {
    // Invariant: all are of public addresses. Past times are dropped, so there are no more than contacts in one pause.
    quiet_until: BTreeMap<Prefix, Time>,
}

impl Neighbourhoods {
    /// When an address may be contacted; it may be long ago.
    pub fn open_at(&self, address: SocketAddr) -> Time {
        self.quiet_until.get(&Prefix::narrow(address.ip())).copied().unwrap_or(Time::ZERO)
    }

    /// Notes that an address is contacted now.
    pub fn disturb(&mut self, now: Time, address: SocketAddr) {
        self.quiet_until.retain(|_, until| *until > now);
        if Scope::of(address) == Scope::Public {
            self.quiet_until.insert(Prefix::narrow(address.ip()), now + NEIGHBOURS_PAUSE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_far_neighbourhood_is_left_in_peace_for_a_second_and_a_near_one_need_not_be() {
        let mut all = Neighbourhoods::default();
        let at = |text: &str| text.parse::<SocketAddr>().unwrap();
        for disturbed in ["198.51.100.7:24254", "[2001:db8:7::1]:24254", "10.0.0.1:1", "127.0.0.1:1"] {
            all.disturb(Time::from_millis(500), at(disturbed));
        }
        for (address, open_at) in [
            ("198.51.100.9:53", 1500),
            ("198.51.101.7:24254", 0),
            ("[2001:db8:7:8::9]:1", 1500),
            ("[2001:db8:8::1]:1", 0),
            ("10.0.0.1:2", 0),
            ("127.0.0.1:2", 0),
        ] {
            assert_eq!(all.open_at(at(address)), Time::from_millis(open_at), "{address}");
        }
        all.disturb(Time::from_millis(1500), at("192.0.2.1:5"));
        assert_eq!(all.quiet_until.len(), 1, "what is past is forgotten");
    }
}
