//! Routers that lend their address to a host behind them, of the four classic kinds.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

/// Who may answer, and under which port a host appears. The first three keep the host's own port, to whomever it sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NatKind {
    /// Every datagram to the port reaches the host.
    FullCone,
    /// Only who has an address that the host has sent to.
    Restricted,
    /// Only who has an address and port that the host has sent to.
    PortRestricted,
    /// The same, and the host appears under another port to each of them.
    Symmetric,
}

impl NatKind {
    /// All of them.
    pub const ALL: [NatKind; 4] =
        [NatKind::FullCone, NatKind::Restricted, NatKind::PortRestricted, NatKind::Symmetric];
}

/// A router with one host behind it.
#[derive(Clone, Debug)]
pub(super) struct Nat {
    kind: NatKind,
    inside: SocketAddr,
    outside: IpAddr,
    /// The ports that are lent, and to whom the host has sent from each.
    ports: BTreeMap<u16, BTreeSet<SocketAddr>>,
}

impl Nat {
    pub(super) fn new(kind: NatKind, inside: SocketAddr, outside: IpAddr) -> Nat {
        Nat { kind, inside, outside, ports: BTreeMap::new() }
    }

    /// The address to the outside.
    pub(super) fn outside(&self) -> IpAddr {
        self.outside
    }

    /// The host sends a datagram to `to`: where it seems to come from.
    pub(super) fn send(&mut self, to: SocketAddr) -> SocketAddr {
        let known = self.ports.iter().find(|(_, sent_to)| sent_to.contains(&to)).map(|(&port, _)| port);
        let port = match (self.kind, known) {
            (NatKind::Symmetric, Some(port)) => port,
            (NatKind::Symmetric, None) => self.inside.port() + self.ports.len() as u16,
            (NatKind::FullCone | NatKind::Restricted | NatKind::PortRestricted, _) => self.inside.port(),
        };
        self.ports.entry(port).or_default().insert(to);
        SocketAddr::new(self.outside, port)
    }

    /// A datagram comes from `from` to `port`: the host, if it reaches it.
    pub(super) fn receive(&self, from: SocketAddr, port: u16) -> Option<SocketAddr> {
        let sent_to = self.ports.get(&port)?;
        let passes = match self.kind {
            NatKind::FullCone => true,
            NatKind::Restricted => sent_to.iter().any(|address| address.ip() == from.ip()),
            NatKind::PortRestricted | NatKind::Symmetric => sent_to.contains(&from),
        };
        passes.then_some(self.inside)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn a(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn each_kind_lets_in_whom_it_should() {
        let inside = a("10.0.0.2:1000");
        let (asked, other_port, other) = (a("192.0.2.1:1"), a("192.0.2.1:2"), a("192.0.2.9:1"));
        for (kind, passes) in [
            (NatKind::FullCone, [true, true, true]),
            (NatKind::Restricted, [true, true, false]),
            (NatKind::PortRestricted, [true, false, false]),
            (NatKind::Symmetric, [true, false, false]),
        ] {
            let mut nat = Nat::new(kind, inside, a("198.51.100.1:1").ip());
            assert_eq!(nat.receive(asked, 1000), None, "nothing was sent");
            assert_eq!(nat.send(asked), a("198.51.100.1:1000"));
            let let_in = [asked, other_port, other].map(|from| nat.receive(from, 1000).is_some());
            assert_eq!(let_in, passes, "{kind:?}");
            let second = nat.send(other);
            assert_eq!(second.port() != 1000, kind == NatKind::Symmetric);
            assert_eq!(nat.receive(other, second.port()), Some(inside));
            assert_eq!(nat.send(asked).port(), 1000, "a port that was lent stays");
        }
    }
}
