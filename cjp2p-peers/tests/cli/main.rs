//! The tool as people and scripts see it.

mod arguments;
mod network;
mod race;
mod support;
