//! Free places in the tree below a holder: who may send the stream to one more, and how far from the origin that is.
//!
//! Each holder knows some of those below it and tells its parent, so that whoever looks for a place is told of one, and need not walk
//! down the tree.

use std::net::SocketAddr;
use std::time::Duration;

use crate::message::MAX_STREAM_PLACES;
use crate::time::Time;

/// A place that was named is not named again for so long if there are others: whoever was told of it is about to take it.
const RESERVED: Duration = Duration::from_secs(1);
/// Places that are remembered because they were named.
const MAX_NAMED: usize = 32;

/// One that may send the stream to one more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// Hops from the origin.
    pub(super) depth: u64,
    pub(super) address: SocketAddr,
}

/// Which places were named, and when.
#[derive(Debug, Default)]
pub(super) struct Named {
    // Invariant: at most `MAX_NAMED`; the oldest first.
    lately: Vec<(Time, SocketAddr)>,
}

impl Named {
    /// Notes that this one was named.
    pub(super) fn note(&mut self, now: Time, address: SocketAddr) {
        self.lately.retain(|(at, other)| *other != address && now.since(*at) < RESERVED);
        if self.lately.len() >= MAX_NAMED {
            self.lately.remove(0);
        }
        self.lately.push((now, address));
    }

    /// When this one was named, if that was lately.
    pub(super) fn at(&self, now: Time, address: SocketAddr) -> Option<Time> {
        let mut lately = self.lately.iter().rev();
        lately.find(|(at, other)| *other == address && now.since(*at) < RESERVED).map(|(at, _)| *at)
    }
}

/// Those nearest to the origin, as many as are told; each once.
pub(super) fn nearest(mut places: Vec<Place>) -> Vec<Place> {
    places.sort_unstable();
    let mut seen = Vec::with_capacity(MAX_STREAM_PLACES);
    places.retain(|place| {
        let is_new = !seen.contains(&place.address) && seen.len() < MAX_STREAM_PLACES;
        if is_new {
            seen.push(place.address);
        }
        is_new
    });
    places
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::testing::port_of;

    #[test]
    fn the_nearest_are_told_each_once() {
        let place = |depth, port| Place { depth, address: port_of(1, port) };
        let told = nearest(vec![place(3, 1), place(2, 2), place(1, 3), place(2, 3)]);
        assert_eq!(told, [place(1, 3), place(2, 2), place(3, 1)]);
        assert_eq!(nearest((1..100).map(|port| place(1, port)).collect()).len(), MAX_STREAM_PLACES);
    }

    #[test]
    fn what_was_named_is_remembered_for_a_second_and_there_is_a_limit() {
        let mut named = Named::default();
        let ms = Time::from_millis;
        named.note(ms(0), port_of(1, 1));
        assert_eq!(named.at(ms(999), port_of(1, 1)), Some(ms(0)));
        assert_eq!(named.at(ms(1000), port_of(1, 1)), None);
        for port in 1..1000 {
            named.note(ms(1000), port_of(1, port));
        }
        assert_eq!(named.lately.len(), MAX_NAMED);
    }
}
