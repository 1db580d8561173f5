//! The only part that touches the world.
