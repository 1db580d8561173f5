//! `Swarm`: one torrent, and all peers that we share it with.
//!
//! A swarm has no socket, disk or clock. A driver connects, accepts, sends and receives; a
//! [`PieceStore`](crate::store::PieceStore) writes, hashes and reads; time is an argument that never goes back. After every call that
//! changes something, take [`Swarm::poll_output`] until it gives a [`Output::Timeout`].

mod bans;
mod bucket;
mod choking;
mod config;
mod drive;
mod fetching;
mod known;
mod member;
mod metadata;
mod output;
mod peers;
mod receive;
mod serve;
mod spreading;
mod state;

pub use config::{Config, Order, Torrent};
pub use output::{ConnId, Event, Output, Reason};
pub use state::{Status, Swarm};
