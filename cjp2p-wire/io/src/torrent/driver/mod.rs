//! `Driver`: swarms, their connections over TCP, and their stores, on the thread of the network.
//!
//! The driver never waits. [`Driver::readiness`] is what the event loop [watches](crate::event_loop::EventLoop::watch); after each of
//! its turns call [`Driver::turn`], and take [`Driver::next_event`] until there is none.

mod incoming;
mod link;
mod outgoing;
mod state;
#[cfg(test)]
mod tests;

pub use state::{Driver, MAX_LINKS, SwarmId};
