//! Which leechers, which fetch the same, parts are exchanged with: a few at a time, whose places hosts share.
//!
//! A place is taken by who says that it has something, and that costs nothing. So the host with most places gives one up for a
//! host with fewer, and who was asked and brings nothing leaves its place to another within seconds.

use std::net::SocketAddr;
use std::time::Duration;

use super::Download;
use super::source::{Source, Standing};
use crate::peers::address::host_of;
use crate::peers::places_by_host::PlacesByHost;
use crate::pieces::HaveMap;
use crate::time::Time;

/// Leecher getters that a fetch exchanges parts with at a time. Enough that what one of them has is soon everywhere, and few
/// enough that the questions cost little.
pub const MAX_LEECHERS: usize = 16;
/// How often one leecher that gave nothing is exchanged for another.
pub(crate) const REVIEW_INTERVAL: Duration = Duration::from_secs(5);
/// How often the places of those that left are filled, and of those that were asked and brought nothing.
pub(crate) const FILL_INTERVAL: Duration = Duration::from_secs(1);
/// Who was asked and brought nothing for so long is exchanged for another that waits.
pub(crate) const DELIVERY_TIMEOUT: Duration = Duration::from_secs(3);

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
    /// Whether this address is of one.
    pub fn has(&self, address: SocketAddr) -> bool {
        self.0.total() < MAX_LEECHERS || self.0.gives_way_to(address).is_some()
    }
}

impl Download {
    /// From where more sources are of use: with as many leechers as parts are exchanged with, only from hosts that hold
    /// fewer of those places than another. `None` where none is.
    pub fn wanted_hosts(&self) -> Option<WantedHosts> {
        (!self.ended && !self.waits_for_verdict).then(|| WantedHosts(self.leecher_places()))
    }

    /// Whether this address would be of use as a source.
    pub fn wants_source(&self, address: SocketAddr) -> bool {
        self.wanted_hosts().is_some_and(|wanted| wanted.has(address))
    }

    /// The places of leechers that parts are exchanged with.
    fn leecher_places(&self) -> PlacesByHost {
        let mut places = PlacesByHost::default();
        let active = self.sources.iter().filter(|(_, source)| source.is_active_leecher());
        active.for_each(|(&address, _)| places.take(address));
        places
    }

    /// Whether there is a place for this leecher, which has none.
    pub(super) fn place_for(&self, address: SocketAddr) -> Place {
        let places = self.leecher_places();
        if places.total() < MAX_LEECHERS {
            return Place::Free;
        }
        let Some(host) = places.gives_way_to(address) else { return Place::None };
        let of_host = self.sources.iter().filter(|(other, source)| {
            host_of(**other) == host && **other != address && source.is_active_leecher()
        });
        of_host.min_by_key(|(_, source)| source.gave).map_or(Place::None, |(&least, _)| Place::Of(least))
    }

    /// Takes leechers from the reserve where others have left, and exchanges those that bring nothing.
    pub(super) fn review_leechers(&mut self, now: Time) {
        if now < self.review_at {
            return;
        }
        self.review_at = now + FILL_INTERVAL;
        // Many may have left at once, and who is in reserve may be the last that is there.
        let room = MAX_LEECHERS.saturating_sub(self.leecher_places().total());
        for _ in 0..room {
            if !self.call_up(now) {
                break;
            }
        }
        let fails = |source: &Source| source.is_active_leecher() && source.fails_to_deliver(now);
        let failing: Vec<SocketAddr> =
            self.sources.iter().filter(|(_, source)| fails(source)).map(|(&address, _)| address).collect();
        failing.into_iter().for_each(|old| self.replace(now, old));
        if now < self.exchange_at {
            return;
        }
        self.exchange_at = now + REVIEW_INTERVAL;
        let useless = |source: &Source| source.is_active_leecher() && source.gave == 0;
        let useless: Vec<SocketAddr> =
            self.sources.iter().filter(|(_, source)| useless(source)).map(|(&address, _)| address).collect();
        for source in self.sources.values_mut() {
            source.gave = 0;
        }
        if room == 0 && !useless.is_empty() {
            let old = useless[self.random.usize(..useless.len())];
            self.replace(now, old);
        }
    }

    /// Counts which parts leechers have, if that may have changed.
    pub(super) fn count_rarity(&mut self, now: Time) {
        if !self.have_changed {
            return;
        }
        let counted_at = self.assemblies.iter().filter_map(|a| a.picker.rarity_counted_at()).max();
        let is_due = counted_at.is_none_or(|at| now.since(at) >= COUNT_INTERVAL);
        if !is_due {
            return;
        }
        self.have_changed = false;
        self.has_leechers = self.sources.values().any(Source::is_active_leecher);
        for assembly in &mut self.assemblies {
            let length = assembly.length();
            let leechers = self
                .sources
                .values()
                .filter(|source| source.is_active_leecher() && source.claim == Some(length));
            let have = leechers.filter_map(|source| source.have.as_ref()).map(HaveMap::has);
            assembly.picker.rarity(&mut self.random).count(now, have);
        }
    }

    /// Puts a leecher in reserve, and takes another instead, if there is one.
    pub(super) fn replace(&mut self, now: Time, old: SocketAddr) {
        if self.call_up(now) {
            self.put_in_reserve(old);
        }
    }

    /// Leaves a leecher alone for now: others have its part.
    pub(super) fn put_in_reserve(&mut self, old: SocketAddr) {
        self.release(old);
        if let Some(source) = self.sources.get_mut(&old) {
            source.put_in_reserve();
        }
    }

    /// Begins to exchange parts with a leecher in reserve, of a host that holds fewest places. Returns whether there is one.
    fn call_up(&mut self, now: Time) -> bool {
        let places = self.leecher_places();
        let mut reserve: Vec<SocketAddr> = self
            .sources
            .iter()
            .filter(|(_, source)| source.in_reserve)
            .map(|(&address, _)| address)
            .collect();
        let fewest = reserve.iter().map(|&address| places.of(address)).min();
        reserve.retain(|&address| Some(places.of(address)) == fewest);
        let Some(&new) = reserve.get(self.random.usize(..reserve.len().max(1))) else { return false };
        if let Some(source) = self.sources.get_mut(&new) {
            source.in_reserve = false;
            source.have = Some(HaveMap::of_leecher(now));
        }
        self.have_changed = true;
        self.wake_for(new);
        true
    }
}

impl Source {
    /// Whether it fetches as we do, parts are exchanged with it, and it seems to be there.
    pub(super) fn is_active_leecher(&self) -> bool {
        let takes_part = matches!(self.standing, Standing::Serving | Standing::Waiting) && !self.in_reserve;
        takes_part && self.have.as_ref().is_some_and(|have| have.is_leecher() && !have.is_silent())
    }

    /// Whether it was asked for what it says that it has, and has not brought anything since.
    fn fails_to_deliver(&self, now: Time) -> bool {
        self.asked_since.is_some_and(|since| now.since(since) >= DELIVERY_TIMEOUT)
    }

    /// There are enough others: it is left alone for now.
    pub(super) fn put_in_reserve(&mut self) {
        self.in_reserve = true;
        self.have = None;
        self.asked_since = None;
        self.standing = Standing::Waiting;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content_id::ContentId;
    use crate::download::Spec;
    use crate::store::JobId;

    fn at(ms: u64) -> Time {
        Time::from_millis(ms)
    }

    fn peer(host: u8, port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, host], port))
    }

    fn fetch(sources: &[SocketAddr]) -> Download {
        let (source_timeout, stall_timeout) = (Duration::from_secs(30), Duration::from_secs(10));
        let id = ContentId::Blake3([1; 32]);
        let spec =
            Spec { id, ranges: Vec::new(), in_order: false, resume: None, source_timeout, stall_timeout };
        let mut fetch = Download::new(at(0), JobId(0), spec, 1);
        for &source in sources {
            fetch.add_source(at(0), source, false);
            fetch.on_leecher(at(0), source);
        }
        fetch
    }

    fn active(fetch: &Download) -> Vec<SocketAddr> {
        let active = fetch.sources.iter().filter(|(_, source)| source.is_active_leecher());
        active.map(|(&address, _)| address).collect()
    }

    #[test]
    fn a_host_of_a_hundred_ports_takes_no_place_that_another_host_wants() {
        let of_one: Vec<SocketAddr> = (0..100).map(|port| peer(1, port)).collect();
        let mut fetch = fetch(&of_one);
        assert_eq!(active(&fetch).len(), MAX_LEECHERS);
        assert!(!fetch.wants_source(peer(1, 999)));
        for host in 2..10 {
            assert!(fetch.wants_source(peer(host, 1)), "{host}");
            fetch.add_source(at(1), peer(host, 1), false);
            fetch.on_leecher(at(1), peer(host, 1));
        }
        let now_active = active(&fetch);
        assert!((2..10).all(|host| now_active.contains(&peer(host, 1))), "{now_active:?}");
        assert_eq!(now_active.len(), MAX_LEECHERS);
    }

    #[test]
    fn who_is_asked_and_brings_nothing_leaves_its_place_within_seconds_to_a_host_that_has_none() {
        let hosts: Vec<SocketAddr> = (0..MAX_LEECHERS as u8 + 1).map(|host| peer(host, 1)).collect();
        let mut fetch = fetch(&hosts);
        assert!(!active(&fetch).contains(&peer(16, 1)));
        for source in fetch.sources.values_mut().take(MAX_LEECHERS) {
            source.asked_since = Some(at(500));
        }
        fetch.review_leechers(at(2500));
        assert!(!active(&fetch).contains(&peer(16, 1)), "it is too early");
        fetch.review_leechers(at(3500));
        assert!(active(&fetch).contains(&peer(16, 1)));
    }
}
