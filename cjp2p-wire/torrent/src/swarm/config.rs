//! What a swarm is made with.

use std::num::NonZeroU64;
use std::sync::Arc;

use crate::info_hash::InfoHash;
use crate::peer_id::PeerId;
use crate::pieces::Pieces;

/// What a swarm must know of a torrent.
#[derive(Clone, Debug)]
pub struct Torrent {
    /// Its name.
    pub info_hash: InfoHash,
    /// How its bytes are divided.
    pub pieces: Pieces,
    /// The encoded `info`, for peers that know only the hash.
    pub info: Arc<[u8]>,
    /// Peers are found by trackers alone (BEP 27).
    pub is_private: bool,
}

/// Who we are, and how much we do at most.
#[derive(Clone, Debug)]
pub struct Config {
    /// Our name.
    pub peer_id: PeerId,
    /// Where all randomness comes from.
    pub seed: u64,
    /// What peers are told that we are, for people to read.
    pub client: String,
    /// Where we accept connections.
    pub port: Option<u16>,
    /// Connections to peers, in and out.
    pub max_connections: usize,
    /// Connections to one host.
    pub max_per_host: usize,
    /// Connections that are being made.
    pub max_connecting: usize,
    /// How many peers are sent blocks at a time, and one more by chance; 0 for none at all.
    pub upload_slots: usize,
    /// Bytes per second that all peers are sent.
    pub upload_rate: Option<NonZeroU64>,
    /// Bytes per second that one host is sent.
    pub upload_rate_per_host: Option<NonZeroU64>,
    /// Bytes per second that are asked of all peers.
    pub download_rate: Option<NonZeroU64>,
    /// Bytes of pieces that are begun and not complete. There may be two pieces whatever they have.
    pub max_begun: u64,
    /// Trackers and peers may name private and local addresses.
    pub allow_private: bool,
    /// Peers tell each other of peers (BEP 11), unless the torrent is private.
    pub exchange_peers: bool,
}

impl Config {
    /// The usual limits.
    #[must_use]
    pub fn new(peer_id: PeerId, seed: u64) -> Config {
        Config {
            peer_id,
            seed,
            client: concat!("cjp2p/", env!("CARGO_PKG_VERSION")).to_string(),
            port: None,
            max_connections: 100,
            max_per_host: 8,
            max_connecting: 16,
            upload_slots: 8,
            upload_rate: None,
            upload_rate_per_host: None,
            download_rate: None,
            max_begun: 256 << 20,
            allow_private: false,
            exchange_peers: true,
        }
    }
}

/// In which order pieces are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The rarest first, within each range that is wanted.
    RarestFirst,
    /// As they come.
    InOrder,
}
