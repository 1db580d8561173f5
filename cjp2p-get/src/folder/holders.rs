//! Who gave contents of a folder lately: most likely they have the others too, so they are asked for them first.

use std::collections::VecDeque;
use std::net::SocketAddr;

/// So many are remembered, and asked for each content.
const MOST: usize = 4;

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct Holders {
    /// The latest first.
    // Invariant: each once, at most [`MOST`].
    latest: VecDeque<SocketAddr>,
}

impl Holders {
    /// This peer gave some.
    pub(crate) fn note(&mut self, address: SocketAddr) {
        if self.latest.contains(&address) {
            return;
        }
        self.latest.push_front(address);
        self.latest.truncate(MOST);
    }

    /// All of them.
    pub(crate) fn all(&self) -> Vec<SocketAddr> {
        self.latest.iter().copied().collect()
    }
}
