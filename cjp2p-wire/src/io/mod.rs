//! The only part that touches the world.

pub mod partial_name;
