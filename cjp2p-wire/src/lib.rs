//! The library beneath the `cjp2p-*` tools.
//!
//! Everything here is deterministic: no clock, no socket, no file, no thread. Time and
//! randomness are arguments. `docs/architecture.md` is the map.

pub mod content_id;
pub mod datagram;
pub mod download;
pub mod fair_queue;
pub mod folder;
pub mod message;
pub mod node;
pub mod path;
pub mod peers;
pub mod pieces;
pub mod range_set;
pub mod signed;
pub mod slices;
pub mod store;
pub mod stream;
pub mod time;
pub mod tree;
