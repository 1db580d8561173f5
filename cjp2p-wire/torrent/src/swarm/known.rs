//! `Known`: where there may be peers, and when to connect there.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use cjp2p_wire::time::Time;

use crate::public::Origin;

/// So many addresses are kept at the most.
const MAX_KNOWN: usize = 2000;
/// A connection is begun so often at the most, but to peers that the user named.
const INTERVAL: Duration = Duration::from_millis(125);
/// So many connections may be begun at once after a pause.
const BURST: u32 = 16;
/// An address is tried again after so long, then after twice that.
const FIRST_PAUSE: Duration = Duration::from_secs(15);
/// Waiting doubles so often at the most.
const MAX_DOUBLINGS: u32 = 4;
/// So many attempts in vain, and a stranger's address is forgotten.
const MAX_FAILURES: u32 = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle,
    Connecting,
    Connected,
}

#[derive(Clone, Debug)]
struct Place {
    origin: Origin,
    state: State,
    failures: u32,
    next_at: Time,
}

/// Addresses of peers.
#[derive(Debug, Default)]
pub(super) struct Known {
    // Invariant: at most `MAX_KNOWN`.
    places: BTreeMap<SocketAddr, Place>,
    /// When the next stranger's address may be tried.
    next_stranger: Time,
    // Invariant: how many of the places are connecting.
    connecting: usize,
    /// Nothing is due before, so nothing is looked at.
    quiet_until: Time,
}

impl Known {
    /// There may be a peer at this address. The most trusted origin counts.
    pub(super) fn add(&mut self, now: Time, address: SocketAddr, origin: Origin) {
        if let Some(place) = self.places.get_mut(&address) {
            place.origin = place.origin.min(origin);
            self.quiet_until = self.quiet_until.min(now);
            return;
        }
        if self.places.len() >= MAX_KNOWN && !self.make_room(origin) {
            return;
        }
        let place = Place { origin, state: State::Idle, failures: 0, next_at: now };
        self.places.insert(address, place);
        self.quiet_until = self.quiet_until.min(now);
    }

    /// Forgets an address that is worth less than one of this origin.
    fn make_room(&mut self, origin: Origin) -> bool {
        let idle = self.places.iter().filter(|(_, place)| place.state == State::Idle);
        let worst = idle.max_by_key(|(_, place)| (place.failures, place.origin));
        match worst.filter(|(_, place)| place.failures > 0 || place.origin > origin) {
            Some((&address, _)) => self.places.remove(&address).is_some(),
            None => false,
        }
    }

    /// How many connections are being made.
    pub(super) fn connecting(&self) -> usize {
        self.connecting
    }

    /// Where to connect now.
    pub(super) fn next(&mut self, now: Time) -> Option<SocketAddr> {
        if now < self.quiet_until {
            return None;
        }
        let strangers_wait = self.next_stranger > now + INTERVAL * BURST;
        let due = self.places.iter_mut().filter(|(_, place)| {
            place.state == State::Idle
                && place.next_at <= now
                && (place.origin == Origin::User || !strangers_wait)
        });
        let next = due.min_by_key(|(_, place)| (place.origin, place.failures, place.next_at));
        let Some((&address, place)) = next else {
            self.quiet_until = self.first_due(now);
            return None;
        };
        place.state = State::Connecting;
        self.connecting += 1;
        if place.origin != Origin::User {
            self.next_stranger = self.next_stranger.max(now) + INTERVAL;
        }
        Some(address)
    }

    fn first_due(&self, now: Time) -> Time {
        let idle = self.places.values().filter(|place| place.state == State::Idle);
        let strangers = (self.next_stranger - INTERVAL * BURST).max(now);
        let at = |place: &Place| match place.origin {
            Origin::User => place.next_at,
            _ => place.next_at.max(strangers),
        };
        idle.map(at).min().unwrap_or(Time::NEVER)
    }

    /// When something may be there for [`next`](Known::next), once that gave nothing.
    pub(super) fn next_at(&self) -> Time {
        self.quiet_until
    }

    /// Whether we connect to this address, or were asked to; then it is connected.
    pub(super) fn on_connected(&mut self, address: SocketAddr) -> bool {
        let place = self.places.get_mut(&address).filter(|place| place.state == State::Connecting);
        let Some(place) = place else { return false };
        place.state = State::Connected;
        self.connecting -= 1;
        true
    }

    /// A connection to it did something for us.
    pub(super) fn on_useful(&mut self, address: SocketAddr) {
        if let Some(place) = self.places.get_mut(&address) {
            place.failures = 0;
        }
    }

    /// No connection can be made, or it ended.
    pub(super) fn on_over(&mut self, now: Time, address: SocketAddr) {
        let Some(place) = self.places.get_mut(&address) else { return };
        if std::mem::replace(&mut place.state, State::Idle) == State::Connecting {
            self.connecting -= 1;
        }
        place.next_at = now + FIRST_PAUSE * 2u32.pow(place.failures.min(MAX_DOUBLINGS));
        place.failures += 1;
        self.quiet_until = self.quiet_until.min(place.next_at);
        if place.failures >= MAX_FAILURES && place.origin != Origin::User {
            self.places.remove(&address);
        }
    }

    /// These are not connected to any more.
    pub(super) fn forget(&mut self, is_it: impl Fn(SocketAddr) -> bool) {
        self.places.retain(|&address, place| place.state != State::Idle || !is_it(address));
    }

    /// How many addresses are known.
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(n: u32) -> SocketAddr {
        SocketAddr::from((std::net::Ipv4Addr::from_bits(0x0100_0000 + n), 6881))
    }

    #[test]
    fn strangers_are_tried_eight_in_a_second_and_those_that_fail_ever_more_seldom() {
        let mut known = Known::default();
        for n in 0..100 {
            known.add(Time::ZERO, place(n), Origin::Pex);
        }
        let mut tried = Vec::new();
        for ms in 0..10_000 {
            let now = Time::from_millis(ms);
            while let Some(address) = known.next(now) {
                tried.push(address);
                known.on_over(now, address);
            }
        }
        assert!((80..=80 + BURST as usize + 1).contains(&tried.len()), "{}", tried.len());
        for s in 10..10_000 {
            let now = Time::from_millis(s * 1000);
            while let Some(address) = known.next(now) {
                tried.push(address);
                known.on_over(now, address);
            }
        }
        assert_eq!(tried.len(), 100 * MAX_FAILURES as usize);
        assert_eq!(known.len(), 0);
    }

    #[test]
    fn what_the_user_named_is_tried_at_once_and_never_forgotten() {
        let mut known = Known::default();
        for n in 0..50 {
            known.add(Time::ZERO, place(n), Origin::User);
        }
        assert_eq!(std::iter::from_fn(|| known.next(Time::ZERO)).count(), 50);
        assert_eq!(known.connecting(), 50);
        for failure in 0..20 {
            let now = Time::from_millis(failure * 1_000_000);
            known.on_over(now, place(1));
            assert_eq!(known.next(now), None);
            assert_eq!(known.next(now + FIRST_PAUSE * 16), Some(place(1)));
        }
    }

    #[test]
    fn however_many_addresses_are_named_few_are_kept_and_the_best() {
        let mut known = Known::default();
        for n in 0..10_000 {
            known.add(Time::ZERO, place(n), Origin::Pex);
        }
        known.add(Time::ZERO, place(20_000), Origin::Tracker);
        assert_eq!(known.len(), MAX_KNOWN);
        assert_eq!(known.next(Time::ZERO), Some(place(20_000)));
    }
}
