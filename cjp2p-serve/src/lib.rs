//! Shares a directory over CJP2P.

pub mod hash_store;
pub mod hasher;
pub mod index;
pub mod lru;
pub mod open;
pub mod place;
pub mod tree_store;
pub mod walk;
pub mod watch;
pub mod workers;
