//! `LocalSearch`: says to the local network which torrents we are there for, and hears who else is (BEP 14).
//!
//! By multicast, on all interfaces that this machine had when it began, and no further than the link. What is heard is charged to nobody
//! and answered to nobody: an address goes to the swarm that it is for, and there it is one of many.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::Duration;

use cjp2p_torrent::info_hash::InfoHash;
use cjp2p_torrent::local::{GROUP_V4, MAX_DATAGRAM, Search};
use cjp2p_wire::time::Time;
use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, setsockopt, socket, sockopt};

use crate::readiness::{Interest, Readiness};

/// It is said again after so long (BEP 14).
const INTERVAL: Duration = Duration::from_secs(300);
/// And after so long at the soonest, when there are torrents that were not said yet.
const LEAST_INTERVAL: Duration = Duration::from_secs(5);
/// Interfaces at the most.
const MAX_INTERFACES: usize = 16;
/// Datagrams taken before others get their turn.
const MOST_AT_ONCE: usize = 32;

/// See the [module](self).
#[derive(Debug)]
pub struct LocalSearch {
    socket: UdpSocket,
    /// Our addresses on the interfaces that multicast goes out of.
    interfaces: Vec<Ipv4Addr>,
    readiness: Readiness,
    cookie: String,
    /// For which torrents we are there, and when that was last said.
    torrents: BTreeMap<InfoHash, Option<Time>>,
    said_at: Option<Time>,
}

impl LocalSearch {
    /// Listens on all interfaces that multicast goes out of.
    ///
    /// # Errors
    ///
    /// There is no such interface, or the system gives no socket for it.
    pub fn open(seed: u64) -> io::Result<LocalSearch> {
        let is_local = |flags: InterfaceFlags| {
            flags.contains(InterfaceFlags::IFF_UP | InterfaceFlags::IFF_MULTICAST)
                && !flags.contains(InterfaceFlags::IFF_LOOPBACK)
        };
        let interfaces: Vec<Ipv4Addr> = getifaddrs()?
            .filter(|interface| is_local(interface.flags))
            .filter_map(|interface| Some(interface.address?.as_sockaddr_in()?.ip()))
            .take(MAX_INTERFACES)
            .collect();
        LocalSearch::on(interfaces, seed)
    }

    fn on(interfaces: Vec<Ipv4Addr>, seed: u64) -> io::Result<LocalSearch> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let descriptor = socket(AddressFamily::Inet, SockType::Datagram, flags, None)?;
        // Every client of this machine listens there.
        setsockopt(&descriptor, sockopt::ReuseAddr, &true)?;
        // Bound to the group: what is sent to us alone does not come here.
        let SocketAddr::V4(group) = GROUP_V4 else { return Err(io::ErrorKind::Unsupported.into()) };
        bind(descriptor.as_raw_fd(), &SockaddrIn::from(group))?;
        let socket = UdpSocket::from(descriptor);
        let joins = |interface: &Ipv4Addr| socket.join_multicast_v4(group.ip(), interface).is_ok();
        let interfaces: Vec<Ipv4Addr> = interfaces.into_iter().filter(joins).collect();
        if interfaces.is_empty() {
            return Err(io::ErrorKind::NetworkUnreachable.into());
        }
        socket.set_multicast_ttl_v4(1)?;
        let readiness = Readiness::new()?;
        readiness.add(&socket, 0, Interest::READ)?;
        let mut random = fastrand::Rng::with_seed(seed);
        let cookie = std::iter::repeat_with(|| random.alphanumeric()).take(12).collect();
        Ok(LocalSearch { socket, interfaces, readiness, cookie, torrents: BTreeMap::new(), said_at: None })
    }

    /// What the event loop watches.
    #[must_use]
    pub fn readiness(&self) -> &Readiness {
        &self.readiness
    }

    /// We are there for this torrent. Never for a private one.
    pub fn add(&mut self, info_hash: InfoHash) {
        self.torrents.entry(info_hash).or_insert(None);
    }

    /// We are not any more.
    pub fn remove(&mut self, info_hash: InfoHash) {
        self.torrents.remove(&info_hash);
    }

    /// When to call [`turn`](LocalSearch::turn) at the latest.
    #[must_use]
    pub fn next_at(&self) -> Time {
        let due = |said: &Option<Time>| said.map_or(Time::ZERO, |at| at + INTERVAL);
        let first = self.torrents.values().map(due).min().unwrap_or(Time::NEVER);
        first.max(self.said_at.map_or(Time::ZERO, |at| at + LEAST_INTERVAL))
    }

    /// Says what is to be said now, where we accept connections at `port`. Returns who else is there for which of our torrents.
    pub fn turn(&mut self, now: Time, port: u16) -> Vec<(InfoHash, SocketAddr)> {
        if now >= self.next_at() {
            self.say(now, port);
        }
        let mut found = Vec::new();
        let mut datagram = [0; MAX_DATAGRAM];
        for _ in 0..MOST_AT_ONCE {
            let Ok((length, from)) = self.socket.recv_from(&mut datagram) else { break };
            let Some(search) = Search::read(&datagram[..length]) else { continue };
            if search.cookie == self.cookie {
                continue;
            }
            let peer = SocketAddr::new(from.ip(), search.port);
            let ours = search.info_hashes.into_iter().filter(|hash| self.torrents.contains_key(hash));
            found.extend(ours.map(|hash| (hash, peer)));
        }
        found
    }

    fn say(&mut self, now: Time, port: u16) {
        let is_due = |said: &Option<Time>| said.is_none_or(|at| now >= at + INTERVAL);
        let due: Vec<InfoHash> =
            self.torrents.iter().filter(|(_, said)| is_due(said)).map(|(hash, _)| *hash).collect();
        let search = Search { port, info_hashes: due.clone(), cookie: self.cookie.clone() };
        for datagram in search.to_datagrams(GROUP_V4) {
            for interface in &self.interfaces {
                let sent = self.go_out_of(*interface).and_then(|()| self.socket.send_to(&datagram, GROUP_V4));
                if let Err(error) = sent {
                    log::debug!("{}: nobody is told of torrents: {error}", IpAddr::from(*interface));
                }
            }
        }
        for hash in due {
            self.torrents.insert(hash, Some(now));
        }
        self.said_at = Some(now);
    }

    fn go_out_of(&self, interface: Ipv4Addr) -> io::Result<()> {
        Ok(rustix::net::sockopt::set_ip_multicast_if(&self.socket, &interface)?)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn two_on_one_link_find_each_other_for_the_torrent_that_both_have() {
        let on_loopback = |seed| LocalSearch::on(vec![Ipv4Addr::LOCALHOST], seed);
        let (Ok(mut one), Ok(mut other)) = (on_loopback(1), on_loopback(2)) else {
            // Where there is no multicast there is nothing to find.
            return;
        };
        let (both, only) = (InfoHash::from_bytes([1; 20]), InfoHash::from_bytes([2; 20]));
        one.add(both);
        one.add(only);
        other.add(both);
        let began = Instant::now();
        let mut found = Vec::new();
        while found.is_empty() && began.elapsed() < Duration::from_secs(60) {
            let now = Time::from_nanos(began.elapsed().as_nanos() as u64);
            // It hears the other one, too.
            let _ = one.turn(now, 7001);
            found = other.turn(now, 7002);
            std::thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(found, [(both, "127.0.0.1:7001".parse().unwrap())]);
        assert!(one.next_at() > Time::from_millis(299_000), "it was said");
    }

    #[test]
    fn it_is_said_every_five_minutes_and_what_is_new_soon() {
        let Ok(mut search) = LocalSearch::on(vec![Ipv4Addr::LOCALHOST], 3) else { return };
        assert_eq!(search.next_at(), Time::NEVER);
        search.add(InfoHash::from_bytes([3; 20]));
        let now = Time::from_millis(1000);
        assert!(search.next_at() <= now);
        search.turn(now, 1);
        assert_eq!(search.next_at(), now + INTERVAL);
        search.add(InfoHash::from_bytes([4; 20]));
        assert_eq!(search.next_at(), now + LEAST_INTERVAL);
    }
}
