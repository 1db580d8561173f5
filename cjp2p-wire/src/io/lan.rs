//! Reaching everybody on the link, and hearing what is said to everybody: on all interfaces, as they come and go.
//!
//! What is said to everybody is heard by sockets of its own, each bound to an address that only such datagrams are sent
//! to, at [`DEFAULT_PORT`]. So it is known of each how it came, several nodes of one machine hear it, and none of them takes
//! away what is meant for another.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::ifaddrs::{InterfaceAddress, getifaddrs};
use nix::net::if_::InterfaceFlags;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, SockaddrStorage, bind, recv,
    setsockopt, socket, sockopt,
};

use super::udp::{UdpPort, socket_address};
use crate::peers::address::{self, DEFAULT_PORT};
use crate::peers::links::{Links, Network};

/// All hosts on a link, in IPv4 and IPv6. Every host is in these groups, so nobody need join them.
const ALL_V4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 1);
const ALL_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
/// A machine with more addresses than this has something else than a LAN.
const MAX_PLACES: usize = 64;
/// A longer datagram is no question.
const MAX_QUESTION: usize = 4096;
/// Datagrams read of one socket before others get their turn.
const QUESTIONS_PER_TURN: usize = 16;

/// An address of ours on a link with others.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    address: IpAddr,
    bits: u8,
    /// IPv4: the address of everybody in this network.
    broadcast: Option<Ipv4Addr>,
    /// IPv6, and only of a link-local address: the number of the interface.
    interface: Option<u32>,
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Lan {
    listening: SocketAddr,
    /// Whether questions of others are to be heard.
    hears: bool,
    places: Vec<Place>,
    /// By the address that each is bound to.
    sockets: BTreeMap<SocketAddr, UdpSocket>,
    /// Where the kernel says that interfaces have changed. `None` where it does not.
    changes: Option<OwnedFd>,
    /// All of the above that can be read, as one thing to wait for.
    ready: Epoll,
    /// Something of it did not work: a new address cannot be used for a second or two.
    incomplete: bool,
}

impl Lan {
    /// The links of this port's addresses; `None` where these are on no link at all.
    ///
    /// # Errors
    ///
    /// Where the system has no descriptor left.
    pub(super) fn open(port: &UdpPort, hears: bool) -> io::Result<Option<Lan>> {
        let listening = port.local_address()?;
        if listening.ip().is_loopback() {
            return Ok(None);
        }
        setsockopt(port, sockopt::Broadcast, &true)?;
        let ready = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let changes = watch_interfaces();
        match &changes {
            Ok(changes) => ready.add(changes, EpollEvent::new(EpollFlags::EPOLLIN, 0))?,
            Err(errno) => log::info!("interfaces that come later are not seen: netlink: {errno}"),
        }
        let (places, sockets) = (Vec::new(), BTreeMap::new());
        let changes = changes.ok();
        Ok(Some(Lan { listening, hears, places, sockets, changes, ready, incomplete: true }))
    }

    /// Whether interfaces have changed since this was called last.
    pub(super) fn has_changed(&self) -> bool {
        let Some(changes) = &self.changes else { return false };
        let mut changed = false;
        loop {
            match recv(changes.as_raw_fd(), &mut [0; 8192], MsgFlags::MSG_DONTWAIT) {
                Ok(0) | Err(Errno::EAGAIN) => return changed,
                // What happened is looked up in any case, so it does no harm that some of it was lost.
                Ok(_) | Err(Errno::ENOBUFS | Errno::EINTR) => changed = true,
                Err(errno) => {
                    log::info!("netlink: {errno}");
                    return changed;
                }
            }
        }
    }

    /// Looks which networks there are now, and listens on each. `None` where nothing is new since the last time, and nothing
    /// went wrong then.
    pub(super) fn look(&mut self) -> Option<Links> {
        let places = match read_places(self.listening) {
            Ok(places) => places,
            Err(errno) => {
                log::info!("interfaces: {errno}");
                return None;
            }
        };
        let was_incomplete = std::mem::take(&mut self.incomplete);
        if places == self.places && !was_incomplete {
            return None;
        }
        self.places = places;
        if self.hears {
            self.listen();
        }
        let networks = self.places.iter().map(|place| Network { address: place.address, bits: place.bits });
        Some(Links::new(self.listening, networks.collect()))
    }

    /// Sends a question to everybody on every link.
    pub(super) fn ask(&mut self, port: &UdpPort, question: &[u8]) {
        let mut reached = 0;
        for (source, to) in self.groups() {
            match port.send_to_group(source, to, question) {
                Ok(()) => reached += 1,
                Err(errno) => {
                    self.incomplete = true;
                    log::debug!("{to}: cannot ask on the link: {errno}");
                }
            }
        }
        log::debug!("asked on the local network, by {reached} addresses");
    }

    /// Reads what was said to everybody, some of it: by whom, and what.
    pub(super) fn receive(&self) -> Vec<(SocketAddr, Vec<u8>)> {
        let mut heard = Vec::new();
        let mut buffer = [0; MAX_QUESTION + 1];
        for socket in self.sockets.values() {
            for _ in 0..QUESTIONS_PER_TURN {
                match socket.recv_from(&mut buffer) {
                    Ok((length, from)) if length <= MAX_QUESTION => {
                        heard.push((address::canonical(from), buffer[..length].to_vec()));
                    }
                    Ok(_) => {}
                    Err(_) => break,
                }
            }
        }
        heard
    }

    /// The addresses of everybody, each with the address of ours that says on which link, where it does not say so itself.
    fn groups(&self) -> BTreeSet<(Option<Ipv4Addr>, SocketAddr)> {
        let to = |ip: Ipv4Addr| SocketAddr::from((ip, DEFAULT_PORT));
        let mut groups = BTreeSet::new();
        for place in &self.places {
            if let (IpAddr::V4(own), Some(broadcast)) = (place.address, place.broadcast) {
                groups.extend([(Some(own), to(broadcast)), (Some(own), to(ALL_V4))]);
            }
            if let Some(interface) = place.interface {
                groups.insert((None, SocketAddrV6::new(ALL_V6, DEFAULT_PORT, 0, interface).into()));
            }
        }
        groups
    }

    /// Has a socket for each address of everybody, and none for those that are gone.
    fn listen(&mut self) {
        let mut wanted: BTreeSet<SocketAddr> = self.groups().into_iter().map(|(_, group)| group).collect();
        if wanted.iter().any(SocketAddr::is_ipv4) {
            wanted.insert((Ipv4Addr::BROADCAST, DEFAULT_PORT).into());
        }
        // What is closed is waited for no more.
        self.sockets.retain(|group, _| wanted.contains(group));
        for group in wanted {
            if self.sockets.contains_key(&group) {
                continue;
            }
            let opened = open(group).and_then(|socket| {
                self.ready.add(&socket, EpollEvent::new(EpollFlags::EPOLLIN, 0))?;
                Ok(socket)
            });
            match opened {
                Ok(socket) => drop(self.sockets.insert(group, socket)),
                Err(errno) => {
                    self.incomplete = true;
                    log::info!("questions to {group} are not heard: {errno}");
                }
            }
        }
    }
}

impl AsFd for Lan {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ready.0.as_fd()
    }
}

/// A socket that hears what is sent to this group.
fn open(group: SocketAddr) -> nix::Result<UdpSocket> {
    let family = if group.is_ipv6() { AddressFamily::Inet6 } else { AddressFamily::Inet };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let descriptor = socket(family, SockType::Datagram, flags, None)?;
    setsockopt(&descriptor, sockopt::ReuseAddr, &true)?;
    bind(descriptor.as_raw_fd(), &SockaddrStorage::from(group))?;
    Ok(descriptor.into())
}

/// Has the kernel say when interfaces or their addresses change.
fn watch_interfaces() -> nix::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let descriptor = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute)?;
    let groups = libc::RTMGRP_LINK | libc::RTMGRP_IPV4_IFADDR | libc::RTMGRP_IPV6_IFADDR;
    bind(descriptor.as_raw_fd(), &NetlinkAddr::new(0, groups.cast_unsigned()))?;
    Ok(descriptor)
}

/// Our addresses on links with others that a socket bound to `listening` can use.
fn read_places(listening: SocketAddr) -> nix::Result<Vec<Place>> {
    let on_links: Vec<(String, Place)> = getifaddrs()?.filter_map(place).collect();
    let by_name =
        |ip: IpAddr| on_links.iter().find(|(_, place)| place.address == ip).map(|(name, _)| &**name);
    let is_meant = |name: &str, place: &Place| match (listening.ip(), place.address) {
        (IpAddr::V6(any), _) if any.is_unspecified() => true,
        (IpAddr::V4(any), own) if any.is_unspecified() => own.is_ipv4(),
        (IpAddr::V4(bound), own) => own == bound,
        (bound, IpAddr::V6(_)) => by_name(bound) == Some(name),
        _ => false,
    };
    let meant = on_links.iter().filter(|(name, place)| is_meant(name, place)).map(|(_, place)| place.clone());
    let mut places: Vec<Place> = meant.collect();
    places.sort();
    places.dedup();
    places.truncate(MAX_PLACES);
    Ok(places)
}

/// An address of an interface, where others are on its link: not this machine itself, and not somebody at the other end of a
/// line, who is far away.
fn place(interface: InterfaceAddress) -> Option<(String, Place)> {
    let flags = interface.flags;
    let needed = InterfaceFlags::IFF_UP | InterfaceFlags::IFF_RUNNING | InterfaceFlags::IFF_MULTICAST;
    let refused = InterfaceFlags::IFF_LOOPBACK | InterfaceFlags::IFF_POINTOPOINT;
    if !flags.contains(needed) || flags.intersects(refused) {
        return None;
    }
    let ip = |address: SockaddrStorage| socket_address(address).map(|address| address.ip());
    let own = socket_address(interface.address?)?;
    let bits = match interface.netmask.and_then(ip)? {
        IpAddr::V4(mask) => mask.to_bits().leading_ones(),
        IpAddr::V6(mask) => mask.to_bits().leading_ones(),
    };
    let broadcast = match interface.broadcast.and_then(ip) {
        Some(IpAddr::V4(broadcast)) if flags.contains(InterfaceFlags::IFF_BROADCAST) => Some(broadcast),
        _ => None,
    };
    let interface_number = match own {
        SocketAddr::V6(own) if own.ip().is_unicast_link_local() => Some(own.scope_id()),
        _ => None,
    };
    let place = Place {
        address: own.ip(),
        bits: u8::try_from(bits).ok()?,
        broadcast,
        interface: interface_number.filter(|number| *number != 0),
    };
    Some((interface.interface_name, place))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(at: &str) -> UdpPort {
        UdpPort::bind(&[at.parse().unwrap()]).unwrap()
    }

    #[test]
    fn who_listens_on_this_machine_only_is_on_no_link() {
        for at in ["127.0.0.1:0", "[::1]:0"] {
            assert!(Lan::open(&port(at), true).unwrap().is_none());
        }
    }

    /// Looks, but does not ask: that would leave this machine.
    #[test]
    fn loopback_is_no_link_and_nothing_is_new_until_something_changes() {
        let mut lan = Lan::open(&port("[::]:0"), false).unwrap().unwrap();
        let links = lan.look().unwrap();
        assert!(!links.is_on_link("127.0.0.1:5".parse().unwrap()));
        assert!(lan.groups().iter().all(|(_, group)| group.port() == DEFAULT_PORT));
        assert!(!lan.groups().iter().any(|(_, group)| group.ip().is_loopback()));
        assert!(lan.look().is_none() || lan.has_changed());
        assert!(lan.sockets.is_empty(), "it was not to hear anybody");
    }
}
