//! Torrents on this system: their files as one space of bytes, and hashing the pieces of it.

pub mod hash;
pub mod look;
pub mod space;
