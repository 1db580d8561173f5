//! The hosts on our links that the kernel has had to do with lately: what it keeps hardware addresses of (ARP, and neighbour
//! discovery of IPv6). Asked of it by a netlink socket; it changes nothing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket};

/// The header of each message, and what follows it in one about a neighbour, in bytes.
const HEADER: usize = 16;
const NEIGHBOUR: usize = 12;
/// Bytes read of an answer at a time: the kernel never needs more.
const BUFFER: usize = 32 << 10;
/// Times that is read. A machine with more neighbours is in no LAN.
const MAX_READS: usize = 64;
/// States in which the hardware address is known: permanent, or learned and not known to be wrong.
const KNOWN: u16 =
    libc::NUD_PERMANENT | libc::NUD_REACHABLE | libc::NUD_STALE | libc::NUD_DELAY | libc::NUD_PROBE;

/// A host on a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Neighbour {
    ip: IpAddr,
    /// The number of the interface behind which it is.
    interface: u32,
    /// How long ago anything about it changed, in the kernel's ticks.
    age: u32,
}

impl Neighbour {
    /// Its address with this port.
    pub(super) fn at(self, port: u16) -> SocketAddr {
        match self.ip {
            IpAddr::V6(ip) if ip.is_unicast_link_local() => {
                SocketAddrV6::new(ip, port, 0, self.interface).into()
            }
            ip => SocketAddr::new(ip, port),
        }
    }
}

/// All there are, those first about which the kernel learned something last.
pub(super) fn read() -> nix::Result<Vec<Neighbour>> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let kernel = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute)?;
    send(kernel.as_raw_fd(), &question(), MsgFlags::empty())?;
    let mut found = Vec::new();
    let mut buffer = vec![0; BUFFER];
    for _ in 0..MAX_READS {
        // The answer is made while it is read, so nothing is waited for.
        let length = match recv(kernel.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
            Ok(length) => length,
            Err(Errno::EAGAIN) => break,
            Err(errno) => return Err(errno),
        };
        if !parse(buffer.get(..length).unwrap_or_default(), &mut found) {
            break;
        }
    }
    found.sort_by_key(|neighbour| neighbour.age);
    Ok(found)
}

/// Asks for all of them, of both families.
fn question() -> Vec<u8> {
    let length = (HEADER + NEIGHBOUR) as u32;
    let flags = (libc::NLM_F_REQUEST | libc::NLM_F_DUMP) as u16;
    let mut bytes = Vec::new();
    bytes.extend(length.to_ne_bytes());
    bytes.extend(libc::RTM_GETNEIGH.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.resize(length as usize, 0);
    bytes
}

/// Reads messages. Returns whether more may come.
fn parse(mut bytes: &[u8], found: &mut Vec<Neighbour>) -> bool {
    while let Some(length) = u32_at(bytes, 0) {
        let length = length as usize;
        let (Some(message), Some(kind)) = (bytes.get(HEADER..length), u16_at(bytes, 4)) else { return false };
        if i32::from(kind) == libc::NLMSG_DONE || i32::from(kind) == libc::NLMSG_ERROR {
            return false;
        }
        if kind == libc::RTM_NEWNEIGH {
            found.extend(neighbour(message));
        }
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    true
}

/// Reads what is told of one.
fn neighbour(message: &[u8]) -> Option<Neighbour> {
    let interface = u32_at(message, 4)?;
    let state = u16_at(message, 8)?;
    let mut attributes = message.get(NEIGHBOUR..)?;
    let (mut ip, mut age) = (None, u32::MAX);
    while let (Some(length), Some(kind)) = (u16_at(attributes, 0), u16_at(attributes, 2)) {
        let length = usize::from(length);
        let value = attributes.get(4..length)?;
        if kind == libc::NDA_DST {
            ip = ip_of(value);
        } else if kind == libc::NDA_CACHEINFO {
            // When it was confirmed, when used, and when changed.
            age = u32_at(value, 8).unwrap_or(u32::MAX);
        }
        attributes = attributes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Some(Neighbour { ip: ip.filter(|_| state & KNOWN != 0)?, interface, age })
}

fn ip_of(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Some(Ipv4Addr::from(v4).into());
    }
    <[u8; 16]>::try_from(bytes).ok().map(|v6| Ipv6Addr::from(v6).into())
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A message about a neighbour.
    fn message(state: u16, ip: &[u8], age: u32) -> Vec<u8> {
        let attribute = |kind: u16, value: &[u8]| {
            let length = (4 + value.len()) as u16;
            let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
            bytes.extend(value);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
            bytes
        };
        let times: Vec<u8> = [9, 9, age, 1].iter().flat_map(|n: &u32| n.to_ne_bytes()).collect();
        let mut body = [0; 4].to_vec();
        body.extend(7u32.to_ne_bytes());
        body.extend(state.to_ne_bytes());
        body.extend([0; 2]);
        // A hardware address, whose length is no multiple of four, comes in between.
        body.extend(
            [attribute(libc::NDA_DST, ip), attribute(2, &[1; 6]), attribute(libc::NDA_CACHEINFO, &times)]
                .concat(),
        );
        let mut bytes = ((HEADER + body.len()) as u32).to_ne_bytes().to_vec();
        bytes.extend(libc::RTM_NEWNEIGH.to_ne_bytes());
        bytes.resize(HEADER, 0);
        bytes.extend(body);
        bytes
    }

    #[test]
    fn neighbours_whose_hardware_addresses_are_known_are_read() {
        let link_local: Ipv6Addr = "fe80::5".parse().unwrap();
        let bytes = [
            message(libc::NUD_STALE, &[10, 7, 0, 1], 5),
            message(libc::NUD_FAILED, &[10, 7, 0, 2], 1),
            message(libc::NUD_REACHABLE, &link_local.octets(), 2),
            message(libc::NUD_NOARP, &[224, 0, 0, 1], 1),
            message(libc::NUD_STALE, &[1, 2, 3], 1),
        ]
        .concat();
        let mut found = Vec::new();
        assert!(parse(&bytes, &mut found));
        let found: Vec<(String, u32)> = found.iter().map(|n| (n.at(24254).to_string(), n.age)).collect();
        assert_eq!(found, [("10.7.0.1:24254".into(), 5), ("[fe80::5%7]:24254".into(), 2)]);
    }

    #[test]
    fn whatever_is_cut_short_is_read_as_far_as_it_goes() {
        let bytes =
            [message(libc::NUD_STALE, &[10, 7, 0, 1], 5), message(libc::NUD_STALE, &[10, 7, 0, 2], 5)]
                .concat();
        for length in 0..bytes.len() {
            let mut found = Vec::new();
            parse(&bytes[..length], &mut found);
            assert_eq!(found.len(), usize::from(length >= bytes.len() / 2), "{length}");
        }
        let mut endless = bytes.clone();
        endless[..4].fill(0);
        assert!(!parse(&endless, &mut Vec::new()), "a message without a length");
    }

    /// Whatever this machine has.
    #[test]
    fn the_kernel_answers_the_question() {
        assert!(read().is_ok());
    }
}
