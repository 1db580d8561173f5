//! A simulated network: a virtual clock, links that delay, lose, reorder, repeat and cut, and hosts of all kinds.
//!
//! Everything that happens follows from the seed. Time is jumped over, so hours pass in seconds.

pub mod corpus;
pub mod event_queue;
pub mod host;
pub mod hostile;
pub mod liars;
pub mod link;
pub mod memory;
pub mod memory_streams;
pub mod nat;
pub mod peer;
pub mod search;
pub mod stream_swarm;
pub mod streams;
pub mod swarm;
pub mod tcp;
pub mod world;

pub use host::{HostBehaviour, Outbox};
pub use link::Link;
pub use memory::{MemoryBlobs, Original};
pub use nat::NatKind;
pub use peer::Peer;
pub use streams::Origin;
pub use world::World;
