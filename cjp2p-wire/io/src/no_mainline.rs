//! What stands in for the module of this name where the feature `dht` is off: there is no DHT to be joined.

use std::net::SocketAddr;

use cjp2p_wire::content_id::ContentId;
use cjp2p_wire::peers::announcements::Key;
use cjp2p_wire::signed::PublicKey;

use super::event_loop::Waker;

/// No id has a key.
pub fn key(_: &ContentId) -> Option<Key> {
    None
}

/// No key at all.
pub fn meeting_key() -> Key {
    Key::default()
}

/// No publisher has one either.
pub fn key_of_publisher(_: &PublicKey) -> Key {
    Key::default()
}

/// Never made.
#[derive(Debug)]
pub enum Entry {}

/// Never made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// What was looked up.
    pub key: Key,
    /// Where a peer is said to be.
    pub address: SocketAddr,
}

/// There is none.
#[derive(Debug)]
pub enum Mainline {}

impl Mainline {
    /// Never called.
    pub fn start(entry: Entry, _: Waker) -> Option<Mainline> {
        match entry {}
    }

    /// Never called.
    pub fn announce(&self, _: Key, _: u16) -> bool {
        match *self {}
    }

    /// Never called.
    pub fn look_up(&self, _: Key) {
        match *self {}
    }

    /// Never called.
    pub fn found(&self) -> impl Iterator<Item = Found> + '_ {
        std::iter::empty()
    }
}
