//! What lies between the two ends: loopback, or a pair of virtual Ethernet interfaces.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use cjp2p_tests::lab::{Error, Namespace};

/// The ends of the pair, each alone in its namespace. Nothing else has these addresses, and nothing leaves.
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const GETTER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);

/// The first port of what serves in a namespace, where all are free.
const PORT: u16 = 24300;

/// How long a program may take until it accepts connections.
const TIMEOUT: Duration = Duration::from_secs(10);

/// One of the two ends.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum End {
    Server,
    Getter,
}

/// What lies between the ends.
pub(crate) enum Net {
    /// Both ends are on this machine's loopback.
    Loopback,
    /// Each end is in a network namespace, and has one end of a veth pair: MTU 1500, and what offloads it has by default.
    Veth { server: Namespace, getter: Namespace },
}

impl Net {
    /// A veth pair. It vanishes with its namespaces, and these with this process.
    ///
    /// # Errors
    ///
    /// Where the system refuses: not root, no `ip`, no veth.
    pub(crate) fn veth() -> Result<Net, Error> {
        let [server, getter] = Namespace::pair([SERVER, GETTER])?;
        Ok(Net::Veth { server, getter })
    }

    /// Where programs at this end listen: an address with a port that was free just now.
    pub(crate) fn listen(&self, end: End) -> Result<SocketAddr, Error> {
        let ip = match (self, end) {
            (Net::Loopback, _) => Ipv4Addr::LOCALHOST,
            (Net::Veth { .. }, End::Server) => SERVER,
            (Net::Veth { .. }, End::Getter) => GETTER,
        };
        let find = move || match ip {
            Ipv4Addr::LOCALHOST => Ok(TcpListener::bind((ip, 0))?.local_addr()?.port()),
            _ => (PORT..).find(|port| is_free((ip, *port).into())).ok_or(io::ErrorKind::AddrInUse.into()),
        };
        let free: io::Result<u16> = self.run(end, find)?;
        Ok((IpAddr::V4(ip), free?).into())
    }

    /// Starts what [`command`](cjp2p_tests::lab::namespace::command) made, at one end.
    pub(crate) fn spawn(&self, end: End, mut command: Command) -> Result<Child, Error> {
        match self {
            Net::Loopback => Ok(command.spawn()?),
            Net::Veth { server, .. } if end == End::Server => server.spawn(command),
            Net::Veth { getter, .. } => getter.spawn(command),
        }
    }

    /// Waits until something at the server's end accepts connections.
    pub(crate) fn wait_for(&self, address: SocketAddr) -> Result<(), Error> {
        let begun = Instant::now();
        while self.run(End::Getter, move || TcpStream::connect(address).is_err())? {
            if begun.elapsed() > TIMEOUT {
                return Err(format!("nothing answers at {address}").into());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    fn run<R: Send + 'static>(&self, end: End, job: impl FnOnce() -> R + Send + 'static) -> Result<R, Error> {
        match self {
            Net::Loopback => Ok(job()),
            Net::Veth { server, .. } if end == End::Server => server.run(job),
            Net::Veth { getter, .. } => getter.run(job),
        }
    }
}

/// Whether neither TCP nor UDP has a port.
fn is_free(address: SocketAddr) -> bool {
    TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok()
}
