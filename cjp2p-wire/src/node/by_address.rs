//! Things by address, in a table that finds the one looked for last without a search: datagrams of a peer come in bunches.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::RangeBounds;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct ByAddress<T> {
    // Invariant: the places in `things` that are taken, each once.
    places: BTreeMap<SocketAddr, usize>,
    things: Vec<Option<T>>,
    // Invariant: the places in `things` that are not taken, each once.
    free: Vec<usize>,
    /// What was looked for last, and is there.
    last: Cell<Option<(SocketAddr, usize)>>,
}

impl<T> Default for ByAddress<T> {
    fn default() -> ByAddress<T> {
        ByAddress { places: BTreeMap::new(), things: Vec::new(), free: Vec::new(), last: Cell::new(None) }
    }
}

impl<T> ByAddress<T> {
    fn place(&self, address: SocketAddr) -> Option<usize> {
        match self.last.get() {
            Some((last, place)) if last == address => Some(place),
            _ => {
                let place = *self.places.get(&address)?;
                self.last.set(Some((address, place)));
                Some(place)
            }
        }
    }

    pub(super) fn get(&self, address: SocketAddr) -> Option<&T> {
        self.things.get(self.place(address)?)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, address: SocketAddr) -> Option<&mut T> {
        let place = self.place(address)?;
        self.things.get_mut(place)?.as_mut()
    }

    pub(super) fn has(&self, address: SocketAddr) -> bool {
        self.place(address).is_some()
    }

    /// Puts a thing at an address that has none.
    pub(super) fn insert(&mut self, address: SocketAddr, thing: T) {
        debug_assert!(!self.has(address), "{address} is taken");
        let place = self.free.pop().unwrap_or(self.things.len());
        match self.things.get_mut(place) {
            Some(free) => *free = Some(thing),
            None => self.things.push(Some(thing)),
        }
        self.places.insert(address, place);
    }

    pub(super) fn remove(&mut self, address: SocketAddr) -> Option<T> {
        let place = self.places.remove(&address)?;
        self.last.set(None);
        self.free.push(place);
        self.things.get_mut(place)?.take()
    }

    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// All of them, by address.
    pub(super) fn iter(&self) -> impl Iterator<Item = (SocketAddr, &T)> {
        self.range(..)
    }

    /// Those at these addresses, in order.
    pub(super) fn range(
        &self,
        addresses: impl RangeBounds<SocketAddr>,
    ) -> impl Iterator<Item = (SocketAddr, &T)> {
        let thing = |&place: &usize| self.things.get(place)?.as_ref();
        self.places.range(addresses).filter_map(move |(&address, place)| Some((address, thing(place)?)))
    }

    /// All addresses that have one.
    pub(super) fn addresses(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.places.keys().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(n: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], n))
    }

    #[test]
    fn places_of_what_was_removed_are_used_again() {
        let mut things = ByAddress::default();
        (0..10).for_each(|n| things.insert(at(n), n));
        for n in 10..1000 {
            assert_eq!(things.get(at(n - 10)), Some(&(n - 10)));
            assert_eq!((things.remove(at(n - 10)), things.get(at(n - 10))), (Some(n - 10), None));
            things.insert(at(n), n);
        }
        assert_eq!((things.len(), things.things.len()), (10, 10));
        let all: Vec<_> = things.iter().map(|(address, &n)| (address, n)).collect();
        assert_eq!(all, (990..1000).map(|n| (at(n), n)).collect::<Vec<_>>());
        assert_eq!(things.range(at(995)..).count(), 5);
    }
}
