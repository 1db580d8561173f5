//! What a person can give to others, to be pasted in one piece: an id or name, and where this server is.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use cjp2p_wire::peers::address::DEFAULT_PORT;

/// An address of documentation: no datagram is ever sent there.
const SOMEWHERE: &str = "192.0.2.1:9";

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Invitation {
    /// Where others reach this server, as far as it is known.
    address: Option<SocketAddr>,
}

impl Invitation {
    /// By a server that listens there.
    pub(crate) fn new(listening: SocketAddr) -> Invitation {
        let ip = if listening.ip().is_unspecified() { own_address() } else { Some(listening.ip()) };
        Invitation { address: ip.map(|ip| SocketAddr::new(ip, listening.port())) }
    }

    /// A router passes on what comes to this address.
    pub(crate) fn set(&mut self, address: SocketAddr) {
        self.address = Some(address);
    }

    /// The command that fetches this.
    pub(crate) fn to_fetch(&self, id: &str) -> Option<String> {
        let address = self.address?;
        let host = match address.port() {
            DEFAULT_PORT => match address.ip() {
                IpAddr::V4(ip) => ip.to_string(),
                IpAddr::V6(ip) => format!("[{ip}]"),
            },
            _ => address.to_string(),
        };
        Some(format!("cjp2p-get '{id}#peer={host}'"))
    }
}

/// The address from which this machine would send to others. Nothing is sent to find that out.
fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect(SOMEWHERE).ok()?;
    socket.local_addr().ok().map(|address| address.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_names_the_peer_with_its_port_only_where_that_is_another() {
        for (address, shown) in [
            ("203.0.113.7:24254", "cjp2p-get 'ID#peer=203.0.113.7'"),
            ("203.0.113.7:5", "cjp2p-get 'ID#peer=203.0.113.7:5'"),
            ("[2001:db8::1]:24254", "cjp2p-get 'ID#peer=[2001:db8::1]'"),
            ("[2001:db8::1]:5", "cjp2p-get 'ID#peer=[2001:db8::1]:5'"),
        ] {
            assert_eq!(Invitation::new(address.parse().unwrap()).to_fetch("ID").as_deref(), Some(shown));
        }
        let mut everywhere = Invitation::new("[::]:7".parse().unwrap());
        assert!(everywhere.to_fetch("ID").is_none_or(|command| command.ends_with(":7'")));
        everywhere.set("203.0.113.9:8".parse().unwrap());
        assert_eq!(everywhere.to_fetch("ID").unwrap(), "cjp2p-get 'ID#peer=203.0.113.9:8'");
    }
}
