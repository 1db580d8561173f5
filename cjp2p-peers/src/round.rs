//! A round of questions: whom to ask, each once, and how fast.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use cjp2p_wire::peers::address::referred;
use cjp2p_wire::peers::neighbourhoods::Neighbourhoods;
use cjp2p_wire::peers::peer::Origin;
use cjp2p_wire::time::Time;

/// The pause between two peers that we know, or that the user named.
const FRIENDS_PAUSE: Duration = Duration::from_millis(15);
/// The pause between two addresses that only strangers named: 8 a second.
const STRANGERS_PAUSE: Duration = Duration::from_millis(125);
/// Suggestions taken from one peer.
const MAX_SUGGESTED: usize = 64;
/// Addresses asked in one round: an end to it, however many a liar invents.
const MAX_ASKED: usize = 8192;

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct Round {
    /// Who is or was part of the round, and how it came to be.
    /// Invariant: everybody in the two queues is in here.
    origins: BTreeMap<SocketAddr, Origin>,
    friends: VecDeque<SocketAddr>,
    strangers: VecDeque<SocketAddr>,
    next_friend_at: Time,
    next_stranger_at: Time,
    neighbourhoods: Neighbourhoods,
    /// Who has made suggestions, and how many.
    suggested: BTreeMap<SocketAddr, usize>,
    asks_lan: bool,
}

/// What a round wants done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Ask this one.
    Ask {
        address: SocketAddr,
        /// Only a stranger named it.
        suggested: bool,
    },
    /// Nobody is to be asked before this time; [`Time::NEVER`] where nobody is left.
    Wait(Time),
}

impl Round {
    /// Adds a peer that we know or that the user named.
    pub(crate) fn add_friend(&mut self, address: SocketAddr, origin: Origin) {
        if self.admit(address, origin) {
            self.friends.push_back(address);
        }
    }

    /// Adds an address that only a stranger named, some time ago.
    pub(crate) fn add_stranger(&mut self, address: SocketAddr, origin: Origin) {
        if self.admit(address, origin) {
            self.strangers.push_back(address);
        }
    }

    /// Adds what `by` suggests just now, as far as it may.
    pub(crate) fn add_suggestions(&mut self, by: SocketAddr, addresses: &[SocketAddr]) {
        for address in addresses.iter().filter_map(|address| referred(by, *address)) {
            let taken = self.suggested.entry(by).or_default();
            if *taken >= MAX_SUGGESTED {
                return;
            }
            *taken += 1;
            self.add_stranger(address, Origin::Referral(by));
        }
    }

    /// Adds everybody on the local network, whoever that is.
    pub(crate) fn add_lan(&mut self) {
        self.asks_lan = true;
    }

    /// Whether everybody on the local network is to be asked.
    pub(crate) fn asks_lan(&self) -> bool {
        self.asks_lan
    }

    /// Whether it has nobody in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.origins.is_empty() && !self.asks_lan
    }

    /// How an address came to be part of the round.
    pub(crate) fn origin(&self, address: SocketAddr) -> Origin {
        self.origins.get(&address).cloned().unwrap_or(Origin::Incoming)
    }

    /// What to do at this time. Whoever is named is not named again.
    pub(crate) fn next(&mut self, now: Time) -> Next {
        if now >= self.next_friend_at
            && let Some(address) = self.friends.pop_front()
        {
            self.next_friend_at = now + FRIENDS_PAUSE;
            return Next::Ask { address, suggested: false };
        }
        if now >= self.next_stranger_at
            && let Some(address) = self.next_stranger(now)
        {
            self.next_stranger_at = now + STRANGERS_PAUSE;
            return Next::Ask { address, suggested: true };
        }
        Next::Wait(self.next_at())
    }

    fn admit(&mut self, address: SocketAddr, origin: Origin) -> bool {
        if self.origins.len() >= MAX_ASKED || self.origins.contains_key(&address) {
            return false;
        }
        self.origins.insert(address, origin);
        true
    }

    /// Takes out the first stranger whose neighbourhood may be disturbed.
    fn next_stranger(&mut self, now: Time) -> Option<SocketAddr> {
        let is_open = |address: &SocketAddr| self.neighbourhoods.open_at(*address) <= now;
        let position = self.strangers.iter().position(is_open)?;
        let address = self.strangers.remove(position)?;
        self.neighbourhoods.disturb(now, address);
        Some(address)
    }

    fn next_at(&self) -> Time {
        let stranger = self.strangers.iter().map(|address| self.neighbourhoods.open_at(*address)).min();
        let stranger = stranger.map_or(Time::NEVER, |open_at| open_at.max(self.next_stranger_at));
        match self.friends.is_empty() {
            true => stranger,
            false => stranger.min(self.next_friend_at),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn a(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    /// Everybody who is asked, and when, in milliseconds.
    fn run(round: &mut Round) -> Vec<(u64, SocketAddr, bool)> {
        let mut asked = Vec::new();
        let mut now = Time::ZERO;
        loop {
            match round.next(now) {
                Next::Ask { address, suggested } => {
                    asked.push((now.as_nanos() / 1_000_000, address, suggested))
                }
                Next::Wait(Time::NEVER) => return asked,
                Next::Wait(at) => {
                    assert!(at > now, "the round would spin");
                    now = at;
                }
            }
        }
    }

    #[test]
    fn everybody_is_asked_once() {
        let mut round = Round::default();
        round.add_friend(a("127.0.0.1:1"), Origin::CommandLine);
        round.add_friend(a("127.0.0.1:1"), Origin::Bootstrap);
        round.add_stranger(a("127.0.0.1:1"), Origin::Incoming);
        round.add_suggestions(a("127.0.0.1:9"), &[a("127.0.0.1:1"), a("127.0.0.1:2"), a("127.0.0.1:2")]);
        assert_eq!(run(&mut round), [(0, a("127.0.0.1:1"), false), (0, a("127.0.0.1:2"), true)]);
        assert_eq!(round.origin(a("127.0.0.1:1")), Origin::CommandLine);
        assert_eq!(round.origin(a("127.0.0.1:2")), Origin::Referral(a("127.0.0.1:9")));
        round.add_suggestions(a("127.0.0.1:9"), &[a("127.0.0.1:2")]);
        assert_eq!(run(&mut round), []);
    }

    #[test]
    fn strangers_are_asked_eight_a_second_and_friends_faster() {
        let mut round = Round::default();
        for n in 0..20u8 {
            round.add_friend(SocketAddr::from(([20, n, 0, 1], 24254)), Origin::Added);
            round.add_stranger(SocketAddr::from(([30, n, 0, 1], 24254)), Origin::Incoming);
        }
        let asked = run(&mut round);
        let times = |wanted: bool| {
            asked
                .iter()
                .filter(move |(_, _, suggested)| *suggested == wanted)
                .map(|(at, _, _)| *at)
                .collect::<Vec<_>>()
        };
        assert!(times(false).windows(2).all(|pair| pair[1] - pair[0] >= 15));
        assert!(times(true).windows(2).all(|pair| pair[1] - pair[0] >= 125));
        assert_eq!((times(false).len(), times(true).len()), (20, 20));
        assert_eq!(*times(true).last().unwrap(), 19 * 125, "nobody waits without need");
    }

    #[test]
    fn one_neighbourhood_is_disturbed_once_a_second() {
        let mut round = Round::default();
        let suggestions: Vec<_> = (1..=5u8).map(|n| SocketAddr::from(([30, 0, 0, n], 24254))).collect();
        round.add_suggestions(a("40.0.0.1:24254"), &suggestions);
        round.add_suggestions(a("40.0.0.1:24254"), &[a("31.0.0.1:24254")]);
        let asked = run(&mut round);
        let victims: Vec<u64> =
            asked.iter().filter(|(_, at, _)| suggestions.contains(at)).map(|(at, _, _)| *at).collect();
        assert_eq!(victims, [0, 1000, 2000, 3000, 4000]);
        assert_eq!(asked[1], (125, a("31.0.0.1:24254"), true), "others need not wait for them");
    }

    #[test]
    fn our_own_networks_need_no_such_care() {
        let mut round = Round::default();
        let suggestions: Vec<_> = (1..=5u8).map(|n| SocketAddr::from(([10, 0, 0, n], 24254))).collect();
        round.add_suggestions(a("10.0.0.9:24254"), &suggestions);
        assert_eq!(run(&mut round).last().unwrap().0, 4 * 125);
    }

    #[test]
    fn a_liar_cannot_name_without_end_nor_whom_it_may_not_name() {
        let mut round = Round::default();
        let liar = a("40.0.0.1:24254");
        round.add_suggestions(
            liar,
            &[a("127.0.0.1:24254"), a("10.0.0.1:24254"), a("30.0.0.1:53"), a("224.0.0.1:24254")],
        );
        assert_eq!(run(&mut round), []);
        for n in 0..100u8 {
            round.add_suggestions(liar, &[SocketAddr::from(([30, n, 0, 1], 24254))]);
        }
        assert_eq!(run(&mut round).len(), 64);
        for n in 0..MAX_ASKED as u32 * 2 {
            round.add_stranger(
                SocketAddr::from((std::net::Ipv4Addr::from_bits(0x1400_0000 + n), 24254)),
                Origin::Incoming,
            );
        }
        assert_eq!(round.origins.len(), MAX_ASKED);
    }
}
