//! `Leechers`: which of the sources that fetch the same parts are exchanged with. These are a few at a time, whose places hosts share.
//!
//! A source takes a place by saying that it has something, and that costs nothing. So the host with most places gives one up for a
//! host with fewer, and a source that was asked and brings nothing leaves its place to another within seconds.

use std::net::SocketAddr;
use std::time::Duration;

use super::assembly::Assembly;
use super::source::{Source, Standing};
use super::sources::Sources;
use crate::peers::address::host_of;
use crate::peers::places_by_host::PlacesByHost;
use crate::pieces::{HaveMap, MIN_PAUSE};
use crate::time::Time;

/// Leechers that a download exchanges parts with at a time. Enough that what one of them has is soon everywhere, and few enough
/// that the questions cost little.
pub const MAX_LEECHERS: usize = 16;
/// How often one leecher that gave nothing is exchanged for another.
const REVIEW_INTERVAL: Duration = Duration::from_secs(5);
/// How often the places of those that left are filled, and of those that were asked and brought nothing.
const FILL_INTERVAL: Duration = Duration::from_secs(1);
/// Which parts leechers have is counted anew after so long at the soonest.
const COUNT_INTERVAL: Duration = Duration::from_millis(100);

/// Whether there is a place for one more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Free,
    /// That of this one, of a host that holds more.
    Of(SocketAddr),
    None,
}

/// From which hosts one more source is of use.
#[derive(Debug)]
pub struct WantedHosts(PlacesByHost);

impl WantedHosts {
    /// With as many leechers as parts are exchanged with, only hosts that hold fewer of those places than another.
    pub(super) fn beside(sources: &Sources) -> WantedHosts {
        WantedHosts(places(sources))
    }

    /// Whether this address is of one.
    pub fn has(&self, address: SocketAddr) -> bool {
        self.0.total() < MAX_LEECHERS || self.0.gives_way_to(address).is_some()
    }
}

/// Chooses among leechers, and counts which parts they have.
#[derive(Debug)]
pub(super) struct Leechers {
    random: fastrand::Rng,
    /// What sources say that they have has changed since it was counted.
    have_changed: bool,
    /// Whether parts are exchanged with any, when that was last counted.
    any: bool,
    review_at: Time,
    exchange_at: Time,
    replaced_at: Time,
}

impl Leechers {
    /// All random choices follow from `seed`.
    pub(super) fn new(now: Time, seed: u64) -> Leechers {
        Leechers {
            random: fastrand::Rng::with_seed(seed),
            have_changed: false,
            any: false,
            review_at: now,
            exchange_at: now + REVIEW_INTERVAL,
            replaced_at: now,
        }
    }

    /// Whether parts are exchanged with any, so that rare parts come first.
    pub(super) fn any(&self) -> bool {
        self.any
    }

    /// Which parts leechers have is to be counted anew.
    pub(super) fn note_change(&mut self) {
        self.have_changed = true;
    }

    /// Counts which parts leechers have, if that may have changed.
    pub(super) fn count(&mut self, now: Time, sources: &Sources, assemblies: &mut [Assembly]) {
        if !self.have_changed {
            return;
        }
        let counted_at = assemblies.iter().filter_map(|a| a.picker().rarity_counted_at()).max();
        let is_due = counted_at.is_none_or(|at| now.since(at) >= COUNT_INTERVAL);
        if !is_due {
            return;
        }
        self.have_changed = false;
        self.any = sources.values().any(Source::is_active_leecher);
        for assembly in assemblies {
            let length = assembly.length();
            let leechers = sources
                .values()
                .filter(|source| source.is_active_leecher() && source.claim.length == Some(length));
            let have = leechers.filter_map(|source| source.exchange.have.as_ref()).map(HaveMap::has);
            assembly.rarity(&mut self.random).count(now, have);
        }
    }

    /// A source that asks us for what we fetch ourselves is a leecher. Returns those that are put in reserve for it.
    pub(super) fn on_leecher(
        &mut self,
        now: Time,
        sources: &mut Sources,
        address: SocketAddr,
    ) -> Option<SocketAddr> {
        let place = place_for(sources, address);
        let source = sources.get_mut(address)?;
        let is_new = matches!(source.standing, Standing::Unknown | Standing::Absent)
            && source.exchange.have.is_none()
            && !source.exchange.in_reserve;
        if !is_new {
            return None;
        }
        if place == Place::None {
            source.put_in_reserve();
            return None;
        }
        source.call_up(now);
        source.standing = Standing::Waiting;
        let other = match place {
            Place::Of(other) => Some(other),
            Place::Free | Place::None => None,
        };
        if let Some(other) = other.and_then(|other| sources.get_mut(other)) {
            other.put_in_reserve();
        }
        self.note_change();
        sources.wake_for(address);
        other
    }

    /// Takes leechers from the reserve where others have left, and exchanges those that bring nothing. Returns those that are put
    /// in reserve.
    pub(super) fn review(&mut self, now: Time, sources: &mut Sources) -> Vec<SocketAddr> {
        let mut left = Vec::new();
        if now < self.review_at {
            return left;
        }
        self.review_at = now + FILL_INTERVAL;
        // Many may have left at once, and one in reserve may be the last that is there.
        let room = MAX_LEECHERS.saturating_sub(places(sources).total());
        for _ in 0..room {
            if !self.call_up(now, sources) {
                break;
            }
        }
        let fails = |source: &Source| source.is_active_leecher() && source.fails_to_deliver(now);
        let failing: Vec<SocketAddr> =
            sources.iter().filter(|(_, source)| fails(source)).map(|(address, _)| address).collect();
        left.extend(failing.into_iter().filter(|&old| self.replace(now, sources, old)));
        if now < self.exchange_at {
            return left;
        }
        self.exchange_at = now + REVIEW_INTERVAL;
        let useless = |source: &Source| source.is_active_leecher() && source.deliveries.lately == 0;
        let useless: Vec<SocketAddr> =
            sources.iter().filter(|(_, source)| useless(source)).map(|(address, _)| address).collect();
        for source in sources.values_mut() {
            source.deliveries.lately = 0;
        }
        if room == 0 && !useless.is_empty() {
            let old = useless[self.random.usize(..useless.len())];
            left.extend(self.replace(now, sources, old).then_some(old));
        }
        left
    }

    /// This leecher serves others now: takes another instead, if there is one. Returns whether there is.
    pub(super) fn on_busy(&mut self, now: Time, sources: &mut Sources, busy: SocketAddr) -> bool {
        if now < self.replaced_at + MIN_PAUSE {
            return false;
        }
        self.replaced_at = now;
        self.replace(now, sources, busy)
    }

    /// Puts a leecher in reserve, and takes another instead, if there is one. Returns whether there is.
    fn replace(&mut self, now: Time, sources: &mut Sources, old: SocketAddr) -> bool {
        let is_replaced = self.call_up(now, sources);
        if is_replaced && let Some(source) = sources.get_mut(old) {
            source.put_in_reserve();
        }
        is_replaced
    }

    /// Begins to exchange parts with a leecher in reserve, of a host that holds fewest places. Returns whether there is one.
    fn call_up(&mut self, now: Time, sources: &mut Sources) -> bool {
        let places = places(sources);
        let mut reserve: Vec<SocketAddr> = sources
            .iter()
            .filter(|(_, source)| source.exchange.in_reserve)
            .map(|(address, _)| address)
            .collect();
        let fewest = reserve.iter().map(|&address| places.of(address)).min();
        reserve.retain(|&address| Some(places.of(address)) == fewest);
        let Some(&new) = reserve.get(self.random.usize(..reserve.len().max(1))) else { return false };
        if let Some(source) = sources.get_mut(new) {
            source.call_up(now);
        }
        self.note_change();
        sources.wake_for(new);
        true
    }
}

/// The places of leechers that parts are exchanged with.
fn places(sources: &Sources) -> PlacesByHost {
    let mut places = PlacesByHost::default();
    let active = sources.iter().filter(|(_, source)| source.is_active_leecher());
    active.for_each(|(address, _)| places.take(address));
    places
}

/// Whether there is a place for this leecher, which has none.
pub(super) fn place_for(sources: &Sources, address: SocketAddr) -> Place {
    let places = places(sources);
    if places.total() < MAX_LEECHERS {
        return Place::Free;
    }
    let Some(host) = places.gives_way_to(address) else { return Place::None };
    let of_host = sources
        .iter()
        .filter(|(other, source)| host_of(*other) == host && *other != address && source.is_active_leecher());
    of_host
        .min_by_key(|(_, source)| source.deliveries.lately)
        .map_or(Place::None, |(least, _)| Place::Of(least))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Time {
        Time::from_millis(ms)
    }

    fn peer(host: u8, port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, host], port))
    }

    fn of(addresses: &[SocketAddr]) -> (Leechers, Sources) {
        let (mut leechers, mut sources) = (Leechers::new(at(0), 1), Sources::new());
        for &address in addresses {
            sources.add(at(0), address, false);
            leechers.on_leecher(at(0), &mut sources, address);
        }
        (leechers, sources)
    }

    fn active(sources: &Sources) -> Vec<SocketAddr> {
        let active = sources.iter().filter(|(_, source)| source.is_active_leecher());
        active.map(|(address, _)| address).collect()
    }

    #[test]
    fn a_host_of_a_hundred_ports_takes_no_place_that_another_host_wants() {
        let of_one: Vec<SocketAddr> = (0..100).map(|port| peer(1, port)).collect();
        let (mut leechers, mut sources) = of(&of_one);
        assert_eq!(active(&sources).len(), MAX_LEECHERS);
        assert!(!WantedHosts::beside(&sources).has(peer(1, 999)));
        for host in 2..10 {
            assert!(WantedHosts::beside(&sources).has(peer(host, 1)), "{host}");
            sources.add(at(1), peer(host, 1), false);
            leechers.on_leecher(at(1), &mut sources, peer(host, 1));
        }
        let now_active = active(&sources);
        assert!((2..10).all(|host| now_active.contains(&peer(host, 1))), "{now_active:?}");
        assert_eq!(now_active.len(), MAX_LEECHERS);
    }

    #[test]
    fn a_leecher_that_is_asked_and_brings_nothing_leaves_its_place_within_seconds_to_a_host_that_has_none() {
        let hosts: Vec<SocketAddr> = (0..MAX_LEECHERS as u8 + 1).map(|host| peer(host, 1)).collect();
        let (mut leechers, mut sources) = of(&hosts);
        assert!(!active(&sources).contains(&peer(16, 1)));
        for source in sources.values_mut().take(MAX_LEECHERS) {
            source.deliveries.asked_since = Some(at(500));
        }
        leechers.review(at(2500), &mut sources);
        assert!(!active(&sources).contains(&peer(16, 1)), "it is too early");
        leechers.review(at(3500), &mut sources);
        assert!(active(&sources).contains(&peer(16, 1)));
    }
}
