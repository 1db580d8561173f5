//! The lengths that sources claim: which of them are tried side by side.
//!
//! A claim costs nothing, and only its last leaf shows whether it is true. So few are tried at a time, and places go round
//! between hosts: the first claim of each comes before the second of any. Where others wait, a claim that is not proven in its time makes
//! way, and has twice the time when its turn comes again: a slow source proves its own at last.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use super::Download;
use super::assembly::{Assembly, Check};
use super::range_spec::select;
use super::source::Standing;
use crate::content_id::ContentId;
use crate::peers::address::host_of;
use crate::range_set::RangeSet;
use crate::time::Time;

/// Different lengths tried side by side at the most. Claims beyond it wait for their turn.
pub const MAX_CLAIMS: usize = 16;
/// For so long a claim is tried while others wait; then for twice as long, and so on.
pub const CLAIM_TIMEOUT: Duration = Duration::from_secs(3);
/// No longer than so many doublings.
const MAX_DOUBLINGS: u32 = 8;

/// What came of a claim.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tried {
    /// When it was last begun.
    since: Time,
    /// How often it had its time in vain.
    in_vain: u32,
}

impl Tried {
    fn over_at(self) -> Time {
        self.since + CLAIM_TIMEOUT * 2u32.pow(self.in_vain.min(MAX_DOUBLINGS))
    }
}

impl Download {
    /// Drops claims that are refuted or superseded, and tries others where there is room or others had their time.
    pub(super) fn settle_claims(&mut self, now: Time) {
        self.settle_at = Time::NEVER;
        if self.is_staged() || self.ended {
            return;
        }
        if !self.length_told {
            self.changed = true;
        }
        if let Some(proven) = self.assemblies.iter().position(|a| a.is_proven) {
            if !self.length_told {
                let assembly = self.assemblies.swap_remove(proven);
                let length = assembly.length();
                self.assemblies = vec![assembly];
                self.claims_tried.clear();
                self.tell_length(length);
                self.accuse_of_claims_other_than(now, length);
            }
            return;
        }
        let ranks = self.claim_ranks();
        // A claim that nobody stands for any more makes room for others.
        self.assemblies.retain(|a| ranks.contains_key(&a.length()) || a.done().total() > 0);
        self.claims_tried.retain(|length, _| ranks.contains_key(length));
        let ContentId::Blake3(root) = self.id else { return };
        let mut waiting: BTreeSet<(usize, u64)> =
            ranks.iter().map(|(&length, &rank)| (self.claim_score(length, rank), length)).collect();
        for assembly in &self.assemblies {
            waiting.retain(|&(_, length)| length != assembly.length());
        }
        while let Some(&(score, length)) = waiting.first() {
            let Some(check) = Check::new(root, length) else {
                waiting.pop_first();
                continue;
            };
            if self.assemblies.len() >= MAX_CLAIMS && !self.drop_claim_for(now, score, &ranks) {
                break;
            }
            waiting.pop_first();
            let tried = self.claims_tried.entry(length).or_insert(Tried { since: now, in_vain: 0 });
            tried.since = now;
            let goal = select(&self.ranges, length);
            self.assemblies.push(Assembly::new(self.job, length, check, RangeSet::new(), goal));
            self.have_changed = true;
        }
        if !waiting.is_empty() {
            let tried = self.assemblies.iter().filter_map(|a| self.claims_tried.get(&a.length()));
            let next = tried.map(|tried| tried.over_at()).filter(|&at| at > now).min();
            self.settle_at = next.unwrap_or(now + CLAIM_TIMEOUT);
        }
    }

    /// The less, the more right a claim has to a place: it is the so many-th of its host, and had its time so often in vain.
    fn claim_score(&self, length: u64, rank: usize) -> usize {
        let in_vain = self.claims_tried.get(&length).map_or(0, |tried| tried.in_vain as usize);
        rank.saturating_add(in_vain)
    }

    /// Which claim of its hosts each is, of those that are believed; counted from 0.
    fn claim_ranks(&self) -> BTreeMap<u64, usize> {
        let mut of_hosts: BTreeMap<IpAddr, BTreeSet<u64>> = BTreeMap::new();
        for (&address, source) in &self.sources {
            if let Some(length) = source.claim.filter(|&n| n > 0 && source.standing != Standing::Liar) {
                of_hosts.entry(host_of(address)).or_default().insert(length);
            }
        }
        let mut ranks = BTreeMap::new();
        for (rank, &length) in of_hosts.values().flat_map(|claims| claims.iter().enumerate()) {
            let least = ranks.entry(length).or_insert(rank);
            *least = rank.min(*least);
        }
        ranks
    }

    /// Drops the claim that has least right to its place, if one with this score has more; and rather one that had its time.
    /// Returns whether it does.
    fn drop_claim_for(&mut self, now: Time, waiting: usize, ranks: &BTreeMap<u64, usize>) -> bool {
        let right = |assembly: &Assembly| {
            let length = assembly.length();
            let score = self.claim_score(length, ranks.get(&length).copied().unwrap_or(usize::MAX));
            let is_over = self.claims_tried.get(&length).is_some_and(|tried| now >= tried.over_at());
            (score.saturating_add(usize::from(is_over)), is_over)
        };
        let idle = self.assemblies.iter().enumerate().filter(|(_, a)| a.done().total() == 0);
        let Some((nth, worst)) = idle.map(|(nth, a)| (nth, right(a))).max_by_key(|&(_, right)| right) else {
            return false;
        };
        if worst <= (waiting, false) {
            return false;
        }
        let length = self.assemblies.swap_remove(nth).length();
        if let Some(tried) = self.claims_tried.get_mut(&length).filter(|_| worst.1) {
            tried.in_vain += 1;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::download::Spec;
    use crate::store::JobId;

    fn at(ms: u64) -> Time {
        Time::from_millis(ms)
    }

    fn peer(host: u8, port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, host], port))
    }

    fn fetch(claims: impl Iterator<Item = (SocketAddr, u64)>) -> Download {
        let (source_timeout, stall_timeout) = (Duration::from_secs(30), Duration::from_secs(10));
        let id = ContentId::Blake3([1; 32]);
        let spec =
            Spec { id, ranges: Vec::new(), in_order: false, resume: None, source_timeout, stall_timeout };
        let mut fetch = Download::new(at(0), JobId(0), spec, 1);
        claims.for_each(|(address, length)| claim(&mut fetch, address, length));
        fetch
    }

    fn claim(fetch: &mut Download, address: SocketAddr, length: u64) {
        fetch.add_source(at(0), address, false);
        let source = fetch.sources.get_mut(&address).expect("it was added");
        source.claim = Some(length);
        source.on_serving();
    }

    fn is_tried(fetch: &Download, length: u64) -> bool {
        assert!(fetch.assemblies.len() <= MAX_CLAIMS);
        fetch.assemblies.iter().any(|assembly| assembly.length() == length)
    }

    #[test]
    fn the_claim_of_a_host_is_tried_at_once_beside_a_host_with_a_thousand() {
        let mut fetch = fetch((0..1000).map(|port| (peer(1, port), 100_000 + u64::from(port))));
        fetch.settle_claims(at(0));
        assert_eq!(fetch.assemblies.len(), MAX_CLAIMS);
        claim(&mut fetch, peer(2, 1), 1 << 30);
        fetch.settle_claims(at(1));
        assert!(is_tried(&fetch, 1 << 30));
        fetch.settle_claims(at(100_000));
        assert!(is_tried(&fetch, 1 << 30), "the others' second claims come after it");
    }

    #[test]
    fn each_claim_of_many_hosts_has_its_turn_and_then_more_time() {
        let mut fetch = fetch((0..40).map(|host| (peer(host, 1), 1000 + u64::from(host))));
        let mut turns: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        fetch.settle_claims(at(0));
        while fetch.settle_at < at(60_000) {
            let now = fetch.settle_at;
            fetch.settle_claims(now);
            for (&length, tried) in fetch.claims_tried.iter().filter(|(_, tried)| tried.since == now) {
                turns.entry(length).or_default().push(tried.over_at().since(now).as_secs());
            }
        }
        assert!(turns.len() >= 24, "{turns:?}");
        assert!(turns.values().any(|times| times.contains(&6)), "{turns:?}");
    }
}
