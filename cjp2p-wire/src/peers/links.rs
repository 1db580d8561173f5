//! The networks that this machine is attached to: which addresses are on the link, and which are our own.

use std::net::{IpAddr, SocketAddr};

use super::address::{Scope, canonical};

/// An address of this machine, and the network that it is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Network {
    /// Our own address.
    pub address: IpAddr,
    /// How many leading bits all addresses on the link share with it.
    pub bits: u8,
}

impl Network {
    fn contains(&self, ip: IpAddr) -> bool {
        fn differ<const N: usize>(one: [u8; N], other: [u8; N], bits: u8) -> bool {
            (0..usize::from(bits).min(8 * N))
                .any(|nth| (one[nth / 8] ^ other[nth / 8]) << (nth % 8) & 0x80 != 0)
        }
        match (self.address, ip) {
            (IpAddr::V4(own), IpAddr::V4(ip)) => !differ(own.octets(), ip.octets(), self.bits),
            (IpAddr::V6(own), IpAddr::V6(ip)) => !differ(own.octets(), ip.octets(), self.bits),
            _ => false,
        }
    }
}

/// All networks that this machine is attached to, and where we listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Links {
    listening: SocketAddr,
    networks: Vec<Network>,
}

impl Links {
    /// These networks, for a node that listens at this address, which may stand for all of this machine.
    pub fn new(listening: SocketAddr, mut networks: Vec<Network>) -> Links {
        networks.sort();
        networks.dedup();
        Links { listening, networks }
    }

    /// Whether a datagram reaches this address without a router: it is in a network of ours, or link-local in IPv6.
    ///
    /// Link-local IPv4 is a network like any other: a machine that is not in it sends to a router.
    pub fn is_on_link(&self, address: SocketAddr) -> bool {
        match canonical(address) {
            address if Scope::of(address) == Scope::Unusable => false,
            SocketAddr::V6(v6) if v6.ip().is_unicast_link_local() => v6.scope_id() != 0,
            address => self.networks.iter().any(|network| network.contains(address.ip())),
        }
    }

    /// Whether this is an address of this machine on one of these networks.
    pub fn is_here(&self, address: SocketAddr) -> bool {
        let ip = canonical(address).ip();
        self.networks.iter().any(|network| network.address == ip)
    }

    /// Whether this address is where we listen ourselves.
    pub fn is_own(&self, address: SocketAddr) -> bool {
        let ip = canonical(address).ip();
        let is_here = match self.listening.ip() {
            any if any.is_unspecified() => {
                ip.is_loopback() || self.networks.iter().any(|network| network.address == ip)
            }
            listening => listening == ip,
        };
        is_here && address.port() == self.listening.port()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::Ipv4Addr;

    fn a(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn links(listening: &str) -> Links {
        let network = |address: &str, bits| Network { address: address.parse().unwrap(), bits };
        Links::new(
            a(listening),
            vec![
                network("10.7.0.9", 23),
                network("192.0.2.130", 25),
                network("2001:db8:7::9", 64),
                network("fe80::9", 64),
            ],
        )
    }

    #[test]
    fn who_is_in_a_network_of_ours_is_on_the_link_and_nobody_else() {
        let links = links("[::]:24254");
        for near in [
            "10.7.0.1:24254",
            "10.7.1.254:1",
            "192.0.2.129:24254",
            "[::ffff:10.7.0.1]:5",
            "[2001:db8:7::1]:24254",
            "[fe80::1%3]:24254",
            "10.7.0.9:24255",
        ] {
            assert!(links.is_on_link(a(near)), "{near}");
        }
        for far in [
            "10.7.2.1:24254",
            "10.6.255.1:24254",
            "192.0.2.1:24254",
            "198.51.100.7:24254",
            "169.254.1.1:24254",
            "127.0.0.1:24254",
            "224.0.0.1:24254",
            "10.7.0.1:0",
            "[2001:db8:8::1]:24254",
            "[fe80::1]:24254",
            "[::1]:24254",
        ] {
            assert!(!links.is_on_link(a(far)), "{far}");
        }
    }

    #[test]
    fn our_own_address_is_where_we_listen_and_other_ports_are_others() {
        let everywhere = links("[::]:24254");
        for own in
            ["10.7.0.9:24254", "[2001:db8:7::9]:24254", "[fe80::9%4]:24254", "127.0.0.1:24254", "[::1]:24254"]
        {
            assert!(everywhere.is_own(a(own)), "{own}");
        }
        for other in ["10.7.0.9:24255", "10.7.0.8:24254", "[2001:db8:7::8]:24254"] {
            assert!(!everywhere.is_own(a(other)), "{other}");
        }
        let there = links("10.7.0.9:5000");
        assert!(there.is_own(a("10.7.0.9:5000")));
        assert!(!there.is_own(a("192.0.2.130:5000")) && !there.is_own(a("127.0.0.1:5000")));
    }

    proptest! {
        #[test]
        fn a_network_holds_what_its_mask_says(own: u32, other: u32, bits in 0..=32u8) {
            let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
            let ip = |bits| IpAddr::V4(Ipv4Addr::from_bits(bits));
            for other in [other, own ^ (other & 0xfff), own ^ 1] {
                let contains = Network { address: ip(own), bits }.contains(ip(other));
                prop_assert_eq!(contains, own & mask == other & mask);
            }
        }
    }
}
