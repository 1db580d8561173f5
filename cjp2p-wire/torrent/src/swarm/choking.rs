//! Which peers are sent blocks: those that send us most, and one by chance; or all in turn, where nothing is fetched.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use cjp2p_wire::time::Time;

use super::output::ConnId;

/// It is decided so often who is sent blocks.
pub(super) const ROUND: Duration = Duration::from_secs(10);
/// The one by chance stays for so many rounds.
const CHANCE_ROUNDS: u32 = 3;
/// While nothing is fetched, a peer is sent blocks for so long before others have their turn.
const TURN: Duration = Duration::from_secs(20);

/// A peer that would ask for blocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    pub(super) id: ConnId,
    pub(super) host: IpAddr,
    /// What it sent us lately.
    pub(super) gave: u64,
    /// Since when it is sent blocks, if it is.
    pub(super) since: Option<Time>,
    /// When it last was not sent blocks any more.
    pub(super) last: Time,
}

/// Decides in rounds.
#[derive(Debug, Default)]
pub(super) struct Choking {
    /// The one by chance, and for how many rounds it stays.
    chance: Option<(ConnId, u32)>,
}

impl Choking {
    /// Who is sent blocks from now on: `slots` peers and one by chance. While something is fetched, those that gave most.
    pub(super) fn choose(
        &mut self,
        now: Time,
        mut candidates: Vec<Candidate>,
        slots: usize,
        fetches: bool,
        random: &mut fastrand::Rng,
    ) -> Vec<ConnId> {
        if slots == 0 {
            return Vec::new();
        }
        if !fetches {
            self.chance = None;
            return in_turn(now, candidates, slots + 1);
        }
        candidates.sort_by_key(|candidate| (std::cmp::Reverse(candidate.gave), candidate.last));
        let chance = self.chance.take().filter(|(id, rounds)| {
            *rounds > 0 && candidates.iter().skip(slots).any(|candidate| candidate.id == *id)
        });
        let others = &candidates[slots.min(candidates.len())..];
        let chance = chance.or_else(|| Some((random.choice(others)?.id, CHANCE_ROUNDS)));
        self.chance = chance.map(|(id, rounds)| (id, rounds - 1));
        let best = candidates.iter().take(slots).map(|candidate| candidate.id);
        best.chain(chance.map(|(id, _)| id)).collect()
    }
}

/// Those that had no turn for longest, one of each host before a second one of any.
fn in_turn(now: Time, mut candidates: Vec<Candidate>, slots: usize) -> Vec<ConnId> {
    let mut served: BTreeMap<IpAddr, Time> = BTreeMap::new();
    for candidate in &candidates {
        let at = served.entry(candidate.host).or_default();
        *at = (*at).max(candidate.since.map_or(candidate.last, |_| now));
    }
    candidates.sort_by_key(|candidate| match candidate.since {
        Some(since) if now.since(since) < TURN => (0, since, true, since),
        None => (1, served[&candidate.host], false, candidate.last),
        Some(since) => (1, served[&candidate.host], true, since),
    });
    let mut of_host: BTreeMap<IpAddr, usize> = BTreeMap::new();
    let mut ranked: Vec<(usize, ConnId)> = Vec::new();
    for candidate in candidates {
        let nth = of_host.entry(candidate.host).or_default();
        ranked.push((*nth, candidate.id));
        *nth += 1;
    }
    // Stable: within one rank the order stays.
    ranked.sort_by_key(|&(nth, _)| nth);
    ranked.into_iter().take(slots).map(|(_, id)| id).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(n: u64, gave: u64) -> Candidate {
        let host = IpAddr::from([10, 0, 0, n as u8]);
        Candidate { id: ConnId(n), host, gave, since: None, last: Time::ZERO }
    }

    #[test]
    fn those_that_give_most_are_sent_most_and_each_other_one_has_its_chance() {
        let mut choking = Choking::default();
        let mut random = fastrand::Rng::with_seed(1);
        let mut by_chance = std::collections::BTreeSet::new();
        for round in 0..300 {
            let candidates = (0..10).map(|n| candidate(n, n)).collect();
            let chosen = choking.choose(Time::from_millis(round), candidates, 3, true, &mut random);
            assert_eq!(chosen[..3], [ConnId(9), ConnId(8), ConnId(7)]);
            by_chance.insert(chosen[3]);
        }
        assert_eq!(by_chance.len(), 7);
    }

    #[test]
    fn a_seed_sends_to_all_in_turn_and_to_each_host_once() {
        let mut choking = Choking::default();
        let mut random = fastrand::Rng::with_seed(1);
        let mut peers: Vec<Candidate> = (0..9).map(|n| candidate(n, 0)).collect();
        for peer in &mut peers[4..] {
            // One host with five connections.
            peer.host = IpAddr::from([10, 9, 9, 9]);
        }
        let mut turns: BTreeMap<IpAddr, u32> = BTreeMap::new();
        for round in 0..100 {
            let now = Time::ZERO + ROUND * round;
            let chosen = choking.choose(now, peers.clone(), 1, false, &mut random);
            assert_eq!(chosen.len(), 2);
            for peer in &mut peers {
                match (chosen.contains(&peer.id), peer.since) {
                    (true, None) => peer.since = Some(now),
                    (false, Some(_)) => (peer.since, peer.last) = (None, now),
                    _ => {}
                }
                if peer.since.is_some() {
                    *turns.entry(peer.host).or_default() += 1;
                }
            }
        }
        assert_eq!(turns.len(), 5);
        assert!(turns.values().all(|&turns| (30..=52).contains(&turns)), "{turns:?}");
    }
}
