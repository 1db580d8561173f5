//! `Sources`: the peers that may have the content, and when one of them is to be asked.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use super::source::{Source, Standing};
use crate::time::Time;

/// A fault of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) source: SocketAddr,
    /// No other node can have spoken in its name.
    pub(super) certain: bool,
    pub(super) why: &'static str,
}

/// All sources.
#[derive(Debug)]
pub(super) struct Sources {
    all: BTreeMap<SocketAddr, Source>,
    /// The only addresses that may be sources, where not every one may.
    only_from: Option<BTreeSet<SocketAddr>>,
    // Invariant: not later than any time that a source waits for.
    wake_at: Time,
    /// Something changed that may matter to sources with nothing to ask for.
    changed: bool,
    /// Some of them sent something wrong.
    lied: bool,
}

impl Sources {
    pub(super) fn new() -> Sources {
        Sources { all: BTreeMap::new(), only_from: None, wake_at: Time::NEVER, changed: false, lied: false }
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn has(&self, address: SocketAddr) -> bool {
        self.all.contains_key(&address)
    }

    pub(super) fn get(&self, address: SocketAddr) -> Option<&Source> {
        self.all.get(&address)
    }

    pub(super) fn get_mut(&mut self, address: SocketAddr) -> Option<&mut Source> {
        self.all.get_mut(&address)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (SocketAddr, &Source)> {
        self.all.iter().map(|(&address, source)| (address, source))
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &Source> {
        self.all.values()
    }

    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut Source> {
        self.all.values_mut()
    }

    pub(super) fn add(&mut self, now: Time, address: SocketAddr, suggested: bool) {
        self.all.entry(address).or_insert_with(|| Source::new(now, suggested));
        self.wake_for(address);
    }

    /// Returns whether it was there.
    pub(super) fn remove(&mut self, address: SocketAddr) -> bool {
        self.all.remove(&address).is_some()
    }

    /// From now on only addresses that are admitted may be sources.
    pub(super) fn limit(&mut self) {
        self.only_from.get_or_insert_default();
    }

    pub(super) fn admit(&mut self, address: SocketAddr) {
        if let Some(only_from) = &mut self.only_from {
            only_from.insert(address);
        }
    }

    pub(super) fn admits(&self, address: SocketAddr) -> bool {
        self.only_from.as_ref().is_none_or(|only_from| only_from.contains(&address))
    }

    /// The sources that sent some of the content and still do.
    pub(super) fn serving(&self) -> impl Iterator<Item = (SocketAddr, &Source)> {
        self.iter().filter(|(_, source)| source.standing == Standing::Serving)
    }

    /// Those of `most` sources, beginning at an address.
    pub(super) fn serving_near(
        &self,
        address: SocketAddr,
        most: usize,
    ) -> impl Iterator<Item = SocketAddr> + '_ {
        let some = self.all.range(address..).chain(self.all.range(..address)).take(most);
        some.filter(|(_, source)| source.standing == Standing::Serving).map(|(&address, _)| address)
    }

    pub(super) fn claim_of(&self, address: SocketAddr) -> Option<u64> {
        self.get(address).and_then(|source| source.claim.length)
    }

    /// Whether nothing that comes from this address counts.
    pub(super) fn is_ignored(&self, address: SocketAddr) -> bool {
        self.get(address).is_none_or(|source| source.standing == Standing::Liar)
    }

    /// Whether all that came from this address is certainly from there.
    pub(super) fn gave_all(&self, address: SocketAddr) -> bool {
        self.get(address).is_some_and(|source| source.claim.is_certain())
    }

    /// The sources that claim another length.
    pub(super) fn with_claims_other_than(&self, length: u64) -> Vec<Fault> {
        let why = "the length it claims is not the proven one";
        let others =
            self.iter().filter(|(_, source)| source.claim.length.is_some_and(|claim| claim != length));
        others
            .map(|(address, source)| Fault { source: address, certain: source.claim.is_its_own, why })
            .collect()
    }

    /// When the last news came that was not found wrong since.
    pub(super) fn last_news(&self) -> Option<Time> {
        self.values().filter_map(|source| source.deliveries.news_at).max()
    }

    /// What this source brought was wrong, and so no news.
    pub(super) fn take_back_news_of(&mut self, liar: SocketAddr) {
        if let Some(source) = self.get_mut(liar) {
            source.deliveries.news_at = None;
        }
    }

    /// Something that came was wrong, whichever source sent it.
    pub(super) fn note_lie(&mut self) {
        self.lied = true;
    }

    /// Whether something wrong came and no source is left that gives anything.
    pub(super) fn all_lied(&self) -> bool {
        self.lied && self.serving().next().is_none()
    }

    /// A source may have another time to wait for.
    pub(super) fn wake_for(&mut self, address: SocketAddr) {
        if let Some(source) = self.all.get(&address) {
            self.wake_at = self.wake_at.min(source.next_at());
        }
    }

    /// No source has to be asked before this time.
    pub(super) fn wake_at(&self) -> Time {
        self.wake_at
    }

    /// Sources that have waited long enough for something.
    pub(super) fn take_due(&mut self, now: Time) -> Vec<SocketAddr> {
        if self.wake_at > now {
            return Vec::new();
        }
        self.wake_at = Time::NEVER;
        let mut due = Vec::new();
        for (&address, source) in &self.all {
            let at = source.next_at();
            if at <= now {
                // It may wait for its path, which has timers of its own.
                due.push(address);
            } else {
                self.wake_at = self.wake_at.min(at);
            }
        }
        due
    }

    /// Sources with nothing to ask for may have something now.
    pub(super) fn note_change(&mut self) {
        self.changed = true;
    }

    pub(super) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }
}
