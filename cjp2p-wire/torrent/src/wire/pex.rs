//! `PeerExchange`: peers that came and went, as peers tell each other (BEP 11), and addresses in compact form (BEP 23, BEP 7).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::extended::{dictionary, string};
use super::message::WireError;
use crate::bencode;

/// Addresses of one kind that one message names: what goes beyond is not looked at.
pub const MAX_PEX: usize = 50;

/// Peers that came and went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerExchange {
    /// Connected since the last message.
    pub added: Vec<SocketAddr>,
    /// Not connected any more.
    pub dropped: Vec<SocketAddr>,
}

impl PeerExchange {
    /// Reads the payload, up to [`MAX_PEX`] addresses of each family.
    ///
    /// # Errors
    ///
    /// Where it is no dictionary in strict bencode.
    pub fn read(payload: &[u8]) -> Result<PeerExchange, WireError> {
        let mut read = PeerExchange::default();
        bencode::dictionary(payload, |key, value| {
            let bytes = bencode::bytes(value).unwrap_or_default();
            match key {
                b"added" => read.added.extend(compact_v4(bytes).take(MAX_PEX)),
                b"added6" => read.added.extend(compact_v6(bytes).take(MAX_PEX)),
                b"dropped" => read.dropped.extend(compact_v4(bytes).take(MAX_PEX)),
                b"dropped6" => read.dropped.extend(compact_v6(bytes).take(MAX_PEX)),
                _ => {}
            }
            Ok::<_, WireError>(())
        })?;
        Ok(read)
    }

    /// Its payload.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let (added, added6) = compact(&self.added);
        let (dropped, dropped6) = compact(&self.dropped);
        dictionary(|pairs| {
            pairs.emit_pair(b"added", string(&added))?;
            pairs.emit_pair(b"added.f", string(&vec![0; added.len() / 6]))?;
            pairs.emit_pair(b"added6", string(&added6))?;
            pairs.emit_pair(b"added6.f", string(&vec![0; added6.len() / 18]))?;
            pairs.emit_pair(b"dropped", string(&dropped))?;
            pairs.emit_pair(b"dropped6", string(&dropped6))
        })
    }
}

/// Reads six bytes for each address; some that are left over are none.
pub(crate) fn compact_v4(bytes: &[u8]) -> impl Iterator<Item = SocketAddr> + '_ {
    bytes.as_chunks::<6>().0.iter().map(|&[a, b, c, d, high, low]| {
        SocketAddr::from((Ipv4Addr::new(a, b, c, d), u16::from_be_bytes([high, low])))
    })
}

/// Reads eighteen bytes for each address.
pub(crate) fn compact_v6(bytes: &[u8]) -> impl Iterator<Item = SocketAddr> + '_ {
    bytes.as_chunks::<18>().0.iter().map(|bytes| {
        let mut ip = [0; 16];
        ip.copy_from_slice(&bytes[..16]);
        SocketAddr::from((Ipv6Addr::from(ip), u16::from_be_bytes([bytes[16], bytes[17]])))
    })
}

/// The addresses of each family.
fn compact(addresses: &[SocketAddr]) -> (Vec<u8>, Vec<u8>) {
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    for address in addresses {
        let out = match address.ip() {
            IpAddr::V4(ip) => {
                v4.extend_from_slice(&ip.octets());
                &mut v4
            }
            IpAddr::V6(ip) => {
                v6.extend_from_slice(&ip.octets());
                &mut v6
            }
        };
        out.extend_from_slice(&address.port().to_be_bytes());
    }
    (v4, v6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_both_families_are_read_as_they_were_written() {
        let addresses: Vec<SocketAddr> = ["1.2.3.4:5", "[2001:db8::1]:6881", "9.8.7.6:65535"]
            .iter()
            .map(|text| text.parse().unwrap())
            .collect();
        let said = PeerExchange { added: addresses.clone(), dropped: vec![addresses[0]] };
        let read = PeerExchange::read(&said.to_bytes()).unwrap();
        assert_eq!(read.added, [addresses[0], addresses[2], addresses[1]]);
        assert_eq!(read.dropped, [addresses[0]]);
    }

    #[test]
    fn more_addresses_than_allowed_and_broken_ones_are_passed_over() {
        let many = PeerExchange { added: vec!["1.2.3.4:5".parse().unwrap(); 1000], dropped: Vec::new() };
        assert_eq!(PeerExchange::read(&many.to_bytes()).unwrap().added.len(), MAX_PEX);
        assert_eq!(PeerExchange::read(b"d5:added7:1234567e").unwrap().added.len(), 1);
        assert_eq!(PeerExchange::read(b"d5:addedi1ee").unwrap(), PeerExchange::default());
        assert!(PeerExchange::read(b"d5:added5:").is_err());
    }
}
