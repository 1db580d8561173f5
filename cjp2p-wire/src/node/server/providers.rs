//! Which peers lately asked for which content, or said that they have it: what a node tells others that ask for what it does not have.
//!
//! All of it is hearsay. It is bounded in every direction, so that nobody can fill it alone, and forgotten after a while.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Duration;

use crate::content_id::ContentId;
use crate::peers::address::Scope;
use crate::peers::address::host_of;
use crate::time::Time;

/// Pairs of a content and a peer that are remembered.
pub(crate) const MAX_PROVIDERS: usize = 4096;
/// Peers remembered of one content; the newest.
pub(crate) const MAX_OF_CONTENT: usize = 16;
/// Contents remembered of one peer; of all on one host where that is public. More are not taken up.
pub(crate) const MAX_OF_PEER: usize = 64;
/// How long it is remembered.
pub(crate) const MEMORY: Duration = Duration::from_secs(15 * 60);

/// Before all other addresses.
const FIRST: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0));

/// See the [module](self).
#[derive(Clone, Debug, Default)]
pub(super) struct ProviderCache {
    noted: BTreeMap<(ContentId, SocketAddr), Time>,
    // Invariant: the same, oldest first.
    by_time: BTreeSet<(Time, ContentId, SocketAddr)>,
    // Invariant: how many there are of each peer, none of them 0.
    of_peer: BTreeMap<SocketAddr, usize>,
}

/// What counts as one peer: ports cost nothing on a public host. Behind our own router each belongs to another peer.
fn peer_of(address: SocketAddr) -> SocketAddr {
    if Scope::of(address) == Scope::Public { SocketAddr::new(host_of(address), 0) } else { address }
}

/// What is remembered of a content; nothing of plain names, which mean something else to everybody.
fn content_of(id: &ContentId) -> Option<ContentId> {
    match id {
        ContentId::Blake3(_) | ContentId::Sha256(_) => Some(id.clone()),
        ContentId::Tree(root) => Some(ContentId::Blake3(*root)),
        ContentId::Name(_) => None,
    }
}

impl ProviderCache {
    /// Notes that the peer asked for this content, or said that it has it.
    pub(super) fn note(&mut self, now: Time, id: &ContentId, peer: SocketAddr) {
        let Some(id) = content_of(id) else { return };
        while self.by_time.first().is_some_and(|(at, ..)| now.since(*at) >= MEMORY) {
            self.forget_oldest();
        }
        if let Some(at) = self.noted.get_mut(&(id.clone(), peer)) {
            self.by_time.remove(&(*at, id.clone(), peer));
            *at = now;
            self.by_time.insert((now, id, peer));
            return;
        }
        if self.of_peer.get(&peer_of(peer)).is_some_and(|&count| count >= MAX_OF_PEER) {
            return;
        }
        let others: Vec<_> = self.peers(&id).collect();
        if others.len() >= MAX_OF_CONTENT
            && let Some(&(oldest, at)) = others.iter().min_by_key(|(_, at)| *at)
        {
            self.forget(at, id.clone(), oldest);
        }
        if self.noted.len() >= MAX_PROVIDERS {
            self.forget_oldest();
        }
        *self.of_peer.entry(peer_of(peer)).or_default() += 1;
        self.by_time.insert((now, id.clone(), peer));
        self.noted.insert((id, peer), now);
    }

    /// The peers that may have this content.
    pub(super) fn of(&self, now: Time, id: &ContentId) -> Vec<SocketAddr> {
        let Some(id) = content_of(id) else { return Vec::new() };
        let fresh = self.peers(&id).filter(|(_, at)| now.since(*at) < MEMORY);
        fresh.map(|(peer, _)| peer).collect()
    }

    /// How many pairs are remembered.
    pub(super) fn len(&self) -> usize {
        self.noted.len()
    }

    fn peers<'a>(&'a self, id: &'a ContentId) -> impl Iterator<Item = (SocketAddr, Time)> + 'a {
        let all = self.noted.range((id.clone(), FIRST)..);
        all.take_while(move |((of, _), _)| of == id).map(|((_, peer), at)| (*peer, *at))
    }

    fn forget_oldest(&mut self) {
        if let Some((at, id, peer)) = self.by_time.first().cloned() {
            self.forget(at, id, peer);
        }
    }

    fn forget(&mut self, at: Time, id: ContentId, peer: SocketAddr) {
        self.by_time.remove(&(at, id.clone(), peer));
        self.noted.remove(&(id, peer));
        if let Some(count) = self.of_peer.get_mut(&peer_of(peer)) {
            *count -= 1;
            if *count == 0 {
                self.of_peer.remove(&peer_of(peer));
            }
        }
    }

    #[cfg(test)]
    fn check_invariants(&self) {
        assert!(self.noted.len() <= MAX_PROVIDERS);
        let all: BTreeSet<_> = self.noted.iter().map(|((id, peer), at)| (*at, id.clone(), *peer)).collect();
        assert_eq!(all, self.by_time);
        let mut counts: BTreeMap<SocketAddr, usize> = BTreeMap::new();
        self.noted.keys().for_each(|(_, peer)| *counts.entry(peer_of(*peer)).or_default() += 1);
        assert_eq!(counts, self.of_peer);
        assert!(counts.values().all(|&count| count <= MAX_OF_PEER));
        assert!(self.noted.keys().all(|(id, _)| self.peers(id).count() <= MAX_OF_CONTENT));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn id(n: u32) -> ContentId {
        let mut hash = [0; 32];
        hash[..4].copy_from_slice(&n.to_le_bytes());
        ContentId::Blake3(hash)
    }

    fn peer(n: u32) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::from_bits(0x1400_0000 + (n << 8)), 24254))
    }

    fn at(seconds: u64) -> Time {
        Time::ZERO + Duration::from_secs(seconds)
    }

    #[test]
    fn who_asked_is_known_for_a_quarter_of_an_hour_and_longer_if_it_asks_again() {
        let mut all = ProviderCache::default();
        all.note(at(0), &id(1), peer(1));
        all.note(at(0), &id(1), peer(2));
        all.note(at(0), &id(2), peer(3));
        all.note(at(600), &id(1), peer(2));
        assert_eq!(all.of(at(899), &id(1)), [peer(1), peer(2)]);
        assert_eq!(all.of(at(900), &id(1)), [peer(2)]);
        assert_eq!(all.of(at(1500), &id(1)), []);
        all.note(at(1500), &id(7), peer(7));
        assert_eq!(all.len(), 1, "what is old is dropped");
    }

    #[test]
    fn a_tree_counts_as_its_content_and_a_name_as_nothing() {
        let mut all = ProviderCache::default();
        all.note(at(0), &ContentId::Tree([7; 32]), peer(1));
        all.note(at(0), &ContentId::parse("1M").unwrap(), peer(1));
        assert_eq!(all.of(at(0), &ContentId::Blake3([7; 32])), [peer(1)]);
        assert_eq!(all.len(), 1);
    }

    #[test]
    fn the_newest_peers_of_a_content_are_kept() {
        let mut all = ProviderCache::default();
        for n in 0..100 {
            all.note(at(n.into()), &id(1), peer(n));
        }
        let kept: Vec<SocketAddr> = (100 - MAX_OF_CONTENT as u32..100).map(peer).collect();
        assert_eq!(all.of(at(100), &id(1)), kept);
    }

    #[test]
    fn one_public_host_with_many_ports_takes_no_more_room_than_one_peer() {
        let mut all = ProviderCache::default();
        for n in 0..10_000u32 {
            let port = 1024 + n as u16;
            all.note(at(0), &id(n), SocketAddr::from(([203, 0, 113, 9], port)));
        }
        assert_eq!(all.len(), MAX_OF_PEER);
        all.check_invariants();
        for n in 0..100u32 {
            all.note(at(0), &id(n), SocketAddr::from(([10, 0, 0, 1], 1024 + n as u16)));
        }
        assert_eq!(all.len(), MAX_OF_PEER + 100);
    }

    #[test]
    fn a_flood_of_peers_and_contents_takes_little_memory_and_the_oldest_make_room() {
        let mut all = ProviderCache::default();
        for n in 0..20_000 {
            all.note(at(0), &id(n), peer(n));
        }
        all.check_invariants();
        assert_eq!(all.len(), MAX_PROVIDERS);
        assert_eq!(all.of(at(0), &id(19_999)), [peer(19_999)]);
    }

    proptest! {
        #[test]
        fn it_tells_what_was_noted_lately_and_nothing_else(
            notes in prop::collection::vec((0u64..400, 0u32..6, 0u32..20), 0..200)
        ) {
            let mut all = ProviderCache::default();
            let mut model: BTreeMap<(u32, u32), u64> = BTreeMap::new();
            let mut now = 0;
            for (pause, content, who) in notes {
                now += pause;
                all.note(at(now), &id(content), peer(who));
                model.insert((content, who), now);
            }
            all.check_invariants();
            for content in 0..6 {
                let told = all.of(at(now), &id(content));
                let fresh = |who: &u32| model.get(&(content, *who)).is_some_and(|at| now - at < 900);
                let known: Vec<SocketAddr> = (0..20).filter(fresh).map(peer).collect();
                prop_assert!(told.iter().all(|peer| known.contains(peer)));
                prop_assert_eq!(told.len(), known.len().min(MAX_OF_CONTENT));
            }
        }
    }
}
