//! A UDP socket for both address families that reads in batches.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr, SocketAddrV6, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, MultiHeaders, SockFlag, SockType, SockaddrStorage, bind, recvmmsg, setsockopt,
    socket, sockopt,
};

use crate::peers::address;

/// What the receive and send buffers are asked to be; the system may grant less.
pub const BUFFER: usize = 4 << 20;
/// Datagrams read at once.
const BATCH: usize = 16;
/// No UDP datagram is longer.
const MAX_DATAGRAM: usize = 65_536;

/// What became of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// It left.
    Done,
    /// The system's buffer is full: try again when the socket is writable.
    Full,
    /// It cannot be sent: there is no route, or the like. The network may lose any datagram, and so may we.
    Dropped,
}

/// A bound UDP socket.
#[derive(Debug)]
pub struct UdpPort {
    socket: UdpSocket,
    is_v6: bool,
    receive_buffer: u64,
    buffers: Vec<Box<[u8]>>,
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
        bind(descriptor.as_raw_fd(), &SockaddrStorage::from(address))?;
        let granted = nix::sys::socket::getsockopt(&descriptor, sockopt::RcvBuf)?;
        Ok(UdpPort {
            socket: descriptor.into(),
            is_v6,
            // Linux doubles the number for its own bookkeeping, which a datagram may need as much as its bytes.
            receive_buffer: granted as u64 / 2,
            buffers: (0..BATCH).map(|_| vec![0; MAX_DATAGRAM].into_boxed_slice()).collect(),
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

    /// Reads the datagrams that are there, a batch at the most, and hands each to `each`. Returns how many.
    ///
    /// # Errors
    ///
    /// Where the socket fails; none being there is no error.
    pub fn receive(&mut self, mut each: impl FnMut(SocketAddr, &[u8])) -> io::Result<usize> {
        let received = match self.receive_batch() {
            Ok(received) => received,
            Err(Errno::EAGAIN | Errno::EINTR) => return Ok(0),
            Err(errno) => return Err(errno.into()),
        };
        for (buffer, &(from, length)) in self.buffers.iter().zip(&received) {
            if let Some(from) = from {
                each(address::canonical(from), &buffer[..length]);
            }
        }
        Ok(received.len())
    }

    /// Fills the first buffers; returns the sender and length of each datagram.
    fn receive_batch(&mut self) -> nix::Result<Vec<(Option<SocketAddr>, usize)>> {
        let mut headers = MultiHeaders::<SockaddrStorage>::preallocate(BATCH, None);
        let mut slices: Vec<[IoSliceMut<'_>; 1]> =
            self.buffers.iter_mut().map(|buffer| [IoSliceMut::new(buffer)]).collect();
        let descriptor = self.socket.as_raw_fd();
        let results = recvmmsg(descriptor, &mut headers, slices.iter_mut(), MsgFlags::MSG_DONTWAIT, None)?;
        Ok(results.map(|message| (message.address.and_then(socket_address), message.bytes)).collect())
    }

    /// Sends a datagram.
    pub fn send(&self, to: SocketAddr, bytes: &[u8]) -> Sent {
        let to = match (self.is_v6, to) {
            (true, SocketAddr::V4(v4)) => SocketAddrV6::new(v4.ip().to_ipv6_mapped(), v4.port(), 0, 0).into(),
            (false, SocketAddr::V6(_)) => return Sent::Dropped,
            _ => to,
        };
        match self.socket.send_to(bytes, to) {
            Ok(_) => Sent::Done,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Sent::Full,
            Err(error) => {
                log::debug!("{to}: cannot send {} bytes: {error}", bytes.len());
                Sent::Dropped
            }
        }
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

fn socket_address(address: SockaddrStorage) -> Option<SocketAddr> {
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
        let v4 = port("127.0.0.1:0");
        let to = SocketAddr::from(([127, 0, 0, 1], both.local_address().unwrap().port()));
        for length in [0, 1, 1500, 65_507] {
            assert_eq!(v4.send(to, &vec![7; length]), Sent::Done);
            let mut got = Vec::new();
            both.receive(|from, bytes| got.push((from, bytes.len()))).unwrap();
            assert_eq!(got, [(v4.local_address().unwrap(), length)]);
        }
        assert_eq!(both.send(v4.local_address().unwrap(), b"[]"), Sent::Done);
        assert_eq!(v4.send("[::1]:9".parse().unwrap(), b"[]"), Sent::Dropped);
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
