//! Where to listen, as people say it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use cjp2p_wire::peers::address::DEFAULT_PORT;

/// An answer to "where to listen".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listen {
    /// At all addresses of this machine.
    Everywhere {
        /// 0 picks a free one.
        port: u16,
    },
    /// At this one; port 0 picks a free one.
    At(SocketAddr),
    /// At this address or all, at a port that is kept in the state folder.
    Auto(Option<IpAddr>),
}

impl Listen {
    /// The addresses to try in turn: all addresses of both kinds go through one IPv6 socket, or where there is no IPv6, an IPv4
    /// one. A port that is kept is still to be found out.
    pub fn candidates(self) -> Vec<SocketAddr> {
        match self {
            Listen::At(address) => vec![address],
            Listen::Auto(Some(ip)) => vec![SocketAddr::new(ip, 0)],
            Listen::Everywhere { .. } | Listen::Auto(None) => {
                let port = if let Listen::Everywhere { port } = self { port } else { 0 };
                vec![(Ipv6Addr::UNSPECIFIED, port).into(), (Ipv4Addr::UNSPECIFIED, port).into()]
            }
        }
    }

    /// The one address, if it is one.
    pub fn ip(self) -> Option<IpAddr> {
        match self {
            Listen::At(address) => Some(address.ip()),
            Listen::Auto(ip) => ip,
            Listen::Everywhere { .. } => None,
        }
    }
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Listen, String> {
        if let Ok(port) = text.parse() {
            return Ok(Listen::Everywhere { port });
        }
        if text == "auto" {
            return Ok(Listen::Auto(None));
        }
        let with_port = |address: &str| format!("{address}:0").parse().ok();
        if let Some(address) = text.strip_suffix(":auto").and_then(with_port) {
            let address: SocketAddr = address;
            return Ok(Listen::Auto(Some(address.ip())));
        }
        text.parse().map(Listen::At).map_err(|_| {
            format!(
                "{text:?} is not a port, or an address with a port such as 127.0.0.1:{DEFAULT_PORT}, or auto"
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_alone_listens_everywhere() {
        assert_eq!(Listen::from_str("0"), Ok(Listen::Everywhere { port: 0 }));
        assert_eq!(Listen::from_str("127.0.0.1:0"), Ok(Listen::At("127.0.0.1:0".parse().unwrap())));
        assert_eq!(Listen::from_str("auto"), Ok(Listen::Auto(None)));
        assert_eq!(Listen::from_str("127.0.0.1:auto"), Ok(Listen::Auto(Some(Ipv4Addr::LOCALHOST.into()))));
        assert_eq!(Listen::from_str("[::1]:auto"), Ok(Listen::Auto(Some(Ipv6Addr::LOCALHOST.into()))));
        for wrong in ["localhost", "localhost:auto", "::1:auto", "auto:1", "127.0.0.1:1:auto"] {
            assert!(Listen::from_str(wrong).is_err(), "{wrong}");
        }
        assert_eq!(Listen::Everywhere { port: 7 }.candidates().len(), 2);
    }
}
