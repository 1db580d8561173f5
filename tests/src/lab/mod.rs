//! The real programs over emulated links: hosts that are network namespaces, and wires between them in user space.
//!
//! Needs root and Linux, but no support of the kernel for slow or lossy links. Nothing here has a route out: a host
//! reaches the other hosts of its lab and nobody else. When the process ends, however it ends, the namespaces vanish and
//! the programs in them are killed.

pub mod bridge;
pub mod document;
pub mod emulator;
pub mod error;
pub mod growth;
pub mod namespace;
pub mod nat;
pub mod packet;
pub mod programs;
pub mod rows;
pub mod scratch;
pub mod tcp;
pub mod wires;

pub use bridge::Bridge;
pub use emulator::Lab;
pub use error::Error;
pub use growth::Growth;
pub use namespace::Namespace;
pub use nat::Nats;
pub use programs::{Get, Programs, Serve};
pub use wires::Wires;
