//! Trackers by UDP.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs, UdpSocket};
use std::time::{Duration, Instant};

use cjp2p_torrent::public::{Origin, admitted};
use cjp2p_torrent::tracker::{Announce, Answer, TrackerError, UdpExchange};
use cjp2p_wire::time::Time;
use ureq::http::Uri;

/// A datagram of a tracker, with all its peers, is shorter.
const MAX_DATAGRAM: usize = 16 << 10;
/// Datagrams that are no answer are passed over so often.
const MAX_STRAY: usize = 1000;

/// Asks a tracker, at the first of its addresses that it may be at.
pub(super) fn ask(url: &str, announce: &Announce, may_be_private: bool) -> Result<Answer, TrackerError> {
    let unreachable = |error: io::Error| TrackerError::Unreachable(error.to_string());
    let no_host = || TrackerError::Unreachable("a URL of a host and a port is wanted".to_string());
    let uri: Uri = url.parse().map_err(|_| no_host())?;
    let host = uri.host().ok_or_else(no_host)?.trim_start_matches('[').trim_end_matches(']');
    let port = uri.port_u16().ok_or_else(no_host)?;
    let found = (host, port).to_socket_addrs().map_err(unreachable)?;
    let address = found
        .filter_map(|found| admitted(Origin::Tracker, found, may_be_private))
        .next()
        .ok_or_else(|| {
            let why = "it is in a private network, and only the user may name such a tracker";
            TrackerError::Unreachable(why.to_string())
        })?;
    let any: SocketAddr = match address {
        SocketAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
        SocketAddr::V6(_) => ([0u16; 8], 0).into(),
    };
    let socket = UdpSocket::bind(any).map_err(unreachable)?;
    socket.connect(address).map_err(unreachable)?;

    let began = Instant::now();
    let now = || Time::from_nanos(began.elapsed().as_nanos() as u64);
    let seed = getrandom::u64().map_err(|error| TrackerError::Unreachable(error.to_string()))?;
    let mut exchange = UdpExchange::new(now(), announce.clone(), address.is_ipv6(), seed);
    let mut datagram = vec![0; MAX_DATAGRAM];
    let mut strays = 0;
    while strays < MAX_STRAY {
        if let Some(question) = exchange.next_datagram(now())? {
            // What fails now may go through later: it is asked again.
            let _ = socket.send(&question);
        }
        let wait = exchange.deadline().since(now()).max(Duration::from_millis(1));
        socket.set_read_timeout(Some(wait)).map_err(unreachable)?;
        match socket.recv(&mut datagram) {
            Ok(length) => {
                if let Some(answer) = exchange.on_datagram(now(), &datagram[..length])? {
                    return Ok(answer);
                }
                strays += 1;
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // Nobody listens there, now.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                std::thread::sleep(exchange.deadline().since(now()));
            }
            Err(error) => return Err(unreachable(error)),
        }
    }
    Err(TrackerError::Malformed)
}
