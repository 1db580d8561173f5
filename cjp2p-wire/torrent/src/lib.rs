//! BitTorrent v1: its values, and the machines that speak with its peers.
//!
//! Everything here is deterministic, as in `cjp2p-wire`: no clock, no socket, no file, no thread. Time and randomness are
//! arguments.

pub mod bencode;
pub mod connection;
pub mod info_hash;
pub mod layout;
pub mod local;
pub mod magnet;
pub mod metainfo;
pub mod peer_id;
pub mod piece_set;
pub mod pieces;
pub mod public;
pub mod store;
pub mod swarm;
pub mod tracker;
pub mod wire;
