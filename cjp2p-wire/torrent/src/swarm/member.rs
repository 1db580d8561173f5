//! `Member`: a connection, and what the swarm keeps of it.

use std::collections::{BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};

use cjp2p_wire::peers::address::host_of;
use cjp2p_wire::time::Time;

use crate::connection::Connection;

/// Pieces of metadata that one peer may wait for; what goes beyond is refused.
pub(super) const MAX_METADATA_DEMANDS: usize = 64;

/// Peers of which one peer is told, at the most.
pub(super) const MAX_TOLD: usize = 100;

/// One peer that is connected.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) connection: Connection,
    pub(super) host: IpAddr,
    pub(super) is_incoming: bool,
    pub(super) joined_at: Time,
    /// It was told what we have, and the owner that it is there.
    pub(super) is_introduced: bool,
    /// What it has is counted among what leechers have.
    pub(super) is_counted: bool,
    /// What it sent us, the last rounds more than those before.
    pub(super) gave: u64,
    /// Since when it is sent blocks.
    pub(super) unchoked_at: Option<Time>,
    /// When it was sent blocks last.
    pub(super) choked_at: Time,
    /// Pieces of metadata that it asks for.
    // Invariant: at most `MAX_METADATA_DEMANDS`.
    pub(super) metadata_demands: VecDeque<u32>,
    /// Bytes of metadata that it was sent.
    pub(super) metadata_sent: u64,
    /// The peers that it was told of.
    // Invariant: at most `MAX_TOLD`.
    pub(super) told: BTreeSet<SocketAddr>,
    pub(super) tells_at: Time,
    /// When it may tell us of peers again.
    pub(super) heard_of_at: Time,
}

impl Member {
    pub(super) fn new(now: Time, connection: Connection, is_incoming: bool) -> Member {
        Member {
            host: host_of(connection.address()),
            connection,
            is_incoming,
            joined_at: now,
            is_introduced: false,
            is_counted: false,
            gave: 0,
            unchoked_at: None,
            choked_at: Time::ZERO,
            metadata_demands: VecDeque::new(),
            metadata_sent: 0,
            told: BTreeSet::new(),
            tells_at: now,
            heard_of_at: now,
        }
    }

    /// Where others can connect to it, if that is known.
    pub(super) fn place(&self) -> Option<SocketAddr> {
        let mut address = self.connection.address();
        if self.is_incoming {
            address.set_port(self.connection.theirs().port?);
        }
        Some(address)
    }

    /// Lets it ask for blocks, or not any more.
    pub(super) fn choke(&mut self, now: Time, choke: bool) {
        self.connection.choke(choke);
        match (choke, self.unchoked_at) {
            (true, Some(_)) => (self.unchoked_at, self.choked_at) = (None, now),
            (false, None) => self.unchoked_at = Some(now),
            _ => {}
        }
    }
}
