//! What the simulated network asks of a host.

use std::net::SocketAddr;

use cjp2p_wire::time::Time;

/// Datagrams that a host wants sent.
pub type Outbox = Vec<(SocketAddr, Vec<u8>)>;

/// Somebody on the network.
pub trait HostBehaviour: std::any::Any {
    /// A datagram came.
    fn handle_datagram(&mut self, now: Time, from: SocketAddr, bytes: &[u8], out: &mut Outbox);

    /// The time has come that [`HostBehaviour::next_timeout`] named.
    fn handle_timeout(&mut self, now: Time, out: &mut Outbox) {
        let _ = (now, out);
    }

    /// What it wants sent in the name of others: from, to, payload. Taken after each call.
    fn take_forged(&mut self) -> Vec<(SocketAddr, SocketAddr, Vec<u8>)> {
        Vec::new()
    }

    /// When to be woken next, or [`Time::NEVER`].
    fn next_timeout(&self) -> Time {
        Time::NEVER
    }
}
