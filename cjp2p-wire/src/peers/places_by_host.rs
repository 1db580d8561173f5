//! How many places of a table each host holds. In a full table, the host that holds most gives one up.
//!
//! Ports cost nothing, addresses do. A limit per host would bind even if nobody else wants the places. This one binds only
//! when another host does.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use super::address::host_of;

/// Places by [host](host_of).
#[derive(Clone, Debug, Default)]
pub struct PlacesByHost {
    // Invariant: none is zero.
    counts: BTreeMap<IpAddr, usize>,
    // Invariant: what is in `counts`.
    by_count: BTreeSet<(usize, IpAddr)>,
    // Invariant: the sum of the counts.
    total: usize,
}

impl PlacesByHost {
    /// How many places are taken in all.
    pub fn total(&self) -> usize {
        self.total
    }

    /// How many places the host of `source` holds.
    pub fn of(&self, source: SocketAddr) -> usize {
        self.counts.get(&host_of(source)).copied().unwrap_or(0)
    }

    /// Notes that `source` took a place.
    pub fn take(&mut self, source: SocketAddr) {
        let before = self.of(source);
        self.set(host_of(source), before, before + 1);
    }

    /// Notes that `source` left its place.
    pub fn leave(&mut self, source: SocketAddr) {
        let before = self.of(source);
        debug_assert!(before > 0, "{source} held no place");
        self.set(host_of(source), before, before.saturating_sub(1));
    }

    fn set(&mut self, host: IpAddr, before: usize, after: usize) {
        self.by_count.remove(&(before, host));
        self.total = self.total + after - before;
        if after == 0 {
            self.counts.remove(&host);
        } else {
            self.counts.insert(host, after);
            self.by_count.insert((after, host));
        }
    }

    /// The host that gives up a place for one more of the host of `source`: the one that holds most, if that is more than the
    /// other will then hold.
    pub fn gives_way_to(&self, source: SocketAddr) -> Option<IpAddr> {
        let &(most, host) = self.by_count.last()?;
        (most > self.of(source) + 1).then_some(host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(host: u8, port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, host], port))
    }

    #[test]
    fn the_host_with_most_places_gives_way_until_all_hold_as_many() {
        let mut places = PlacesByHost::default();
        (0..6).for_each(|port| places.take(source(1, port)));
        assert_eq!(places.gives_way_to(source(1, 9)), None, "it would only take from itself");
        for taken in 0..3 {
            assert_eq!(places.gives_way_to(source(2, 1)), Some(host_of(source(1, 0))), "{taken}");
            places.leave(source(1, taken));
            places.take(source(2, taken));
        }
        assert_eq!(places.gives_way_to(source(2, 9)), None, "each holds three");
        assert_eq!(places.total(), 6);
        (0..3).for_each(|port| places.leave(source(2, port)));
        assert_eq!((places.of(source(2, 0)), places.total()), (0, 3));
    }
}
