//! The only part that touches the world.

pub mod peer_file;
pub mod state_dir;
