//! What a swarm wants of its driver, and what it tells its owner.

use std::net::{IpAddr, SocketAddr};

use cjp2p_wire::time::Time;

/// Names one connection of one swarm. None is used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Connect to this address, then call `on_connected` or `on_connect_failed`.
    Connect(SocketAddr),
    /// Send these bytes, and call `on_sent` when some of them have left.
    Send(ConnId, Vec<u8>),
    /// Close this connection once everything is sent, or a second later. The swarm has forgotten it already.
    Close(ConnId),
    /// For the owner.
    Event(Event),
    /// There is nothing more: wait until something happens, or call `handle_timeout` at this time.
    Timeout(Time),
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The `info` of a torrent that was begun with its hash alone: these bytes have that hash. Nothing is fetched until
    /// `start` is called.
    Metadata(Vec<u8>),
    /// A piece was right.
    PieceDone(u32),
    /// A piece was wrong. It is fetched again.
    PieceWrong(u32),
    /// A piece that was here cannot be read any more, and is not given to anybody.
    PieceLost(u32),
    /// Everything that is wanted is here.
    Complete,
    /// A host is not talked with any more.
    Banned(IpAddr, Reason),
    /// A peer finished its handshake: its address, and which client it says it is.
    Connected(ConnId, SocketAddr, String),
    /// A connection is over.
    Disconnected(ConnId, SocketAddr),
}

/// Why a host is banned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It alone sent a piece that was wrong.
    WrongPiece(u32),
    /// It sent metadata that has another hash.
    WrongMetadata,
    /// It broke the protocol.
    BrokeProtocol,
}
