//! Torrents on this system: their files as one space of bytes, hashing the pieces of it, and the store that a swarm writes to.

pub mod disk;
pub mod driver;
pub mod files;
pub mod hash;
pub mod local;
pub mod look;
pub mod place;
pub mod space;
pub mod staging;
pub mod store;
pub mod trackers;
