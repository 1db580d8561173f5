//! What the tests of a node's parts share.

use std::net::SocketAddr;

use super::{Config, Event, Node, Output, Transmit};
use crate::time::Time;

/// A node without limits; it answers others or does not.
pub(super) fn config(seed: u8, answers: bool) -> Config {
    Config {
        secret: [seed; 32],
        seed: seed.into(),
        upload_rate: None,
        upload_rate_per_host: None,
        answers,
        lists: answers,
        receive_buffer: 1 << 20,
    }
}

/// What leaves, what is reported, and when the node wants to be called again.
pub(super) fn drain(node: &mut Node) -> (Vec<Transmit>, Vec<Event>, Time) {
    let (mut sent, mut events) = (Vec::new(), Vec::new());
    loop {
        match node.poll_output() {
            Output::Transmit(transmit) => sent.push(transmit),
            Output::Event(event) => events.push(event),
            Output::Timeout(at) => return (sent, events, at),
        }
    }
}

/// A port of a host.
pub(super) fn port_of(host: u8, port: u16) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, host], port))
}
