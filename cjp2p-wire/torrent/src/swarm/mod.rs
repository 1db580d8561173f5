//! `Swarm`: one torrent, and all peers that we share it with.
//!
//! A swarm has no socket, disk or clock. A driver connects, accepts, sends and receives; a [`PieceStore`] writes, hashes and
//! reads; time is an argument that never goes back. After every call that changes something, take [`Swarm::poll_output`] until it
//! gives a [`Output::Timeout`].

mod config;
mod output;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::ops::Range;

use cjp2p_wire::time::Time;

pub use config::{Config, Order, Torrent};
pub use output::{ConnId, Event, Output, Reason};

use crate::info_hash::InfoHash;
use crate::piece_set::PieceSet;
use crate::public::Origin;
use crate::store::PieceStore;

/// One torrent and its peers.
#[derive(Debug)]
pub struct Swarm {
    config: Config,
    info_hash: InfoHash,
    torrent: Option<Torrent>,
    have: PieceSet,
    outputs: VecDeque<Output>,
}

/// Begin, and what is wanted.
impl Swarm {
    /// A torrent of which `have` is here, and `unchecked` too, but not verified: the owner hashes those, and calls
    /// [`on_checked`](Swarm::on_checked) for each. Everything is wanted, the rarest first.
    #[must_use]
    pub fn new(now: Time, torrent: Torrent, have: PieceSet, unchecked: &PieceSet, config: Config) -> Swarm {
        let mut swarm = Swarm::from_magnet(now, torrent.info_hash, config);
        swarm.start(now, torrent, have, unchecked);
        swarm
    }

    /// A torrent of which only the hash is known. Its `info` is asked of peers, until [`Event::Metadata`] gives it; then the owner
    /// calls [`start`](Swarm::start).
    #[must_use]
    pub fn from_magnet(_now: Time, info_hash: InfoHash, config: Config) -> Swarm {
        Swarm { config, info_hash, torrent: None, have: PieceSet::none(0), outputs: VecDeque::new() }
    }

    /// As [`new`](Swarm::new), once the `info` is known. The second time it does nothing.
    pub fn start(&mut self, _now: Time, torrent: Torrent, have: PieceSet, _unchecked: &PieceSet) {
        if self.torrent.is_none() {
            self.have = have;
            self.torrent = Some(torrent);
        }
    }

    /// From now on these bytes are wanted, in this order of importance, whole pieces of which are fetched. They must not overlap.
    pub fn want(&mut self, _now: Time, _ranges: Vec<Range<u64>>, _order: Order) {}

    /// Only so many of the wanted bytes may be fetched now, counted in their order from the first: where a reader takes them in
    /// order, and holds only some.
    pub fn set_room(&mut self, _now: Time, _room: u64) {}

    /// Whether everything that is wanted is here.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.have.is_full()
    }

    /// The pieces that are here and right.
    #[must_use]
    pub fn have(&self) -> &PieceSet {
        &self.have
    }

    /// Its name.
    #[must_use]
    pub fn info_hash(&self) -> InfoHash {
        self.info_hash
    }
}

/// Driving.
impl Swarm {
    /// There may be a peer at this address.
    pub fn add_peer(&mut self, _now: Time, _address: SocketAddr, _origin: Origin) {}

    /// A connection that was asked for by [`Output::Connect`] is there.
    pub fn on_connected(&mut self, _now: Time, _address: SocketAddr) -> Option<ConnId> {
        None
    }

    /// A connection that was asked for by [`Output::Connect`] cannot be made.
    pub fn on_connect_failed(&mut self, _now: Time, _address: SocketAddr) {}

    /// A peer connected, and wants this torrent: all that it sent, its handshake included, follows by
    /// [`on_bytes`](Swarm::on_bytes). `None` where it is refused, and the connection to be closed.
    pub fn on_accepted(&mut self, _now: Time, _address: SocketAddr) -> Option<ConnId> {
        None
    }

    /// These bytes came.
    pub fn on_bytes(&mut self, _now: Time, _conn: ConnId, _bytes: &[u8], _store: &mut impl PieceStore) {}

    /// So many bytes of what was to be sent have left.
    pub fn on_sent(&mut self, _now: Time, _conn: ConnId, _bytes: usize) {}

    /// The connection was closed by the peer, or failed.
    pub fn on_closed(&mut self, _now: Time, _conn: ConnId) {}

    /// The store has hashed this piece.
    pub fn on_checked(&mut self, _now: Time, _piece: u32, _is_right: bool) {}

    /// Bytes came for which the store had said [`Read::Later`](crate::store::Read::Later).
    pub fn on_read(&mut self, _now: Time) {}

    /// The time of the last [`Output::Timeout`] has come.
    pub fn handle_timeout(&mut self, _now: Time) {}

    /// What to do next.
    pub fn poll_output(&mut self, _now: Time, _store: &mut impl PieceStore) -> Output {
        self.outputs.pop_front().unwrap_or(Output::Timeout(Time::NEVER))
    }
}
