//! The only part that touches the world.

pub mod partial_name;
pub mod peer_file;
pub mod state_dir;
