//! Peers as people name them.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::str::FromStr;

use cjp2p_wire::peers::address::{self, DEFAULT_PORT, Scope};

/// What a peer of BitTorrent begins with.
const TORRENT_PREFIX: &str = "bt:";

/// A peer as a person names it: a host name or an IP address, and a port. `bt:HOST:PORT` is one of BitTorrent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerName {
    host: String,
    port: u16,
    is_torrent: bool,
}

impl PeerName {
    /// Whether it is a peer of BitTorrent.
    pub fn is_torrent(&self) -> bool {
        self.is_torrent
    }

    /// Whether it is an address, which need not be looked up.
    pub fn is_address(&self) -> bool {
        self.host.contains(':') || self.host.parse::<Ipv4Addr>().is_ok()
    }

    /// The addresses it stands for, canonical and usable; at least one. Waits for the name service.
    ///
    /// # Errors
    ///
    /// Where there is none. The message names the peer.
    pub fn resolve(&self) -> Result<Vec<SocketAddr>, String> {
        let found =
            (self.host.as_str(), self.port).to_socket_addrs().map_err(|error| format!("{self}: {error}"))?;
        let mut addresses: Vec<SocketAddr> =
            found.map(address::canonical).filter(|address| Scope::of(*address) != Scope::Unusable).collect();
        addresses.dedup();
        if addresses.is_empty() {
            return Err(format!("{self}: no peer can be there"));
        }
        Ok(addresses)
    }
}

impl FromStr for PeerName {
    type Err = String;

    fn from_str(text: &str) -> Result<PeerName, String> {
        if let Some(rest) = text.strip_prefix(TORRENT_PREFIX) {
            // BitTorrent has no port that all use.
            let name: PeerName = rest.parse()?;
            let says_port = rest.rsplit_once(':').is_some_and(|(_, port)| port == name.port.to_string());
            return match says_port && rest.parse::<Ipv6Addr>().is_err() {
                true => Ok(PeerName { is_torrent: true, ..name }),
                false => Err(format!("{text:?} has no port")),
            };
        }
        let wrong = || format!("{text:?} is not an address or host name, with or without a port");
        // An IPv6 address can stand without brackets only where no port follows.
        let (host, port) = if text.parse::<Ipv6Addr>().is_ok() {
            (text, None)
        } else if let Some(rest) = text.strip_prefix('[') {
            let (host, rest) = rest.split_once(']').ok_or_else(wrong)?;
            // Of `fe80::1%6` the number of the interface, or its name, is left to the resolver.
            let ip = host.split('%').next().unwrap_or(host);
            ip.parse::<Ipv6Addr>().map_err(|_| wrong())?;
            match rest {
                "" => (host, None),
                _ => (host, Some(rest.strip_prefix(':').ok_or_else(wrong)?)),
            }
        } else {
            match text.split_once(':') {
                None => (text, None),
                Some((host, port)) => (host, Some(port)),
            }
        };
        let port = match port {
            None => DEFAULT_PORT,
            Some(digits) => digits.parse().ok().filter(|port| *port != 0).ok_or_else(wrong)?,
        };
        let printable = host.chars().all(|c| !c.is_whitespace() && !c.is_control() && c != '/');
        if host.is_empty() || host.len() > 255 || !printable {
            return Err(wrong());
        }
        Ok(PeerName { host: host.into(), port, is_torrent: false })
    }
}

impl fmt::Display for PeerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_torrent {
            f.write_str(TORRENT_PREFIX)?;
        }
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_are_named_by_address_or_host_with_or_without_a_port() {
        for (text, printed) in [
            ("198.51.100.7:1234", "198.51.100.7:1234"),
            ("198.51.100.7", "198.51.100.7:24254"),
            ("example.org", "example.org:24254"),
            ("example.org:80", "example.org:80"),
            ("2001:db8::1", "[2001:db8::1]:24254"),
            ("[2001:db8::1]", "[2001:db8::1]:24254"),
            ("[fe80::1%6]:5", "[fe80::1%6]:5"),
        ] {
            assert_eq!(text.parse::<PeerName>().unwrap().to_string(), printed);
        }
        let long = "x".repeat(300);
        for text in
            ["", ":1", "a:b", "a:0", "a:65536", "a:1:2", "[::1", "[::1]1", "[nope]:1", "a b", "a/b", &long]
        {
            assert!(text.parse::<PeerName>().unwrap_err().contains("is not an address"), "{text}");
        }
    }

    #[test]
    fn addresses_resolve_to_their_canonical_form() {
        let name: PeerName = "[::ffff:127.0.0.1]:5".parse().unwrap();
        assert_eq!(name.resolve().unwrap(), ["127.0.0.1:5".parse().unwrap()]);
        let name: PeerName = "[fe80::1%6]:5".parse().unwrap();
        assert_eq!(name.resolve().unwrap(), ["[fe80::1%6]:5".parse().unwrap()]);
        let name: PeerName = "224.0.0.1".parse().unwrap();
        assert_eq!(name.resolve().unwrap_err(), "224.0.0.1:24254: no peer can be there");
    }
}
