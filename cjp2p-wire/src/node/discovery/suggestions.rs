//! Addresses that peers suggest: nobody vouches for them, so they are tried few at a time, and each is sent next to nothing
//! until it is validated.
//!
//! Those named for the very content come before those named as peers. Otherwise the peers that name them take turns, so that a liar
//! with many victims holds up honest ones little; and of what one of them named, or two at their turn, the nearer comes first.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use crate::download::WantedHosts;
use crate::node::client::Downloads;
use crate::peers::address::host_of;
use crate::peers::neighbourhoods::Neighbourhoods;
use crate::peers::places_by_host::PlacesByHost;
use crate::store::JobId;
use crate::time::Time;

/// Suggested addresses tried in a second, at most.
pub(crate) const SUGGESTIONS_PER_SECOND: u32 = 8;
/// Suggested addresses that wait to be tried, at most.
pub(crate) const MAX_SUGGESTIONS: usize = 1024;
/// Suggestions taken from one peer for one download.
pub(crate) const MAX_SUGGESTIONS_EACH: u32 = 64;
/// Peers of which is remembered how much they suggested, by all downloads. Where there are more, the host that has most gives one
/// up, or else all do: the peer that suggested least is forgotten.
pub(crate) const MAX_GIVERS: usize = 4096;
/// Addresses tried for one download that were named as peers only, and of all kinds. Where those had nothing others will hardly
/// have, and a download may wait for days.
pub(crate) const MAX_PEERS_TRIED: u32 = 512;
/// See [`MAX_PEERS_TRIED`].
pub(crate) const MAX_TRIED: u32 = 4096;
/// When the downloads have enough sources, it is looked at again after this long.
const ENOUGH_PAUSE: Duration = Duration::from_secs(1);

/// What an address was named for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Promise {
    /// The very content.
    Content,
    /// Nothing: it is a peer.
    Peer,
}

/// A suggestion that waits to be tried.
#[derive(Clone, Copy, Debug)]
pub(super) struct Suggestion {
    pub(super) job: JobId,
    pub(super) address: SocketAddr,
    /// The peer that made it; `None` where the user or another network did.
    pub(super) by: Option<SocketAddr>,
    pub(super) promise: Promise,
    /// The round trip to the peer that made it: what is near to that is about as far away.
    pub(super) near: Duration,
}

/// What came of the suggestions of one peer for one download.
#[derive(Clone, Copy, Debug, Default)]
struct Given {
    taken: u32,
    tried: u32,
}

/// How many addresses were tried for one download.
#[derive(Clone, Copy, Debug, Default)]
struct Tried {
    all: u32,
    peers: u32,
}

/// Addresses that peers suggested, and how fast they may be tried.
#[derive(Debug, Default)]
pub(super) struct Suggestions {
    waiting: VecDeque<Suggestion>,
    // Invariant: at most `MAX_GIVERS` of peers.
    given: BTreeMap<(JobId, Option<SocketAddr>), Given>,
    // Invariant: the peers in `given`, by their hosts.
    givers: PlacesByHost,
    tried: BTreeMap<JobId, Tried>,
    /// When the rate allows the next one.
    rate_at: Time,
    neighbourhoods: Neighbourhoods,
    /// When to look again, if any are waiting. Invariant: not later than the first of them may be tried.
    wake_at: Time,
}

impl Suggestions {
    pub(super) fn next_at(&self) -> Time {
        if self.waiting.is_empty() { Time::NEVER } else { self.wake_at }
    }

    /// Notes an address for a download, to be tried when it may. Returns whether it waits now and did not before.
    pub(super) fn add(&mut self, new: Suggestion) -> bool {
        let given = self.given_by(new.job, new.by);
        if new.by.is_some() && given.taken >= MAX_SUGGESTIONS_EACH {
            return false;
        }
        given.taken += 1;
        let is_same = |old: &&mut Suggestion| old.job == new.job && old.address == new.address;
        if let Some(old) = self.waiting.iter_mut().find(is_same) {
            if new.promise < old.promise {
                *old = new;
            }
            return false;
        }
        if self.waiting.len() >= MAX_SUGGESTIONS && !self.make_room(&new) {
            return false;
        }
        self.waiting.push_back(new);
        self.wake_at = self.wake_at.min(self.may_try_at(new.address));
        true
    }

    /// What this peer gave for a download.
    fn given_by(&mut self, job: JobId, by: Option<SocketAddr>) -> &mut Given {
        if let Some(peer) = by.filter(|_| !self.given.contains_key(&(job, by))) {
            if self.givers.total() >= MAX_GIVERS {
                self.forget_giver(peer);
            }
            self.givers.take(peer);
        }
        self.given.entry((job, by)).or_default()
    }

    /// Forgets a peer that suggested something, for another.
    fn forget_giver(&mut self, other: SocketAddr) {
        let host = self.givers.gives_way_to(other);
        let peers = self.given.iter().filter_map(|(&(job, by), given)| Some((given.taken, job, by?)));
        let may_go = peers.filter(|&(.., by)| host.is_none_or(|host| host_of(by) == host));
        if let Some((_, job, by)) = may_go.min_by_key(|&(taken, ..)| taken) {
            self.given.remove(&(job, Some(by)));
            self.givers.leave(by);
        }
    }

    /// How many peers there are of which is remembered how much they suggested.
    pub(super) fn givers(&self) -> usize {
        self.givers.total()
    }

    /// Drops one that promises less than this, or is one of more by the same peer. Returns whether there is one.
    fn make_room(&mut self, new: &Suggestion) -> bool {
        let mut counts: BTreeMap<Option<SocketAddr>, usize> = BTreeMap::new();
        self.waiting.iter().for_each(|old| *counts.entry(old.by).or_default() += 1);
        let worth = |one: &Suggestion| (one.promise, counts.get(&one.by).copied().unwrap_or(0));
        let worst = (0..self.waiting.len()).max_by_key(|&at| worth(&self.waiting[at]));
        match worst.filter(|&at| worth(&self.waiting[at]) > worth(new)) {
            Some(worst) => self.waiting.remove(worst).is_some(),
            None => false,
        }
    }

    /// Something changed that may make more of them of use.
    pub(super) fn look_again(&mut self, now: Time) {
        self.wake_at = self.wake_at.min(now);
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether any wait for this download.
    pub(super) fn has(&self, job: JobId) -> bool {
        self.waiting.iter().any(|waiting| waiting.job == job)
    }

    /// Forgets what was suggested for a download that is over.
    pub(super) fn forget(&mut self, job: JobId) {
        self.waiting.retain(|waiting| waiting.job != job);
        let givers = &mut self.givers;
        self.given.retain(|&(of, by), _| {
            if let (true, Some(by)) = (of == job, by) {
                givers.leave(by);
            }
            of != job
        });
        self.tried.remove(&job);
    }

    fn may_try_at(&self, address: SocketAddr) -> Time {
        self.neighbourhoods.open_at(address).max(self.rate_at)
    }

    /// Whether more addresses of this promise may be tried for a download.
    fn has_tries_left(&self, job: JobId, promise: Promise) -> bool {
        let tried = self.tried.get(&job).copied().unwrap_or_default();
        tried.all < MAX_TRIED && (promise == Promise::Content || tried.peers < MAX_PEERS_TRIED)
    }

    /// Drops those for downloads that have tried enough.
    fn drop_spent(&mut self) {
        let mut waiting = std::mem::take(&mut self.waiting);
        waiting.retain(|one| self.has_tries_left(one.job, one.promise));
        self.waiting = waiting;
    }

    /// Takes out the most promising that may be tried now of those for which `wants` says that they are of use.
    fn take(&mut self, now: Time, wants: impl Fn(JobId, Promise, SocketAddr) -> bool) -> Option<Suggestion> {
        let rank = |at: &usize| {
            let Suggestion { job, by, promise, near, .. } = self.waiting[*at];
            let tried = self.given.get(&(job, by)).map_or(0, |given| given.tried);
            (promise, tried, near, *at)
        };
        let may = |at: &usize| {
            self.may_try_at(self.waiting[*at].address) <= now
                && wants(self.waiting[*at].job, self.waiting[*at].promise, self.waiting[*at].address)
        };
        let Some(first) = (0..self.waiting.len()).filter(may).min_by_key(rank) else {
            let open = |one: &Suggestion| {
                let at = self.may_try_at(one.address);
                if wants(one.job, one.promise, one.address) { at } else { at.max(now + ENOUGH_PAUSE) }
            };
            self.wake_at = self.waiting.iter().map(open).min().unwrap_or(Time::NEVER);
            return None;
        };
        let first = self.waiting.remove(first)?;
        self.given_by(first.job, first.by).tried += 1;
        let tried = self.tried.entry(first.job).or_default();
        tried.all += 1;
        tried.peers += u32::from(first.promise == Promise::Peer);
        self.rate_at = now + Duration::from_secs(1) / SUGGESTIONS_PER_SECOND;
        self.neighbourhoods.disturb(now, first.address);
        Some(first)
    }
}

impl Suggestions {
    /// The most promising that may be tried now. Those are dropped that are of no use any more. `is_known_asked`: whether known peers
    /// are still to be asked for a download.
    pub(super) fn next(
        &mut self,
        now: Time,
        downloads: &Downloads,
        is_known_asked: impl Fn(JobId) -> bool,
    ) -> Option<Suggestion> {
        if now < self.next_at() {
            return None;
        }
        let is_open = |one: &Suggestion| {
            downloads.get(one.job).is_some_and(|it| !it.is_over() && !it.knows(one.address))
        };
        self.waiting.retain(is_open);
        self.drop_spent();
        let wanting: BTreeMap<JobId, WantedHosts> =
            downloads.iter().filter_map(|(job, download)| Some((job, download.wanted_hosts()?))).collect();
        let wants = |job, promise, address| {
            downloads.get(job).is_some_and(|download| match promise {
                Promise::Content => wanting.get(&job).is_some_and(|wanted| wanted.has(address)),
                // Known peers are as likely to know another that has it, and likelier to be there. Whom the user named is likelier
                // still: while many wait for it, they would take its time and each other's.
                Promise::Peer => {
                    download.lacks_sources() && !is_known_asked(job) && !download.awaits_named(now)
                }
            })
        };
        let found = self.take(now, wants)?;
        // The rate lets no other go at once.
        self.wake_at = self.rate_at;
        Some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JOB: JobId = JobId(1);

    fn peer(n: u32) -> SocketAddr {
        SocketAddr::from((std::net::Ipv4Addr::from_bits(0x1400_0000 + (n << 8)), 24254))
    }

    /// What the peer `by`, `ms` milliseconds away, says of another.
    fn said(by: u32, named: u32, promise: Promise, ms: u64) -> Suggestion {
        let near = Duration::from_millis(ms);
        Suggestion { job: JOB, address: peer(named), by: Some(peer(by)), promise, near }
    }

    /// The addresses that are tried, one after another as fast as may be.
    fn tried(suggestions: &mut Suggestions) -> Vec<SocketAddr> {
        let mut tried = Vec::new();
        let mut now = Time::ZERO;
        while suggestions.has(JOB) {
            tried.extend(suggestions.take(now, |_, _, _| true).map(|one| one.address));
            now += Duration::from_secs(1) / SUGGESTIONS_PER_SECOND;
        }
        tried
    }

    #[test]
    fn those_named_for_the_content_come_first_then_the_nearer_ones() {
        let mut suggestions = Suggestions::default();
        for one in [
            said(1, 11, Promise::Peer, 1),
            said(2, 12, Promise::Content, 90),
            said(3, 13, Promise::Content, 20),
            said(4, 14, Promise::Peer, 50),
            said(5, 14, Promise::Content, 30),
        ] {
            suggestions.add(one);
        }
        assert_eq!(tried(&mut suggestions), [13, 14, 12, 11].map(peer));
    }

    #[test]
    fn a_peer_that_names_many_takes_turns_with_the_others() {
        let mut suggestions = Suggestions::default();
        for n in 0..40 {
            assert!(suggestions.add(said(1, 100 + n, Promise::Content, 1)));
        }
        for n in 0..3 {
            suggestions.add(said(2, 200 + n, Promise::Content, 90));
        }
        let tried = tried(&mut suggestions);
        let of_other = |n: u32| tried.iter().position(|address| *address == peer(200 + n));
        assert_eq!([0, 1, 2].map(of_other), [Some(1), Some(3), Some(5)]);
        assert_eq!(tried.len(), 43);
    }

    #[test]
    fn where_there_is_no_room_one_of_those_who_named_most_makes_it() {
        let mut suggestions = Suggestions::default();
        let liars = (MAX_SUGGESTIONS as u32).div_ceil(MAX_SUGGESTIONS_EACH) + 4;
        for n in 0..2 * MAX_SUGGESTIONS_EACH {
            for liar in 0..liars {
                suggestions.add(said(liar, 1000 + liar * 1000 + n, Promise::Content, 1));
            }
        }
        assert_eq!(suggestions.len(), MAX_SUGGESTIONS);
        assert!(!suggestions.add(said(900, 900_000, Promise::Peer, 1)), "it promises less than all others");
        assert!(suggestions.add(said(901, 900_001, Promise::Content, 1)));
        assert_eq!(suggestions.len(), MAX_SUGGESTIONS);
        let given: BTreeMap<_, usize> =
            suggestions.waiting.iter().fold(BTreeMap::new(), |mut counts, one| {
                *counts.entry(one.by).or_default() += 1;
                counts
            });
        assert!(given.values().all(|&count| count <= MAX_SUGGESTIONS_EACH as usize));
        assert_eq!(given.get(&Some(peer(901))), Some(&1));
    }

    #[test]
    fn of_those_merely_named_as_peers_so_many_are_tried_and_no_more() {
        let mut suggestions = Suggestions::default();
        let mut tried = 0;
        for round in 0..20 {
            for n in 0..40 {
                suggestions.add(said(round, 1000 * (round + 1) + n, Promise::Peer, 1));
            }
            suggestions.drop_spent();
            let mut now = Time::from_millis(u64::from(round) * 100_000);
            while suggestions.has(JOB) && suggestions.has_tries_left(JOB, Promise::Peer) {
                tried += u32::from(suggestions.take(now, |_, _, _| true).is_some());
                now += Duration::from_secs(1);
            }
        }
        assert_eq!(tried, MAX_PEERS_TRIED);
        assert!(suggestions.has_tries_left(JOB, Promise::Content));
        suggestions.forget(JOB);
        assert!(suggestions.has_tries_left(JOB, Promise::Peer) && suggestions.given.is_empty());
        assert_eq!(suggestions.givers(), 0);
    }

    #[test]
    fn who_suggested_how_much_is_remembered_of_so_many_and_hosts_with_many_ports_are_forgotten_first() {
        let mut suggestions = Suggestions::default();
        let by = |ip: [u8; 4], port: u16, named: u32| Suggestion {
            by: Some(SocketAddr::from((ip, port))),
            ..said(0, named, Promise::Content, 1)
        };
        for named in 0..MAX_SUGGESTIONS_EACH {
            suggestions.add(by([192, 0, 2, 1], 1, named));
        }
        for port in 1..3 * MAX_GIVERS as u16 {
            suggestions.add(by([192, 0, 2, 2], port, u32::from(port)));
            assert!(suggestions.givers() <= MAX_GIVERS && suggestions.given.len() <= MAX_GIVERS);
        }
        assert_eq!(suggestions.givers(), MAX_GIVERS);
        assert!(!suggestions.add(by([192, 0, 2, 1], 1, 90_000)), "it has suggested enough");
        for host in 0..2 * MAX_GIVERS as u16 {
            let [high, low] = host.to_be_bytes();
            suggestions.add(by([198, 18, high, low], 1, 100_000));
            assert!(suggestions.givers() <= MAX_GIVERS && suggestions.given.len() <= MAX_GIVERS);
        }
        assert!(!suggestions.add(by([192, 0, 2, 1], 1, 90_000)), "who suggested least is forgotten first");
        suggestions.forget(JOB);
        assert_eq!((suggestions.givers(), suggestions.given.len()), (0, 0));
    }
}
