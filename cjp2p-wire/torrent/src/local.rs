//! Finding peers on the local network (BEP 14): what is said to the group, read and written.

use std::fmt::Write;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str;

use crate::info_hash::InfoHash;

/// Where everybody who looks for peers listens, in IPv4.
pub const GROUP_V4: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(239, 192, 152, 143)), GROUP_PORT);
/// The same in IPv6, of the site.
pub const GROUP_V6: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V6(Ipv6Addr::new(0xff15, 0, 0, 0, 0, 0, 0xefc0, 0x988f)), GROUP_PORT);
const GROUP_PORT: u16 = 6771;
/// A datagram has so many bytes at the most; longer ones are not read.
pub const MAX_DATAGRAM: usize = 1400;
/// Torrents that one datagram names, at the most.
const MAX_HASHES: usize = 16;
/// Lines of one datagram, at the most.
const MAX_LINES: usize = 64;
/// Letters of the word by which a client knows its own datagrams, at the most.
const MAX_COOKIE: usize = 64;

/// What a peer says to everybody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Search {
    /// Where it accepts connections.
    pub port: u16,
    /// Which torrents it is there for; at least one.
    pub info_hashes: Vec<InfoHash>,
    /// By which it knows its own datagrams.
    pub cookie: String,
}

impl Search {
    /// The datagrams that say this to `group`, each short enough for any link.
    #[must_use]
    pub fn to_datagrams(&self, group: SocketAddr) -> Vec<Vec<u8>> {
        let datagram = |hashes: &[InfoHash]| {
            let mut text = format!("BT-SEARCH * HTTP/1.1\r\nHost: {group}\r\nPort: {}\r\n", self.port);
            for hash in hashes {
                let _ = write!(text, "Infohash: {hash}\r\n");
            }
            let _ = write!(text, "cookie: {}\r\n\r\n\r\n", self.cookie);
            text.into_bytes()
        };
        self.info_hashes.chunks(MAX_HASHES).map(datagram).collect()
    }

    /// Reads a datagram. What is unknown is passed over.
    #[must_use]
    pub fn read(datagram: &[u8]) -> Option<Search> {
        let text = str::from_utf8(datagram.get(..MAX_DATAGRAM).unwrap_or(datagram)).ok()?;
        let mut lines = text.lines().take(MAX_LINES);
        if !lines.next()?.starts_with("BT-SEARCH * HTTP/1.") {
            return None;
        }
        let (mut port, mut info_hashes, mut cookie) = (None, Vec::new(), String::new());
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            let value = value.trim();
            match name.to_ascii_lowercase().as_str() {
                "port" => port = value.parse().ok().filter(|&port| port != 0),
                "infohash" if info_hashes.len() < MAX_HASHES => info_hashes.extend(InfoHash::parse(value)),
                "cookie" => cookie = value.chars().take(MAX_COOKIE).collect(),
                _ => {}
            }
        }
        (!info_hashes.is_empty()).then_some(Search { port: port?, info_hashes, cookie })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_said_is_read_again_and_many_torrents_are_said_in_several_datagrams() {
        let info_hashes: Vec<InfoHash> = (0..40u8).map(|n| InfoHash::from_bytes([n; 20])).collect();
        let search = Search { port: 6881, info_hashes: info_hashes.clone(), cookie: "abc".to_string() };
        for group in [GROUP_V4, GROUP_V6] {
            let datagrams = search.to_datagrams(group);
            let read: Vec<Search> =
                datagrams.iter().map(|datagram| Search::read(datagram).expect("it is read")).collect();
            assert_eq!(read.len(), 3);
            assert!(read.iter().all(|read| read.port == 6881 && read.cookie == "abc"));
            let hashes: Vec<InfoHash> = read.into_iter().flat_map(|read| read.info_hashes).collect();
            assert_eq!(hashes, info_hashes);
            assert!(datagrams.iter().all(|datagram| datagram.len() <= MAX_DATAGRAM));
        }
        assert!(Search { info_hashes: Vec::new(), ..search }.to_datagrams(GROUP_V4).is_empty());
    }

    #[test]
    fn what_other_clients_say_is_read_and_what_is_no_search_is_not() {
        let hash = "c".repeat(40);
        let text = format!(
            "BT-SEARCH * HTTP/1.1\r\nHost: 239.192.152.143:6771\r\nPort: 51413\r\nINFOHASH: {hash}\r\nX: y\r\n\r\n"
        );
        let read = Search::read(text.as_bytes()).expect("it is read");
        assert_eq!((read.port, read.info_hashes.len(), read.cookie.as_str()), (51413, 1, ""));
        for wrong in ["", "M-SEARCH * HTTP/1.1", "BT-SEARCH * HTTP/1.1\r\nPort: 1\r\n"] {
            assert_eq!(Search::read(wrong.as_bytes()), None);
        }
        let no_port = text.replace("51413", "0");
        assert_eq!(Search::read(no_port.as_bytes()), None);
    }

    proptest! {
        #[test]
        fn any_datagram_is_read_or_not(datagram in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Search::read(&datagram);
            let mut long = b"BT-SEARCH * HTTP/1.1\r\nPort: 1\r\n".to_vec();
            long.extend(datagram);
            if let Some(read) = Search::read(&long) {
                prop_assert!(read.info_hashes.len() <= MAX_HASHES);
            }
        }
    }
}
