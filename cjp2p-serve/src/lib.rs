//! Shares a directory over CJP2P.

pub mod index;
pub mod open;
pub mod place;
pub mod walk;
