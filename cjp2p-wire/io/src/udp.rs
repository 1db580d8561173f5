//! A UDP socket for both address families that reads and writes in batches.
//!
//! Datagrams of equal length to one address leave in one system call as one large packet, which the kernel or the network
//! card cuts (generic segmentation offload, GSO); what arrives so, or is put together by the kernel from what comes close
//! together, is read as one (generic receive offload, GRO). Where the kernel or a route refuses, each datagram goes alone.

use std::collections::BTreeSet;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, MultiHeaders, SockFlag, SockType,
    SockaddrStorage, bind, recvmmsg, sendmmsg, sendmsg, setsockopt, socket, sockopt,
};
use nix::sys::time::TimeSpec;

use cjp2p_wire::peers::address::{self, DEFAULT_PORT};

/// What the receive and send buffers are asked to be; the system may grant less.
pub const BUFFER: usize = 4 << 20;
/// Datagrams read at once, or so many bunches of datagrams that came together.
pub(super) const BATCH: usize = 16;
/// Addresses remembered to which no bunches can be sent.
const MAX_ALONE: usize = 1024;
/// No UDP datagram is longer.
const MAX_DATAGRAM: usize = 65_536;

/// No datagram waits longer to be read by a process that runs.
const MAX_AGE: Duration = Duration::from_secs(1);

/// What became of datagrams to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// They left.
    Done,
    /// The system's buffer is full after so many bytes: try the rest again when the socket is writable.
    Full(usize),
    /// They cannot be sent: there is no route, or the like. The network may lose any datagram, and so may we.
    Dropped,
}

/// What came in one read: datagrams of one sender.
#[derive(Clone, Copy, Debug)]
struct Received {
    /// `None` where it was sent to everybody on the link: other sockets hear that.
    from: Option<SocketAddr>,
    length: usize,
    /// The length of each datagram but the last.
    segment: usize,
    /// How long it had been here when it was read.
    waited: Duration,
}

/// A bound UDP socket.
#[derive(Debug)]
pub struct UdpPort {
    socket: UdpSocket,
    is_v6: bool,
    receive_buffer: u64,
    /// Room for [`BATCH`] bunches. What is never filled takes no memory.
    buffers: Vec<u8>,
    /// What the last read put in each of the first buffers.
    received: Vec<Received>,
    /// Where datagrams are sent one by one, since the kernel refused a bunch.
    alone: BTreeSet<SocketAddr>,
}

impl UdpPort {
    /// Binds the first of `candidates` for which that is possible. The unspecified IPv6 address takes IPv4 too.
    ///
    /// # Errors
    ///
    /// The last candidate's error; one that is about the address in use comes first.
    pub fn bind(candidates: &[SocketAddr]) -> io::Result<UdpPort> {
        let mut failure = io::Error::from(io::ErrorKind::AddrNotAvailable);
        for &candidate in candidates {
            match UdpPort::bind_one(candidate) {
                Ok(port) => return Ok(port),
                // Another process has the port: an IPv4 socket beside it would take only a part of what comes.
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Err(error),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    fn bind_one(address: SocketAddr) -> io::Result<UdpPort> {
        let is_v6 = address.is_ipv6();
        let family = if is_v6 { AddressFamily::Inet6 } else { AddressFamily::Inet };
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let descriptor = socket(family, SockType::Datagram, flags, None)?;
        if is_v6 {
            setsockopt(&descriptor, sockopt::Ipv6V6Only, &false)?;
        }
        // The forced form needs a privilege; the other is cut to what the administrator allows.
        if setsockopt(&descriptor, sockopt::RcvBufForce, &BUFFER).is_err() {
            setsockopt(&descriptor, sockopt::RcvBuf, &BUFFER)?;
        }
        if setsockopt(&descriptor, sockopt::SndBufForce, &BUFFER).is_err() {
            setsockopt(&descriptor, sockopt::SndBuf, &BUFFER)?;
        }
        if let Err(errno) = setsockopt(&descriptor, sockopt::UdpGroSegment, &true) {
            log::info!("datagrams come one by one: UDP_GRO: {errno}");
        }
        if let Err(errno) = setsockopt(&descriptor, sockopt::ReceiveTimestampns, &true) {
            log::info!("datagrams come when they are read: SO_TIMESTAMPNS: {errno}");
        }
        let everywhere = address.ip().is_unspecified();
        let claim = if everywhere && address.port() == DEFAULT_PORT { claim(DEFAULT_PORT)? } else { None };
        if everywhere && address.port() == DEFAULT_PORT {
            setsockopt(&descriptor, sockopt::ReuseAddr, &true)?;
        }
        if everywhere && address.port() != 0 {
            // To see what is sent to everybody. Nobody does so to a port that the system picks.
            setsockopt(&descriptor, sockopt::Ipv4PacketInfo, &true)?;
            if is_v6 {
                setsockopt(&descriptor, sockopt::Ipv6RecvPacketInfo, &true)?;
            }
        }
        bind(descriptor.as_raw_fd(), &SockaddrStorage::from(address))?;
        drop(claim);
        let granted = nix::sys::socket::getsockopt(&descriptor, sockopt::RcvBuf)?;
        Ok(UdpPort {
            socket: descriptor.into(),
            is_v6,
            // Linux doubles the number for its own bookkeeping, which a datagram may need as much as its bytes.
            receive_buffer: granted as u64 / 2,
            buffers: vec![0; BATCH * MAX_DATAGRAM],
            received: Vec::new(),
            alone: BTreeSet::new(),
        })
    }

    /// Where it is bound.
    ///
    /// # Errors
    ///
    /// Where the system does not say.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr().map(address::canonical)
    }

    /// Bytes of datagrams that can wait to be read.
    pub fn receive_buffer(&self) -> u64 {
        self.receive_buffer
    }

    /// Reads what is there, a batch at the most. Returns how many bunches [`UdpPort::received`] has now.
    ///
    /// # Errors
    ///
    /// Where the socket fails; none being there is no error.
    pub fn receive(&mut self) -> io::Result<usize> {
        self.received.clear();
        match self.receive_batch() {
            Ok(()) => Ok(self.received.len()),
            Err(Errno::EAGAIN | Errno::EINTR) => Ok(0),
            Err(errno) => Err(errno.into()),
        }
    }

    /// A bunch that was read last: the sender, its datagrams one after another, and the length of each of them but the last,
    /// which may be shorter. `None` where it was sent to everybody on the link.
    pub fn received(&self, nth: usize) -> Option<(SocketAddr, &[u8], usize)> {
        let received = self.received.get(nth)?;
        let buffer = self.buffers.get(nth * MAX_DATAGRAM..)?;
        let from = address::canonical(received.from?);
        Some((from, buffer.get(..received.length)?, received.segment))
    }

    /// How long a bunch that was read last had been here by then, as far as the system says.
    pub fn waited(&self, nth: usize) -> Duration {
        self.received.get(nth).map_or(Duration::ZERO, |received| received.waited)
    }

    /// Fills the first buffers, and notes what is in each.
    fn receive_batch(&mut self) -> nix::Result<()> {
        let space = nix::cmsg_space!(i32, libc::in_pktinfo, libc::in6_pktinfo, TimeSpec);
        let mut headers = MultiHeaders::<SockaddrStorage>::preallocate(BATCH, Some(space));
        let mut slices: Vec<[IoSliceMut<'_>; 1]> =
            self.buffers.chunks_exact_mut(MAX_DATAGRAM).map(|buffer| [IoSliceMut::new(buffer)]).collect();
        let descriptor = self.socket.as_raw_fd();
        let results = recvmmsg(descriptor, &mut headers, slices.iter_mut(), MsgFlags::MSG_DONTWAIT, None)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.received.extend(results.map(|message| {
            let (mut segment, mut to_everybody) = (message.bytes, false);
            let mut waited = Duration::ZERO;
            for told in message.cmsgs().into_iter().flatten() {
                match told {
                    ControlMessageOwned::UdpGroSegments(length @ 1..) => segment = length as usize,
                    ControlMessageOwned::ScmTimestampns(came_at) => waited = age(now, came_at),
                    told => to_everybody |= is_to_everybody(&told) == Some(true),
                }
            }
            let from = message.address.and_then(socket_address).filter(|_| !to_everybody);
            Received { from, length: message.bytes, segment, waited }
        }));
        Ok(())
    }

    /// Sends datagrams to one address: those in `bytes` of `segment` bytes each, the last of which may be shorter.
    pub fn send(&mut self, to: SocketAddr, bytes: &[u8], segment: usize) -> Sent {
        let Some(address) = self.of_this_family(to) else { return Sent::Dropped };
        let result = match u16::try_from(segment) {
            Ok(length) if bytes.len() > segment && !self.alone.contains(&to) => {
                match self.send_together(address, bytes, length) {
                    // A full buffer and a missing route are no reasons to try it otherwise.
                    Err(
                        Errno::EINVAL | Errno::EIO | Errno::EOPNOTSUPP | Errno::EMSGSIZE | Errno::ENOPROTOOPT,
                    ) => {
                        log::debug!("{to}: datagrams of {segment} bytes are sent one by one");
                        if self.alone.len() >= MAX_ALONE {
                            self.alone.pop_first();
                        }
                        self.alone.insert(to);
                        self.send_alone(address, bytes, segment)
                    }
                    result => result,
                }
            }
            _ if bytes.len() > segment => self.send_alone(address, bytes, segment),
            _ => sendmsg(
                self.socket.as_raw_fd(),
                &[IoSlice::new(bytes)],
                &[],
                MsgFlags::MSG_DONTWAIT,
                Some(&SockaddrStorage::from(address)),
            ),
        };
        match result {
            Ok(sent) if sent < bytes.len() => Sent::Full(sent),
            Ok(_) => Sent::Done,
            Err(Errno::EAGAIN | Errno::EINTR) => Sent::Full(0),
            Err(errno) => {
                log::debug!("{to}: cannot send {} bytes: {errno}", bytes.len());
                Sent::Dropped
            }
        }
    }

    /// Sends a datagram to everybody on a link: the one that has this IPv4 address of ours, or the one whose number is in the
    /// IPv6 address.
    pub(super) fn send_to_group(
        &self,
        source: Option<Ipv4Addr>,
        to: SocketAddr,
        bytes: &[u8],
    ) -> nix::Result<()> {
        let in_addr = |ip: Ipv4Addr| libc::in_addr { s_addr: u32::from_ne_bytes(ip.octets()) };
        let source = source.map(|source| libc::in_pktinfo {
            ipi_ifindex: 0,
            ipi_spec_dst: in_addr(source),
            ipi_addr: in_addr(Ipv4Addr::UNSPECIFIED),
        });
        let control: Vec<ControlMessage<'_>> = source.iter().map(ControlMessage::Ipv4PacketInfo).collect();
        let to = SockaddrStorage::from(self.of_this_family(to).ok_or(Errno::EAFNOSUPPORT)?);
        let slices = [IoSlice::new(bytes)];
        sendmsg(self.socket.as_raw_fd(), &slices, &control, MsgFlags::MSG_DONTWAIT, Some(&to)).map(drop)
    }

    /// The address as this socket takes it, if it can reach it.
    fn of_this_family(&self, to: SocketAddr) -> Option<SocketAddr> {
        match (self.is_v6, to) {
            (true, SocketAddr::V4(v4)) => {
                Some(SocketAddrV6::new(v4.ip().to_ipv6_mapped(), v4.port(), 0, 0).into())
            }
            (false, SocketAddr::V6(_)) => None,
            _ => Some(to),
        }
    }

    fn send_together(&self, to: SocketAddr, bytes: &[u8], segment: u16) -> nix::Result<usize> {
        let control = [ControlMessage::UdpGsoSegments(&segment)];
        let to = SockaddrStorage::from(to);
        let slices = [IoSlice::new(bytes)];
        sendmsg(self.socket.as_raw_fd(), &slices, &control, MsgFlags::MSG_DONTWAIT, Some(&to))
    }

    /// Returns how many bytes left.
    fn send_alone(&self, to: SocketAddr, bytes: &[u8], segment: usize) -> nix::Result<usize> {
        let to = SockaddrStorage::from(to);
        let mut sent = 0;
        while sent < bytes.len() {
            let slices: Vec<[IoSlice<'_>; 1]> =
                bytes[sent..].chunks(segment.max(1)).take(BATCH).map(|part| [IoSlice::new(part)]).collect();
            let mut headers = MultiHeaders::preallocate(slices.len(), None);
            let addresses = vec![Some(to); slices.len()];
            let descriptor = self.socket.as_raw_fd();
            match sendmmsg(descriptor, &mut headers, &slices, addresses, [], MsgFlags::MSG_DONTWAIT) {
                Ok(results) => sent += results.map(|result| result.bytes).sum::<usize>(),
                Err(errno) if sent == 0 => return Err(errno),
                // The next try says what is wrong.
                Err(_) => break,
            }
        }
        Ok(sent)
    }

    /// What the route to `address` carries in one packet, as far as this machine knows. Sends nothing.
    pub fn route_mtu(&self, address: SocketAddr) -> Option<usize> {
        let any: SocketAddr = match address.ip() {
            IpAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
            IpAddr::V6(_) => ([0u16; 8], 0).into(),
        };
        let probe = UdpSocket::bind(any).ok()?;
        probe.connect(address).ok()?;
        let mtu = if address.is_ipv4() {
            rustix::net::sockopt::ip_mtu(&probe)
        } else {
            rustix::net::sockopt::ipv6_mtu(&probe)
        };
        mtu.ok().map(|mtu| mtu as usize)
    }
}

impl AsFd for UdpPort {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Makes sure that nobody on this machine has the port, and that nobody else who does this gets it as long as the result
/// is kept.
///
/// Others may bind the port beside us, to hear what is sent to everybody, because all of us allow it (`SO_REUSEADDR`). So the
/// system would let a second node have all of the port, and give it what is meant for the first. This address is only
/// ever bound by the process that has all of the port, and without allowing it.
fn claim(port: u16) -> io::Result<Option<OwnedFd>> {
    let descriptor = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    match bind(descriptor.as_raw_fd(), &SockaddrStorage::from(SocketAddr::from((Ipv4Addr::LOCALHOST, port))))
    {
        Ok(()) => {
            setsockopt(&descriptor, sockopt::ReuseAddr, &true)?;
            Ok(Some(descriptor))
        }
        Err(Errno::EADDRINUSE) => Err(Errno::EADDRINUSE.into()),
        // A machine without loopback.
        Err(_) => Ok(None),
    }
}

/// How long ago something came that the system noted at `came_at`, by the time of day. Nothing where that cannot be: the clock
/// was set.
fn age(now: Duration, came_at: TimeSpec) -> Duration {
    let age = now.checked_sub(Duration::from(came_at)).unwrap_or_default();
    if age <= MAX_AGE { age } else { Duration::ZERO }
}

/// Whether a datagram was sent to everybody on the link, where `told` says how it was addressed.
pub(super) fn is_to_everybody(told: &ControlMessageOwned) -> Option<bool> {
    match told {
        // The address of ours that it reached, and the one that it was sent to.
        ControlMessageOwned::Ipv4PacketInfo(told) => Some(told.ipi_spec_dst.s_addr != told.ipi_addr.s_addr),
        ControlMessageOwned::Ipv6PacketInfo(told) => Some(told.ipi6_addr.s6_addr[0] == 0xff),
        _ => None,
    }
}

pub(super) fn socket_address(address: SockaddrStorage) -> Option<SocketAddr> {
    if let Some(v4) = address.as_sockaddr_in() {
        return Some(SocketAddr::V4((*v4).into()));
    }
    address.as_sockaddr_in6().map(|v6| SocketAddr::V6((*v6).into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(at: &str) -> UdpPort {
        UdpPort::bind(&[at.parse().unwrap()]).unwrap()
    }

    #[test]
    fn datagrams_of_any_size_cross_between_families() {
        let mut both = port("[::]:0");
        let mut v4 = port("127.0.0.1:0");
        let to = SocketAddr::from(([127, 0, 0, 1], both.local_address().unwrap().port()));
        for length in [0, 1, 1500, 65_507] {
            assert_eq!(v4.send(to, &vec![7; length], length), Sent::Done);
            assert_eq!(both.receive().unwrap(), 1);
            let (from, bytes, _) = both.received(0).unwrap();
            assert_eq!((from, bytes.len()), (v4.local_address().unwrap(), length));
        }
        assert_eq!(both.send(v4.local_address().unwrap(), b"[]", 2), Sent::Done);
        assert_eq!(v4.send("[::1]:9".parse().unwrap(), b"[]", 2), Sent::Dropped);
    }

    /// All datagrams that `to` has received.
    fn drain(to: &mut UdpPort) -> Vec<Vec<u8>> {
        let mut got = Vec::new();
        while let count @ 1.. = to.receive().unwrap() {
            for nth in 0..count {
                let (_, bytes, segment) = to.received(nth).unwrap();
                got.extend(bytes.chunks(segment).map(<[u8]>::to_vec));
            }
        }
        got
    }

    #[test]
    fn how_long_a_datagram_was_here_before_it_was_read_is_known() {
        let [mut from, mut to] = [port("127.0.0.1:0"), port("127.0.0.1:0")];
        let pause = Duration::from_millis(30);
        let sent_at = std::time::Instant::now();
        from.send(to.local_address().unwrap(), b"[]", 2);
        std::thread::sleep(pause);
        assert_eq!(to.receive().unwrap(), 1);
        let most = sent_at.elapsed();
        let waited = to.waited(0);
        // A machine that stands still for longer than datagrams are waited for says nothing of it.
        assert!((pause..=most).contains(&waited) || most > MAX_AGE, "{waited:?} of {most:?}");
        assert_eq!(to.waited(1), Duration::ZERO);
    }

    #[test]
    fn where_the_clock_was_set_nothing_is_known_of_a_wait() {
        let now = Duration::from_secs(1000);
        let ages = [999_000, 999_999, 1_000_000, 1_000_001, 900_000]
            .map(|ms| age(now, TimeSpec::from_duration(Duration::from_millis(ms))).as_millis());
        assert_eq!(ages, [1000, 1, 0, 0, 0]);
    }

    #[test]
    fn datagrams_sent_together_arrive_as_they_were_and_so_do_those_sent_one_by_one() {
        let bytes: Vec<u8> = (0..40_000u32).map(|n| (n * 7 / 3) as u8).collect();
        for (segment, at, alone) in [
            (1000, "127.0.0.1:0", false),
            (1472, "[::1]:0", false),
            (1472, "127.0.0.1:0", true),
            (30_000, "[::1]:0", true),
        ] {
            let mut to = port(at);
            let mut from = port("[::]:0");
            let address = to.local_address().unwrap();
            if alone {
                from.alone.insert(address);
            }
            assert_eq!(from.send(address, &bytes, segment), Sent::Done);
            let expected: Vec<Vec<u8>> = bytes.chunks(segment).map(<[u8]>::to_vec).collect();
            assert_eq!(drain(&mut to), expected, "{segment} to {at}");
        }
    }

    #[test]
    fn where_datagrams_cannot_be_sent_together_they_are_sent_one_by_one_from_then_on() {
        let mut to = port("127.0.0.1:0");
        let mut from = port("127.0.0.1:0");
        let address = to.local_address().unwrap();
        // So many are more than the kernel takes at once.
        let bytes = vec![b' '; 600];
        assert_eq!(from.send(address, &bytes, 2), Sent::Done);
        assert!(from.alone.contains(&address));
        assert_eq!(drain(&mut to).len(), 300);
    }

    #[test]
    fn a_port_in_use_is_an_error_even_where_another_family_is_free() {
        let taken = port("[::]:0").local_address().unwrap().port();
        let holder = port(&format!("[::]:{taken}"));
        let candidates =
            [format!("[::]:{taken}").parse().unwrap(), format!("0.0.0.0:{taken}").parse().unwrap()];
        assert_eq!(UdpPort::bind(&candidates).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(holder);
    }

    #[test]
    fn loopback_carries_large_datagrams() {
        let port = port("127.0.0.1:0");
        assert!(port.route_mtu(port.local_address().unwrap()).unwrap() > 60_000);
    }
}
