//! Which addresses a torrent, a tracker or a peer may make us connect to.
//!
//! Whoever writes a torrent or answers for a tracker could otherwise have us connect to services of the user's own network.

use std::net::SocketAddr;

use cjp2p_wire::peers::address::{Scope, canonical};

/// Where an address comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    /// The user named it.
    User,
    /// It was announced on the local network.
    Lan,
    /// A tracker named it.
    Tracker,
    /// The DHT named it.
    Dht,
    /// A peer named it.
    Pex,
    /// A torrent or magnet named it.
    Torrent,
}

/// The address to connect to when `origin` names this one, or `None` where it may not name it. `allow_private` lets everything name
/// private and local addresses.
#[must_use]
pub fn admitted(origin: Origin, address: SocketAddr, allow_private: bool) -> Option<SocketAddr> {
    let address = canonical(address);
    let may = match (origin, Scope::of(address)) {
        (_, Scope::Unusable) => false,
        (Origin::User, _) | (_, Scope::Public) => true,
        (Origin::Lan, Scope::Private | Scope::LinkLocal | Scope::Loopback) => true,
        _ => allow_private,
    };
    may.then_some(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_name_only_public_addresses() {
        let near = [
            "127.0.0.1:1",
            "10.0.0.1:1",
            "192.168.1.1:80",
            "169.254.1.1:1",
            "[::1]:1",
            "[fe80::1]:1",
            "[fd00::1]:1",
        ];
        let mapped = ["[::ffff:127.0.0.1]:1", "[64:ff9b::10.0.0.1]:1"];
        for text in near.into_iter().chain(mapped) {
            let address = text.parse().unwrap();
            for origin in [Origin::Tracker, Origin::Dht, Origin::Pex, Origin::Torrent] {
                assert_eq!(admitted(origin, address, false), None, "{text}");
                assert!(admitted(origin, address, true).is_some(), "{text}");
            }
            assert!(admitted(Origin::User, address, false).is_some(), "{text}");
        }
        let public = "[::ffff:1.2.3.4]:5".parse().unwrap();
        assert_eq!(admitted(Origin::Pex, public, false), Some("1.2.3.4:5".parse().unwrap()));
    }

    #[test]
    fn nobody_names_an_address_where_no_peer_can_be() {
        for text in ["1.2.3.4:0", "224.0.0.1:5", "0.0.0.0:5", "255.255.255.255:5", "[ff02::1]:5", "[::]:5"] {
            assert_eq!(admitted(Origin::User, text.parse().unwrap(), true), None, "{text}");
        }
    }
}
