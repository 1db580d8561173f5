//! Those of the contacts that others may be told of, so that some can be drawn at random without looking at all.

use std::net::SocketAddr;
use std::num::NonZeroU16;

use crate::peers::address::Scope;

/// Lists: one for each scope that others may be told of, and family.
const LISTS: usize = 8;

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Tellable {
    // Invariant: each contact that has a place in the list of its kind, at that place.
    lists: [Vec<SocketAddr>; LISTS],
}

fn list_of(scope: Scope, is_ipv4: bool) -> Option<usize> {
    let scope = match scope {
        Scope::Loopback => 0,
        Scope::LinkLocal => 1,
        Scope::Private => 2,
        Scope::Public => 3,
        Scope::Unusable => return None,
    };
    Some(2 * scope + usize::from(is_ipv4))
}

fn list_with(address: SocketAddr) -> Option<usize> {
    list_of(Scope::of(address), address.is_ipv4())
}

impl Tellable {
    /// Adds one that has no place. Returns its place, counted from one.
    pub(super) fn add(&mut self, address: SocketAddr) -> Option<NonZeroU16> {
        let list = self.lists.get_mut(list_with(address)?)?;
        let place = NonZeroU16::new(u16::try_from(list.len() + 1).ok()?)?;
        list.push(address);
        Some(place)
    }

    /// Takes out the one at `place`. Returns the one that is at that place now.
    pub(super) fn remove(&mut self, address: SocketAddr, place: NonZeroU16) -> Option<SocketAddr> {
        let list = self.lists.get_mut(list_with(address)?)?;
        let place = usize::from(place.get()) - 1;
        if list.get(place) == Some(&address) {
            list.swap_remove(place);
        }
        list.get(place).copied()
    }

    /// At most `most` of those of which `to` may be told, each once, in random order: all where there are no more.
    pub(super) fn draw(&self, to: SocketAddr, most: usize, random: &mut fastrand::Rng) -> Vec<SocketAddr> {
        let near: &[Scope] = match Scope::of(to) {
            Scope::Loopback => &[Scope::Loopback, Scope::LinkLocal, Scope::Private],
            Scope::LinkLocal | Scope::Private => &[Scope::LinkLocal, Scope::Private],
            Scope::Public | Scope::Unusable => &[],
        };
        let families: &[bool] = if to.is_ipv6() { &[false, true] } else { &[true] };
        let kinds = near
            .iter()
            .chain([&Scope::Public])
            .flat_map(|&scope| families.iter().filter_map(move |&is_ipv4| list_of(scope, is_ipv4)));
        let lists: Vec<&Vec<SocketAddr>> = kinds.filter_map(|list| self.lists.get(list)).collect();
        let total: usize = lists.iter().map(|list| list.len()).sum();
        if total <= most {
            let mut all: Vec<SocketAddr> = lists.into_iter().flatten().copied().collect();
            random.shuffle(&mut all);
            return all;
        }
        let mut drawn: Vec<SocketAddr> = Vec::with_capacity(most);
        for _ in 0..most {
            let mut nth = random.usize(..total);
            let found = lists.iter().find_map(|list| {
                let found = list.get(nth).copied();
                nth = nth.saturating_sub(list.len());
                found
            });
            drawn.extend(found.filter(|found| !drawn.contains(found)));
        }
        drawn
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.lists.iter().map(Vec::len).sum()
    }
}
