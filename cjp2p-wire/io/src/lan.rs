//! Reaching everybody on the link, and hearing what is said to everybody: on all interfaces, as they come and go.
//!
//! What is said to everybody is heard by sockets of its own, each bound to an address that only such datagrams are sent
//! to, at [`DEFAULT_PORT`]. So it is known of each how it came, several nodes of one machine hear it, and none of them takes
//! away what is meant for another. An address that this machine has itself is never such an address, whatever an interface
//! says, and the kernel tells of each datagram how it was addressed.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use cjp2p_wire::node::MAX_NEIGHBOURS;
use cjp2p_wire::peers::address::{self, DEFAULT_PORT};
use cjp2p_wire::peers::links::{Links, Network};
use nix::errno::Errno;
use nix::ifaddrs::{InterfaceAddress, getifaddrs};
use nix::net::if_::InterfaceFlags;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, SockaddrStorage, bind, recv,
    recvmsg, setsockopt, socket, sockopt,
};

use super::kernel_neighbours;
use super::udp::{UdpPort, is_to_everybody, socket_address};

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
    /// The networks of these places.
    links: Option<Links>,
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
        let links = None;
        Ok(Some(Lan { listening, hears, places, links, sockets, changes, ready, incomplete: true }))
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
        let links = Links::new(self.listening, networks.collect());
        self.links = Some(links.clone());
        Some(links)
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

    /// Sends a question to each host on a link that the kernel knows: a firewall that lets in answers only lets in theirs. Hosts that
    /// answered the question to everybody are among them, since a host asks for the hardware address to which it answers.
    pub(super) fn ask_neighbours(&self, port: &mut UdpPort, question: &[u8]) {
        let neighbours = kernel_neighbours::read().unwrap_or_else(|errno| {
            log::debug!("neighbours: {errno}");
            Vec::new()
        });
        let there = neighbours.into_iter().map(|neighbour| neighbour.at(DEFAULT_PORT));
        let is_meant = |address: &SocketAddr| {
            self.links.as_ref().is_some_and(|links| links.is_on_link(*address) && !links.is_here(*address))
        };
        let mut asked = 0;
        for address in there.filter(is_meant).take(MAX_NEIGHBOURS) {
            port.send(address, question, question.len());
            asked += 1;
        }
        log::debug!("asked {asked} neighbours by themselves, as nobody was heard");
    }

    /// Reads some of what was said to everybody: the sender, and what it said.
    pub(super) fn receive(&self) -> Vec<(SocketAddr, Vec<u8>)> {
        let mut heard = Vec::new();
        let mut buffer = [0; MAX_QUESTION + 1];
        for socket in self.sockets.values() {
            for _ in 0..QUESTIONS_PER_TURN {
                match receive_from_group(socket, &mut buffer) {
                    Ok(Some((from, length))) if length <= MAX_QUESTION => {
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
            if let IpAddr::V4(own) = place.address {
                groups.insert((Some(own), to(ALL_V4)));
                groups.extend(place.broadcast.map(|broadcast| (Some(own), to(broadcast))));
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
    if group.is_ipv6() {
        setsockopt(&descriptor, sockopt::Ipv6RecvPacketInfo, &true)?;
    } else {
        setsockopt(&descriptor, sockopt::Ipv4PacketInfo, &true)?;
    }
    bind(descriptor.as_raw_fd(), &SockaddrStorage::from(group))?;
    Ok(descriptor.into())
}

/// Reads a datagram: its sender and its length. `None` where it was not sent to everybody: an address can become that of a
/// single machine while a socket is bound to it.
fn receive_from_group(socket: &UdpSocket, buffer: &mut [u8]) -> nix::Result<Option<(SocketAddr, usize)>> {
    let mut space = nix::cmsg_space!(libc::in_pktinfo, libc::in6_pktinfo);
    let mut slices = [IoSliceMut::new(buffer)];
    let flags = MsgFlags::MSG_DONTWAIT;
    let message = recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut slices, Some(&mut space), flags)?;
    let to_everybody = message.cmsgs()?.any(|told| is_to_everybody(&told) == Some(true));
    let from = message.address.and_then(socket_address).filter(|_| to_everybody);
    Ok(from.map(|from| (from, message.bytes)))
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
    let all: Vec<InterfaceAddress> = getifaddrs()?.collect();
    let own: BTreeSet<IpAddr> = all.iter().filter_map(|interface| interface.address.and_then(ip)).collect();
    let mut on_links: Vec<(String, Place)> = all.into_iter().filter_map(place).collect();
    for (_, place) in &mut on_links {
        place.broadcast = place.broadcast.filter(|broadcast| is_broadcast(*broadcast, place.bits, &own));
    }
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

/// Whether all of a network hear what is sent to this address that its interface names. An interface without such an address
/// names its own, or that of the machine at the other end; and one or two addresses are no network.
fn is_broadcast(address: Ipv4Addr, bits: u8, own: &BTreeSet<IpAddr>) -> bool {
    let is_usable = !address.is_unspecified() && !address.is_loopback() && !address.is_multicast();
    bits <= 30 && is_usable && !own.contains(&address.into())
}

fn ip(address: SockaddrStorage) -> Option<IpAddr> {
    socket_address(address).map(|address| address.ip())
}

/// An address of an interface, where others are on its link: not this machine itself, and not the other end of a
/// line, which is far away.
fn place(interface: InterfaceAddress) -> Option<(String, Place)> {
    let flags = interface.flags;
    let needed = InterfaceFlags::IFF_UP | InterfaceFlags::IFF_RUNNING | InterfaceFlags::IFF_MULTICAST;
    let refused = InterfaceFlags::IFF_LOOPBACK | InterfaceFlags::IFF_POINTOPOINT;
    if !flags.contains(needed) || flags.intersects(refused) {
        return None;
    }
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

    #[test]
    fn an_address_of_this_machine_or_of_one_other_is_never_that_of_everybody() {
        let own: BTreeSet<IpAddr> = ["10.7.0.1", "10.7.0.255"].map(|own| own.parse().unwrap()).into();
        let is_broadcast = |address: &str, bits| is_broadcast(address.parse().unwrap(), bits, &own);
        assert!(is_broadcast("10.7.1.255", 23) && is_broadcast("10.7.0.3", 30));
        // No broadcast address; that of another interface; a line to one other; one address alone.
        for (address, bits) in [("10.7.0.1", 24), ("10.7.0.255", 24), ("10.7.0.3", 31), ("10.7.0.9", 32)] {
            assert!(!is_broadcast(address, bits), "{address}/{bits}");
        }
        for nobody in ["0.0.0.0", "127.255.255.255", "224.0.0.1"] {
            assert!(!is_broadcast(nobody, 8), "{nobody}");
        }
    }

    #[test]
    fn a_socket_for_everybody_takes_nothing_that_was_sent_to_this_machine_alone() {
        for own in ["127.0.0.1:0", "[::1]:0"] {
            // As if the address had been that of everybody when it was bound.
            let socket = open(own.parse().unwrap()).unwrap();
            let sender = UdpSocket::bind(own).unwrap();
            sender.send_to(b"[]", socket.local_addr().unwrap()).unwrap();
            assert_eq!(receive_from_group(&socket, &mut [0; 9]), Ok(None), "{own}");
            assert_eq!(receive_from_group(&socket, &mut [0; 9]), Err(Errno::EAGAIN), "{own}");
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
