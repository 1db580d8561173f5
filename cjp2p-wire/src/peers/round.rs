//! A round of queries: which peers to ask, each once, and how fast.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use super::address::referred;
use super::neighbourhoods::Neighbourhoods;
use super::peer::Origin;
use crate::time::Time;

/// The pause between two peers that we know, or that the user named.
const KNOWN_PAUSE: Duration = Duration::from_millis(15);
/// The pause between two addresses that are only suggested: 8 a second.
const SUGGESTED_PAUSE: Duration = Duration::from_millis(125);
/// Suggestions taken from one peer.
const MAX_SUGGESTED: usize = 64;
/// Addresses asked in one round: an end to it, however many a liar invents.
const MAX_ASKED: usize = 8192;

/// See the [module](self).
#[derive(Debug, Default)]
pub struct Round {
    /// The peers that are or were part of the round, and how each came to be.
    /// Invariant: everybody in the two queues is in here.
    origins: BTreeMap<SocketAddr, Origin>,
    known: VecDeque<SocketAddr>,
    suggestions: VecDeque<SocketAddr>,
    next_known_at: Time,
    next_suggested_at: Time,
    neighbourhoods: Neighbourhoods,
    /// The peers that have made suggestions, and how many.
    suggested: BTreeMap<SocketAddr, usize>,
    asks_lan: bool,
}

/// What a round wants done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Ask this one.
    Ask {
        /// Where it is.
        address: SocketAddr,
        /// It is only suggested.
        suggested: bool,
    },
    /// Nobody is to be asked before this time; [`Time::NEVER`] where nobody is left.
    Wait(Time),
}

impl Round {
    /// Adds a peer that we know or that the user named.
    pub fn add_known(&mut self, address: SocketAddr, origin: Origin) {
        if self.admit(address, origin) {
            self.known.push_back(address);
        }
    }

    /// Adds an address that was only suggested, some time ago.
    pub fn add_suggested(&mut self, address: SocketAddr, origin: Origin) {
        if self.admit(address, origin) {
            self.suggestions.push_back(address);
        }
    }

    /// Adds what `by` suggests just now, as far as it may.
    pub fn add_suggestions(&mut self, by: SocketAddr, addresses: &[SocketAddr]) {
        for address in addresses.iter().filter_map(|address| referred(by, *address)) {
            let taken = self.suggested.entry(by).or_default();
            if *taken >= MAX_SUGGESTED {
                return;
            }
            *taken += 1;
            self.add_suggested(address, Origin::Referral(by));
        }
    }

    /// Adds all peers on the local network.
    pub fn add_lan(&mut self) {
        self.asks_lan = true;
    }

    /// Whether everybody on the local network is to be asked.
    pub fn asks_lan(&self) -> bool {
        self.asks_lan
    }

    /// Whether it has nobody in it.
    pub fn is_empty(&self) -> bool {
        self.origins.is_empty() && !self.asks_lan
    }

    /// How an address came to be part of the round.
    pub fn origin(&self, address: SocketAddr) -> Origin {
        self.origins.get(&address).cloned().unwrap_or(Origin::Incoming)
    }

    /// What to do at this time. No address is named twice.
    pub fn next(&mut self, now: Time) -> Next {
        if now >= self.next_known_at
            && let Some(address) = self.known.pop_front()
        {
            self.next_known_at = now + KNOWN_PAUSE;
            return Next::Ask { address, suggested: false };
        }
        if now >= self.next_suggested_at
            && let Some(address) = self.next_suggested(now)
        {
            self.next_suggested_at = now + SUGGESTED_PAUSE;
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

    /// Takes out the first suggested address whose neighbourhood may be disturbed.
    fn next_suggested(&mut self, now: Time) -> Option<SocketAddr> {
        let is_open = |address: &SocketAddr| self.neighbourhoods.open_at(*address) <= now;
        let position = self.suggestions.iter().position(is_open)?;
        let address = self.suggestions.remove(position)?;
        self.neighbourhoods.disturb(now, address);
        Some(address)
    }

    fn next_at(&self) -> Time {
        let suggested = self.suggestions.iter().map(|address| self.neighbourhoods.open_at(*address)).min();
        let suggested = suggested.map_or(Time::NEVER, |open_at| open_at.max(self.next_suggested_at));
        match self.known.is_empty() {
            true => suggested,
            false => suggested.min(self.next_known_at),
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
        round.add_known(a("127.0.0.1:1"), Origin::CommandLine);
        round.add_known(a("127.0.0.1:1"), Origin::Bootstrap);
        round.add_suggested(a("127.0.0.1:1"), Origin::Incoming);
        round.add_suggestions(a("127.0.0.1:9"), &[a("127.0.0.1:1"), a("127.0.0.1:2"), a("127.0.0.1:2")]);
        assert_eq!(run(&mut round), [(0, a("127.0.0.1:1"), false), (0, a("127.0.0.1:2"), true)]);
        assert_eq!(round.origin(a("127.0.0.1:1")), Origin::CommandLine);
        assert_eq!(round.origin(a("127.0.0.1:2")), Origin::Referral(a("127.0.0.1:9")));
        round.add_suggestions(a("127.0.0.1:9"), &[a("127.0.0.1:2")]);
        assert_eq!(run(&mut round), []);
    }

    #[test]
    fn suggestions_are_asked_eight_a_second_and_known_faster() {
        let mut round = Round::default();
        for n in 0..20u8 {
            round.add_known(SocketAddr::from(([20, n, 0, 1], 24254)), Origin::Added);
            round.add_suggested(SocketAddr::from(([30, n, 0, 1], 24254)), Origin::Incoming);
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
            round.add_suggested(
                SocketAddr::from((std::net::Ipv4Addr::from_bits(0x1400_0000 + n), 24254)),
                Origin::Incoming,
            );
        }
        assert_eq!(round.origins.len(), MAX_ASKED);
    }
}
