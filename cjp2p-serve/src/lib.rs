//! Shares a directory over CJP2P.

pub mod events;
pub mod hash_store;
pub mod hasher;
pub mod index;
pub mod keeper;
pub mod library;
pub mod lru;
pub mod open;
pub mod place;
pub mod readers;
pub mod share;
pub mod tree_store;
pub mod walk;
pub mod watch;
pub mod workers;
