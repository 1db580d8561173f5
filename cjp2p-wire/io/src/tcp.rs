//! TCP sockets that never wait: to listen, to take who calls, and to call.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};

use nix::errno::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with, sockopt};

/// Callers that wait to be taken, as far as the system allows.
const BACKLOG: i32 = 1024;

/// Listens at this address, port 0 for a free one. An unspecified IPv6 address takes IPv4 too. The port is free again as soon as
/// the process ended.
///
/// # Errors
///
/// Where the address is in use or none of this machine's, or the system has no descriptor left.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = new_socket(address)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, !address.ip().is_unspecified())?;
    }
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(TcpListener::from(socket))
}

/// Takes who calls; `None` where nobody does now. A caller who is gone already is passed over.
///
/// # Errors
///
/// Where the system has no descriptor or memory left: callers go on waiting then.
pub fn accept(listener: &TcpListener) -> io::Result<Option<(TcpStream, SocketAddr)>> {
    loop {
        match listener.accept() {
            Ok((stream, from)) => {
                stream.set_nonblocking(true)?;
                return Ok(Some((stream, from)));
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) if is_of_the_caller(&error) => {}
            Err(error) => return Err(error),
        }
    }
}

/// What Linux reports of a connection that failed before it was taken (accept(2)).
fn is_of_the_caller(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    matches!(
        errno,
        Some(
            Errno::EINTR
                | Errno::ECONNABORTED
                | Errno::ENETDOWN
                | Errno::EPROTO
                | Errno::EHOSTDOWN
                | Errno::ENONET
                | Errno::EHOSTUNREACH
                | Errno::ENETUNREACH
        )
    )
}

/// Begins to call this address. The stream can be written once the call went through; `take_error` says why where it did not.
///
/// # Errors
///
/// Where there is no route, the system refuses, or it has no descriptor left.
pub fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = new_socket(address)?;
    match rustix::net::connect(&socket, &address) {
        Ok(()) | Err(rustix::io::Errno::INPROGRESS | rustix::io::Errno::INTR) => Ok(TcpStream::from(socket)),
        Err(error) => Err(error.into()),
    }
}

fn new_socket(address: SocketAddr) -> io::Result<std::os::fd::OwnedFd> {
    let family = if address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(socket_with(family, SocketType::STREAM, flags, None)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_listens_nowhere_is_told_as_an_error_of_the_stream() {
        let free = listen("127.0.0.1:0".parse().unwrap()).unwrap().local_addr().unwrap();
        // Refused at once on loopback, or a moment later.
        let Ok(stream) = connect(free) else { return };
        let begun = std::time::Instant::now();
        while begun.elapsed().as_secs() < 60 {
            if let Some(error) = stream.take_error().unwrap() {
                assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        panic!("nothing is told");
    }

    #[test]
    fn who_listens_at_the_unspecified_address_hears_both_families() {
        let Ok(listener) = listen("[::]:0".parse().unwrap()) else { return };
        let port = listener.local_addr().unwrap().port();
        let _caller = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let begun = std::time::Instant::now();
        while begun.elapsed().as_secs() < 60 {
            if accept(&listener).unwrap().is_some() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        panic!("nobody came");
    }
}
