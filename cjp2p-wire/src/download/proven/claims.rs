//! `Claims`: which of the lengths that sources claim are tried side by side.
//!
//! A claim costs nothing, and only its last leaf shows whether it is true. So few are tried at a time, and places go round
//! between hosts: the first claim of each comes before the second of any. Where others wait, a claim that is not proven in its time
//! makes way. It has twice the time when its turn comes again: a slow source proves its own at last.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use crate::download::assembly::Assembly;
use crate::download::source::Standing;
use crate::download::sources::Sources;
use crate::peers::address::host_of;
use crate::time::Time;

/// At most so many different lengths are tried side by side. Claims beyond it wait for their turn.
pub const MAX_CLAIMS: usize = 16;
/// For so long a claim is tried while others wait; then for twice as long, and so on.
pub const CLAIM_TIMEOUT: Duration = Duration::from_secs(3);
/// No longer than so many doublings.
const MAX_DOUBLINGS: u32 = 8;

/// What came of a claim.
#[derive(Clone, Copy, Debug)]
struct Tried {
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

/// The claims that are tried or were, while none is proven.
#[derive(Debug)]
pub(super) struct Claims {
    tried: BTreeMap<u64, Tried>,
    /// When to look at claims that wait.
    settle_at: Time,
}

impl Claims {
    pub(super) fn new() -> Claims {
        Claims { tried: BTreeMap::new(), settle_at: Time::NEVER }
    }

    pub(super) fn len(&self) -> usize {
        self.tried.len()
    }

    pub(super) fn settle_at(&self) -> Time {
        self.settle_at
    }

    /// Nothing waits, as far as is known.
    pub(super) fn put_off(&mut self) {
        self.settle_at = Time::NEVER;
    }

    /// Tries claims that wait where there is room, or where others had their time. `begin` gives the assembly for a length that content
    /// can have. Returns whether one is begun.
    pub(super) fn choose(
        &mut self,
        now: Time,
        sources: &Sources,
        assemblies: &mut Vec<Assembly>,
        begin: impl Fn(u64) -> Option<Assembly>,
    ) -> bool {
        let ranks = ranks(sources);
        // A claim that no source stands for any more makes room for others.
        assemblies.retain(|a| ranks.contains_key(&a.length()) || a.done().total() > 0);
        self.tried.retain(|length, _| ranks.contains_key(length));
        let mut waiting: BTreeSet<(usize, u64)> =
            ranks.iter().map(|(&length, &rank)| (self.score(length, rank), length)).collect();
        for assembly in &*assemblies {
            waiting.retain(|&(_, length)| length != assembly.length());
        }
        let mut begins = false;
        while let Some(&(score, length)) = waiting.first() {
            let Some(assembly) = begin(length) else {
                waiting.pop_first();
                continue;
            };
            if assemblies.len() >= MAX_CLAIMS && !self.make_room_for(now, score, assemblies, &ranks) {
                break;
            }
            waiting.pop_first();
            self.tried.entry(length).or_insert(Tried { since: now, in_vain: 0 }).since = now;
            assemblies.push(assembly);
            begins = true;
        }
        if !waiting.is_empty() {
            let tried = assemblies.iter().filter_map(|a| self.tried.get(&a.length()));
            let next = tried.map(|tried| tried.over_at()).filter(|&at| at > now).min();
            self.settle_at = next.unwrap_or(now + CLAIM_TIMEOUT);
        }
        begins
    }

    /// The less, the more right a claim has to a place: it is the so many-th of its host, and had its time so often in vain.
    fn score(&self, length: u64, rank: usize) -> usize {
        let in_vain = self.tried.get(&length).map_or(0, |tried| tried.in_vain as usize);
        rank.saturating_add(in_vain)
    }

    /// Drops the claim that has least right to its place, if one with this score has more; and rather one that had its time.
    /// Returns whether it does.
    fn make_room_for(
        &mut self,
        now: Time,
        waiting: usize,
        assemblies: &mut Vec<Assembly>,
        ranks: &BTreeMap<u64, usize>,
    ) -> bool {
        let right = |assembly: &Assembly| {
            let length = assembly.length();
            let score = self.score(length, ranks.get(&length).copied().unwrap_or(usize::MAX));
            let is_over = self.tried.get(&length).is_some_and(|tried| now >= tried.over_at());
            (score.saturating_add(usize::from(is_over)), is_over)
        };
        let idle = assemblies.iter().enumerate().filter(|(_, a)| a.done().total() == 0);
        let Some((nth, worst)) = idle.map(|(nth, a)| (nth, right(a))).max_by_key(|&(_, right)| right) else {
            return false;
        };
        if worst <= (waiting, false) {
            return false;
        }
        let length = assemblies.swap_remove(nth).length();
        if let Some(tried) = self.tried.get_mut(&length).filter(|_| worst.1) {
            tried.in_vain += 1;
        }
        true
    }
}

/// Which claim of its hosts each is, of those that are believed; counted from 0.
fn ranks(sources: &Sources) -> BTreeMap<u64, usize> {
    let mut of_hosts: BTreeMap<IpAddr, BTreeSet<u64>> = BTreeMap::new();
    for (address, source) in sources.iter() {
        if let Some(length) = source.claim.length.filter(|&n| n > 0 && source.standing != Standing::Liar) {
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

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::download::proven::Proven;
    use crate::download::reports::Reports;
    use crate::store::JobId;

    fn at(ms: u64) -> Time {
        Time::from_millis(ms)
    }

    fn peer(host: u8, port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, host], port))
    }

    fn of(claims: impl Iterator<Item = (SocketAddr, u64)>) -> (Proven, Sources) {
        let mut sources = Sources::new();
        claims.for_each(|(address, length)| claim(&mut sources, address, length));
        (Proven::new(JobId(0), Some([1; 32]), Vec::new()), sources)
    }

    fn claim(sources: &mut Sources, address: SocketAddr, length: u64) {
        sources.add(at(0), address, false);
        let source = sources.get_mut(address).expect("it was added");
        source.claim.length = Some(length);
        source.on_serving();
    }

    fn settle(proven: &mut Proven, now: Time, sources: &mut Sources) {
        proven.settle(now, sources, &mut Reports::default());
        assert!(proven.assemblies.len() <= MAX_CLAIMS);
    }

    fn is_tried(proven: &Proven, length: u64) -> bool {
        proven.assemblies.iter().any(|assembly| assembly.length() == length)
    }

    #[test]
    fn the_claim_of_a_host_is_tried_at_once_beside_a_host_with_a_thousand() {
        let (mut proven, mut sources) = of((0..1000).map(|port| (peer(1, port), 100_000 + u64::from(port))));
        settle(&mut proven, at(0), &mut sources);
        assert_eq!(proven.assemblies.len(), MAX_CLAIMS);
        claim(&mut sources, peer(2, 1), 1 << 30);
        settle(&mut proven, at(1), &mut sources);
        assert!(is_tried(&proven, 1 << 30));
        settle(&mut proven, at(100_000), &mut sources);
        assert!(is_tried(&proven, 1 << 30), "the others' second claims come after it");
    }

    #[test]
    fn each_claim_of_many_hosts_has_its_turn_and_then_more_time() {
        let (mut proven, mut sources) = of((0..40).map(|host| (peer(host, 1), 1000 + u64::from(host))));
        let mut turns: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        settle(&mut proven, at(0), &mut sources);
        while proven.settle_at() < at(60_000) {
            let now = proven.settle_at();
            settle(&mut proven, now, &mut sources);
            for (&length, tried) in proven.claims.tried.iter().filter(|(_, tried)| tried.since == now) {
                turns.entry(length).or_default().push(tried.over_at().since(now).as_secs());
            }
        }
        assert!(turns.len() >= 24, "{turns:?}");
        assert!(turns.values().any(|times| times.contains(&6)), "{turns:?}");
    }
}
